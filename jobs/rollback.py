"""Roll back a table to the rows of an older version or run, or a model's `current` to an older version.

./spark-submit.sh rollback --target lake/categorized --to RUN_OR_VERSION
./spark-submit.sh rollback --model models/ecommerce --to VERSION
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.errors import InputError
from lib.scoring.bundles import gap_said, move_current_at
from lib.session import spark_session
from lib.settings import TARGET, JobSettings, option
from lib.tables.locations import locate_to_write
from lib.tables.rollback import rollback
from lib.tables.target import tables_of


@dataclass(frozen=True)
class RollbackSettings(JobSettings):
    to: str = option("for a table: a version in its history, or the id of the run that published it; for a model: a version")
    target: str | None = option(TARGET, default=None)
    model: str | None = option("a model's folder of versions, with a `current`", default=None)


def main(settings: RollbackSettings) -> int:
    if bool(settings.target) == bool(settings.model):
        raise InputError("Expected one of --target and --model, found both or neither; give one.")
    if settings.model:
        if gap := gap_said(settings.model):
            print(gap)
        before = move_current_at(settings.model, settings.to)
        print(
            f"{settings.model}/current names {settings.to} (before: {before}); the next run scores the rows that another version has made"
        )
        return 0
    assert settings.target
    with spark_session("rollback", settings.debug) as spark:
        tables = tables_of(locate_to_write(spark, settings.target))
        record = rollback(spark, tables, settings.to)
        if record is None:
            print(f"nothing to do: {settings.target} has these rows already.")
        else:
            made = (
                f"the rows of source {record.source_version} under {record.model_version}" if record.source else "no run's rows"
            )
            print(f"{settings.target} is back at {settings.to}: {made}; in the ledger as {record.run_id}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(RollbackSettings, main, "rollback"))
