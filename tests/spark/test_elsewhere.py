"""Labelled texts of another origin, as `train --elsewhere` reads them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.model.changes import Change, Changes
from lib.model.text import TextSettings
from lib.tables.locations import locate
from lib.tables.sources import read_source
from training.dataset import Elsewhere, Limits, clean, read_elsewhere

ROWS = {
    "label": ["Toys", "Toys", "Media", " Books ", None, "Books"],
    "origin": ["a", "b", "a", "a", "a", " "],
    "text": ["ball", "kite", "film", "novel", "lamp", "essay"],
}


def test_texts_whose_label_became_several_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "elsewhere.csv", index=False)
    source = read_source(spark, locate(spark, str(tmp_path / "elsewhere.csv")))
    changes = Changes([Change("Toys", "Games"), Change("Toys", "Sports"), Change("Media", "Films")], "changes.csv")
    settings, limits = TextSettings(), Limits(100, 10_000)
    found = read_elsewhere(source, ("text",), (), settings, limits, changes=changes)
    assert (found.labels, found.origins, found.texts.to_pylist()) == (("Films", "Books"), ("a", "a"), ["film", "novel"])
    assert found.remarks("elsewhere.csv") == [
        "2 rows of 1 labels of elsewhere.csv are left out, since each of these became several: 'Toys'"
    ]
    unchanged = read_elsewhere(source, ("text",), (), settings, limits)
    assert (unchanged.labels, unchanged.remarks("elsewhere.csv")) == (("Toys", "Toys", "Media", "Books"), [])


def test_texts_that_are_labelled_ones_too_are_counted() -> None:
    labelled = pd.DataFrame({"label": ["a", "b"] * 2, "text": ["steel kettle", "novel", "cup", "poem"]})
    data = clean(labelled, TextSettings(), "labels.csv")
    there = Elsewhere(pa.array(["Steel KETTLE!", "cup of steel", "poem", None]), ("a",) * 4, ("o",) * 4)
    assert there.labelled_too(data, TextSettings()) == 2


def test_none_of_them_can_be_used(spark: SparkSession, tmp_path: Path) -> None:
    pd.DataFrame(ROWS).head(2).to_csv(tmp_path / "elsewhere.csv", index=False)
    source = read_source(spark, locate(spark, str(tmp_path / "elsewhere.csv")))
    changes = Changes([Change("Toys", "Games"), Change("Toys", "Sports")], "changes.csv")
    with pytest.raises(InputError, match=r"found none but those of labels that became several \('Toys'\); correct --elsewhere"):
        read_elsewhere(source, ("text",), (), TextSettings(), Limits(100, 10_000), changes=changes)
