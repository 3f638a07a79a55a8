"""What decides the rows of a run: two runs of one identity give the same table."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence

from lib.model.bundle import Bundle
from lib.redaction import redacted
from lib.scoring.plan import Plan
from lib.scoring.scores import scores_kept
from lib.tables.sources import UNVERSIONED, Source


def identity_of(source: Source, bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides the rows of a run. Neither engine nor mode is in it: they must not change the rows.

    An engine that does not survive a text does, and such a run is noted with another identity.
    """
    reading = [redacted(source.location.uri), source.version, source.reading]
    parts = [*reading, bundle.digest, repr(plan.columns), plan.missing, *_options(bundle, plan)]
    if source.version == UNVERSIONED:
        parts.append(uuid.uuid4().hex)
    return _digest(parts)


def basis_of(source: Source, bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides a row besides the source's: with the same digest, a row that did not change is the same."""
    return _digest([source.reading, bundle.digest, repr(plan.columns), *_options(bundle, plan)])


def _options(bundle: Bundle, plan: Plan) -> list[str]:
    """For a digest; without the defaults of older versions, so that tables which those wrote are still recognised."""
    labels = len(bundle.labels)
    kept = scores_kept(plan.scores, labels)
    unfamiliar = [] if plan.unfamiliar is None else [f"unfamiliar {plan.unfamiliar!r}"]
    return [*unfamiliar, *([] if kept == labels else [f"scores {kept}"])]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
