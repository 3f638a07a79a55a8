"""What a job prints for programs: a line of JSON for each event."""

from __future__ import annotations

import json
import time
from typing import Any

from lib.times import iso

# Formats of what a job prints, for people or for programs.
LOG_FORMATS = TEXT, JSON = "text", "json"


def json_line(event: str, **values: Any) -> str:
    """An event of the job as one line of JSON; values that are None are left out."""
    given = {name: value for name, value in values.items() if value is not None}
    return json.dumps({"time": iso(time.time()), "event": event, **given}, ensure_ascii=False)
