"""The warning where a commit on an object store may be lost; tests/faults/test_s3.py loses one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lib.tables.stores import lost_commits

THEIRS = "io.delta.storage.S3DynamoDBLogStore"


def session(settings: dict[str, str]) -> Any:
    """A session as far as Spark's settings are asked."""
    env = SimpleNamespace(get=lambda: SimpleNamespace(conf=lambda: settings))
    return SimpleNamespace(
        _jvm=SimpleNamespace(org=SimpleNamespace(apache=SimpleNamespace(spark=SimpleNamespace(SparkEnv=env))))
    )


@pytest.mark.parametrize("scheme", ["s3a", "s3", "s3n"])
@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        ({}, True),
        ({"spark.delta.logStore.{scheme}.impl": THEIRS}, False),
        ({"spark.delta.logStore.gs.impl": THEIRS}, True),
        ({"spark.delta.logStore.class": THEIRS}, False),
        ({"spark.delta.logStore.class": "io.delta.storage.S3SingleDriverLogStore"}, True),
    ],
)
def test_deltas_own_log_store_is_told_on_each_scheme_of_s3(scheme: str, settings: dict[str, str], lost: bool) -> None:
    given = {name.format(scheme=scheme): value for name, value in settings.items()}
    told = lost_commits(session(given), f"{scheme}://lake/categorized")
    assert (told is not None) is lost
    if told:
        assert f"lost from {scheme}://lake/categorized, since Delta's S3SingleDriverLogStore is in use" in told


def test_a_store_for_one_scheme_says_nothing_of_another() -> None:
    assert lost_commits(session({"spark.delta.logStore.s3a.impl": THEIRS}), "s3://lake/categorized") is not None
    assert lost_commits(session({}), "hdfs://lake/categorized") is None
