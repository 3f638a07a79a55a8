"""A job in its own process, with an observer at its phases.

    python driver.py FOLDER PHASE[,PHASE...] categorize|publish|relabel ARGUMENTS OF THE JOB

At each of these phases it writes FOLDER/PHASE and waits for FOLDER/PHASE.go; if that contains "fail", it raises there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from jobs import categorize, publish, relabel
from lib import failpoints
from lib.command import run_command

folder, stops = Path(sys.argv[1]), set(sys.argv[2].split(",")) - {""}
assert stops <= {*failpoints.PHASES, *failpoints.WAREHOUSE_PHASES, *failpoints.FILES_PHASES, *failpoints.BUNDLE_PHASES}


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
if sys.argv[3] == "relabel":
    sys.exit(run_command(relabel.RelabelSettings, relabel.main, "relabel", sys.argv[4:]))
if sys.argv[3] == "publish":
    sys.exit(run_command(publish.PublishSettings, publish.main, "publish", sys.argv[4:]))
sys.exit(run_command(categorize.CategorizeSettings, categorize.main, "categorize", sys.argv[4:]))
