"""A run over the sample catalogue, and what two tables of it must have in common."""

from __future__ import annotations

from tests.conftest import SAMPLES, SHIPPED

EQUAL = ["product_id", "category", "runner_up", "status", "reason", "text_hash", "title", "price"]


def night(target: object, source: object = SAMPLES / "catalog.csv", model: object = SHIPPED) -> list[str]:
    """The options of categorize."""
    job = {"source": source, "target": target, "model": model, "carry": "title,price", "order-by": "updated_at"}
    return [str(word) for name, value in job.items() for word in (f"--{name}", value)]


def assert_same(spark: object, one: object, other: object) -> None:
    found, expected = (spark.read.format("delta").load(str(table)).orderBy("product_id").toPandas() for table in (one, other))
    assert found[EQUAL].fillna("").values.tolist() == expected[EQUAL].fillna("").values.tolist()
    assert (found["confidence"] - expected["confidence"]).abs().max() <= 1e-4
