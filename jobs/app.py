"""A page in the browser: try a product, browse and correct the table, categorize a file, compare bundles, read the runs.

./spark-submit.sh app --model models/ecommerce --target lake/categorized
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lib.command import run_command
from lib.settings import BUNDLE, TARGET, JobSettings, Range, option

# The job runs from its folder, not from the zip.
DEFAULT_MODEL = str(Path(__file__).resolve().parent.parent / "models" / "ecommerce")


@dataclass(frozen=True)
class AppSettings(JobSettings):
    model: str = option(BUNDLE, default=DEFAULT_MODEL)
    other: str | None = option("another bundle to compare with (those next to the first can be chosen anyway)", default=None)
    target: str | None = option(f"{TARGET}; to be browsed and corrected", default=None)
    host: str = option(
        "address to serve at; any other than this machine's own lets others in, without a password", default="127.0.0.1"
    )
    port: int = option("port to serve at", default=8501, within=Range("from 1 to 65535", lambda port: 1 <= port <= 65535))


def main(settings: AppSettings) -> int:
    # Imported here: help and wrong options need no Streamlit.
    from lib.app.opened import opened, put
    from lib.app.server import check_free, serve

    s = settings
    check_free(s.host, s.port)
    page = opened(s.model, s.other, s.target, s.host, s.debug)
    put(page)
    try:
        serve(s.host, s.port, s.debug)
    finally:
        if page.lake:
            # Corrections that were entered before the end are still written.
            page.lake.close()
    return 0


if __name__ == "__main__":
    sys.exit(run_command(AppSettings, main, "app"))
