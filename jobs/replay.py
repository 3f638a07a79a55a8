"""Derive one row again from what the ledger names, and compare it with the row in the table: the same, or where they differ.

./spark-submit.sh replay --target lake/categorized --id P17
./spark-submit.sh replay --target lake/categorized --id P17 --run RUN
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.errors import GuardrailError, InputError
from lib.model.engines import AUTO, ENGINE_CHOICES
from lib.scoring.replay import replay, replay_text
from lib.session import spark_session
from lib.settings import ENGINE, TARGET, JobSettings, option
from lib.tables.locations import locate
from lib.tables.target import tables_of


@dataclass(frozen=True)
class ReplaySettings(JobSettings):
    target: str = option(TARGET)
    id: str = option("the row's product id")
    run: str | None = option(
        "the run after which the row is taken from the table (default: today's row, under the run that scored it)",
        default=None,
    )
    source: str | None = option("where the source is now, if not where that run found it", default=None)
    model: str | None = option("where the bundle is now, if not where that run found it", default=None)
    engine: str = option(ENGINE, default=AUTO, choices=ENGINE_CHOICES)
    json: bool = option("print everything as JSON, on the last line", default=False)


def main(settings: ReplaySettings) -> int:
    s = settings
    with spark_session("replay", s.debug) as spark:
        tables = tables_of(locate(spark, s.target))
        found = replay(spark, tables, s.id, s.run, s.source, s.model, s.engine)
    print(json.dumps(found.record(), ensure_ascii=False, default=str) if s.json else replay_text(found))
    if not found.differs:
        return 0
    if found.source_changed:
        raise InputError(
            f"Expected the source as the run {found.run.run_id} read it, found it changed ({found.source_changed}); it does not show "
            "whether the row is right."
        )
    return GuardrailError.exit_code


if __name__ == "__main__":
    sys.exit(run_command(ReplaySettings, main, "replay"))
