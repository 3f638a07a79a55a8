"""When the tests of --cluster (YARN and HDFS, S3, `publish`, lost executors) have to run: whenever a file has changed that only they exercise.

They take some twenty minutes, so the whole suite leaves them out as long as no such file has changed since they last passed:
tests/cluster.sha256 stores the digest of those files. run-tests.sh asks `python -m tests.cluster_rule` (exit 1: they have to run), and
a session in which all of them pass writes the new digest, to be committed with the change.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORD = Path("tests/cluster.sha256")
TESTS = tuple(
    map(
        Path,
        (
            "tests/cluster/test_lost_executors.py",
            "tests/cluster/test_publish.py",
            "tests/cluster/test_s3.py",
            "tests/faults/test_cluster.py",
            "tests/faults/test_s3.py",
        ),
    )
)
SEEN_ONLY_THERE = (
    "conf/*",
    "jvm/*",
    "lib/scoring/bundles.py",
    "lib/scoring/preflight.py",
    "lib/session.py",
    "lib/tables/locations.py",
    "lib/tables/remote.py",
    "lib/tables/stores.py",
    "lib/tables/transactions.py",
    "requirements/cluster.*",
    "requirements/jars.sha256",
    "requirements/run.lock",
    "requirements/s3.*",
    "scripts/cluster.sh",
    "scripts/environment.sh",
    "scripts/on_cluster.py",
    "scripts/pack_environment.py",
    "scripts/zip_code.py",
    "spark-submit.sh",
    "tests/cluster/samples.py",
    "tests/cluster/standalone.py",
    "tests/faults/cluster.py",
    "tests/s3*.py",
    *map(str, TESTS),
)


def digest(root: Path = ROOT) -> str:
    """SHA-256 over the names and contents of the files, as 64 hexadecimal digits."""
    found = hashlib.sha256()
    for file in sorted(file for pattern in SEEN_ONLY_THERE for file in root.glob(pattern) if file.is_file()):
        contents = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{contents}  {file.relative_to(root)}\n".encode())
    return found.hexdigest()


def passed_as_they_are(root: Path = ROOT) -> bool:
    record = root / RECORD
    return record.is_file() and record.read_text().strip() == digest(root)


class ClusterRule:
    """The pytest plugin that writes the record."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        # Before the tests run: they have not seen what is edited meanwhile.
        self._digest = digest(root)
        self._passed: set[str] = set()
        self._collected: set[str] = set()
        self._failed = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        # Of several processes the one that gathers the reports collects nothing itself.
        self._collected |= set(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _is_watched(report.nodeid):
            self._failed |= report.failed
            if report.when == "call" and report.passed:
                self._passed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # Of several processes only the one that gathers the reports.
        if hasattr(session.config, "workerinput") or self._failed:
            return
        # Each with all of its parameters: a session may have been interrupted.
        if not self._passed >= set(filter(_is_watched, self._collected)):
            return
        every = {
            f"{file}::{test}"
            for file in TESTS
            for test in re.findall(r"^def (test_\w+)", (self._root / file).read_text(), re.MULTILINE)
        }
        if {test.partition("[")[0] for test in self._passed} >= every:
            (self._root / RECORD).write_text(f"{self._digest}\n")


def _is_watched(nodeid: str) -> bool:
    return Path(nodeid.partition("::")[0]) in TESTS


if __name__ == "__main__":
    sys.exit(not passed_as_they_are())
