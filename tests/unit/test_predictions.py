"""What the job `predict` says of single texts."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jobs.predict import PredictSettings
from jobs.predict import main as predict_main
from lib.command import run_command
from lib.model.bundle import Bundle
from lib.model.predictions import predictions
from schemas.statuses import OF_LEVELS

LABELS = [f"Department {i // 10} > Shelf {i}" for i in range(3000)]


class Spread:
    """An engine under which the label 7 is the most probable one, and the next ones each a bit less."""

    @staticmethod
    def probabilities_and_evidence(ids: object) -> tuple[np.ndarray, np.ndarray]:
        falling = np.exp(-0.01 * np.roll(np.arange(len(LABELS)), 7))
        return np.array([falling / falling.sum()] * len(ids), np.float32), np.zeros(len(ids), np.float32)


@pytest.fixture
def bundle() -> Bundle:
    thresholds = {"review_below": 0.5, "by_level": [0.02, 0.5]}
    found = Bundle({"labels": LABELS, "label_separator": " > ", "thresholds": thresholds}, "", {})
    # What a text is read with is not looked at here.
    found.__dict__.update(tokenizer=SimpleNamespace(ids_of=lambda texts: texts), unfamiliarity=None)
    return found


def test_of_many_labels_the_most_probable_are_told(bundle: Bundle) -> None:
    (every,), (three,), (none,) = (list(predictions(["a kettle"], bundle, Spread(), kept)) for kept in (None, 3, 0))
    assert len(every["scores"]) == 3000
    assert three["scores"] == dict(list(every["scores"].items())[:3])
    assert list(three["scores"]) == [LABELS[i] for i in (7, 8, 9)]
    assert none["scores"] == {}
    # All else is said whatever the number of scores.
    others = ["category", "confidence", "unfamiliarity", *OF_LEVELS]
    assert [[one[name] for name in others] for one in (three, none)] == [[every[name] for name in others]] * 2
    assert (every["category"], every["published_path"]) == (LABELS[7], ["Department 0"])


def test_labels_are_built_once(bundle: Bundle) -> None:
    # A new tuple at each access makes whatever goes over the labels quadratic.
    assert bundle.labels is bundle.labels == tuple(LABELS)


@pytest.mark.parametrize(("asked", "told"), [((), 4), (("--scores", "top:2"), 2), (("--scores", "none"), 0)])
def test_the_job_prints_as_many_scores_as_asked(capsys, asked: tuple[str, ...], told: int) -> None:
    assert run_command(PredictSettings, predict_main, "predict", ["--text", "steel kettle", *asked]) == 0
    assert len(json.loads(capsys.readouterr().out)["scores"]) == told


def test_other_scores_are_refused(capsys) -> None:
    assert run_command(PredictSettings, predict_main, "predict", ["--text", "steel kettle", "--scores", "5"]) == 2
    assert "Expected --scores as all, none, or top:N" in capsys.readouterr().err
