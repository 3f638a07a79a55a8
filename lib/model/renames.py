"""What labels are called since a model was relabelled, so that nights before and after it can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Renames:
    """Steps of `relabel`, the oldest first, as a manifest has them: of each the version it was made `from`, and the `labels` that moved."""

    steps: Sequence[Mapping[str, Any]] = ()

    def name_of(self, label: str, model_version: str) -> str:
        """What a label that a version has given is called behind all steps.

        A version that no step was made from is either the newest, or of another training: that one has the names of now, except
        those that only the past knows.
        """
        first = next((i for i, step in enumerate(self.steps) if step["from"] == model_version), None)
        return self._behind(label, first) if first is not None else self._by_name.get(label, label)

    def shares_of(self, shares: Mapping[str, float], model_version: str) -> dict[str, float]:
        """Label -> share of the rows, by the names that a version has given, under those of now."""
        found: dict[str, float] = {}
        for label, share in shares.items():
            name = self.name_of(label, model_version)
            found[name] = found.get(name, 0.0) + share
        return found

    def _behind(self, label: str, first: int) -> str:
        for step in self.steps[first:]:
            label = step["labels"].get(label, label)
        return str(label)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """Names that no label has any more -> those of now."""
        moved = {label: self._behind(label, i) for i, step in enumerate(self.steps) for label in step["labels"]}
        return {label: now for label, now in moved.items() if label not in moved.values()}


AS_THEY_ARE = Renames()
