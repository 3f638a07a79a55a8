"""Times as texts, in UTC whatever the machine's clock is set to."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone


def iso(seconds: float) -> str:
    """ISO 8601. `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def run_id(started: float) -> str:
    """A name for a run that began then: sorted by time for people, unique by its end, whatever the clock does."""
    return f"{iso(started)[:19].replace(':', '')}Z-{uuid.uuid4().hex[:8]}"
