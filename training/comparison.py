"""The LSTM compared with the baselines on the same texts: figures of each, and whether one is better by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from lib.model.arrays import Int64s
from training.baselines import MAJORITY, summary
from training.promise import two_sided_bounds

RESAMPLES = 1_000
# Of the interval of a figure.
LEVEL = 0.95
# A bootstrap of fewer wrong groups than this is too narrow: where nothing is wrong, its draws are all alike.
FEW_WRONG = 10
# The greatest chance of naming a baseline where none is better, whatever the number of baselines.
CHANCE = 0.05
SEED = 7


@dataclass(frozen=True)
class Compared:
    """What the LSTM and the baselines predicted for the same texts, none of which they were fitted on.

    truth, lstm and each of others: int64 [rows], positions in `labels`, -1 for no category; groups: int64 [rows], of
    near-duplicates.
    """

    truth: Int64s
    groups: Int64s
    labels: Sequence[str]
    lstm: Int64s
    others: Mapping[str, Int64s]
    judged_on: str

    def figures(self) -> dict[str, dict[str, float]]:
        """Accuracy and F1 of each baseline."""
        return {name: summary(self.truth, predicted, self.labels) for name, predicted in self.others.items()}

    def better_baselines(self) -> list[dict[str, Any]]:
        """The baselines whose weighted F1 is above the LSTM's by more than chance, the best first.

        This uses a paired bootstrap (Efron and Tibshirani 1993, "An Introduction to the Bootstrap"; Berg-Kirkpatrick, Burkett and
        Klein 2012, "An Empirical Investigation of Statistical Significance in NLP"): the texts are drawn again with
        replacement, the same for both models, and the baseline has to be ahead in all but CHANCE of the draws, divided by
        the number of baselines, since the best of several is ahead by luck more often than one. It tests the figure that is
        reported, where McNemar's test would test accuracy. Whole groups are drawn, since near-duplicates are judged alike.

        Returns:
            model, f1_weighted, lstm_f1_weighted, low and high (95 % of the draws have the baseline ahead by that much),
            judged_on.
        """
        figures = self.figures()
        ours = summary(self.truth, self.lstm, self.labels)["f1_weighted"]
        rivals = [name for name in self.others if name != MAJORITY]
        ahead = [name for name in rivals if figures[name]["f1_weighted"] > ours]
        found = []
        for name, gaps in self._gaps(ahead).items():
            if (gaps <= 0).mean() <= CHANCE / len(rivals):
                low, high = _middle(gaps)
                theirs = figures[name]["f1_weighted"]
                row = {"model": name, "f1_weighted": theirs, "lstm_f1_weighted": ours, "low": low, "high": high}
                found.append({**row, "judged_on": self.judged_on})
        return sorted(found, key=lambda row: -row["f1_weighted"])

    def interval(self) -> tuple[float, float]:
        """The weighted F1 of the LSTM that LEVEL of the draws lie between: how much the figure owes to the texts that it is judged on.

        Where few groups have a text that is wrong, it is not narrower than the confidence interval of the share of the groups that have none
        (Clopper and Pearson 1934), which is about the accuracy. A fit to other texts, or with another seed, varies besides.
        """
        low, high = _middle(self._draws([self.lstm])[0])
        wrong, groups = len(np.unique(self.groups[self.lstm != self.truth])), len(np.unique(self.groups))
        if wrong >= FEW_WRONG:
            return low, high
        least, most = two_sided_bounds(groups, wrong, LEVEL)
        return min(low, least), max(high, most)

    def _gaps(self, names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """For each baseline, by how much its weighted F1 is above the LSTM's in every draw: float64 [RESAMPLES]."""
        if not names:
            return {}
        f1 = self._draws([self.lstm, *(self.others[name] for name in names)])
        return dict(zip(names, f1[1:] - f1[0], strict=True))

    def _draws(self, models: Sequence[Int64s]) -> npt.NDArray[np.float64]:
        """The weighted F1 of each model in every draw, the same for all: float64 [models, RESAMPLES]. models: what each predicted."""
        known, groups = np.unique(self.groups, return_inverse=True)
        tables = [self._counts(predicted, groups) for predicted in models]
        random = np.random.default_rng(SEED)
        f1 = np.empty((len(tables), RESAMPLES))
        for draw in range(RESAMPLES):
            times = np.bincount(random.integers(len(known), size=len(known)), minlength=len(known))
            f1[:, draw] = [_weighted_f1(table @ times) for table in tables]
        return f1

    def _counts(self, predicted: Int64s, groups: Int64s) -> Any:
        """The counts for weighted F1, sparse [3 x labels, groups]: for each label the texts that have it, get it, and get it correctly."""
        labels, given, right = len(self.labels), predicted >= 0, predicted == self.truth
        rows = np.concatenate([self.truth, labels + predicted[given], 2 * labels + self.truth[right]])
        columns = np.concatenate([groups, groups[given], groups[right]])
        return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(3 * labels, int(groups.max()) + 1))


def _weighted_f1(counts: npt.NDArray[np.float64]) -> float:
    """From the texts that have each label, those that get it, and those that get it rightly, one after another."""
    support, given, right = counts.reshape(3, -1)
    f1 = np.divide(2 * right, support + given, out=np.zeros(len(right)), where=support > 0)
    return float((f1 * support).sum() / support.sum())


def _middle(draws: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The quantiles that LEVEL of the draws lie between."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def interval_text(metrics: Mapping[str, Any]) -> str:
    """What `Compared.interval` is, for a sentence after the weighted F1."""
    low, high = metrics["f1_weighted_interval"]
    return f"{low:.4f} to {high:.4f} at a confidence level of {LEVEL:.0%}, by a bootstrap over groups of near-duplicates"


def better_text(better: Sequence[Mapping[str, Any]]) -> str:
    """One sentence on `Compared.better_baselines`, without its full stop; empty if none is."""
    if not better:
        return ""
    best, others = better[0], [row["model"] for row in better[1:]]
    where = "the test side" if best["judged_on"] == "test side" else best["judged_on"]
    return (
        f"{best['model']} is better than the LSTM on {where} by more than chance: weighted F1 {best['f1_weighted']:.4f} against "
        f"{best['lstm_f1_weighted']:.4f} (ahead by {best['low']:.4f} to {best['high']:.4f} in 95 % of the draws of a paired bootstrap)"
        + (f"; so is {' and '.join(others)}" if others else "")
    )
