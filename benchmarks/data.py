"""The real data of a folder, as trainings and benchmarks need it. CATALOG_DATA names the folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lib.model.fields import markers_of
from lib.model.text import TextSettings
from training.dataset import LabelledTexts, clean

ELECTRONICS = ("CPUs", "Digital Cameras", "Mobile Phones", "TVs")


def data_folder() -> Path:
    folder = os.environ.get("CATALOG_DATA")
    if not folder or not (Path(folder) / "ecommerce_text.parquet").is_file():
        raise SystemExit("Expected CATALOG_DATA to name a folder with ecommerce_text.parquet, found none; set it.")
    return Path(folder).resolve()


def write_page(page: Path, result: dict[str, Any], text: str, picture: bytes) -> None:
    """A benchmark's results next to each other: `page` with the suffixes .json, .md and .png."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    page.with_suffix(".md").write_text(text)
    page.with_suffix(".png").write_bytes(picture)


def joined(rows: pd.DataFrame) -> list[str]:
    """Title and description as lib.scoring.catalogue.joined_text joins them."""
    return (rows["title"].fillna("") + " " + rows["description"].fillna("")).str.strip(" ").tolist()


def joined_columns(rows: pd.DataFrame, columns: Sequence[str], settings: TextSettings) -> list[str]:
    """The text columns joined, cut and marked as lib.scoring.catalogue.joined_text does it in Spark."""
    markers = markers_of(settings.fields) or ("",) * len(columns)

    def part(text: str | None, marker: str) -> str | None:
        if text is None or (marker and not re.search(r"[^\W_]", text)):
            return None
        cut = text[: settings.max_characters]
        return f"{marker} {cut}" if marker else cut

    values = rows[list(columns)].astype(object).where(rows[list(columns)].notna(), None).itertuples(index=False)
    parts = ([part(text, marker) for text, marker in zip(row, markers, strict=True)] for row in values)
    return [" ".join(p for p in row if p is not None).strip(" ")[: settings.max_characters] for row in parts]


def labelled_texts(data: Path, settings: TextSettings) -> LabelledTexts:
    """The labelled texts of ecommerce_text.parquet, cut and cleaned as the job `train` does."""
    rows = pd.read_parquet(data / "ecommerce_text.parquet")
    rows["text"] = joined_columns(rows, ["text"], settings)
    return clean(rows, settings, "ecommerce_text.parquet")


def unlabelled_texts(data: Path) -> pa.Array:
    """Every text of catalog.parquet, for word embeddings; training leaves out those that it is judged on."""
    return pa.array(joined(pd.read_parquet(data / "catalog.parquet")), pa.string())


def texts_from_elsewhere(data: Path) -> pd.DataFrame:
    """Titles of other sources with the category they belong to in the labels of ecommerce_text: label, origin, text.

    In those labels white goods are Household; phones, televisions, processors and cameras are Electronics.
    """
    titles = pd.read_parquet(data / "pricerunner.parquet")
    electronic = titles["category"].isin(ELECTRONICS)
    shops = pd.DataFrame(
        {
            "label": electronic.map({True: "Electronics", False: "Household"}),
            "origin": "PriceRunner " + titles["category"],
            "text": titles["title"],
        }
    )
    catalogue = pd.read_parquet(data / "catalog.parquet")
    books = catalogue[catalogue["source"] == "goodbooks"]
    return pd.concat([shops, pd.DataFrame({"label": "Books", "origin": "goodbooks-10k", "text": joined(books)})])


def distinct_texts(texts: list[str], rows: int, start: int = 0) -> list[str]:
    """`rows` texts made from real ones, all different, with their lengths and words: the words of one up to its middle, then
    those of another from its middle on. Text i is the same in every call.
    """
    halves = [text.split(" ") for text in texts]
    first = [" ".join(words[: len(words) // 2]) for words in halves]
    second = [" ".join(words[len(words) // 2 :]) for words in halves]
    count = len(texts)
    # Each pair of texts comes once: within a round of `count` rows all first halves, each with another second half.
    return [f"{first[i % count]} {second[(i + i // count) % count]}" for i in range(start, start + rows)]


def write_distinct_texts(folder: Path, texts: list[str], rows: int, files: int) -> None:
    """`distinct_texts` as Parquet files of even size: number, product_id, text."""
    folder.mkdir(parents=True)
    schema = pa.schema([("number", pa.int64()), ("product_id", pa.string()), ("text", pa.string())])
    bounds = [rows * i // files for i in range(files + 1)]
    for first, last in pairwise(bounds):
        with pq.ParquetWriter(folder / f"part-{first:09d}.parquet", schema) as writer:
            for start in range(first, last, 50_000):
                numbers = range(start, min(start + 50_000, last))
                ids = [f"p{number:09d}" for number in numbers]
                writer.write_table(pa.table([list(numbers), ids, distinct_texts(texts, len(numbers), start)], schema=schema))
