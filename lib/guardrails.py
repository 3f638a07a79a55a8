"""Guardrails: what a night may differ by from the last good one before a person has to look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """By how much each figure may differ from the last good run's. Infinity lets everything pass.

    rows: the rows of the source, up or down, as a share. rejected, review, unknown: the rise of a share (unknown: of the
    tokens scored that are out of vocabulary). drift: population stability index of the shares of the categories.
    confidence: the fall of the mean. from_rows: beside a last good run of fewer rows nothing is compared, its shares say little.
    """

    rows: float = 0.5
    rejected: float = 0.05
    review: float = 0.1
    drift: float = 0.25
    confidence: float = 0.1
    unknown: float = 0.1
    from_rows: int = 1000


def breaches(run: Mapping[str, Any], good: Mapping[str, Any], limits: Limits) -> list[str]:
    """What of `run` is past its limit, a phrase each: "the share rejected rose by 0.12 (limit 0.05)".

    Args:
        run, good: records for the ledger. What a record of an older version lacks is not compared.
    """
    if good.get("rows_in", 0) < limits.from_rows:
        return []
    found = []
    rows = run["rows_in"] / good["rows_in"] - 1
    if abs(rows) > limits.rows:
        found.append(
            f"the rows in changed by {rows:+.1%}, from {good['rows_in']:,} to {run['rows_in']:,} (limit {limits.rows:.0%})"
        )
    rises = {
        "share rejected": (_rejected(run), _rejected(good), limits.rejected),
        "share `review`": (run.get("review_share"), good.get("review_share"), limits.review),
    }
    if run["rows_scored"] >= limits.from_rows:
        rises["share out of vocabulary"] = (
            run.get("out_of_vocabulary_share"),
            good.get("out_of_vocabulary_share"),
            limits.unknown,
        )
    for name, (now, before, limit) in rises.items():
        if now is not None and before is not None and now - before > limit:
            found.append(f"the {name} rose from {before:.3f} to {now:.3f} (limit +{limit:g})")
    now, before = run.get("mean_confidence"), good.get("mean_confidence")
    if now is not None and before is not None and before - now > limits.confidence:
        found.append(f"the mean confidence fell from {before:.3f} to {now:.3f} (limit -{limits.confidence:g})")
    if run.get("drift") is not None and run["drift"] > limits.drift:
        found.append(f"the shares of the categories drifted by {run['drift']:.3f} (limit {limits.drift:g})")
    return found


def _rejected(run: Mapping[str, Any]) -> float:
    return run["rows_rejected"] / run["rows_in"] if run["rows_in"] else 0.0
