"""Times whole commands, as a user types them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def timed_command(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Seconds, and what it printed. environment: all variables; None for this process's own.

    Raises:
        SystemExit: the command failed; with all that it printed.
    """
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return time.monotonic() - began, done.stdout
