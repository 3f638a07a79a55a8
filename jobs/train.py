"""Train an LSTM text classifier on labelled texts, evaluate it as saved, and write it as a bundle.

./spark-submit.sh train --labels labels.csv --text-columns title,description --label-column category
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.command import run_command
from lib.errors import InputError
from lib.locations import locate
from lib.session import spark_session
from lib.settings import JobSettings, Names, option
from lib.sources import FORMATS, SUFFIXES, ReadOptions, read_source
from lib.text import TextSettings


@dataclass(frozen=True)
class TrainSettings(JobSettings):
    labels: str = option("labelled texts: path or table name (Delta, Parquet, CSV, JSON lines)")
    text_columns: Names = option("text columns, joined in this order", default=("text",))
    label_column: str = option("column with the label", default="label")
    models: str = option("folder of bundles", default="models")
    name: str | None = option("the bundle's name (default: that of the labels' file or table)", default=None)
    format: str | None = option("the labels' format, where file names do not tell", default=None, choices=FORMATS)
    columns: Names = option("names of the columns of a CSV file without a header", default=())
    delimiter: str = option("what parts the fields of a CSV file", default=",")
    max_rows: int = option("labelled rows the driver takes in at most", default=1_000_000)
    max_bytes: int = option("bytes of text the driver takes in at most", default=1 << 30)
    vocabulary: int = option("words in the vocabulary at most", default=20_000)
    min_count: int = option("times a word has to occur in the training texts", default=2)
    max_tokens: int = option("tokens of a text that are read", default=200)
    pretrain: bool = option("start the embeddings from what words stand beside each other", default=True)
    unlabelled: str | None = option("more texts to learn embeddings from, such as the catalogue: path or table", default=None)
    unlabelled_columns: Names = option("their text columns", default=("title", "description"))
    embedding: int = option("size of a word's embedding", default=48)
    units: int = option("units of the LSTM, in each direction", default=64)
    bidirectional: bool = option("read texts in both directions", default=True)
    dense: int = option("units of the dense layer", default=64)
    epochs: int = option("epochs at most", default=8)
    patience: int = option("epochs without a lower validation loss before it stops", default=4)
    batch: int = option("texts in a batch", default=64)
    learning_rate: float = option("step size of Adam at the start; it falls along a cosine", default=2e-3)
    word_dropout: float = option("share of words hidden while fitting", default=0.3)
    label_smoothing: float = option("probability spread over the other labels while fitting", default=0.05)
    test_share: float = option("share of the texts on the test side", default=0.15)
    validation_share: float = option("share of the texts on the validation side", default=0.10)
    review_below: float = option("confidence below which a row gets the status review", default=0.5)
    target_precision: float | None = option(
        "pick the threshold for review, on the validation side, so that this share of the rows above it is right",
        default=None,
    )
    promote_margin: float = option("loss of weighted F1 at which `current` still moves", default=0.005)
    seed: int = option("seed of the split, the weights and the order", default=7)
    data_note: str = option("origin and licence of the data, for the model card", default="")
    limits: Names = option("known limits, for the model card, parted by commas", default=())
    tensorboard: str | None = option("folder for TensorBoard's logs", default=None)

    def __post_init__(self) -> None:
        for name in ("test_share", "validation_share", "word_dropout", "label_smoothing", "review_below"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"Expected --{name.replace('_', '-')} from 0 to below 1, found {getattr(self, name)}; correct it."
                )
        if not 0 < self.test_share + self.validation_share < 0.9 or not self.test_share or not self.validation_share:
            raise InputError("Expected --test-share and --validation-share above 0 and together below 0.9; correct them.")
        if self.target_precision is not None and not 0 < self.target_precision < 1:
            raise InputError(f"Expected --target-precision between 0 and 1, found {self.target_precision}; correct it.")
        sizes = (
            "max_rows",
            "max_bytes",
            "vocabulary",
            "min_count",
            "max_tokens",
            "embedding",
            "units",
            "dense",
            "epochs",
            "batch",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"Expected --{name.replace('_', '-')} of at least 1, found {getattr(self, name)}; correct it.")

    @property
    def bundle_name(self) -> str:
        place = Path(self.labels.rstrip("/"))
        name = self.name or (place.stem if place.suffix in SUFFIXES else place.name.split(".")[-1])
        return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "labels"


def main(settings: TrainSettings) -> int:
    # Imported here, so that --help and wrong use answer at once and without TensorFlow.
    from training.quiet import import_tensorflow

    import_tensorflow()
    from training.contents import Place, Recipe
    from training.dataset import Limits, read_labelled_texts, read_unlabelled_texts
    from training.fit import FitSettings
    from training.network import NetworkSettings
    from training.training import train

    s = settings
    recipe = Recipe(
        TextSettings(max_tokens=s.max_tokens),
        NetworkSettings(s.embedding, s.units, s.bidirectional, s.dense),
        FitSettings(s.epochs, s.batch, s.learning_rate, s.patience, s.word_dropout, s.label_smoothing, s.seed),
        s.vocabulary,
        s.min_count,
        s.pretrain,
        s.test_share,
        s.validation_share,
        s.review_below,
        s.target_precision,
    )
    with spark_session("train", s.debug) as spark:
        source = read_source(spark, locate(spark, s.labels), ReadOptions(s.format, s.columns, s.delimiter))
        limits = Limits(s.max_rows, s.max_bytes)
        data = read_labelled_texts(source, s.text_columns, s.label_column, recipe.text, limits)
        more = read_source(spark, locate(spark, s.unlabelled)) if s.unlabelled else None
        unlabelled = read_unlabelled_texts(more, s.unlabelled_columns, recipe.text, limits) if more else None
    dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in data.dropped.items())
    print(f"{data.rows_read:,} labelled rows read; dropped: {dropped}", flush=True)
    place = Place(s.models, s.bundle_name, s.promote_margin, s.data_note, s.limits)
    train(data, recipe, place, unlabelled, s.tensorboard)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(TrainSettings, main, "train"))
