from __future__ import annotations

import json

import pytest

from jobs.evaluate import EvaluateSettings, main
from lib.command import run_command
from lib.errors import InputError
from lib.evaluation import evaluate
from lib.locations import locate
from lib.sources import Source, read_source
from tests.conftest import SAMPLES, SHIPPED


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
        "label",
        "onnx",
    )
    assert metrics["rows"] == 4
    assert metrics["accuracy"] == 0.25
    assert metrics["unknown_labels"] == ["Garden"]
    assert metrics["rows_without_label"] == 1
    assert metrics["per_class"]["Books"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}


def test_evaluation_in_spark_agrees_with_training_s(spark, shipped) -> None:
    import pandas as pd
    import pyarrow as pa

    from training.evaluation import evaluate_bundle

    frame = pd.read_csv(SAMPLES / "labels.csv")
    there = evaluate_bundle(shipped, pa.array(frame["text"]), list(frame["label"]), threads=1)
    source = read_source(spark, locate(spark, str(SAMPLES / "labels.csv")))
    here = evaluate(source, shipped, ("text",), "label", "onnx")
    assert here["f1_weighted"] == pytest.approx(there["f1_weighted"])
    assert here["confusion_matrix"] == there["confusion_matrix"]
    assert here["f1_weighted"] > 0.85


def test_no_labels(spark, shipped) -> None:
    with pytest.raises(InputError, match="Expected rows with a label in labels, found none"):
        evaluate(source_of(spark, (None, "x")), shipped, ("text",), "label", "onnx")


def test_the_job_writes_json(spark, tmp_path, capsys) -> None:
    out = tmp_path / "out.json"
    arguments = ["--model", str(SHIPPED), "--labels", str(SAMPLES / "labels.csv"), "--json", str(out)]
    assert run_command(EvaluateSettings, main, "evaluate", arguments) == 0
    assert {"rows", "accuracy", "f1_weighted", "f1_macro", "per_class"} <= json.loads(out.read_text()).keys()
    assert "f1_weighted" in capsys.readouterr().out
