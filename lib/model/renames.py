"""What labels are called since a model was relabelled, so that runs before and after it can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Renames:
    """Steps of `relabel`, the oldest first, as a manifest has them: each with the version it was made `from`, and the `labels` that moved."""

    steps: Sequence[Mapping[str, Any]] = ()

    def name_of(self, label: str, model_version: str) -> str:
        """What a label of a version is called after all steps.

        A version that no step was made from is either the newest, or from another training. The latter uses today's names, except
        for names that only existed before.
        """
        first = next((i for i, step in enumerate(self.steps) if step["from"] == model_version), None)
        return self._renamed(label, first) if first is not None else self._by_name.get(label, label)

    def shares_of(self, shares: Mapping[str, float], model_version: str) -> dict[str, float]:
        """Label -> share of the rows, with the labels of a version under today's names."""
        found: dict[str, float] = {}
        for label, share in shares.items():
            name = self.name_of(label, model_version)
            found[name] = found.get(name, 0.0) + share
        return found

    @property
    def retired(self) -> Collection[str]:
        """Names that no label has any more."""
        return self._by_name.keys()

    def _renamed(self, label: str, first: int) -> str:
        for step in self.steps[first:]:
            label = step["labels"].get(label, label)
        return str(label)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """Names that no label has any more -> today's names."""
        moved = {label: self._renamed(label, i) for i, step in enumerate(self.steps) for label in step["labels"]}
        return {label: now for label, now in moved.items() if label not in moved.values()}


AS_THEY_ARE = Renames()
