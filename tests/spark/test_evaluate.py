from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluate import EvaluateSettings, main
from lib.command import run_command
from lib.errors import InputError
from lib.model.engines import build_engine
from lib.model.evaluation import LabelCount, estimates_text, metrics_of
from lib.model.text import TextSettings
from lib.scoring.evaluation import evaluate
from lib.tables.locations import locate
from lib.tables.sources import Source, read_source
from tests.conftest import SAMPLES, SHIPPED
from training.dataset import LabelRules, Limits, read_labelled_texts


def source_of(spark, *rows: tuple[str | None, str | None]) -> Source:
    frame = spark.createDataFrame(list(rows), "label string, text string")
    return Source(locate(spark, "labels"), frame, "unversioned", "table")


def test_misses_unknown_labels_and_texts_without_words(spark, shipped) -> None:
    metrics = evaluate(
        source_of(
            spark,
            ("Books", "a novel, paperback, about the author"),
            ("Books", "stainless steel kettle"),
            ("Household", "?!"),
            ("Garden", "garden hose"),
            (None, "no label"),
        ),
        shipped,
        ("text",),
        ("label",),
        "onnx",
    )
    assert metrics["rows"] == 4
    assert metrics["accuracy"] == 0.25
    assert metrics["unknown_labels"] == ["Garden"]
    assert metrics["rows_without_label"] == 1
    # A text without words has no category, and no confidence to estimate from.
    assert metrics["estimated_accuracy"]["rows"] == 3
    assert metrics["estimated_accuracy"]["measured"] == pytest.approx(1 / 3)
    assert metrics["per_class"]["Books"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}


def test_labels_are_compared_in_one_spelling(spark, shipped) -> None:
    """A bundle's label may have been learned in another one."""
    labels = ["Cafe\u0301" if label == "Household" else label for label in shipped.labels]
    bundle = replace(shipped, manifest={**shipped.manifest, "labels": labels})
    texts = ("a novel, paperback, about the author", "stainless steel kettle")
    rows = [(label, texts[0]) for label in ("Books", "\u00a0Books\t", "Books\u2003")]
    rows += [(label, texts[1]) for label in ("Caf\u00e9", "Cafe\u0301\n", "Cafe\u0301")]
    metrics = evaluate(source_of(spark, *rows, ("\u00a0\t", texts[0])), bundle, ("text",), ("label",), "onnx")
    assert metrics["unknown_labels"] == []
    assert (metrics["accuracy"], metrics["rows"], metrics["rows_without_label"]) == (1.0, 6, 1)
    assert metrics["per_class"]["Cafe\u0301"]["support"] == metrics["per_class"]["Books"]["support"] == 3
    assert metrics["estimated_accuracy"]["measured"] == 1.0


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("int(number)", ("0", "1")),
        ("number = 1", ("false", "true")),
        ("cast(number AS decimal(4, 2))", ("0.00", "1.00")),
        ("date_add(date'2026-01-30', int(number))", ("2026-01-30", "2026-01-31")),
    ],
)
def test_labels_need_not_be_texts(spark, shipped, written: str, labels: tuple[str, str]) -> None:
    rows = [(i % 2, f"word{i} thing{i * 7}") for i in range(8)]
    frame = spark.createDataFrame([*rows, (None, "no label")], "number int, text string").selectExpr(
        f"{written} AS label", "text"
    )
    source = Source(locate(spark, "labels"), frame, "unversioned", "table")
    data = read_labelled_texts(source, ("text",), LabelRules(("label",)), TextSettings(), Limits(100, 10_000))
    assert data.labels == labels
    assert data.dropped["no label"] == 1
    bundle = replace(shipped, manifest={**shipped.manifest, "labels": [*labels, *shipped.labels[2:]]})
    metrics = evaluate(source, bundle, ("text",), ("label",), "onnx")
    assert (metrics["rows"], metrics["unknown_labels"]) == (8, [])


def test_labels_that_are_paths_may_begin_with_a_number(spark) -> None:
    frame = spark.createDataFrame([(1, "a", "one"), (1, "b", "two"), (2, None, "three")], "top int, label string, text string")
    source = Source(locate(spark, "labels"), frame, "unversioned", "table")
    rules = LabelRules(("top", "label"), separator=" > ", min_rows=1)
    assert read_labelled_texts(source, ("text",), rules, TextSettings(), Limits(9, 999)).labels == ("1 > a", "1 > b", "2")


def test_labels_of_floating_point_are_refused(spark, shipped) -> None:
    """3.0, where another table has 3."""
    frame = spark.createDataFrame([(1.0, "kettle")], "label double, text string")
    source = Source(locate(spark, "labels"), frame, "unversioned", "table")
    with pytest.raises(
        InputError, match=r"the column label to be string or .*, found double .*; correct --label-column, or cast it"
    ):
        evaluate(source, shipped, ("text",), ("label",), "onnx")


def test_evaluation_in_spark_agrees_with_training_s(spark, shipped) -> None:
    import pandas as pd
    import pyarrow as pa

    from training.evaluation import evaluate_bundle

    frame = pd.read_csv(SAMPLES / "labels.csv")
    there = evaluate_bundle(shipped, pa.array(frame["text"]), list(frame["label"]), threads=1)
    source = read_source(spark, locate(spark, str(SAMPLES / "labels.csv")))
    here = evaluate(source, shipped, ("text",), ("label",), "onnx")
    assert here["f1_weighted"] == pytest.approx(there["f1_weighted"])
    assert here["confusion_matrix"] == there["confusion_matrix"]
    assert here["f1_weighted"] > 0.85


def test_an_estimate_stands_beside_what_is_measured(spark, shipped) -> None:
    """The same numbers as the nightly run's, which has no labels."""
    texts = ("a novel, paperback, about the author", "stainless steel kettle", "thing for the thing", "cotton shirt", "?!")
    told = evaluate(source_of(spark, *[("Books", text) for text in texts]), shipped, ("text",), ("label",), "onnx")
    ids = shipped.tokenizer.ids_of(pa.array(texts[:4]))
    probabilities = build_engine("onnx", shipped, threads=1).probabilities(ids)
    confidence, label = probabilities.max(axis=1), probabilities.argmax(axis=1)
    sure = confidence >= np.array(shipped.review_below, np.float32)[label]
    assert 0 < sure.sum() < 4
    right = np.array(shipped.labels)[label] == "Books"
    for name, rows in (("estimated_accuracy", np.full(4, True)), ("estimated_precision", sure)):
        assert told[name] == {
            "rows": rows.sum(),
            "estimated": pytest.approx(confidence[rows].mean()),
            "measured": pytest.approx(right[rows].mean()),
        }
    said = estimates_text(told)
    assert said.startswith("accuracy of the 4 rows with a category: estimated ")
    assert f"measured {right.mean():.1%}; of the {sure.sum()} rows not in review: estimated " in said
    nothing = evaluate(source_of(spark, ("Books", "?!")), shipped, ("text",), ("label",), "onnx")
    assert nothing["estimated_accuracy"] is None
    assert estimates_text(nothing).splitlines() == [
        "accuracy: no row has a category",
        "--unfamiliar 0.01 would send 0.0% of the rows to review",
    ]


def test_no_labels(spark, shipped) -> None:
    with pytest.raises(InputError, match="Expected rows with a label in labels, found none"):
        evaluate(source_of(spark, (None, "x")), shipped, ("text",), ("label",), "onnx")


def test_the_job_writes_json(spark, tmp_path, capsys) -> None:
    out = tmp_path / "out.json"
    arguments = ["--model", str(SHIPPED), "--labels", str(SAMPLES / "labels.csv"), "--output", str(out)]
    assert run_command(EvaluateSettings, main, "evaluate", arguments) == 0
    assert {"rows", "accuracy", "f1_weighted", "f1_macro", "per_class"} <= json.loads(out.read_text()).keys()
    said = capsys.readouterr().out
    assert "f1_weighted" in said
    assert "rows not in review: estimated" in said


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("nowhere/out.json", "Expected a folder nowhere to write out.json to, found none; create it, or correct --output"),
        ("-", "Expected a file in --output, found '-'; write /dev/stdout for the screen"),
        (".", "Expected a file or nothing yet at ., found a folder; remove it, or give another --output"),
    ],
)
def test_a_file_that_cannot_be_is_told_before_anything_is_read(tmp_path, monkeypatch, capsys, output, said) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "nowhere", "--labels", "nowhere", "--output", output]
    assert run_command(EvaluateSettings, main, "evaluate", arguments) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_another_column_than_the_labels_is_refused(shipped) -> None:
    counts = [LabelCount(f"a title {i}", "Books", "categorized", 1, 0.9, 0) for i in range(2_001)]
    said = "found 2,001 that it does not know, such as 'a title 0', on 2,001 of 2,001 rows; correct --label-column"
    with pytest.raises(InputError, match=said):
        metrics_of(counts, shipped, "labels.csv")


def test_labels_that_training_left_out_are_no_other_column(shipped) -> None:
    rare = {f"kind {i}": 3 for i in range(2_001)}
    bundle = replace(shipped, manifest={**shipped.manifest, "data": {**shipped.manifest["data"], "rare_labels": rare}})
    counts = [LabelCount("Books", "Books", "categorized", 99, 90.0, 0)]
    counts += [LabelCount(label, "Books", "review", 1, 0.5, 0) for label in rare]
    found = metrics_of(counts, bundle, "labels.csv")
    assert (len(found["unknown_labels"]), found["accuracy"]) == (2_001, 99 / 2_100)
    # Nor are others, as long as most rows have a label that is known.
    others = [replace(count, label=f"new {count.label}") for count in counts[1:]]
    most = replace(counts[0], rows=2_001)
    assert metrics_of([most, *others], shipped, "labels.csv")["accuracy"] == 0.5
    with pytest.raises(InputError, match=r"on 2,001 of 4,001 rows; correct --label-column"):
        metrics_of([replace(most, rows=2_000), *others], shipped, "labels.csv")


def test_there_are_not_more_labels_than_a_matrix_has_room_for(shipped) -> None:
    counts = [LabelCount("Books", "Books", "categorized", 99_999, 9.0, 0)]
    counts += [LabelCount(f"a title {i}", "Books", "categorized", 1, 0.9, 0) for i in range(9_997)]
    with pytest.raises(InputError, match=r"found 9,997 that it does not know, such as 'a title 0', on 9,997 of 109,996 rows"):
        metrics_of(counts, shipped, "labels.csv")
