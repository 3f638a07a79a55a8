"""Pages for people: what a run did and how near each guardrail came, and all runs of a target with their trends.

./spark-submit.sh report --target lake/categorized [--run RUN] --output reports
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.command import run_command
from lib.errors import InputError
from lib.reports.files import write_whole
from lib.reports.night import night_of
from lib.reports.pages import index_page, night_page
from lib.session import spark_session
from lib.settings import JobSettings, option
from lib.tables.locations import locate
from lib.tables.target import tables_of


@dataclass(frozen=True)
class ReportSettings(JobSettings):
    target: str = option("the table categorized: path or name; _rejected, _runs and _held stand beside it")
    run: str | None = option("the run to tell of: published, held back or rolled back (default: the newest)", default=None)
    output: str = option("local folder to write RUN.html and index.html to", default="reports")


def main(settings: ReportSettings) -> int:
    if not settings.output.strip() or re.match(r"[a-z][a-z0-9]+:", settings.output):
        raise InputError(
            f"Expected a local folder in --output, found {settings.output!r}; give one, and copy the pages from there."
        )
    folder = Path(settings.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Expected a folder to write to in --output, found {folder} ({error.strerror}); correct it.") from None
    with spark_session("report", settings.debug) as spark:
        night = night_of(spark, tables_of(locate(spark, settings.target)), settings.run)
    page = folder / f"{night.run.run_id}.html"
    write_whole(page, night_page(night))
    there = [path.stem for path in folder.glob("*.html")]
    write_whole(folder / "index.html", index_page(night.target, night.runs, there))
    print(f"{page}: the run {night.run.run_id}, {night.run.status}; {folder / 'index.html'}: all {len(night.runs):,} runs")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(ReportSettings, main, "report"))
