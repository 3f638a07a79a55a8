"""Delta beside what a site has configured for all of its jobs (lib.session)."""

from __future__ import annotations

import pytest
from pyspark import SparkConf

from lib.errors import InputError
from lib.session import CATALOGUE, DELTA_CATALOGUE, DELTA_EXTENSION, EXTENSIONS, _extends_delta, with_delta

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, DELTA_EXTENSION),
        (DELTA_EXTENSION, DELTA_EXTENSION),
        ("org.example.Ranger, org.example.Kyuubi", f"org.example.Ranger,org.example.Kyuubi,{DELTA_EXTENSION}"),
        (f"{DELTA_EXTENSION},org.example.Ranger", f"{DELTA_EXTENSION},org.example.Ranger"),
    ],
)
def test_deltas_extension_is_added_to_a_sites(given: str | None, expected: str) -> None:
    conf = SparkConf(loadDefaults=False)
    if given is not None:
        conf.set(EXTENSIONS, given)
    assert with_delta(conf) == {EXTENSIONS: expected, CATALOGUE: DELTA_CATALOGUE}


@pytest.mark.parametrize("around", [DELTA_CATALOGUE, "io.unitycatalog.spark.UCSingleCatalog"])
def test_a_catalogue_that_hands_tables_to_deltas_stays(around: str) -> None:
    assert with_delta(SparkConf(loadDefaults=False).set(CATALOGUE, around))[CATALOGUE] == around


def test_a_class_that_extends_deltas_catalogue_is_known_by_its_class() -> None:
    assert _extends_delta(DELTA_CATALOGUE)
    assert not _extends_delta("org.apache.spark.sql.delta.catalog.AbstractDeltaCatalog")


@pytest.mark.parametrize(
    "other",
    ["org.apache.iceberg.spark.SparkSessionCatalog", "org.apache.spark.sql.connector.catalog.DelegatingCatalogExtension"],
)
def test_another_catalogue_in_the_place_of_deltas_is_refused(other: str) -> None:
    with pytest.raises(InputError, match=f"in {CATALOGUE}, as the job's commits need, found {other}; leave it out"):
        with_delta(SparkConf(loadDefaults=False).set(CATALOGUE, other))
