from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from lib.model.engines import build_engine
from lib.scoring.categories import categorized_rows, with_category
from lib.scoring.udf import Payload, Scorer, payload_of, scorer_for, with_scores
from schemas.tables import CATEGORIZED, CATEGORIZED_STATUS, NO_TEXT, NO_WORDS, REVIEW, UNCLASSIFIABLE

TEXTS = ["stainless steel kettle", "novel by a prize winning author", "usb cable", "cotton shirt", "", "?!", "kettle"]


@pytest.fixture(scope="module")
def rows(spark):
    from pyspark.sql import functions as F

    frame = spark.createDataFrame(list(enumerate(TEXTS * 30)), "id int, text string")
    return frame.select(F.col("id").cast("string").alias("product_id"), "text", F.sha2("text", 256).alias("text_hash"))


def scores_by_id(frame) -> dict[str, list[float]]:
    return {row["product_id"]: row["score"]["scores"] or [] for row in frame.select("product_id", "score").collect()}


def test_scores_are_the_engine_s(rows, shipped) -> None:
    found = scores_by_id(with_scores(rows, shipped, "onnx"))
    expected = build_engine("onnx", shipped, 1).probabilities(shipped.tokenizer.ids_of(pa.array(TEXTS)))
    for i, row in enumerate(expected):
        np.testing.assert_allclose(found[str(i)], row if np.isfinite(row).all() else [], atol=1e-6)


def test_labels_do_not_depend_on_partitions_or_batches(spark, rows, shipped) -> None:
    def labels(partitions: int, batch: int) -> list[tuple[str, str]]:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch)
        scored = with_category(with_scores(rows.repartition(partitions), shipped, "onnx"), shipped, [0.5] * len(shipped.labels))
        return sorted((row["product_id"], row["category"]) for row in scored.select("product_id", "category").collect())

    try:
        assert labels(1, 4096) == labels(3, 7) == labels(8, 1)
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 4096)


def test_the_udf_stands_once_in_the_plan(rows, shipped) -> None:
    categorized = categorized_rows(with_scores(rows, shipped, "onnx"), shipped, "run", ())
    plan = categorized._jdf.queryExecution().optimizedPlan().toString()
    assert plan.count("ArrowEvalPython [") == 1, plan


def test_a_process_builds_one_scorer_for_all_its_tasks(spark, shipped) -> None:
    payload: Payload = payload_of(shipped, "onnx", 1)

    def scorer_of(partition):
        yield os.getpid(), id(scorer_for(payload))

    # Two jobs of eight tasks each: workers stay from task to task and from job to job.
    found = [pair for _ in range(2) for pair in spark.sparkContext.parallelize(range(8), 8).mapPartitions(scorer_of).collect()]
    assert len(found) == 16
    assert len(set(found)) == len({pid for pid, _ in found})


def test_status_and_reason(rows, shipped) -> None:
    scored = with_scores(rows.filter("product_id < 7"), shipped, "onnx")
    by_id = {row["product_id"]: row for row in with_category(scored, shipped, [0.5] * len(shipped.labels)).collect()}
    assert [by_id[i]["category"] for i in "0123"] == ["Household", "Books", "Electronics", "Clothing & Accessories"]
    assert (by_id["4"]["status"], by_id["4"]["reason"], by_id["4"]["category"]) == (UNCLASSIFIABLE, NO_TEXT, None)
    assert (by_id["5"]["status"], by_id["5"]["reason"], by_id["5"]["scores"]) == (UNCLASSIFIABLE, NO_WORDS, None)
    assert by_id["0"]["status"] == CATEGORIZED_STATUS
    assert by_id["0"]["reason"] is None
    assert sum(by_id["0"]["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert by_id["0"]["confidence"] == max(by_id["0"]["scores"].values())
    assert by_id["0"]["runner_up_confidence"] == sorted(by_id["0"]["scores"].values())[-2]
    books_only = [1.1 if label == "Books" else 0.0 for label in shipped.labels]
    by_label = {row["product_id"]: row["status"] for row in with_category(scored, shipped, books_only).collect()}
    assert [by_label[i] for i in "0123"] == [CATEGORIZED_STATUS, REVIEW, CATEGORIZED_STATUS, CATEGORIZED_STATUS]
    strict = {row["product_id"]: row for row in with_category(scored, shipped, [1.1] * len(shipped.labels)).collect()}
    assert {strict[i]["status"] for i in "0123"} == {REVIEW}


def test_columns_are_those_of_the_table(rows, shipped) -> None:
    assert categorized_rows(with_scores(rows, shipped, "onnx"), shipped, "run", ()).columns == CATEGORIZED.names


def test_keras_in_spark_gives_the_same_labels(rows, shipped) -> None:
    few = rows.filter("product_id < 7").coalesce(1)
    onnx, keras = (scores_by_id(with_scores(few, shipped, engine)) for engine in ("onnx", "keras"))
    for product_id, scores in onnx.items():
        np.testing.assert_allclose(scores, keras[product_id], atol=1e-4)


def test_carried_columns_keep_names_with_dots_and_backticks(spark, shipped) -> None:
    from pyspark.sql import functions as F

    name = "price `gross`.eur"
    frame = spark.createDataFrame([("1", "steel kettle", 5)], ["product_id", "text", name])
    rows = frame.select("*", F.sha2("text", 256).alias("text_hash"))
    found = categorized_rows(with_scores(rows, shipped, "onnx"), shipped, "run", (name,))
    assert found.collect()[0][name] == 5


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_row_keeps_the_scores_of_the_most_probable_labels(rows, shipped, kept, monkeypatch) -> None:
    few = rows.filter("product_id < 7").coalesce(1)
    every = {
        row["product_id"]: row for row in categorized_rows(with_scores(few, shipped, "onnx"), shipped, "run", ()).collect()
    }
    scored = categorized_rows(with_scores(few, shipped, "onnx", kept=kept), shipped, "run", ())
    found = {row["product_id"]: row for row in scored.collect()}
    for product_id, row in every.items():
        best = sorted((row["scores"] or {}).items(), key=lambda one: -one[1])[:kept]
        assert (found[product_id]["scores"] or {}) == dict(best)
        assert [found[product_id][name] for name in ("category", "confidence", "runner_up", "runner_up_confidence")] == [
            row[name] for name in ("category", "confidence", "runner_up", "runner_up_confidence")
        ]


def test_texts_are_scored_a_few_at_a_time_where_there_are_many_labels(shipped, monkeypatch) -> None:
    texts = pa.array(TEXTS * 5)
    scorer = Scorer(payload_of(shipped, "onnx", 1))
    whole = scorer.scores_of(texts, 2)
    seen = []
    score = scorer._engine.scores_of
    monkeypatch.setattr(scorer._engine, "scores_of", lambda tokenizer, some: seen.append(len(some)) or score(tokenizer, some))
    monkeypatch.setattr("lib.scoring.udf.VALUES_AT_ONCE", 3 * len(shipped.labels))
    assert scorer.scores_of(texts, 2).to_pylist() == whole.to_pylist()
    assert seen == [3] * 11 + [2]
