"""What a notebook calls, on frames of Spark, compared with those of pandas and the nightly run."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import deltalake
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import Row

import catalog_categorizer as cc
from lib.model.fields import joined_texts, markers_of
from lib.model.seen_texts import SeenTexts
from lib.model.text import joined_tokens
from lib.scoring.catalogue import joined_text
from tests.conftest import SAMPLES, SHIPPED
from tests.faults.nights import run, write_source
from tests.odd_texts import ODD_TEXTS

ADDED = ["category", "confidence", "runner_up", "runner_up_confidence", "scores", "status", "reason", "unfamiliarity"]


@pytest.fixture(scope="module")
def model() -> cc.Model:
    return cc.load_bundle(SHIPPED)


def like_spark(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of a frame of pandas, null where a value is missing."""
    return [
        {name: None if value is None or value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def assert_same(found: list[Row], expected: list[dict[str, object]]) -> None:
    """The last bit of a probability depends on the texts it is computed with, on some processors."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        same = {name: value for name, value in other.items() if name != "scores" and not isinstance(value, float)}
        assert {name: one[name] for name in same} == same
        numbers = {name: value for name, value in other.items() if isinstance(value, float)}
        assert {name: one[name] for name in numbers} == pytest.approx(numbers, abs=1e-6)
        assert (one["scores"] or {}) == pytest.approx(other["scores"] or {}, abs=1e-6)


def test_texts_are_joined_as_in_spark(spark) -> None:
    pairs = [
        *product(ODD_TEXTS, ["lid", None, "", " ", "\0", "😀", "<br>", "&nbsp;<b class='x'>", "<b>lid"]),
        *((text, text) for text in ODD_TEXTS),
    ]
    frame = spark.createDataFrame(pairs, "a string, b string").coalesce(1)
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in (0, 1)]
    ways = list(product((["a"], ["a", "b"]), (True, False), (7, 4096)))
    texts = [joined_text(names, most, markers_of(names) if markers else ()) for names, markers, most in ways]
    there = frame.select(*[text.alias(str(i)) for i, text in enumerate(texts)]).collect()
    for i, (names, markers, most) in enumerate(ways):
        here = joined_texts(columns[: len(names)], most, markers_of(names) if markers else ())
        assert here.to_pylist() == [row[i] for row in there], (names, markers, most)


def test_spark_and_pandas_say_the_same(spark, model) -> None:
    """Also where the user's columns have the names of a run's intermediate ones."""
    rows = [(i, text, f"{i}", i) for i, text in enumerate(ODD_TEXTS)]
    names = ["a.b", "title", "text_hash", "row"]
    frame = spark.createDataFrame(rows, "`a.b` int, title string, text_hash string, row int")
    found = cc.categorize(frame, model, "title", scores=True, unfamiliar=0.3)
    assert found.columns == [*names, *ADDED]
    expected = cc.categorize(pd.DataFrame(rows, columns=names), model, "title", scores=True, unfamiliar=0.3)
    assert_same(found.orderBy("row").collect(), like_spark(expected))
    assert "scores" not in cc.categorize(frame, model, "title").columns


def test_a_night_gives_the_same(spark, model, tmp_path: Path) -> None:
    texts = {str(i): text for i, text in enumerate(ODD_TEXTS)}
    assert run(write_source(tmp_path / "in.parquet", texts), tmp_path / "lake", "--unfamiliar", "0.3") == 0
    table = deltalake.DeltaTable(str(tmp_path / "lake")).to_pyarrow_table(columns=["product_id", *ADDED]).to_pylist()
    frame = pd.DataFrame({"product_id": list(texts), "title": list(texts.values())})
    here = like_spark(cc.categorize(frame, model, "title", scores=True, unfamiliar=0.3))
    night = {row["product_id"]: row for row in table}
    assert len(night) == len(here)
    for row in here:
        there = night[row["product_id"]]
        assert {name: there[name] for name in ("category", "runner_up", "status", "reason")} == {
            name: row[name] for name in ("category", "runner_up", "status", "reason")
        }
        for name in ("confidence", "runner_up_confidence", "unfamiliarity"):
            assert there[name] == pytest.approx(row[name], abs=1e-4)
        assert dict(there["scores"] or {}) == pytest.approx(row["scores"] or {}, abs=1e-4)


def test_rows_that_the_bundle_was_fitted_to_are_counted(spark, model) -> None:
    """In Spark and in pandas; where it has recorded one text in two, twice those that it knows."""
    frame = pd.read_csv(SAMPLES / "labels.csv")
    texts = joined_tokens(pa.array(frame["text"]), model.bundle.tokenizer.settings).to_pylist()
    assert cc.evaluate(frame, model, "text", "label").metrics["fitted_to"] is None
    for record in (SeenTexts.of(texts[:50]), replace(SeenTexts.of(texts), one_in=2)):
        data = {**model.bundle.manifest["data"], "seen": record.record()}
        fitted = replace(model, bundle=replace(model.bundle, manifest={**model.bundle.manifest, "data": data}))
        here = cc.evaluate(frame.assign(text=frame["text"].str.upper() + "!"), fitted, "text", "label")
        there = cc.evaluate(spark.createDataFrame(frame[["label", "text"]]), fitted, "text", "label")
        assert here.metrics["fitted_to"] == there.metrics["fitted_to"] == (50 if record.one_in == 1 else 200)
        said = f"{here.metrics['fitted_to']} of these 200 texts are ones that the bundle was fitted to, so the figures are too good"
        assert said in str(there)
        assert said in there._repr_html_()
    unseen = replace(
        model,
        bundle=replace(model.bundle, manifest={**fitted.bundle.manifest, "data": {**data, "seen": SeenTexts.of([]).record()}}),
    )
    nothing = cc.evaluate(frame, unseen, "text", "label")
    assert nothing.metrics["fitted_to"] == 0
    assert "fitted to" not in str(nothing)


def test_evaluations_are_the_same(spark, model) -> None:
    frame = pd.concat(
        [
            pd.read_csv(SAMPLES / "labels.csv"),
            pd.DataFrame({"label": ["Garden", None, " Books ", "Books"], "text": ["hose", "x", "novel", "?"]}),
        ]
    )
    there = cc.evaluate(spark.createDataFrame(like_spark(frame), "label string, text string"), model, "text", "label")
    here = cc.evaluate(frame, model, "text", "label")
    assert here.metrics["confusion_matrix"] == there.metrics["confusion_matrix"]
    assert here.metrics["rows_without_label"] == there.metrics["rows_without_label"] == 1
    assert here.metrics["unfamiliar"] == there.metrics["unfamiliar"]
    for name in ("estimated_accuracy", "estimated_precision"):
        assert here.metrics[name] == pytest.approx(there.metrics[name])


@pytest.mark.parametrize(
    ("columns", "text", "said"),
    [
        (
            "title string, Status int",
            "title",
            "without columns of the names that are added, found status; rename or drop them first",
        ),
        (
            "title string, price int",
            "price",
            "Expected the column price to be string in the frame, found int .* correct text_columns",
        ),
        ("title string", "name", "Expected the column name in the frame, found title string; correct text_columns"),
    ],
)
def test_wrong_arguments_get_one_sentence(spark, model, columns, text, said) -> None:
    with pytest.raises(cc.InputError, match=said) as caught:
        cc.categorize(spark.createDataFrame([], columns), model, text)
    assert "\n" not in str(caught.value)


def test_workers_of_another_python(spark, model, monkeypatch, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH= exec {sys.executable} -I "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(spark.sparkContext, "pythonExec", str(python))
    with pytest.raises(
        cc.InputError, match=r"Expected Spark's workers to find the package catalog_categorizer, found that .* set os.environ"
    ):
        cc.categorize(spark.createDataFrame([("kettle",)], "title string"), model, "title")
