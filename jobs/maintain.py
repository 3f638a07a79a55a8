"""Maintain a target's tables: compact small files, and remove files of versions older than a week or more.

./spark-submit.sh maintain --target lake/categorized
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.session import spark_session
from lib.settings import TARGET, JobSettings, Names, option
from lib.tables.locations import locate_to_write
from lib.tables.maintenance import RETAIN_HOURS, maintain
from lib.tables.target import tables_of


@dataclass(frozen=True)
class MaintainSettings(JobSettings):
    target: str = option(f"{TARGET}; _rejected, _runs and _held are next to it")
    retain_hours: int = option(
        "keep the files of versions younger than this; readers and rollbacks need them", default=RETAIN_HOURS
    )
    cluster_by: Names = option("columns by whose values the rows are clustered (Z-order)", default=())
    dry_run: bool = option("count what would be removed, and change nothing", default=False)


def main(settings: MaintainSettings) -> int:
    with spark_session("maintain", settings.debug) as spark:
        tables = tables_of(locate_to_write(spark, settings.target))
        for done in maintain(spark, tables, settings.retain_hours, settings.cluster_by, settings.dry_run):
            if settings.dry_run:
                print(f"{done.table.given}: {done.files_before} files; VACUUM would remove {done.removed} old ones")
            else:
                print(f"{done.table.given}: {done.files_before} files, now {done.files_after}; {done.removed} old ones removed")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(MaintainSettings, main, "maintain"))
