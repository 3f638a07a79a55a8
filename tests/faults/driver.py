"""A job in its own process, with an observer at its phases.

    python driver.py FOLDER PHASE[,PHASE...] categorize|publish|register|relabel ARGUMENTS OF THE JOB

At each of these phases it writes FOLDER/PHASE and waits for FOLDER/PHASE.go; if that contains "fail", it raises there.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lib import failpoints
from lib.command import run_command

folder, stops = Path(sys.argv[1]), set(sys.argv[2].split(",")) - {""}
assert stops <= {
    *failpoints.EARLY_PHASES,
    *failpoints.PHASES,
    failpoints.HELD_BACK,
    *failpoints.WAREHOUSE_PHASES,
    *failpoints.FILES_PHASES,
    *failpoints.BUNDLE_PHASES,
    *failpoints.REGISTER_PHASES,
}


def stop(phase: str) -> None:
    if phase not in stops:
        return
    (folder / phase).touch()
    go = folder / f"{phase}.go"
    while not go.exists():
        time.sleep(0.02)
    if go.read_text() == "fail":
        raise RuntimeError("the connection was lost")


failpoints.observers.append(stop)
name = sys.argv[3]
# Only this one: `register` runs where the packages of the others are missing.
job = importlib.import_module(f"jobs.{name}")
sys.exit(run_command(getattr(job, f"{name.capitalize()}Settings"), job.main, name, sys.argv[4:]))
