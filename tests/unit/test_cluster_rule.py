"""The tests of --cluster run when a file that only they exercise has changed, and a run counts only if all of them passed."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cluster_rule import ROOT, SEEN_ONLY_THERE, TESTS, ClusterRule, passed_as_they_are


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("scripts/cluster.sh", "spark-submit.sh", *TESTS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def test_one(): ...\ndef test_other(): ...\n")
    return tmp_path


def session_of(rule: ClusterRule, *outcomes: tuple[str, str]) -> None:
    """A session in which each of their files has had these outcomes; `not run`: it ended before that."""
    rule.pytest_xdist_node_collection_finished([f"{file}::{test}" for file, (test, _) in product(TESTS, outcomes)])
    for file, (test, outcome) in product(TESTS, outcomes):
        if outcome == "not run":
            continue
        report = SimpleNamespace(
            nodeid=f"{file}::{test}",
            when="call",
            passed=outcome == "passed",
            failed=outcome == "failed",
            skipped=outcome == "skipped",
        )
        rule.pytest_runtest_logreport(report)
    rule.pytest_sessionfinish(SimpleNamespace(config=SimpleNamespace()))


def test_each_pattern_names_a_file() -> None:
    assert [pattern for pattern in SEEN_ONLY_THERE if not list(ROOT.glob(pattern))] == []


def test_all_passed(root: Path) -> None:
    assert not passed_as_they_are(root)
    session_of(ClusterRule(root), ("test_one[a]", "passed"), ("test_one[b]", "passed"), ("test_other", "passed"))
    assert passed_as_they_are(root)


@pytest.mark.parametrize(
    "outcomes",
    [
        [("test_one", "passed")],
        [("test_one", "passed"), ("test_other", "skipped")],
        [("test_one[a]", "passed"), ("test_one[b]", "failed"), ("test_other", "passed")],
        [("test_one[a]", "passed"), ("test_one[b]", "not run"), ("test_other", "passed")],
    ],
)
def test_not_all_passed(root: Path, outcomes: list[tuple[str, str]]) -> None:
    session_of(ClusterRule(root), *outcomes)
    assert not passed_as_they_are(root)


def test_edited_after_they_began(root: Path) -> None:
    rule = ClusterRule(root)
    (root / "spark-submit.sh").write_text("exit 1\n")
    session_of(rule, ("test_one", "passed"), ("test_other", "passed"))
    assert not passed_as_they_are(root)


@pytest.mark.parametrize("change", ["edited", "renamed", "added"])
def test_a_change_asks_for_them(root: Path, change: str) -> None:
    session_of(ClusterRule(root), ("test_one", "passed"), ("test_other", "passed"))
    script = root / "scripts" / "cluster.sh"
    match change:
        case "edited":
            script.write_text("exit 1\n")
        case "renamed":
            script.rename(script.with_name("on_clusters.sh"))
        case "added":
            (root / "conf").mkdir()
            (root / "conf" / "more.properties").touch()
    assert not passed_as_they_are(root)


def test_one_file_was_left_out(root: Path) -> None:
    rule = ClusterRule(root)
    for test in ("test_one", "test_other"):
        report = SimpleNamespace(nodeid=f"{TESTS[0]}::{test}", when="call", passed=True, failed=False, skipped=False)
        rule.pytest_runtest_logreport(report)
    session_of(rule)
    assert not passed_as_they_are(root)
