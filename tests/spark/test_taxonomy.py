"""Labels that are paths, from `train` to the table, to `evaluate` and to a frame."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import catalog_categorizer as cc
from jobs.categorize import CategorizeSettings
from jobs.categorize import main as categorize
from jobs.evaluate import EvaluateSettings
from jobs.evaluate import main as evaluate
from jobs.relabel import RelabelSettings
from jobs.relabel import main as relabel
from jobs.train import TrainSettings
from jobs.train import main as train_job
from lib.command import run_command
from lib.errors import BundleError
from lib.model.bundle import load_bundle
from lib.model.decisions import decided
from lib.model.engines import build_engine, checked_engine
from lib.model.explanation import explain, explanation_text
from lib.model.metrics import population_stability_index
from lib.model.predictions import predictions
from tests.conftest import ROOT, SAMPLES, SHIPPED
from tests.recipes import PARENTS, with_paths

pytestmark = pytest.mark.usefixtures("spark")


def night(source: Path, lake: Path, model: Path, *more: str) -> int:
    words = [
        "--source",
        str(source),
        "--target",
        str(lake),
        "--model",
        str(model),
        "--text-columns",
        "title,description",
        *more,
    ]
    return run_command(CategorizeSettings, categorize, "categorize", words)


def test_rows_tell_their_path_and_how_far_it_is_sure(spark, tmp_path, tree) -> None:
    lake, bundle = tmp_path / "lake", load_bundle(str(tree))
    assert bundle.manifest["format_version"] == 5
    assert bundle.tree.levels == 2
    assert night(SAMPLES / "catalog.csv", lake, tree, "--verify", "--scores", "all") == 0
    rows = spark.read.format("delta").load(str(lake)).collect()
    known = [row for row in rows if row["category"]]
    assert len(known) > 10
    for row in known:
        assert row["category_path"] == row["category"].split(" > ")
        top = sum(score for label, score in row["scores"].items() if label.startswith(f"{row['category_path'][0]} > "))
        assert row["level_confidence"] == pytest.approx([top, row["confidence"]], abs=1e-5)
        sure = [one >= limit for one, limit in zip(row["level_confidence"], bundle.level_thresholds, strict=True)]
        assert row["published_path"] == row["category_path"][: sum(sure)]
    assert len({len(row["published_path"]) for row in known}) > 1
    assert {(row["category_path"], row["level_confidence"], row["published_path"]) for row in rows if not row["category"]} == {
        (None, None, None)
    }


def test_a_flat_list_and_a_tree_follow_one_another_in_one_table(spark, tmp_path, tree) -> None:
    lake = tmp_path / "lake"
    assert night(SAMPLES / "catalog.csv", lake, SHIPPED, "--verify") == 0
    assert {row["category_path"] for row in spark.read.format("delta").load(str(lake)).collect()} == {None}
    # A table of an older version lacks the columns until its next run.
    spark.sql(
        f"ALTER TABLE delta.`{lake}` SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5')"
    )
    spark.sql(f"ALTER TABLE delta.`{lake}` DROP COLUMNS (category_path, level_confidence, published_path)")
    guards = [word for name in ("drift", "review", "confidence", "unknown") for word in (f"--guard-{name}", "inf")]
    assert night(SAMPLES / "catalog.csv", lake, tree, "--verify", *guards) == 0
    known = spark.read.format("delta").load(str(lake)).filter("category IS NOT NULL")
    assert known.filter("size(category_path) <> 2").isEmpty()


def test_a_published_path_that_another_hand_has_made_longer_is_found(spark, tmp_path, tree, capsys) -> None:
    lake = tmp_path / "lake"
    assert night(SAMPLES / "catalog.csv", lake, tree) == 0
    spark.sql(
        f"UPDATE delta.`{lake}` SET published_path = array('Media') WHERE size(published_path) = 0 OR published_path[0] = 'Goods'"
    )
    assert night(SAMPLES / "catalog.csv", lake, tree, "--verify") == 4
    assert "have a category, status or confidence that does not follow from their scores" in capsys.readouterr().err


def test_evaluate_tells_each_level_from_one_column_or_several(tmp_path, tree, capsys) -> None:
    rows = pd.read_csv(SAMPLES / "labels.csv")
    rows = rows.assign(path=with_paths(rows["label"]), top=rows["label"].map(PARENTS))
    rows.loc[0, "path"], rows.loc[0, "top"] = None, None
    rows.to_csv(tmp_path / "labels.csv", index=False)
    found = []
    for columns in ("path", "top,label"):
        words = [
            "--model",
            str(tree),
            "--labels",
            str(tmp_path / "labels.csv"),
            "--label-column",
            columns,
            "--output",
            str(tmp_path / "out"),
        ]
        assert run_command(EvaluateSettings, evaluate, "evaluate", words) == 0
        found.append(json.loads((tmp_path / "out").read_text()))
        top = found[-1]["hierarchy"]["levels"][0]
        assert f"level 1: accuracy {top['accuracy']:.4f}, weighted F1" in capsys.readouterr().out
    assert found[0] == found[1]
    top, leaves = found[0]["hierarchy"]["levels"]
    assert top["labels"] == 2
    assert leaves["labels"] == 4
    assert top["accuracy"] >= leaves["accuracy"] == pytest.approx(found[0]["accuracy"])
    assert leaves["accuracy"] <= found[0]["hierarchy"]["hierarchical_f1"] <= top["accuracy"]
    assert top["published"] >= leaves["published"] > 0
    assert found[0]["rows_without_label"] == 1
    # A frame gets the same, also where paths are spelt otherwise.
    otherwise = rows.assign(path=rows["path"].str.replace(" > ", "\u00a0 >  ") + " > ")
    frame = cc.evaluate(otherwise, cc.load_bundle(tree), "text", "path")
    assert json.loads(json.dumps(frame.metrics["hierarchy"])) == found[0]["hierarchy"]
    assert "level 2: accuracy" in repr(frame)
    assert "level 2: accuracy" in frame._repr_html_()


def test_a_frame_gets_the_columns_of_the_table(spark, tmp_path, tree) -> None:
    lake, frame = tmp_path / "lake", pd.read_csv(SAMPLES / "catalog.csv")
    frame = frame[frame["product_id"].fillna("").str.strip() != ""].drop_duplicates("product_id")
    frame.to_csv(tmp_path / "in.csv", index=False)
    assert night(tmp_path / "in.csv", lake, tree) == 0
    table = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    found = cc.categorize(frame, cc.load_bundle(tree), ["title", "description"])
    for _, row in found.iterrows():
        stands = table[row["product_id"]]
        for name in ("category_path", "published_path"):
            assert (None if stands[name] is None else list(stands[name])) == (None if row[name] is None else list(row[name]))
        if stands["category"]:
            assert list(row["level_confidence"]) == pytest.approx(stands["level_confidence"], abs=1e-4)
    assert "category_path" not in cc.categorize(frame, cc.load_bundle(SHIPPED), ["title", "description"])


def write_labels(path: Path) -> str:
    rows = pd.read_csv(SAMPLES / "labels.csv")
    rows.assign(top=rows["label"].map(PARENTS), path=with_paths(rows["label"])).to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    return str(path)


def trained(tmp_path: Path, *more: str) -> int:
    words = [
        "--labels",
        write_labels(tmp_path / "labels.csv"),
        "--models",
        str(tmp_path / "models"),
        "--epochs",
        "1",
        "--bag-epochs",
        "1",
    ]
    return run_command(TrainSettings, train_job, "train", [*words, "--no-baselines", *more])


def test_train_from_levels_in_columns_against_a_taxonomy(tmp_path, capsys) -> None:
    (tmp_path / "tree.txt").write_text("".join(f"{parent} > {label}\n" for label, parent in PARENTS.items()))
    assert trained(tmp_path, "--label-column", "top,label", "--taxonomy", str(tmp_path / "tree.txt")) == 0
    bundle = load_bundle(str(tmp_path / "models" / "labels"))
    assert bundle.labels == tuple(sorted(f"{parent} > {label}" for label, parent in PARENTS.items()))
    assert bundle.level_thresholds == (0.5, 0.5)
    card = (tmp_path / "models" / "labels" / bundle.manifest["version"] / "README.md").read_text()
    assert "Labels are paths, separated by ' > ': hierarchical precision" in card
    assert "| 1 | 2 |" in card


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--label-column", "path", "--label-separator", " > ", "--taxonomy", "TREE"), "found 1 of 4 that are not"),
        (
            ("--taxonomy", "TREE"),
            "Expected --label-separator, or several columns in --label-column, with --taxonomy, found neither",
        ),
        (("--label-separator", "  "), "Expected --label-separator with a visible character"),
        (("--label-column", "top,label", "--label-separator", "&"), "Expected names of levels without '&' in top, label of"),
        (("--label-column", "top,nothing"), "Expected the column nothing in"),
    ],
)
def test_what_train_refuses(tmp_path, capsys, options, sentence) -> None:
    (tmp_path / "tree.txt").write_text(
        "Goods > Electronics\nGoods > Household\nGoods > Clothing & Accessories\nMedia > Bookz\n"
    )
    given = [str(tmp_path / "tree.txt") if word == "TREE" else word for word in options]
    assert trained(tmp_path, *given) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert not (tmp_path / "models").exists()


CHANGES = "old,new\nGoods,Shop > Goods\nMedia > Books,Shop > Novels\nMedia > Books,Shop > Textbooks\nFilms,Cinema\n"


def test_texts_from_before_and_after_a_change_of_the_taxonomy(tmp_path, capsys) -> None:
    old = pd.read_csv(write_labels(tmp_path / "labels.csv"))
    books = int((old["path"] == "Media > Books").sum())
    renamed = old.assign(path=("Shop > " + old["path"]).where(old["path"] != "Media > Books"))
    # Every third row has its new label already.
    old.assign(path=old["path"].where(old.index % 3 > 0, renamed["path"].fillna(old["path"]))).to_csv(tmp_path / "labels.csv")
    renamed.dropna().to_csv(tmp_path / "new.csv")
    (tmp_path / "changes.csv").write_text(CHANGES)
    as_paths = ("--text-columns", "text", "--label-column", "path")
    words = ("--labels", str(tmp_path / "labels.csv"), *as_paths, "--changes", str(tmp_path / "changes.csv"))
    once = ("--label-separator", " > ", "--models", str(tmp_path), "--name", "shop", "--epochs", "1", "--no-baselines")
    assert run_command(TrainSettings, train_job, "train", [*words, *once, "--bag-epochs", "1"]) == 0
    said = capsys.readouterr().out
    moved = int((old["path"] != "Media > Books").where(old.index % 3 > 0, False).sum())
    assert f"{moved:,} rows of 3 labels have their new label of {tmp_path}/changes.csv" in said
    assert f"{books:,} rows of 1 labels are left out, since each of these became several" in said
    assert f"1 old labels of {tmp_path}/changes.csv are those of no row: 'Films'" in said
    bundle = load_bundle(str(tmp_path / "shop"))
    assert bundle.labels == tuple(sorted(set(renamed["path"].dropna())))
    data = bundle.manifest["data"]
    assert data["dropped"]["label that became several"] == data["renamed"]["left_out"]["Media > Books"] == books
    assert data["rows_read"] == len(old)
    card = (tmp_path / "shop" / bundle.manifest["version"] / "README.md").read_text()
    assert f"- {moved:,} of the texts were labelled before the taxonomy changed" in card
    # The same texts under their new labels are judged alike.
    found = []
    for judged in (words, ("--labels", str(tmp_path / "new.csv"), *as_paths)):
        output = ("--model", str(tmp_path / "shop"), "--output", str(tmp_path / "out"))
        assert run_command(EvaluateSettings, evaluate, "evaluate", [*judged, *output]) == 0
        found.append(json.loads((tmp_path / "out").read_text()))
    assert f"{books:,} rows of 1 labels are left out" in capsys.readouterr().out
    assert found[0].pop("renamed")["rows"] == moved
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (None, "nowhere.csv, found none (No such file or directory); correct --changes."),
        ("Good,Goods", "Expected labelled rows with an old label of CHANGES, found none ('Good'); correct the file, or leave"),
        # What the taxonomy lacks is judged by the new name.
        (
            "Media > Books,Media > Bookz",
            "found 1 of 4 that are not, with 50 texts, 1 of them in other case or blanks than a path or",
        ),
    ],
)
def test_changes_that_train_and_evaluate_refuse(tmp_path, tree, capsys, changes, sentence) -> None:
    (tmp_path / "changes.csv").write_text(f"old,new\n{changes}\n")
    (tmp_path / "tree.txt").write_text("".join(f"{parent} > {label}\n" for label, parent in PARENTS.items()))
    file = tmp_path / ("changes.csv" if changes else "nowhere.csv")
    options = ("--label-column", "path", "--label-separator", " > ", "--taxonomy", str(tmp_path / "tree.txt"))
    assert trained(tmp_path, *options, "--changes", str(file)) == 2
    assert sentence.replace("CHANGES", str(file)) in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    words = ["--model", str(tree), "--labels", str(tmp_path / "labels.csv"), "--label-column", "path", "--changes", str(file)]
    known = bool(changes) and changes.startswith("Media")
    assert run_command(EvaluateSettings, evaluate, "evaluate", words) == (0 if known else 2)
    if known:
        assert "Media > Bookz" in capsys.readouterr().out
    else:
        assert sentence.replace("CHANGES", str(file)) in capsys.readouterr().err


def test_evaluate_refuses_a_level_that_would_be_read_as_two(tmp_path, tree, capsys) -> None:
    rows = pd.read_csv(write_labels(tmp_path / "labels.csv"))
    rows.loc[3, "label"] = "Large > Small"
    rows.to_csv(tmp_path / "labels.csv", index=False)
    words = ["--model", str(tree), "--labels", str(tmp_path / "labels.csv"), "--label-column", "top,label"]
    assert run_command(EvaluateSettings, evaluate, "evaluate", words) == 2
    said = capsys.readouterr().err
    assert f"Expected names of levels without ' > ' in top, label of {tmp_path}/labels.csv, found (" in said
    assert "'Large > Small'); rename these levels" in said


def test_several_label_columns_for_a_flat_list_are_refused(tmp_path, capsys) -> None:
    words = ["--model", str(SHIPPED), "--labels", write_labels(tmp_path / "in.csv"), "--label-column", "top,label"]
    assert run_command(EvaluateSettings, evaluate, "evaluate", words) == 2
    assert "whose labels are no paths, found top, label; give one." in capsys.readouterr().err


def test_predict_tells_the_levels_as_the_table_does(tree) -> None:
    bundle = load_bundle(str(tree))
    engine = checked_engine("auto", bundle)
    kettle, nothing = predictions(["stainless steel kettle", "?!"], bundle, engine)
    said = decided(
        pa.array(["stainless steel kettle"]), engine.scores_of(bundle.tokenizer, pa.array(["stainless steel kettle"])), bundle
    )
    for name in ("category_path", "published_path"):
        assert kettle[name] == said[name][0].as_py()
    assert kettle["level_confidence"] == pytest.approx(said["level_confidence"][0].as_py(), abs=1e-4)
    assert "category_path" not in nothing


def test_the_drift_of_the_top_level_is_guarded_and_in_the_ledger(spark, tmp_path, tree) -> None:
    lake = tmp_path / "categorized"
    lines = (SAMPLES / "catalog.csv").read_text().splitlines(keepends=True)
    for rows in (len(lines), len(lines) // 2):
        (tmp_path / "catalog.csv").write_text("".join(lines[:rows]))
        assert night(tmp_path / "catalog.csv", lake, tree, "--mode", "full") == 0
    first, second = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()
    before, now = (
        {top: sum(share for path, share in run["category_shares"].items() if path.startswith(top)) for top in tops}
        for run in (first, second)
        for tops in [{path.split(" > ")[0] for one in (first, second) for path in one["category_shares"]}]
    )
    ((key, drift),) = ((key, value) for key, value in second["guarded"].items() if key.startswith("drift of the top level:"))
    assert key.rpartition(":")[2] in now
    assert drift == pytest.approx(population_stability_index(before, now))
    assert not any(key.startswith("drift of") for key in first["guarded"])


PAGE = (ROOT / "docs" / "taxonomies.md").read_text()
SQL = re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL)


def test_the_queries_of_the_page(spark, tmp_path, tree) -> None:
    lake = tmp_path / "lake" / "categorized"
    assert night(SAMPLES / "catalog.csv", lake, tree) == 0
    gone = [row for row in spark.read.format("delta").load(str(lake)).collect() if row["published_path"]][-1]["product_id"]
    spark.sql(f"UPDATE delta.`{lake}` SET missing_since = current_timestamp() WHERE product_id = '{gone}'")
    rows = spark.read.format("delta").load(str(lake)).collect()
    known = [row for row in rows if row["category"] and not row["missing_since"]]
    assert len(known) == len([row for row in rows if row["category"]]) - 1
    # One of the newest corrections has a category that was relabelled since, one was withdrawn.
    said = [("1", "Gone", 1), ("1", known[0]["category"], 2), ("2", "Gone", 1), ("3", "Gone", 1), ("3", None, 2)]
    rows = [(name, category, "ann", datetime(2026, 1, day), "shop/1") for name, category, day in said]
    corrections = spark.createDataFrame(
        rows, "product_id string, category string, corrected_by string, corrected_at timestamp, model_version string"
    )
    corrections.write.format("delta").save(f"{lake}_corrections")
    departments, levels, review, gone = (
        [row.asDict() for row in spark.sql(one.replace("`lake/", f"`{tmp_path}/lake/")).collect()] for one in SQL
    )
    assert {row["department"]: row["products"] for row in departments} == Counter(row["category_path"][0] for row in known)
    assert {row["department"]: row["sure"] for row in departments if row["sure"]} == Counter(
        row["category_path"][0] for row in known if row["published_path"]
    )
    assert {row["levels"]: row["products"] for row in levels} == Counter(len(row["published_path"]) for row in known)
    assert gone == [{"product_id": "2", "category": "Gone", "corrected_by": "ann"}]
    assert {row["product_id"] for row in review} == {row["product_id"] for row in known if len(row["published_path"]) == 1}


def test_what_decided_at_each_level(tree) -> None:
    bundle = load_bundle(str(tree))
    engine = build_engine("onnx", bundle, 1)
    found = explain("stainless steel kettle", bundle, engine)
    assert [level.level for level in found.levels] == [found.category.split(" > ")[0], found.category]
    branch = [score for label, score in found.scores.items() if label.startswith(found.levels[0].level)]
    assert found.levels[0].confidence == pytest.approx(sum(branch))
    # The last level is the category itself.
    assert found.levels[1].confidence == pytest.approx(found.confidence)
    assert found.levels[1].words == found.words
    without = engine.probabilities(bundle.tokenizer.ids_of_tokens(pa.array([["stainless", "steel", None]])))[0]
    kettle = next(one for one in found.levels[0].words if one.word == "kettle")
    places = [i for i, label in enumerate(bundle.labels) if label.startswith(found.levels[0].level)]
    assert kettle.probability_without == pytest.approx(float(without[places].sum()), abs=1e-6)
    assert f"{found.levels[0].level} {found.levels[0].confidence:.3f}  " in explanation_text(found, 5)


def test_a_branch_that_moves_below_another(spark, tmp_path, tree) -> None:
    models = shutil.copytree(tree, tmp_path / "models" / "tree")
    (tmp_path / "changes.csv").write_text("old,new\nGoods,Shop > Goods\nMedia > Books,Shop > Books\n")
    arguments = ["--model", str(models), "--changes", str(tmp_path / "changes.csv")]
    assert run_command(RelabelSettings, relabel, "relabel", arguments) == 0
    assert load_bundle(str(models)).tree.levels == 3
    assert night(SAMPLES / "catalog.csv", tmp_path / "before", tree) == 0
    assert night(SAMPLES / "catalog.csv", tmp_path / "now", models) == 0
    rows = [
        {row["product_id"]: row for row in spark.read.format("delta").load(str(tmp_path / name)).collect() if row["category"]}
        for name in ("before", "now")
    ]
    for name, before in rows[0].items():
        now, goods = rows[1][name], before["category_path"][0] == "Goods"
        assert now["category_path"] == (["Shop", *before["category_path"]] if goods else ["Shop", "Books"])
        assert now["confidence"] == before["confidence"]
        # Everything is below one department now.
        assert now["level_confidence"][0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"label_separator": 5}, "found 5 and others"),
        ({"label_separator": ""}, "found '' and others"),
        (
            {"labels": ["Goods > Electronics", "Media > Books", "Goods > Household", "Goods > Clothing"]},
            "those below one level next to each other",
        ),
        ({"thresholds": {"review_below": 0.5}}, "Expected a threshold from 0 to 1 for each of 2 levels"),
        ({"thresholds": {"review_below": 0.5, "by_level": [0.9]}}, r"found \[0.9\]"),
        ({"thresholds": {"review_below": 0.5, "by_level": [0.9, 0.8]}}, "none below the one before"),
        ({"thresholds": {"review_below": 0.5, "by_level": [0.9, "high"]}}, "found"),
    ],
)
def test_a_bundle_whose_paths_do_not_hold_together_is_refused(tmp_path, tree, change, found) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tree / (tree / "current").read_text().strip(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(BundleError, match=found):
        load_bundle(str(folder))


def test_thresholds_of_levels_are_part_of_what_a_bundle_decides(tree) -> None:
    bundle = load_bundle(str(tree))
    thresholds = {**bundle.manifest["thresholds"], "by_level": [0.1, 0.2]}
    assert replace(bundle, manifest={**bundle.manifest, "thresholds": thresholds}).decisions != bundle.decisions
    assert replace(bundle, manifest={**bundle.manifest, "label_separator": ">"}).decisions != bundle.decisions
