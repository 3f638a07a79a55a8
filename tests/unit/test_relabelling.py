"""Labels moved, merged and split: the new version of a model predicts what the old one did, under the new names."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.relabel import RelabelSettings
from jobs.relabel import main as relabel_main
from lib.command import run_command
from lib.errors import BundleError, InputError
from lib.model.bundle import Bundle, load_bundle
from lib.model.changes import Change, Changes, read_changes
from lib.model.engines import build_engine, check_golden_rows
from lib.scoring.record import renames_of
from lib.tables.run_record import RELABELLED, RunRecord
from tests.conftest import ROOT, SHIPPED
from training.relabelling import added_up, look_alike_remarks, relabelled_files, relabelling

TEXTS = pa.array(
    ["steel kettle", "usb cable for phones", "detective novel, paperback", "", "cotton shirt with a book pocket", None]
)
# The job in a Python that finds none of what only requirements/training.lock installs.
WITHOUT_TRAINING = """
import sys
from importlib.machinery import PathFinder
from lib.command import run_command

class Installed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        absent = {"tensorflow", "keras", "onnx", "sklearn", "matplotlib", "fasttext", "cleanlab", "optuna"}
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
from jobs.relabel import RelabelSettings, main
sys.exit(run_command(RelabelSettings, main, "relabel", sys.argv[1:]))
"""
PATHS = ("Home > Kitchen", "Home > Kitchen > Kettles", "Media > Books", "Media > Films")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The shipped model in its own folder of versions."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "models" / "shop"))


@pytest.fixture
def relabel(models: Path, tmp_path: Path) -> Callable[..., int]:
    def run(*changes: tuple[str, str], options: tuple[str, ...] = ()) -> int:
        file = tmp_path / "changes.csv"
        with file.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([("old", "new"), *changes])
        return run_command(RelabelSettings, relabel_main, "relabel", ["--model", str(models), "--changes", str(file), *options])

    return run


def scores(bundle: Bundle, engine: str = "onnx") -> np.ndarray:
    return build_engine(engine, bundle, 1).scores_of(bundle.tokenizer, TEXTS).probabilities


@pytest.mark.parametrize("engine", ["native", "onnx"])
def test_moved_labels(models: Path, relabel, shipped: Bundle, capsys, engine: str) -> None:
    assert relabel(("Books", "Media"), ("Household", "Books")) == 0
    assert "2 of 4 labels moved, 4 now" in capsys.readouterr().out
    bundle = load_bundle(str(models))
    assert bundle.labels == ("Media", "Clothing & Accessories", "Electronics", "Books")
    assert bundle.manifest["version"] == (models / "current").read_text().strip() != shipped.manifest["version"]
    np.testing.assert_array_equal(scores(bundle, engine), scores(shipped, engine))
    check_golden_rows(build_engine(engine, bundle, 1), bundle)
    # Figures are the same under other names.
    old, new = shipped.manifest["metrics"], bundle.manifest["metrics"]
    assert new["per_class"]["Books"] == old["per_class"]["Household"]
    assert new["comparison"] == old["comparison"]
    assert bundle.manifest["thresholds"]["promises"][0]["labels"] == list(bundle.labels)


def test_relabel_needs_no_tensorflow(models: Path, tmp_path: Path) -> None:
    (tmp_path / "changes.csv").write_text("old,new\nBooks,Media\n")
    command = [sys.executable, "-c", WITHOUT_TRAINING, "--model", str(models), "--changes", str(tmp_path / "changes.csv")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert load_bundle(str(models)).labels[0] == "Media"


@pytest.mark.parametrize("engine", ["native", "onnx"])
def test_merged_labels(models: Path, relabel, shipped: Bundle, capsys, engine: str) -> None:
    assert relabel(("Books", "Other"), ("Household", "Other")) == 0
    assert "merged into 'Other': 'Books', 'Household'" in capsys.readouterr().out
    bundle = load_bundle(str(models))
    assert bundle.labels == ("Other", "Clothing & Accessories", "Electronics")
    before, now = scores(shipped, engine), scores(bundle, engine)
    np.testing.assert_allclose(now, np.column_stack([before[:, 0] + before[:, 3], before[:, 1], before[:, 2]]), atol=1e-6)
    assert np.isnan(now[3]).all()
    check_golden_rows(build_engine(engine, bundle, 1), bundle)
    counts = np.array(shipped.manifest["metrics"]["confusion_matrix"])
    right = counts[[0, 0, 3, 3], [0, 3, 0, 3]].sum() + counts[1, 1] + counts[2, 2]
    assert bundle.manifest["metrics"]["accuracy"] == pytest.approx(right / counts.sum())
    # What would have to be measured again is left out.
    assert "calibration" not in bundle.manifest["metrics"]
    assert bundle.manifest["thresholds"]["promises"] == []
    assert bundle.review_below == (shipped.review_below[0],) * 3


def test_relabelled_twice(models: Path, relabel, shipped: Bundle) -> None:
    assert relabel(("Books", "Other"), ("Household", "Other")) == 0
    first = load_bundle(str(models)).model_version
    assert relabel(("Electronics", "Other"), ("Other", "Electronics")) == 0
    bundle = load_bundle(str(models))
    assert bundle.labels == ("Electronics", "Clothing & Accessories", "Other")
    np.testing.assert_allclose(scores(bundle)[:, 0], scores(shipped)[:, [0, 3]].sum(axis=1), atol=1e-6)
    # By today's name of a label of an older version: two of them have swapped since.
    assert bundle.renames.name_of("Household", shipped.model_version) == "Electronics"
    assert bundle.renames.name_of("Electronics", shipped.model_version) == "Other"
    assert bundle.renames.name_of("Electronics", first) == "Other"
    assert bundle.renames.name_of("Electronics", bundle.model_version) == "Electronics"
    # From another training: names that mean something today do so there too.
    assert bundle.renames.name_of("Electronics", "another/1") == "Electronics"
    assert bundle.renames.name_of("Books", "another/1") == "Electronics"


def test_the_same_changes_are_not_applied_twice(models: Path, relabel, shipped: Bundle, capsys) -> None:
    swap = [("Books", "Electronics"), ("Electronics", "Books")]
    assert relabel(*swap) == 0
    once = load_bundle(str(models))
    before = sorted(models.rglob("*"))
    # As a scheduler would repeat it, or in another order.
    assert relabel(*swap) == relabel(*swap[::-1]) == 2
    version = shipped.manifest["version"]
    assert f"Expected changes that {once.model_version} does not have yet, found those in" in (said := capsys.readouterr().err)
    assert f"that made it from {shipped.model_version}; nothing is left to do, or go back with rollback --to {version}." in said
    assert sorted(models.rglob("*")) == before
    # After others they are a new wish.
    assert relabel(("Household", "Home")) == relabel(*swap) == 0


def test_a_version_that_does_not_say_by_which_changes_it_was_made(models: Path, relabel) -> None:
    swap = [("Books", "Electronics"), ("Electronics", "Books")]
    assert relabel(*swap) == 0
    folder = models / (models / "current").read_text().strip()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format_version"] == 6
    del manifest["relabelled"][0]["digest"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "manifest.sha256").unlink()
    assert relabel(*swap, options=("--no-promote",)) == 0


def test_the_newest_names_are_those_of_whoever_went_on(models: Path, relabel, shipped: Bundle) -> None:
    assert relabel(("Books", "Media")) == 0
    once = load_bundle(str(models))
    assert relabel(("Media", "Print")) == 0
    twice = load_bundle(str(models))
    steps = json.loads(json.dumps(list(twice.renames.steps)))
    runs = [RunRecord("b", "published"), RunRecord("a", "published", settings=json.dumps({RELABELLED: steps}))]
    for bundle in (shipped, once, twice):
        assert renames_of(bundle.renames.steps, runs).name_of(bundle.labels[0], bundle.model_version) == "Print"
    assert renames_of(once.renames.steps, runs[:1]).name_of("Books", shipped.model_version) == "Media"
    # From another line of versions than the bundle's.
    other = [RunRecord("a", "published", settings=json.dumps({RELABELLED: [*steps[1:], *steps]}))]
    assert renames_of(once.renames.steps, other).name_of("Books", shipped.model_version) == "Media"


def test_a_split_label_stays(models: Path, relabel, shipped: Bundle, capsys) -> None:
    assert relabel(("Books", "Novels"), ("Books", "Textbooks"), ("Household", "Home")) == 0
    assert "'Books' becomes several ('Novels', 'Textbooks'): it stays" in capsys.readouterr().out
    bundle = load_bundle(str(models))
    assert bundle.labels == ("Books", "Clothing & Accessories", "Electronics", "Home")
    assert "'Books' becomes several" in next(models.glob(f"{bundle.manifest['version']}/README.md")).read_text()


def test_current_stays_where_asked(models: Path, relabel) -> None:
    before = (models / "current").read_text()
    assert relabel(("Books", "Media"), options=("--no-promote",)) == 0
    assert (models / "current").read_text() == before
    assert len(list(models.glob("*/manifest.json"))) == 2
    assert relabel(("Books", "Media")) == 3


@pytest.mark.parametrize(
    ("changes", "labels", "split"),
    [
        # A branch moves with everything below it, and the most specific line counts.
        ([("Home", "House > Home")], ["House > Home > Kitchen", "House > Home > Kitchen > Kettles", *PATHS[2:]], []),
        ([("Home", "House"), ("Home > Kitchen > Kettles", "Kettles")], ["House > Kitchen", "Kettles", *PATHS[2:]], []),
        ([(" Media>Books", "Books")], None, None),
        ([("Media  > Books ", "Books")], [*PATHS[:2], "Books", "Media > Films"], []),
        ([("Media > Books", "Media"), ("Media > Films", "Media")], [*PATHS[:2], "Media", "Media"], []),
        (
            [("Media", "Books"), ("Media", "Films"), ("Home", "House")],
            ["House > Kitchen", "House > Kitchen > Kettles", *PATHS[2:]],
            list(PATHS[2:]),
        ),
        # A line that moves nothing holds up none of the others.
        ([("Home > Kitchen", "Home"), ("Home", "Home > Kitchen")], ["Home", "Home > Kettles", *PATHS[2:]], []),
    ],
)
def test_paths(changes, labels, split) -> None:
    changes = Changes([Change(*change) for change in changes], "c.csv")
    if split is None:
        with pytest.raises(InputError, match=r"Expected labels of the bundle as old ones in c\.csv"):
            relabelling(PATHS, " > ", changes)
        return
    made = relabelling(PATHS, " > ", changes)
    assert list(made.labels.values()) == labels
    assert list(made.split) == split


def test_the_tree_of_a_relabelled_bundle(shipped: Bundle) -> None:
    labels = ("A > x", "A > y", "B", "C > z")
    thresholds = {
        **shipped.manifest["thresholds"],
        "by_level": [0.5, 0.7],
        "by_label": {"A > x": 0.8, "B": 0.4},
        "promises": [],
    }
    manifest = {**shipped.manifest, "labels": labels, "label_separator": " > ", "thresholds": thresholds, "format_version": 5}
    bundle = replace(shipped, manifest=json.loads(json.dumps(manifest)))
    changes = Changes([Change("C", "A"), Change("B", "A > x > deep"), Change("A > x", "A > y")], "c.csv")
    made = relabelling(labels, " > ", changes)
    found, _ = relabelled_files(bundle, str(SHIPPED), made)
    assert found["labels"] == ["A > x > deep", "A > y", "A > z"]
    assert found["outputs"] == [1, 1, 0, 2]
    # A merged label is as strict as the strictest of them, and a new level as the one above it.
    assert found["thresholds"]["by_label"] == {
        "A > y": max(0.8, shipped.manifest["thresholds"]["review_below"]),
        "A > x > deep": 0.4,
    }
    assert found["thresholds"]["by_level"] == [0.5, 0.7, 0.7]
    assert Bundle(found, "", shipped.files).tree.is_ordered


def test_everything_about_the_labels_has_their_new_names(shipped: Bundle) -> None:
    labels = ["Home", "Media > Books", "Media > Films", "Toys"]
    promise = {**shipped.manifest["thresholds"]["promises"][0], "labels": ["Media > Books"]}
    thresholds = {"review_below": 0.9, "by_label": {"Media > Books": 0.8}, "promises": [promise]}
    thresholds |= {"by_level": [0.5, 0.7], "level_promises": [promise]}
    manifest = {**shipped.manifest, "labels": labels, "label_separator": " > ", "thresholds": thresholds, "format_version": 5}
    manifest["metrics"] = {**manifest["metrics"], "review": {**thresholds, "share_kept": 0.9, "precision_kept": 0.95}}
    moved = {"Media > Books > Maps": "Media > Books", "Home > Garden": "Home"}
    rare = {"Media > Games": 1, "Print > Media > Games": 1, "Pets": 1}
    manifest["data"] = {**manifest["data"], "moved_up": moved, "rare_labels": rare}
    manifest["training"] = {**manifest["training"], "review": {"below": 0.9, "below_by_label": {"Media > Books": 0.8}}}
    bundle = replace(shipped, manifest=json.loads(json.dumps(manifest)))
    made = relabelling(labels, " > ", Changes([Change("Media", "Print > Media")], "c.csv"))
    found, _ = relabelled_files(bundle, str(SHIPPED), made)
    new = "Print > Media > Books"
    assert found["data"]["moved_up"] == {f"{new} > Maps": new, "Home > Garden": "Home"}
    assert found["data"]["rare_labels"] == {"Print > Media > Games": 2, "Pets": 1}
    assert found["training"]["review"] == {"below": 0.9, "below_by_label": {new: 0.8}}
    assert found["thresholds"]["by_label"] == {new: 0.8}
    assert found["metrics"]["review"] == {**found["thresholds"], "share_kept": 0.9, "precision_kept": 0.95}
    assert (found["metrics"]["review"]["by_level"], found["metrics"]["review"]["promises"][0]["labels"]) == (
        [0.5, 0.7, 0.7],
        [new],
    )
    # The bundle that it was made from is as it was.
    assert bundle.manifest == json.loads(json.dumps(manifest))


def test_a_bar_in_a_label_ends_no_cell_of_the_card(models: Path, relabel) -> None:
    assert relabel(("Books", "Print | paper")) == 0
    card = (models / (models / "current").read_text().strip() / "README.md").read_text()
    assert "| Books | Print \\| paper |" in card.splitlines()


@pytest.mark.parametrize(
    ("changes", "by_level"),
    [
        # Names change, and nothing else.
        ([("Goods", "Wares"), ("Goods > Toys", "Wares > Games")], [0.5, 0.9, 0.95]),
        # A node that was deeper.
        ([("Goods > House", "Home")], [0.9, 0.95]),
        ([("Goods > House > Small", "Small")], [0.95, 0.95, 0.95]),
        # So is a new one above it, unless all of a branch has come to it, if by its leaves.
        ([("Goods > House", "Home > House")], [0.9, 0.9, 0.95]),
        ([("Goods > House > Small", "Home > Small"), ("Goods > House > Large", "Home > Large")], [0.9, 0.95]),
        (
            [
                ("Goods > House > Small", "A > H > Small"),
                ("Goods > House > Large", "A > H > Large"),
                ("Goods > Toys", "A > Toys"),
            ],
            [0.5, 0.9, 0.95],
        ),
        # One that others come to is what it was.
        ([("Goods > House", "Media > House")], [0.5, 0.9, 0.95]),
        ([("Goods > House", "Media")], [0.9, 0.95]),
        # Down a level is no stricter than what was there, and below all levels as strict as the last.
        ([("Goods", "All > Goods")], [0.5, 0.9, 0.95, 0.95]),
    ],
)
def test_levels_are_as_strict_as_the_nodes_that_stand_there_now(shipped: Bundle, changes, by_level) -> None:
    labels = ("Goods > House > Large", "Goods > House > Small", "Goods > Toys", "Media")
    thresholds = {**shipped.manifest["thresholds"], "by_level": [0.5, 0.9, 0.95], "by_label": {}, "promises": []}
    manifest = {**shipped.manifest, "labels": labels, "label_separator": " > ", "thresholds": thresholds, "format_version": 5}
    made = relabelling(labels, " > ", Changes([Change(*change) for change in changes], "c.csv"))
    found, _ = relabelled_files(replace(shipped, manifest=json.loads(json.dumps(manifest))), str(SHIPPED), made)
    assert found["thresholds"]["by_level"] == by_level


def test_names_are_read_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes('old,new\r\n"Books","Media\nand\u2028more"\r\n\r\n A , > B > \r\n'.encode())
    changes = read_changes(str(tmp_path / "c.csv"))
    assert [change.new for change in changes.lines] == ["Media\nand\u2028more", " > B > "]
    assert relabelling(["A", "Books"], " > ", changes).labels == {"A": "B", "Books": "Media\nand\u2028more"}


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ([("Books", "Househould")], [("Househould", "Household")]),
        ([("Books", "HOUSEHOLD ")], [("HOUSEHOLD", "Household")]),
        # A character that nobody sees.
        ([("Books", "To\u200bys"), ("Household", "Toys")], [("To\u200bys", "Toys")]),
        # One name, typed on two machines.
        ([("Books", "Cafe\u0301"), ("Household", "Caf\u00e9")], []),
        ([("Books", "Household")], []),
        # No label is called so any more.
        ([("Household", "Househould")], []),
    ],
)
def test_a_new_name_that_looks_like_another_is_told(relabel, capsys, changes, alike) -> None:
    assert relabel(*changes) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "may be meant" in line]
    assert said == [f"labels that may be meant as one: {one!r} and {other!r}; they are two" for one, other in alike]


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ([("Media > Books", "Home > Kichen > Books")], [("Home > Kichen", "Home > Kitchen")]),
        ([("Media > Films", "Media > Book")], [("Media > Book", "Media > Books")]),
        # Those that were alike before, below whatever parent, are no news.
        ([("Home", "House")], []),
    ],
)
def test_a_new_level_that_looks_like_another_is_told(changes, alike) -> None:
    made = relabelling((*PATHS, "Home > Socks", "Home > socks"), " > ", Changes([Change(*pair) for pair in changes], "c.csv"))
    assert look_alike_remarks(made, " > ") == [
        f"labels that may be meant as one: {one!r} and {other!r}; they are two" for one, other in alike
    ]


def test_an_old_path_that_the_bundle_does_not_have_is_perhaps_another() -> None:
    misspelt = Changes([Change("Home > kitchen > Kettels", "Small"), Change("Home > Kitchn > Kettles", "Small")], "c.csv")
    with pytest.raises(InputError) as refused:
        relabelling(PATHS, " > ", misspelt)
    assert (
        "found 'Home > kitchen > Kettels', 'Home > Kitchn > Kettles' (perhaps meant as 'Home > Kitchen > Kettles') that it"
        in str(refused.value)
    )


def test_old_names_that_a_model_has_not_learned_hold_up_no_others(
    models: Path, relabel, shipped: Bundle, tmp_path: Path, capsys
) -> None:
    folder = models / shipped.manifest["version"]
    data = {**shipped.manifest["data"], "rare_labels": {"Toys": 1}}
    (folder / "manifest.json").write_text(json.dumps({**shipped.manifest, "data": data}))
    # Otherwise it would be refused for having been changed.
    (folder / "manifest.sha256").unlink()
    changes = [("Books", "Media"), ("Toys", "Games"), ("Pets", "Animals"), ("Household ware", "Home")]
    assert relabel(*changes) == 0
    said = capsys.readouterr().out
    assert (
        f"2 old labels of {tmp_path / 'changes.csv'} are those of no label of {shipped.model_version}, or each of their labels"
        in said
    )
    assert "line of its own: 'Pets', 'Household ware'\n" in said
    assert load_bundle(str(models)).labels[0] == "Media"
    assert load_bundle(str(models)).manifest["data"]["rare_labels"] == {"Games": 1}


@pytest.mark.parametrize(
    ("old", "unused"),
    [
        ("Home > Pots", []),
        # What is above one is one too; what is next to it or below it is not.
        ("Garden", []),
        (" Garden>Tools", ["Garden>Tools"]),
        ("Garden > Tools > Rakes", ["Garden > Tools > Rakes"]),
        ("Pets", ["Pets"]),
    ],
)
def test_old_names_at_or_above_a_label_that_was_not_learned_are_known(old: str, unused: list[str]) -> None:
    changes = Changes([Change("Media > Books", "Books"), Change(old, "Other")], "c.csv")
    made = relabelling(PATHS, " > ", changes, ["Home > Pots", "Garden > Tools"])
    assert (made.moved, made.unused) == ({"Media > Books": "Books"}, unused)
    with pytest.raises(InputError, match="found none of the model's" if not unused else "that it does not have"):
        relabelling(PATHS, " > ", Changes([Change(old, "Other")], "c.csv"), ["Home > Pots", "Garden > Tools"])


def test_a_misspelt_old_name_among_others_is_told_with_the_way_back(relabel, shipped: Bundle, capsys) -> None:
    assert relabel(("Books", "Media"), ("Houshold", "Home")) == 0
    back = f"go back with rollback --to {shipped.manifest['version']}, correct the file and relabel again"
    assert f"'Houshold' (perhaps meant as 'Household'); if one is misspelt, {back}\n" in capsys.readouterr().out


def test_added_up() -> None:
    found = added_up(np.array([[0.5, 0.25, 0.25]], np.float32), np.array([1, 0, 1]), 2)
    np.testing.assert_array_equal(found, [[0.25, 0.75]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expected the header old,new in"),
        ("from,to\nBooks,Media\n", "Expected the header old,new in"),
        ("old,new\nBooks\n", "Expected an old and a new label in line 2 of"),
        ('old,new\nBooks,"Media\nHousehold,Home\n', "found a field in line 3 that cannot be read"),
        ("old,new\nBooks,\n", "Expected an old and a new label in line 2 of"),
        ("old,new\n", "Expected labels that change in"),
        ("old,new\nBooks,Books\n", "Expected labels that change in"),
        ("old,new\nBooks,Novels\nBooks,Textbooks\n", "found only those that become several ('Books'), which a training"),
        ("old,new\nBook,Media\n", "found 'Book' (perhaps meant as 'Books') that it does not have"),
        ("old,new\nToys,Media\n", "found 'Toys' that it does not have"),
        ("old,new\nBooks,A\nHousehold,A\nElectronics,A\nClothing & Accessories,A\n", "Expected at least two labels to be left"),
    ],
)
def test_wrong_changes(models: Path, tmp_path: Path, capsys, content: str, message: str) -> None:
    (tmp_path / "changes.csv").write_text(content)
    before = sorted(models.rglob("*"))
    arguments = ["--model", str(models), "--changes", str(tmp_path / "changes.csv")]
    assert run_command(RelabelSettings, relabel_main, "relabel", arguments) == 2
    assert message in capsys.readouterr().err
    assert sorted(models.rglob("*")) == before


def test_changes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_changes(str(tmp_path / "nowhere.csv"))
    (tmp_path / "latin.csv").write_bytes("old,new\nBücher,Medien\n".encode("latin-1"))
    with pytest.raises(InputError, match="it is not in UTF-8"):
        read_changes(str(tmp_path / "latin.csv"))


def built(models: Path) -> object:
    return build_engine("onnx", load_bundle(str(models)), 1)


@pytest.mark.parametrize("outputs", [[0, 1, 2], [0, 1, 2, 4], [0, 0, 1, 2], [0, 1, 2, True], ["a", "b", "c", "d"]])
def test_outputs_that_do_not_fit(models: Path, relabel, outputs: list) -> None:
    assert relabel(("Books", "Media")) == 0
    folder = models / (models / "current").read_text().strip()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "outputs": outputs}))
    # Otherwise it would be refused for having been changed.
    (folder / "manifest.sha256").unlink()
    with pytest.raises(BundleError, match=r"outputs? |labels in"):
        built(models)
