"""How long a user waits while learning the tool: short runs from a cold start, compared with a bare spark-submit script, in turn.

benchmarks/start [ROUNDS]

The bare script starts a session with Delta, counts a table, reads its history and writes ten rows. Our commands are the first run of the
samples and the run after it, which has nothing to do; each with Java's classes from the archive and without. Writes
docs/benchmarks/start.json and start.md.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.commands import timed_command  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "start"
BARE, FIRST, AGAIN = "the bare script", "first run of the samples", "again: nothing to do"
FIRST_PLAIN, AGAIN_PLAIN = f"{FIRST}, without the archive", f"{AGAIN}, without the archive"
# The user's own configuration on the class path, which rules the archive out.
PLAIN = {"SPARK_CONF_DIR": str(ROOT / "conf")}


def seconds_of(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    return timed_command(command, folder, {**os.environ, **environment})[0]


def one_round(folder: Path, table: Path) -> dict[str, float]:
    ours = [str(ROOT / "spark-submit.sh")]
    python = str(ROOT / ".venv" / "bin" / "python")
    with_ours = {**PLAIN, "PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python}
    submit = [str(ROOT / ".venv" / "bin" / "spark-submit"), str(ROOT / "benchmarks" / "bare_start.py"), str(table)]
    archived, plain = folder / "archived", folder / "plain"
    archived.mkdir()
    plain.mkdir()
    return {
        BARE: seconds_of([*submit, str(folder / "ten")], folder, with_ours),
        FIRST: seconds_of(ours, archived, {}),
        FIRST_PLAIN: seconds_of(ours, plain, PLAIN),
        AGAIN: seconds_of(ours, archived, {}),
        AGAIN_PLAIN: seconds_of(ours, plain, PLAIN),
    }


def page(rounds: Sequence[Mapping[str, float]]) -> str:
    lines = [
        "# A cold start",
        "",
        f"    benchmarks/start {len(rounds)}",
        "",
        "Seconds of whole commands, one after another in each round; the bare script starts a session with Delta, counts a table,",
        "reads its history and writes ten rows. The archive of Java's classes is written by the first run of the samples.",
        "",
        "| | median, s | all, s | compared with the bare script, median |",
        "|---|---|---|---|",
    ]
    for name in rounds[0]:
        seconds = [one[name] for one in rounds]
        ratio = statistics.median(one[name] / one[BARE] for one in rounds)
        shown = ", ".join(f"{one:.1f}" for one in seconds)
        lines.append(f"| {name} | {statistics.median(seconds):.1f} | {shown} | {ratio:.2f} |")
    return "\n".join([*lines, ""])


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # Makes the archive, if there is none, and the table that the bare script reads.
        seconds_of([str(ROOT / "spark-submit.sh")], folder, {})
        rounds = []
        for number in range(count):
            (folder / str(number)).mkdir()
            rounds.append(one_round(folder / str(number), folder / "lake" / "categorized"))
            print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in rounds[-1].items()), flush=True)
    PAGE.with_suffix(".json").write_text(json.dumps(rounds, indent=1) + "\n")
    PAGE.with_suffix(".md").write_text(page(rounds))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
