"""Two tables of one source, whose runs looked at it in two ways: rows and what is recorded of them are equal."""

from __future__ import annotations

import pytest

from lib.tables.commits import read_state
from lib.tables.locations import locate


def are_equal(spark, target, other) -> None:
    assert rows_of(spark, target) == rows_of(spark, other)
    (exact, fractions), (expected, expected_fractions) = (told(spark, lake) for lake in (target, other))
    assert exact == expected
    assert fractions == pytest.approx(expected_fractions)


def rows_of(spark, target) -> list[dict]:
    rows = spark.read.format("delta").load(str(target)).drop("run_id", "scored_at").orderBy("product_id").collect()
    return [{**row.asDict(), "missing_since": row["missing_since"] is not None} for row in rows]


def told(spark, target) -> tuple[dict, dict]:
    """What the newest run records about itself and about all rows of its source, without times and names: what is exact, and sums of fractions."""
    note = read_state(spark, locate(spark, str(target))).last
    run, whole = dict(note["run"]), dict(note["whole"] or {})
    for name in ("run_id", "started_at", "ended_at", "rows_per_second", "seconds", "settings"):
        run.pop(name)
    whole.pop("aged", None)
    groups = whole.pop("groups", [])
    whole["rows"] = {f"{category} {status}": rows for category, status, rows, _ in groups}
    fractions = {f"{category} {status}": confidence for category, status, _, confidence in groups}
    fractions |= run.pop("category_shares") or {}
    fractions |= {name: value for name, value in (run.pop("guarded") or {}).items() if "ids" not in name}
    fractions |= {name: run.pop(name) for name in ("mean_confidence", "drift", "estimated_precision")}
    return {**run, **whole}, fractions
