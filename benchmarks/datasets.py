"""The labelled data sets of benchmarks/suite: where each comes from, its licence, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.data import joined_columns
from lib.model.text import TextSettings
from training.dataset import LabelledTexts, clean

# Of the rows of a data set too large to be fitted whole in every fold.
SAMPLE_SEED = 7
SEPARATOR = " > "


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from. original: the command or the page to get it; file: a table of it, in CATALOG_DATA."""

    file: str
    what: str
    original: str
    licence: str
    citation: str


@dataclass(frozen=True)
class DataSet:
    """A label column of an origin's table with the text columns it is learned from.

    sample: rows taken, None for all. separator: of the levels of labels that are paths.
    """

    origin: Origin
    label: str
    text_columns: tuple[str, ...]
    sample: int | None = None
    separator: str | None = None


ECOMMERCE = Origin(
    "ecommerce_text.parquet",
    "titles and descriptions of an Indian web shop, a part",
    "https://doi.org/10.5281/zenodo.3355823",
    "CC BY 4.0",
    "Gautam 2019, E-commerce text dataset (version 2), Zenodo, 10.5281/zenodo.3355823",
)
PRICERUNNER = Origin(
    "pricerunner.parquet",
    "product titles of many shops, in several languages",
    "https://archive.ics.uci.edu/dataset/837/product+classification+and+clustering",
    "CC BY 4.0",
    "Akritidis 2020, Product Classification and Clustering, UCI Machine Learning Repository",
)
WEBPRODUCTS = Origin(
    "suite/webproducts.parquet",
    "products of 1,782 web shops, labelled by hand with GS1's classification; train and validation part",
    "git clone https://github.com/ir-ischool-uos/mwpd",
    "none stated: measure only, publish no model of it",
    "Zhang, Bizer, Peeters and Primpeli 2020, MWPD2020: Semantic Web Challenge on Mining the Web of HTML-embedded Product Data",
)
SUPERMARKET = Origin(
    "suite/supermarket.parquet",
    "product names and brands of an Indian online supermarket",
    "kaggle datasets download surajjha101/bigbasket-entire-product-list-28k-datapoints",
    "as far as known CC BY-NC-SA 4.0: measure only",
    "BigBasket Entire Product List (28K datapoints), Kaggle",
)
GROCERY = Origin(
    "suite/grocery.parquet",
    "product names of a grocery shop; a fifth is set aside",
    "kaggle competitions download instacart-market-basket-analysis",
    "non-commercial use with attribution: measure only, publish no model of it",
    "The Instacart Online Grocery Shopping Dataset 2017",
)
INTENTS = Origin(
    "suite/intents.parquet",
    "short questions to an assistant, no products: many evenly distributed labels; without the texts that have none of them",
    "git clone https://github.com/clinc/oos-eval",
    "CC BY 3.0",
    "Larson et al. 2019, An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, EMNLP",
)

DATA_SETS: Mapping[str, DataSet] = {
    "ecommerce_text": DataSet(ECOMMERCE, "label", ("text",)),
    "pricerunner": DataSet(PRICERUNNER, "category", ("title",), 8_000),
    "webproducts level1": DataSet(WEBPRODUCTS, "level1", ("title", "description")),
    "webproducts level2": DataSet(WEBPRODUCTS, "level2", ("title", "description")),
    "webproducts level3": DataSet(WEBPRODUCTS, "level3", ("title", "description")),
    "supermarket category": DataSet(SUPERMARKET, "category", ("title", "brand")),
    "supermarket sub_category": DataSet(SUPERMARKET, "sub_category", ("title", "brand")),
    "supermarket type": DataSet(SUPERMARKET, "type", ("title", "brand")),
    "grocery department": DataSet(GROCERY, "department", ("title",), 15_000),
    "grocery aisle": DataSet(GROCERY, "aisle", ("title",), 15_000),
    "webproducts path": DataSet(WEBPRODUCTS, "path", ("title", "description"), separator=SEPARATOR),
    "supermarket path": DataSet(SUPERMARKET, "path", ("title", "brand"), separator=SEPARATOR),
    "grocery path": DataSet(GROCERY, "path", ("title",), 15_000, SEPARATOR),
    "intents": DataSet(INTENTS, "intent", ("text",)),
}


def read_data_set(folder: Path, name: str, settings: TextSettings) -> LabelledTexts:
    """The texts of a data set, cut, marked and cleaned as the job `train` does."""
    of = DATA_SETS[name]
    rows = pd.read_parquet(folder / of.origin.file)
    # Texts that belong to no label of the data set are left out, not learned as a label.
    rows = rows[rows[of.label] != "oos"]
    if of.sample and of.sample < len(rows):
        rows = rows.sample(of.sample, random_state=SAMPLE_SEED)
    pairs = pd.DataFrame({"label": rows[of.label].str.strip(" "), "text": joined_columns(rows, of.text_columns, settings)})
    return clean(pairs, settings, of.origin.file)
