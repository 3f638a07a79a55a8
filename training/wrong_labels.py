"""Labels that are probably wrong: confident learning on out-of-fold probabilities (Northcutt, Jiang and Chuang 2021)."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cleanlab.filter import find_label_issues

from lib.model.arrays import Float32s, Int64s
from training.conflicts import Conflict


@dataclass(frozen=True)
class WrongLabel:
    """A text, by its row and by its hash in `categorized`, whose label a model that never saw it doubts."""

    row: int
    text_hash: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float


def in_several_folds(label_ids: Int64s, fold_of: Int64s, labels: int) -> npt.NDArray[np.bool_]:
    """The labels with texts in more than one fold, bool [labels]: of the others no model knew the label whose texts it doubts.

    Args:
        label_ids, fold_of: int64 [rows].
    """
    found = np.unique(np.stack([label_ids, fold_of], axis=1), axis=0)
    several: npt.NDArray[np.bool_] = np.bincount(found[:, 0], minlength=labels) > 1
    return several


def probably_wrong_labels(
    texts: pa.Array,
    label_ids: Int64s,
    labels: Sequence[str],
    probabilities: Float32s,
    examined: npt.NDArray[np.bool_] | None = None,
) -> list[WrongLabel]:
    """The least likely labels first.

    Args:
        texts: strings [rows]; label_ids: int64 [rows]; probabilities: float32 [rows, labels], each row's from a model that
            was fitted without it.
        examined: which labels may be doubted or suggested, bool [labels]; None for all.
    """
    if examined is not None and not examined.all():
        return _of_some(texts, label_ids, labels, probabilities, examined)
    with warnings.catch_warnings():
        # It warns about every label of few texts that wrong ones may be missed.
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        suspects = find_label_issues(label_ids, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    found = []
    for row in map(int, suspects):
        best = int(probabilities[row].argmax())
        digest = _hash(texts[row].as_py())
        given, suggested = float(probabilities[row, label_ids[row]]), float(probabilities[row, best])
        found.append(WrongLabel(row, digest, labels[label_ids[row]], labels[best], round(given, 4), round(suggested, 4)))
    return found


def _of_some(
    texts: pa.Array, label_ids: Int64s, labels: Sequence[str], probabilities: Float32s, examined: npt.NDArray[np.bool_]
) -> list[WrongLabel]:
    """As if the other labels and their texts were not there."""
    chosen, rows = np.flatnonzero(examined), np.flatnonzero(examined[label_ids])
    if len(chosen) < 2:
        return []
    some = _among(probabilities, rows, chosen)
    ids = np.searchsorted(chosen, label_ids[rows])
    found = probably_wrong_labels(texts.take(pa.array(rows)), ids, [labels[int(i)] for i in chosen], some)
    return [replace(one, row=int(rows[one.row])) for one in found]


def _among(probabilities: Float32s, rows: Int64s, labels: Int64s) -> Float32s:
    """The probabilities of some rows as if there were no other labels than these, float32 [rows, labels]; no second copy is made."""
    some = probabilities[np.ix_(rows, labels)]
    # A text that is surely of another label has next to nothing left: each of the chosen ones is then as likely.
    total = some.sum(axis=1, keepdims=True) + np.float32(1e-6) * len(labels)
    some += np.float32(1e-6)
    some /= total
    return some


def as_csv(wrong: Sequence[WrongLabel], texts: pa.Array | None = None, conflicts: Sequence[Conflict] = ()) -> str:
    """A table; with the texts only if they are given, since a bundle must not carry the data.

    Args:
        conflicts: these come first, being the surest, with shares of a text's copies in place of probabilities.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(WrongLabel)][1:]
    writer.writerow([*names, *(["text"] if texts is not None else [])])
    for conflict in sorted(conflicts, key=lambda one: one.share - one.suggested_share):
        shares = (round(conflict.share, 4), round(conflict.suggested_share, 4))
        given = [_hash(conflict.text), conflict.label, conflict.suggested, *shares]
        writer.writerow([*given, *([conflict.text] if texts is not None else [])])
    for one in wrong:
        writer.writerow([*astuple(one)[1:], *([texts[one.row].as_py()] if texts is not None else [])])
    return out.getvalue()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
