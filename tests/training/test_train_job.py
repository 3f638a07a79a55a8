"""The job `train`, on files as users bring them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from jobs.evaluate import EvaluateSettings
from jobs.evaluate import main as evaluate
from jobs.explain import ExplainSettings
from jobs.explain import main as explain
from jobs.train import TrainSettings, main
from lib.command import run_command
from lib.model.bundle import load_bundle
from tests.conftest import SAMPLES

SMALL = ("--epochs", "1", "--embedding", "4", "--units", "4", "--dense", "4", "--max-tokens", "20")


pytestmark = pytest.mark.usefixtures("spark")


def run(labels: object, models: Path, *more: str) -> int:
    return run_command(TrainSettings, main, "train", ["--labels", str(labels), "--models", str(models), *SMALL, *more])


def test_the_data_set_s_original_form(tmp_path: Path, capsys) -> None:
    """No header, label then text, quotes and line breaks inside texts, nearly half of the rows copies."""
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        rows = [(row["label"], row["text"]) for row in csv.DictReader(file)]
    rows[0] = (rows[0][0], 'A "quoted", kettle\nwith a line break and a comma')
    path = tmp_path / "ecommerceDataset.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*rows, *rows[: len(rows) * 9 // 11], ("Books", ""), ("", "no label")])
    assert run(path, tmp_path / "models", "--columns", "label,text") == 0
    shown = capsys.readouterr().out
    assert f"{len(rows) + len(rows) * 9 // 11 + 2} labelled rows read" in shown
    assert f"no label 1, empty text 1, outvoted label 0, conflicting labels 0, duplicate text {len(rows) * 9 // 11}" in shown
    bundle = load_bundle(str(tmp_path / "models" / "ecommerceDataset"))
    assert bundle.manifest["data"]["rows"] == len(rows)


def test_other_column_names_and_many_labels(tmp_path: Path, spark, capsys) -> None:
    rows = [(f"class {i % 12}", f"word{i} thing{i * 7} item{i * 13}", f"more{i}") for i in range(240)]
    spark.createDataFrame(rows, "kind string, title string, more string").write.format("delta").save(str(tmp_path / "labels"))
    options = ("--text-columns", "title,more", "--label-column", "kind", "--name", "twelve")
    assert run(tmp_path / "labels", tmp_path / "models", *options, "--min-count", "2") == 2
    assert "words that occur at least 2 times in the training texts, found none" in capsys.readouterr().err
    # With so few texts every word counts by default.
    assert run(tmp_path / "labels", tmp_path / "models", *options) == 0
    bundle = load_bundle(str(tmp_path / "models" / "twelve"))
    assert len(bundle.labels) == 12
    assert bundle.tokenizer.settings.fields == ("title", "more")


def test_a_title_or_a_description_alone_is_enough(tmp_path: Path, spark, capsys) -> None:
    """Trained on both, judged on tables that have one of them, under other names."""
    things = {"Books": "novel author chapter paperback", "Kitchen": "kettle steel pan lid", "Cables": "usb hdmi plug adapter"}
    random = np.random.default_rng(1)

    def words(label: str) -> str:
        return " ".join([*random.choice(things[label].split(), 3), f"nr{random.integers(10_000)}"])

    def rows(count: int) -> list[tuple[str, str, str]]:
        return [(label, words(label), words(label)) for label in things for _ in range(count)]

    columns = "label string, title string, description string"
    spark.createDataFrame(rows(60), columns).write.parquet(str(tmp_path / "labels"))
    options = (
        "--text-columns",
        "title,description",
        "--name",
        "fields",
        "--epochs",
        "12",
        "--learning-rate",
        "0.02",
        "--no-baselines",
    )
    assert run(tmp_path / "labels", tmp_path / "models", *options) == 0
    model = str(tmp_path / "models" / "fields")
    new = spark.createDataFrame(rows(10), columns)
    new.selectExpr("label", "title as name").write.parquet(str(tmp_path / "titles"))
    new.selectExpr("label", "description").write.parquet(str(tmp_path / "descriptions"))
    for table, named in (("titles", "title=name"), ("descriptions", "description")):
        asked = [
            "--model",
            model,
            "--labels",
            str(tmp_path / table),
            "--text-columns",
            named,
            "--output",
            str(tmp_path / "m.json"),
        ]
        assert run_command(EvaluateSettings, evaluate, "evaluate", asked) == 0
        assert json.loads((tmp_path / "m.json").read_text())["accuracy"] > 0.9, table
    capsys.readouterr()
    for field, label in (("title", "Books"), ("description", "Cables")):
        text = ["--model", model, "--field", field, "--json", "--text", things[label]]
        assert run_command(ExplainSettings, explain, "explain", text) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["category"] == label
        assert {one["word"] for one in found["words"]} == set(things[label].split())
    wrong = ["--model", model, "--labels", str(tmp_path / "titles"), "--text-columns", "name"]
    assert run_command(EvaluateSettings, evaluate, "evaluate", wrong) == 2
    assert "of the fields title, description that this bundle was trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (("--label-column", "kind"), "Expected the column kind in"),
        (("--text-columns", "title"), "Expected the column title in"),
        (("--max-rows", "10"), "Expected at most 10 rows and"),
        (("--max-bytes", "100"), "found 200 and"),
        (("--test-share", "1.5"), "Expected --test-share from 0 to below 1, found 1.5"),
        (("--validation-share", "0"), "above 0 and together with --test-share below 0.9"),
        (("--test-share", "0"), "Expected --folds with --test-share 0, found none"),
        (("--min-rows-per-label", "0"), "Expected --min-rows-per-label of at least 1, found 0"),
        (("--min-rows-per-label", "1000"), "Expected at least two labels of 1000 or more distinct texts in"),
        (("--group-column", "shop"), "Expected the column shop in"),
        (("--precision-confidence", "95"), "Expected --precision-confidence between 0 and 1, found 95.0"),
        (("--folds", "1"), "Expected --folds of 0 (none) or at least 2, found 1"),
        (("--review-below", "0.5,Books=high"), "Expected --review-below as a number from 0 to below 1, or LABEL=NUMBER"),
        (("--review-below", "0.5,Food, Tea"), "or LABEL=NUMBER, found 'Food, Tea'"),
        (("--review-below", "Toys=0.7"), "Expected --review-below for labels of the data"),
        (("--wrong-labels", "/nowhere/wrong.csv"), "Expected --wrong-labels in an existing folder"),
        (("--wrong-labels", "wrong.csv", "--no-baselines"), "Expected --baselines or --folds with --wrong-labels"),
        (("--elsewhere", str(SAMPLES / "labels.csv")), "Expected the column origin in"),
        (("--units", "0"), "Expected --units of at least 1, found 0"),
        (("--vectors", "/nowhere/vectors.txt"), "Expected a file of word vectors at /nowhere/vectors.txt, found none"),
        (("--vectors-words", "-1"), "Expected --vectors-words of at least 0, found -1"),
    ],
)
def test_wrong_use_writes_nothing(tmp_path: Path, capsys, change, because) -> None:
    assert run(SAMPLES / "labels.csv", tmp_path / "models", *change) == 2
    assert because in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("rows", "because"),
    [
        ([("a", f"text {i}") for i in range(9)], "Expected at least two labels"),
        ([*[("a", f"text {i}") for i in range(9)], ("b", "one")], "found only 'a' besides 'b' (1)"),
        (
            [
                (label, f"the same long description of one {label} with many words in size {i}")
                for label in ("lamp of polished brass", "chair of grey beech")
                for i in range(9)
            ],
            "a label with at least 3 groups",
        ),
        ([], "Expected at least two labels"),
    ],
)
def test_labels_that_cannot_be_learned_from(tmp_path: Path, capsys, rows, because) -> None:
    path = write(tmp_path / "labels.csv", ("label", "text"), rows)
    assert run(path, tmp_path / "models") == 2
    assert because in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def write(path: Path, *rows: object) -> Path:
    """A CSV file of a header and rows."""
    header, body = rows
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *body])
    return path


def test_labels_of_few_texts_are_left_out_or_not_judged_and_named(tmp_path: Path, capsys) -> None:
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        rows = [(row["label"], row["text"]) for row in csv.DictReader(file)]
    rows += [("Bookz", "a misspelt novel"), ("Lamps", "a lamp of brass"), ("Lamps", "shade made from linen")]
    path = write(tmp_path / "labels.csv", ("label", "text"), rows)
    assert run(path, tmp_path / "models", "--folds", "3", "--target-precision", "0.9") == 0
    shown = capsys.readouterr().out
    assert "label of fewer than 2 texts 1" in shown
    assert (
        "1 labels are left out, since they have too few texts for --min-rows-per-label: 'Bookz' (1, perhaps meant as 'Books')"
        in shown
    )
    assert "1 of the 5 labels, with 2 texts (" in shown
    assert "… 1 classes without a row" in shown
    bundle = load_bundle(str(tmp_path / "models" / "labels"))
    data = bundle.manifest["data"]
    assert "Lamps" in bundle.labels
    assert data["rare_labels"] == {"Bookz": 1}
    assert data["split"]["train_only"] == {"Lamps": 2}
    metrics = bundle.manifest["metrics"]
    assert metrics["per_class"]["Lamps"]["support"] == 0
    judged = [row["f1"] for label, row in metrics["per_class"].items() if label != "Lamps"]
    assert metrics["f1_macro"] == pytest.approx(np.mean(judged))
    folder = tmp_path / "models" / "labels" / (tmp_path / "models" / "labels" / "current").read_text().strip()
    card = (folder / "README.md").read_text()
    assert "It does not know these labels, which have too few texts: 'Bookz' (1, perhaps meant as 'Books')." in card
    assert "It was not judged on these labels, which have too few groups of texts: 'Lamps' (2)." in card
    assert "| Lamps | | | | 0 |" in card


def test_shops_that_training_never_saw(tmp_path: Path, capsys) -> None:
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        texts = [(row["label"], row["text"]) for row in csv.DictReader(file)]
    rows = [(label, text, i % 17 or "") for i, (label, text) in enumerate(texts)]
    path = write(tmp_path / "labels.csv", ("label", "text", "shop"), rows)
    assert run(path, tmp_path / "models", "--group-column", "shop", "--no-baselines", "--target-precision", "0.9") == 0
    shown = capsys.readouterr().out
    assert "groups by shop or near-duplicates: train" in shown
    dependence = "texts of one shop count as independent, so a promise is too strong"
    assert dependence in shown
    bundle = load_bundle(str(tmp_path / "models" / "labels"))
    assert bundle.manifest["data"]["split"]["group_column"] == "shop"
    folder = tmp_path / "models" / "labels" / (tmp_path / "models" / "labels" / "current").read_text().strip()
    card = (folder / "README.md").read_text()
    assert "was split by the column shop, and with near-duplicates on one side only" in card
    assert dependence in card


def test_every_event_is_a_line_of_json(tmp_path: Path, capsys) -> None:
    assert run(SAMPLES / "labels.csv", tmp_path / "models", "--no-baselines", "--no-bag", "--log-format", "json") == 0
    settings, *events, trained = map(json.loads, capsys.readouterr().out.splitlines())
    assert (settings["event"], settings["log_format"]) == ("settings", "json")
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == ["starting", "reading", "splitting", "fitting", "evaluating", "writing"]
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [(one["part"], one["epoch"], one["epochs"]) for one in epochs] == [("LSTM", 1, 1), ("all texts, LSTM", 1, 1)]
    assert {"loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"} <= epochs[0].keys()
    bundle = load_bundle(str(tmp_path / "models" / "labels"))
    assert (trained["event"], trained["promoted"]) == ("trained", True)
    assert trained["bundle"].endswith(bundle.model_version.split("/")[1])
    assert trained["f1_weighted"] == bundle.manifest["metrics"]["f1_weighted"]
    low, high = trained["f1_weighted_interval"]
    assert 0 <= low <= trained["f1_weighted"] <= high <= 1


def vectors_file(folder: Path, *rows: str) -> Path:
    path = folder / "vectors.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{row}\n" for row in rows).encode()))
    return path


def test_word_vectors_of_a_file(tmp_path: Path, capsys) -> None:
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        words = sorted({word for row in csv.DictReader(file) for word in row["text"].lower().split() if word.isalpha()})
    random = np.random.default_rng(1)
    rows = [f"{word} {' '.join(f'{value:.4f}' for value in random.normal(size=5))}" for word in [*words, "zzyzx", "Wxyz"]]
    path = vectors_file(tmp_path, f"{len(rows)} 5", *rows)
    note = "made up for this project"
    options = ("--vectors", str(path), "--vectors-note", note, "--vectors-words", "1000", "--no-baselines")
    assert run(SAMPLES / "labels.csv", tmp_path / "models", *options) == 0
    shown = capsys.readouterr().out
    assert f"vectors for {len(words):,} of " in shown
    assert "of the tokens" in shown
    bundle = load_bundle(str(tmp_path / "models" / "labels"))
    told = bundle.manifest["training"]["vectors"]
    assert (told["name"], told["rows"], told["width"], told["note"]) == ("vectors.txt.gz", len(rows), 5, note)
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert bundle.tokenizer.words[-2:] == ("zzyzx", "wxyz")


@pytest.mark.parametrize(
    ("rows", "because"),
    [
        (["the 1 2", "of 1"], "Expected a word and 2 numbers in line 2 of"),
        (
            ["schlüssel 1 2", "schloss 1 2"],
            "Expected vectors of words of the labelled texts in vectors.txt.gz, found none of their",
        ),
        ([], "Expected word vectors in"),
    ],
)
def test_word_vectors_that_cannot_be_used_write_nothing(tmp_path: Path, capsys, rows, because) -> None:
    path = vectors_file(tmp_path, *rows)
    assert run(SAMPLES / "labels.csv", tmp_path / "models", "--vectors", str(path)) == 2
    assert because in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
