"""What an attempt of a run works on, and what its steps hand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField

from lib.model.bundle import Bundle
from lib.scoring.catalogue import IdCount
from lib.scoring.counts import Group
from lib.scoring.input_checks import check_input, typed_as_in
from lib.scoring.plan import Inputs, Plan
from lib.scoring.progress import Told
from lib.scoring.scores import scores_kept
from lib.tables.commits import TableState
from lib.tables.sources import Source
from lib.tables.target import Tables

# In a commit's metadata: how many labels' probabilities the rows of the run's model keep.
SCORES_KEPT = "scores_kept"


@dataclass(frozen=True)
class Run:
    """What a run works on, the same in all of its attempts.

    carried: the fields of the columns that it carries along; told: receives the progress of the run. table: the version of the target
    before source and model were read; again: reads them once more, None where they are given.
    """

    spark: SparkSession
    source: Source
    tables: Tables
    bundle: Bundle
    plan: Plan
    carried: Sequence[StructField]
    told: Told
    table: str = ""
    again: Callable[[], Inputs] | None = None

    @classmethod
    def of(cls, spark: SparkSession, inputs: Inputs, told: Told, again: Callable[[], Inputs] | None) -> Run:
        tables, plan = inputs.tables, inputs.plan
        source = typed_as_in(spark, inputs.source, tables, plan)
        carried = check_input(spark, source, tables, plan)
        return cls(spark, source, tables, inputs.bundle, plan, carried, told, inputs.table, again)

    @property
    def scores_kept(self) -> int:
        """The number of labels whose probability a row keeps."""
        return scores_kept(self.plan.scores, len(self.bundle.labels))


@dataclass(frozen=True)
class Found:
    """What an attempt finds before it scores.

    state: the table's; present: its rows, None where it holds none; source: without the rows of `fatal`; fatal: those whose
    texts the engine does not survive, None for none.
    """

    started: float
    state: TableState
    present: DataFrame | None
    source: Source
    fatal: DataFrame | None


@dataclass(frozen=True)
class Scored:
    """The scored rows, kept on disk, and their counts. seconds: where the time went."""

    rows: DataFrame
    groups: Sequence[Group]
    ids: IdCount
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Gone:
    """Products that the source no longer holds.

    rows: as they are to be in the table, kept on disk, None where they just stay or are removed; missing: how many, None where they are
    not looked for; removed: the share of the table's rows that is removed, None where none is.
    """

    rows: DataFrame | None = None
    missing: int | None = None
    removed: float | None = None
