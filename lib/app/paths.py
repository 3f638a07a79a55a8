"""Categories that are paths, as the page shows them: the table holds their levels in columns, and what separates them only in their names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def separator_in(category: str, path: Sequence[str]) -> str:
    """What separates the levels of a category, which consists of them; empty if it has only one."""
    size = (len(category) - sum(map(len, path))) // max(len(path) - 1, 1)
    return category[len(path[0]) :][:size]


def nodes_of(category: str, separator: str | None) -> list[str]:
    """The categories above this one, the top first, and itself; without a separator only itself."""
    if separator is None:
        return [category]
    return list(accumulate(category.split(separator), lambda above, level: f"{above}{separator}{level}"))


def sure_only_of(category: str | None, path: Sequence[str] | None, published: Sequence[str] | None) -> str | None:
    """A sentence's part on a category that is not published down to its end; None if it is, or is not a path."""
    if category is None or not path or published is None or len(published) == len(path):
        return None
    if not published:
        return "sure of no level"
    return f"sure only of {separator_in(category, path).join(published)}"
