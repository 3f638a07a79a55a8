"""The result of an evaluation, as a value that a notebook shows well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from catalog_categorizer.arguments import in_python
from lib.model.evaluation import estimates_text, evaluation_text, fitted_to_text, levels_text
from lib.model.metrics import classes_shown


@dataclass(frozen=True, repr=False)
class Evaluation:
    """metrics: everything that the job `evaluate --output` writes."""

    metrics: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Labelled rows."""
        return int(self.metrics["rows"])

    @property
    def accuracy(self) -> float:
        return float(self.metrics["accuracy"])

    @property
    def f1_weighted(self) -> float:
        return float(self.metrics["f1_weighted"])

    @property
    def f1_macro(self) -> float:
        return float(self.metrics["f1_macro"])

    @property
    def per_class(self) -> Mapping[str, Mapping[str, float]]:
        """Precision, recall, f1 and support by label."""
        return self.metrics["per_class"]

    def __repr__(self) -> str:
        return in_python(evaluation_text(self.metrics))

    def _repr_html_(self) -> str:
        classes, remarks = classes_shown(self.metrics)
        head = "".join(f"<th>{name}</th>" for name in ("", "precision", "recall", "f1", "support"))
        rows = "".join(_row(label, numbers) for label, numbers in classes)
        said = [
            f"{self.metrics['model_version']} on {self.rows:,} labelled rows: accuracy {self.accuracy:.4f}, weighted F1 "
            f"{self.f1_weighted:.4f}, macro F1 {self.f1_macro:.4f}",
            *in_python(f"{levels_text(self.metrics)}\n{estimates_text(self.metrics)}\n{fitted_to_text(self.metrics)}")
            .strip()
            .splitlines(),
        ]
        lines = "<br>".join(map(escape, said))
        return f"<p>{lines}</p><table><tr>{head}</tr>{rows}</table>{''.join(f'<p>{escape(one)}</p>' for one in remarks)}"


def _row(label: str, numbers: Mapping[str, float]) -> str:
    cells = "".join(f"<td>{numbers[name]:.4f}</td>" for name in ("precision", "recall", "f1"))
    return f"<tr><th>{escape(label)}</th>{cells}<td>{numbers['support']:,}</td></tr>"
