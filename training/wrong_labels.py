"""Labels that are probably wrong: confident learning on out-of-fold probabilities (Northcutt, Jiang and Chuang 2021)."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import pyarrow as pa
from cleanlab.filter import find_label_issues

from lib.model.arrays import Float32s, Int64s


@dataclass(frozen=True)
class WrongLabel:
    """A text, by its row and by its hash in `categorized`, whose label a model that never saw it doubts."""

    row: int
    text_hash: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float


def probably_wrong_labels(
    texts: pa.Array, label_ids: Int64s, labels: Sequence[str], probabilities: Float32s
) -> list[WrongLabel]:
    """The least likely labels first.

    Args:
        texts: strings [rows]; label_ids: int64 [rows]; probabilities: float32 [rows, labels], each row's from a model that
            was fitted without it.
    """
    with warnings.catch_warnings():
        # It warns about every label of few texts that wrong ones may be missed.
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        suspects = find_label_issues(label_ids, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    found = []
    for row in map(int, suspects):
        best = int(probabilities[row].argmax())
        digest = hashlib.sha256(texts[row].as_py().encode()).hexdigest()
        given, suggested = float(probabilities[row, label_ids[row]]), float(probabilities[row, best])
        found.append(WrongLabel(row, digest, labels[label_ids[row]], labels[best], round(given, 4), round(suggested, 4)))
    return found


def as_csv(wrong: Sequence[WrongLabel], texts: pa.Array | None = None) -> str:
    """A table; with the texts only if they are given, since a bundle must not carry the data."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(WrongLabel)][1:]
    writer.writerow([*names, *(["text"] if texts is not None else [])])
    for one in wrong:
        writer.writerow([*astuple(one)[1:], *([texts[one.row].as_py()] if texts is not None else [])])
    return out.getvalue()
