"""Small trainings for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from lib.model.text import TextSettings
from training.recipe import BagSettings, FitSettings, NetworkSettings, Place, Recipe

# Above each label of the samples, where a test has paths.
PARENTS = {"Books": "Media", "Electronics": "Goods", "Household": "Goods", "Clothing & Accessories": "Goods"}


def with_paths(labels: pd.Series[str]) -> pd.Series[str]:
    return labels.map(lambda label: f"{PARENTS[label]} > {label}")


def tiny_recipe(**fit: Any) -> Recipe:
    return Recipe(
        text=TextSettings(max_tokens=30),
        network=NetworkSettings(embedding=8, units=8, dense=8),
        fit=replace(FitSettings(epochs=3, batch=16, learning_rate=0.02), **fit),
        vocabulary=500,
        min_count=1,
        pretrain=True,
        test_share=0.2,
        validation_share=0.2,
        bag=BagSettings(width=16, epochs=6, batch=16, learning_rate=0.02),
    )


def tiny_place(models: Path, **changes: Any) -> Place:
    place = Place(str(models), "tiny", promote_margin=0.005, data_note="written for this project", limits=())
    return replace(place, **changes)
