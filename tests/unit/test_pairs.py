"""The versions of Spark and Delta that the jobs accept, and that the set-up, the locks and the documentation agree on them."""

from __future__ import annotations

import re

import pytest

from lib.errors import InputError
from lib.pairs.supported import PAIRS, check_versions, line_of
from tests.conftest import ROOT

REQUIREMENTS = ROOT / "requirements"


@pytest.mark.parametrize(
    ("python", "jvm", "delta"), [("4.1.4", "4.1.0", "4.4.0"), ("3.5.9", "3.5.1-amzn-0", "3.3.2"), ("4.0.5", "4.0.5", None)]
)
def test_versions_that_go_together(python: str, jvm: str, delta: str | None) -> None:
    check_versions(python, jvm, delta)


@pytest.mark.parametrize(
    ("python", "jvm", "delta", "found"),
    [
        ("3.4.4", "3.4.4", "2.4.0", "Spark 3.4.4 with Delta 2.4.0"),
        ("4.1.4", "4.1.4", "4.0.1", "Spark 4.1.4 with Delta 4.0.1"),
        ("4.1.4", "3.5.9", "3.3.3", "Spark 3.5.9 under PySpark 4.1.4 with Delta 3.3.3"),
        ("master", "master", None, "Spark master with no Delta"),
    ],
)
def test_versions_that_do_not(python: str, jvm: str, delta: str | None, found: str) -> None:
    with pytest.raises(InputError) as refused:
        check_versions(python, jvm, delta)
    assert str(refused.value) == (
        f"Expected Spark 4.1 with Delta 4.4, Spark 4.0 with Delta 4.0 or Spark 3.5 with Delta 3.3, found {found}; choose one of these pairs "
        f"with CATALOG_SPARK, or install it."
    )


@pytest.mark.parametrize("pair", PAIRS)
def test_each_pair_is_pinned(pair: str) -> None:
    newest = pair == next(iter(PAIRS))
    pins = dict(
        re.findall(
            r"^(\S+)==(\S+)", (REQUIREMENTS / ("run.lock" if newest else f"spark-{pair}.lock")).read_text(), re.MULTILINE
        )
    )
    assert (line_of(pins["pyspark"]), line_of(pins["delta-spark"])) == (pair, PAIRS[pair])
    jars = "jars" if newest else f"jars-{pair}"
    listed = re.findall(r'name="(\S+)" rev="(\S+)"', (REQUIREMENTS / f"{jars}.xml").read_text())
    assert {f"{name}-{version}.jar" for name, version in listed} == set(
        re.findall(r"\S+\.jar", (REQUIREMENTS / f"{jars}.sha256").read_text())
    )
    assert ("delta-storage", pins["delta-spark"]) in listed


def test_all_else_is_pinned_as_by_default() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9][^ ;]*==[^ ;]+", (REQUIREMENTS / f"{name}.lock").read_text(), re.MULTILINE))

    apart = ("pyspark==", "delta-spark==", "py4j==")
    for older in list(PAIRS)[1:]:
        assert {one for one in pins(f"spark-{older}") - pins("run") if not one.startswith(apart)} == set()
    assert pins("matrix") <= pins("test")


def test_the_core_tests_are_there() -> None:
    for line in (ROOT / "tests" / "matrix.txt").read_text().splitlines():
        file, _, test = line.removeprefix("--deselect=").partition("::")
        assert re.search(rf"^def {test.partition('[')[0] or 'test_'}", (ROOT / file).read_text(), re.MULTILINE), line
