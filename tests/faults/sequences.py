"""Random sequences of runs against a dictionary: insert, change, delete, another model, crash, rerun, backfill, rollback.

After every step the whole table is compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from lib.failpoints import PHASES
from lib.model.bundle import Bundle
from lib.scoring.udf import Scorer, payload_of
from lib.tables.commits import commits_of
from lib.tables.locations import locate
from lib.tables.rollback import rollback
from lib.tables.target import tables_of
from tests.faults.nights import at, run, write_source

WORDS = (
    "steel kettle",
    "novel",
    "usb cable",
    "cotton shirt",
    "chair",
    "yoga mat",
    "jeans",
    "lamp",
    "poster",
    "phone case",
    "",
    "?!",
)
BEHIND_THE_COMMIT = ("recording", "recorded")


class Crash(BaseException):
    """Nothing in the job may catch it."""


# product_id -> (text, model version, whether it is marked as missing)
State = dict[str, tuple[str, str, bool]]


@dataclass
class Sequence:
    seed: str
    folder: Path
    bundles: tuple[Bundle, ...]
    folders: tuple[Path, ...]
    steps: list[str] = field(default_factory=list)
    state: State = field(default_factory=dict)
    by_version: dict[int, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.missing = self.random.choice(("keep", "mark", "delete"))
        self.catalogue = {f"p{i}": self.random.choice(WORDS) for i in range(self.random.randint(1, 6))}
        self.bundle = self.bundles[0]
        self.nights = itertools.count()
        self.sources: list[tuple[Path, dict[str, str]]] = []
        self.new_source()

    def new_source(self) -> None:
        copies = [(i, self.catalogue[i]) for i in self.catalogue if self.random.random() < 0.15]
        nobody = [(None, "no id")] if self.random.random() < 0.2 else []
        path = write_source(self.folder / f"night-{next(self.nights)}.parquet", self.catalogue, *copies, *nobody)
        self.sources.append((path, dict(self.catalogue)))

    def change_catalogue(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            name = f"p{self.random.randint(0, 9)}"
            if name in self.catalogue and len(self.catalogue) > 1 and self.random.random() < 0.4:
                del self.catalogue[name]
            else:
                self.catalogue[name] = self.random.choice(WORDS)
        self.new_source()

    def night(self, source: tuple[Path, dict[str, str]], crash: str | None = None) -> None:
        mode = self.random.choice(("incremental", "incremental", "incremental", "full"))
        path, rows = source
        arguments = (path, self.folder / "lake", "--mode", mode, "--missing", self.missing)
        if crash is None:
            assert run(*arguments, model=self.bundle_folder) == 0
            published = True
        else:
            reached = []

            def fall() -> None:
                reached.append(crash)
                raise Crash

            # At `published` the error is raised inside the commit's own error handling.
            with at(crash, fall), contextlib.suppress(Crash):
                assert run(*arguments, model=self.bundle_folder) == 0
            published = not reached or crash in BEHIND_THE_COMMIT or crash == "published"
        if published:
            fresh = {i: (text, self.bundle.model_version, False) for i, text in rows.items()}
            gone = {i: row for i, row in self.state.items() if i not in fresh}
            if self.missing == "delete":
                gone = {}
            if self.missing == "mark":
                gone = {i: (text, model, True) for i, (text, model, _) in gone.items()}
            self.state = {**fresh, **gone}

    def step(self, spark) -> None:
        self.spark, self.target = spark, locate(spark, str(self.folder / "lake"))
        kind = self.random.choice(("change", "change", "change", "rerun", "model", "crash", "crash", "backfill", "rollback"))
        crash = self.random.choice(PHASES) if kind == "crash" else None
        self.steps.append(f"{kind} {crash or ''}".strip())
        if kind in ("change", "crash"):
            self.change_catalogue()
        if kind == "model":
            self.bundle = self.bundles[1 - self.bundles.index(self.bundle)]
        if kind == "rollback":
            if not self.by_version:
                return
            version = self.random.choice(sorted(self.by_version))
            rollback(spark, tables_of(self.target), str(version))
            self.state = self.by_version[version]
        elif kind == "backfill":
            self.night(self.random.choice(self.sources))
        else:
            self.night(self.sources[-1], crash)
        commits = commits_of(spark, self.target)
        if commits:
            self.by_version[commits[0].version] = dict(self.state)

    @property
    def bundle_folder(self) -> Path:
        return self.folders[self.bundles.index(self.bundle)]


def found_in(spark, target: Path) -> dict[str, tuple[object, ...]]:
    rows = spark.read.format("delta").load(str(target)).collect()
    assert len({row["product_id"] for row in rows}) == len(rows), "an id is in the table twice"
    return {
        row["product_id"]: (row["text_hash"], row["model_version"], row["missing_since"] is not None, row["category"])
        for row in rows
    }


def labels_of(bundles: tuple[Bundle, ...]) -> dict[tuple[str, str], str | None]:
    """(model version, text) -> category, by each model alone."""
    found = {}
    for bundle in bundles:
        scores = Scorer(payload_of(bundle, "onnx", 1)).scores_of(pa.array(WORDS)).to_pylist()
        for text, score in zip(WORDS, scores, strict=True):
            found[bundle.model_version, text] = bundle.labels[score["label"]] if score["label"] >= 0 else None
    return found


def check(spark, sequence: Sequence, labels: dict[tuple[str, str], str | None]) -> None:
    """Take the steps of a sequence, and compare the whole table after each.

    Raises:
        AssertionError: with the seed and the steps.
    """
    lake = sequence.folder / "lake"
    for _ in range(sequence.random.randint(2, 5)):
        try:
            sequence.step(spark)
        except Exception as error:
            raise AssertionError(f"sequence {sequence.seed}: {', '.join(sequence.steps)}") from error
        where = f"sequence {sequence.seed} ({sequence.missing}): {', '.join(sequence.steps)}"
        if not (lake / "_delta_log").exists():
            assert not sequence.state, where
            continue
        expected = {
            i: (hashlib.sha256(text.encode()).hexdigest(), model, missing, labels[model, text])
            for i, (text, model, missing) in sequence.state.items()
        }
        assert found_in(spark, lake) == expected, where
    if Path(f"{lake}_runs").exists():
        runs = [row["run_id"] for row in spark.read.format("delta").load(f"{lake}_runs").collect()]
        assert len(set(runs)) == len(runs), where
