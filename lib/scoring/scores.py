"""How many labels' probabilities a row of the table keeps: what `--scores` asks for."""

from __future__ import annotations

import re

from lib.errors import InputError

ALL, NONE = "all", "none"
# Above this many labels a map of all of them is most of a table, and nobody reads the low ones.
MOST_LABELS_OF_ALL = 50
DEFAULT = "top:5"


def check_scores(asked: str | None) -> None:
    """
    Raises:
        InputError: what is asked for is not all, none or top:N.
    """
    if asked not in (None, ALL, NONE) and not re.fullmatch(r"top:0*[1-9][0-9]{0,8}", str(asked)):
        raise InputError(f"Expected --scores as all, none, or top:N with N from 1 on, found {asked!r:.100}; correct it.")


def scores_kept(asked: str | None, labels: int) -> int:
    """The number of labels whose probability a row keeps, the most probable ones: `labels` for all, 0 for none.

    Args:
        asked: all, none or top:N; None for all up to MOST_LABELS_OF_ALL labels, and DEFAULT above that.
    """
    asked = asked or (ALL if labels <= MOST_LABELS_OF_ALL else DEFAULT)
    if asked == ALL:
        return labels
    return 0 if asked == NONE else min(int(asked.rpartition(":")[2]), labels)
