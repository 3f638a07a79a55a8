"""Guardrails: what a night may differ by from the last good ones before a person has to look at it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, median_high

from lib.tables.run_record import RunRecord

# Keys of the map `guarded` in a run's record; behind the colon stands a text column.
UNCLASSIFIABLE_SHARE = "unclassifiable"
EMPTY_SHARE = "empty:"
MEAN_LENGTH = "length:"
NEW_IDS = "new ids"
GONE_IDS = "gone ids"
REMOVED = "removed"
MOVED = "moved"


@dataclass(frozen=True)
class Limits:
    """By how much each figure may differ from the yardstick, the median of the last good runs. Infinity lets everything pass.

    rows: the rows of the source, up or down, as a share. rejected, review, unknown: the rise of a share (unknown: of the
    tokens scored that are out of vocabulary). drift: population stability index of the shares of the categories.
    confidence: the fall of the mean. unclassifiable: rise of the share. empty: rise of the share of empty texts, of each text
    column. length: change of the mean length of its texts that are not empty, as a share. ids: the share of the ids that the last
    good run did not have, or of its ids that are gone. moved: the share of the products that stay whose category changes under the
    same model. removed: the share of the table's rows that the run would delete, whatever its
    size. from_rows: beside good runs of fewer rows nothing else is compared, their shares say little. runs: how many good runs
    make the yardstick.
    """

    rows: float = 0.5
    rejected: float = 0.05
    review: float = 0.1
    drift: float = 0.25
    confidence: float = 0.1
    unknown: float = 0.1
    unclassifiable: float = 0.05
    empty: float = 0.1
    length: float = 0.5
    ids: float = 0.5
    moved: float = 0.2
    removed: float = 0.8
    from_rows: int = 1000
    runs: int = 7


@dataclass(frozen=True)
class Yardstick:
    """What a night is compared with: of the last good runs the median of each figure that records have; of none by default."""

    runs: int = 0
    rows_in: int = 0
    rows_rejected: float = 0.0
    category_shares: Mapping[str, float] | None = None
    review_share: float | None = None
    out_of_vocabulary_share: float | None = None
    mean_confidence: float | None = None
    guarded: Mapping[str, float | None] = field(default_factory=dict)


def yardstick(good: Sequence[RunRecord], limits: Limits) -> Yardstick:
    """The medians over the last good runs. good: newest first."""
    window = good[: limits.runs]
    if not window:
        return Yardstick()
    rows = median_high(run.rows_in for run in window)
    # The shares of a small run that somebody let pass say little of the others.
    window = [run for run in window if run.rows_in >= limits.from_rows] or window
    keys = sorted({key for run in window for key in run.guarded or {}})
    return Yardstick(
        runs=len(window),
        rows_in=rows,
        rows_rejected=rows * (_median(run.rejected_share for run in window) or 0.0),
        category_shares=_median_shares([run.category_shares for run in window if run.category_shares]),
        review_share=_median(run.review_share for run in window),
        out_of_vocabulary_share=_median(run.out_of_vocabulary_share for run in window),
        mean_confidence=_median(run.mean_confidence for run in window),
        guarded={key: _median((run.guarded or {}).get(key) for run in window) for key in keys},
    )


def _median_shares(shares: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """The median of each category's share, brought to one together."""
    names = sorted(set().union(*shares))
    by_name = {name: median(share.get(name, 0.0) for share in shares) for name in names}
    total = sum(by_name.values())
    return {name: share / total for name, share in by_name.items()} if total else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def breaches(run: RunRecord, good: Yardstick, limits: Limits) -> list[str]:
    """What of `run` is past its limit, a phrase each: "the share rejected rose by 0.12 (limit 0.05)".

    What neither has is not compared.
    """
    found = _whatever_its_size(run, limits)
    if not good.rows_in or good.rows_in < limits.from_rows:
        return found
    found += _guarded(run.guarded or {}, good.guarded, limits)
    rows = run.rows_in / good.rows_in - 1
    if abs(rows) > limits.rows:
        found.append(f"the rows in changed by {rows:+.1%}, from {good.rows_in:,} to {run.rows_in:,} (limit {limits.rows:.0%})")
    rises = {
        "share rejected": (run.rejected_share, good.rows_rejected / good.rows_in, limits.rejected),
        "share `review`": (run.review_share, good.review_share, limits.review),
    }
    if run.rows_scored >= limits.from_rows:
        rises["share out of vocabulary"] = (run.out_of_vocabulary_share, good.out_of_vocabulary_share, limits.unknown)
    for name, (now, before, limit) in rises.items():
        if now is not None and before is not None and now - before > limit:
            found.append(f"the {name} rose from {before:.3f} to {now:.3f} (limit +{limit:g})")
    now, before = run.mean_confidence, good.mean_confidence
    if now is not None and before is not None and before - now > limits.confidence:
        found.append(f"the mean confidence fell from {before:.3f} to {now:.3f} (limit -{limits.confidence:g})")
    if run.drift is not None and run.drift > limits.drift:
        found.append(f"the shares of the categories drifted by {run.drift:.3f} (limit {limits.drift:g})")
    return found


def _whatever_its_size(run: RunRecord, limits: Limits) -> list[str]:
    found = []
    if run.rows_in and run.rows_rejected == run.rows_in:
        found.append(f"none of the {run.rows_in:,} rows has a usable id")
    removed = (run.guarded or {}).get(REMOVED)
    if removed is not None and removed > limits.removed:
        found.append(f"{removed:.1%} of the table's rows would be deleted (limit {limits.removed:.0%})")
    return found


def _guarded(now: Mapping[str, float | None], before: Mapping[str, float | None], limits: Limits) -> list[str]:
    found = []
    for key, value in now.items():
        if value is None:
            continue
        if key in (NEW_IDS, GONE_IDS) and value > limits.ids:
            what = "the ids are new" if key == NEW_IDS else "the last good run's ids are gone"
            found.append(f"{value:.1%} of {what} (limit {limits.ids:.0%})")
        if key == MOVED and value > limits.moved:
            found.append(
                f"{value:.1%} of the products that stay have another category under the same model (limit {limits.moved:.0%})"
            )
        past = before.get(key)
        if past is None:
            continue
        if key == UNCLASSIFIABLE_SHARE and value - past > limits.unclassifiable:
            found.append(f"the share `unclassifiable` rose from {past:.3f} to {value:.3f} (limit +{limits.unclassifiable:g})")
        if key.startswith(EMPTY_SHARE) and value - past > limits.empty:
            column = key.removeprefix(EMPTY_SHARE)
            found.append(f"the share of empty texts in {column} rose from {past:.3f} to {value:.3f} (limit +{limits.empty:g})")
        if key.startswith(MEAN_LENGTH) and past and abs(value / past - 1) > limits.length:
            column = key.removeprefix(MEAN_LENGTH)
            found.append(
                f"the mean length of texts in {column} changed by {value / past - 1:+.1%}, from {past:.0f} to {value:.0f} bytes "
                f"(limit {limits.length:.0%})"
            )
    return found
