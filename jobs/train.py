"""Train an LSTM text classifier on labelled texts, evaluate it as saved, and write it as a bundle.

./spark-submit.sh train --labels labels.csv --text-columns title,description --label-column category
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.command import run_command, speaks_json
from lib.errors import InputError
from lib.events import LOG_FORMATS, TEXT, json_line
from lib.model.changes import Changes, plain, read_changes
from lib.model.fields import columns_and_markers
from lib.model.text import TextSettings, characters_for
from lib.model.tree import SEPARATOR
from lib.progress.shown import watched
from lib.session import spark_session
from lib.settings import (
    ABOVE_0,
    BETWEEN_0_AND_1,
    DELIMITER,
    ENCODING,
    FORMATS,
    FROM_0_TO_1,
    FROM_0_TO_BELOW_1,
    HEADERLESS,
    LABELS_FORMAT,
    UTF_8,
    JobSettings,
    Names,
    Range,
    at_least,
    option,
)
from lib.tables.corrections import standing
from lib.tables.formats import SUFFIXES, ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import check_unchanged, read_source
from training.recipe import BagSettings, FitSettings, NetworkSettings, Place, Recipe, ReviewSettings

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from training.dataset import Elsewhere, LabelledTexts, Limits
    from training.progress import Telling
    from training.taxonomy import Taxonomy
    from training.training import Trained


MINUTES = Range("as a number of minutes from 0", lambda value: 0 <= value < math.inf)
SEED = Range("from 0 to 4294967295", lambda value: 0 <= value < 2**32)
FOLDS = Range("of 0 (none) or at least 2", lambda value: value == 0 or value >= 2)


@dataclass(frozen=True)
class TrainSettings(JobSettings):
    labels: str = option("labelled texts: path or table name (Delta, Parquet, CSV, JSON lines)")
    text_columns: Names = option("text columns, joined in this order; put short ones first", default=("text",))
    mark_fields: bool = option("mark for the network which column a word is in, if there are several", default=True)
    label_column: Names = option(
        "column with the label; several, the top level first, for labels that are paths", default=("label",)
    )
    label_separator: str | None = option(
        "separator of the levels of labels that are paths, such as ' > '; without it labels of one column are a flat list",
        default=None,
    )
    changes: str | None = option(
        "CSV file with the header old,new, as for the job relabel: texts under old labels are learned under the new ones",
        default=None,
    )
    taxonomy: str | None = option("file of the allowed paths, one per line: any other label ends the training", default=None)
    models: str = option(
        "folder of bundles: a path, or an address such as s3a://bucket/models or hdfs:///models", default="models"
    )
    name: str | None = option("the bundle's name (default: that of the labels' file or table)", default=None)
    format: str | None = option(LABELS_FORMAT, default=None, choices=FORMATS)
    columns: Names = option(HEADERLESS, default=())
    delimiter: str = option(DELIMITER, default=",")
    encoding: str = option(ENCODING, default=UTF_8)
    min_rows_per_label: int = option(
        "labels with fewer distinct texts are left out, or, if they are paths, learned as the one above them",
        default=2,
        within=at_least(1),
    )
    group_column: str | None = option(
        "column whose values, such as shops, stay on one side of the split; without it near-duplicates do", default=None
    )
    max_rows: int = option("maximum number of labelled rows that the driver reads", default=1_000_000, within=at_least(1))
    max_bytes: int = option("maximum bytes of text that the driver reads", default=1 << 30, within=at_least(1))
    vocabulary: int = option("maximum number of words in the vocabulary", default=Recipe.vocabulary, within=at_least(1))
    min_count: int | None = option(
        "times a word has to occur in the training texts (default: 1 if they are few, else 2)",
        default=Recipe.min_count,
        within=at_least(1),
    )
    max_tokens: int = option("tokens of a text that are read", default=TextSettings.max_tokens, within=at_least(1))
    pretrain: bool = option("start the embeddings from the co-occurrence of words", default=Recipe.pretrain)
    unlabelled: str | None = option("more texts to learn embeddings from, such as the catalogue: path or table", default=None)
    unlabelled_columns: Names = option("their text columns; FIELD=COLUMN as in categorize", default=("title", "description"))
    self_training: bool = option(
        "also learn from the unlabelled texts that a first model is sure of, under its labels: for a catalogue that is worded differently "
        "from the labelled texts; takes twice as long",
        default=Recipe.self_training,
    )
    vectors: str | None = option(
        "pretrained word vectors to learn from in addition: a local text file of GloVe, fastText or word2vec, plain or gzip",
        default=None,
    )
    vectors_words: int = option(
        "maximum number of words too rare in the training texts that are known by their vector alone",
        default=Recipe.vector_words,
        within=at_least(0),
    )
    vectors_note: str = option("origin and licence of the vectors, for the model card", default="")
    corrections: str | None = option(
        "also learn from corrections, in place of the labels of the same texts: the table of categorized products that was corrected",
        default=None,
    )
    corrections_columns: Names = option("the corrections' text columns (default: those of the labels)", default=())
    elsewhere: str | None = option(
        "labelled texts of another origin to judge the model on, with the columns label, origin and the text columns: path or table",
        default=None,
    )
    elsewhere_columns: Names = option("their text columns (default: those of the labels)", default=())
    embedding: int = option("size of a word's embedding", default=NetworkSettings.embedding, within=at_least(1))
    units: int = option("units of the LSTM, in each direction", default=NetworkSettings.units, within=at_least(1))
    bidirectional: bool = option("read texts in both directions", default=NetworkSettings.bidirectional)
    dense: int = option("units of the dense layer", default=NetworkSettings.dense, within=at_least(1))
    bag: bool = option(
        "sum up words, pairs of words and parts of unknown words alongside the LSTM", default=Recipe.bag is not None
    )
    bag_linear: bool = option(
        "also fit a linear classifier to the bag's features, if it takes no longer than the rest", default=BagSettings.linear
    )
    bag_pairs: int = option(
        "maximum number of word pairs that the bag keeps for scoring, the most frequent ones",
        default=BagSettings.scored_pairs,
        within=at_least(0),
    )
    bag_subwords: int = option(
        "maximum number of parts of unknown words that it keeps, the most frequent ones",
        default=BagSettings.scored_subwords,
        within=at_least(0),
    )
    bag_epochs: int | None = option(
        "passes over the texts for the bag (default: the fewer texts, the more)", default=BagSettings.epochs, within=at_least(1)
    )
    bag_learning_rate: float = option(
        "step size at the start for the bag; it falls along a cosine", default=BagSettings.learning_rate, within=ABOVE_0
    )
    refit: bool = option(
        "fit again on the train and the validation side together, once confidences are calibrated", default=Recipe.refit
    )
    logit_adjustment: float = option(
        "how much likelier a rare label is made; 0 for the most correct rows, more to find more of the rare labels",
        default=Recipe.logit_adjustment,
        within=FROM_0_TO_1,
    )
    search: float = option(
        "minutes to try other settings first, on folds of the train and the validation side; 0 for none",
        default=Recipe.search_minutes,
        within=MINUTES,
    )
    epochs: int | None = option(
        "passes over the texts for the LSTM (default: the fewer texts and the more labels, the more)",
        default=FitSettings.epochs,
        within=at_least(1),
    )
    batch: int = option("texts in a batch", default=FitSettings.batch, within=at_least(1))
    learning_rate: float = option(
        "step size of Adam at the start; it falls along a cosine", default=FitSettings.learning_rate, within=ABOVE_0
    )
    word_dropout: float = option(
        "share of words hidden while fitting", default=FitSettings.word_dropout, within=FROM_0_TO_BELOW_1
    )
    field_dropout: float = option(
        "share of the texts seen with only one of their fields while fitting",
        default=FitSettings.field_dropout,
        within=FROM_0_TO_BELOW_1,
    )
    label_smoothing: float = option(
        "probability spread over the other labels while fitting", default=FitSettings.label_smoothing, within=FROM_0_TO_BELOW_1
    )
    test_share: float = option(
        "share of the texts on the test side; 0 with --folds: judged over these, fitted on all",
        default=Recipe.test_share,
        within=FROM_0_TO_BELOW_1,
    )
    validation_share: float = option(
        "share of the texts on the validation side", default=Recipe.validation_share, within=FROM_0_TO_BELOW_1
    )
    folds: int = option(
        "also cross-validate over this many folds: mean and spread, and thresholds from all texts",
        default=Recipe.folds,
        within=FOLDS,
    )
    baselines: bool = option(
        "also fit the majority class, linear models of words and of characters, and fastText, to compare with",
        default=Recipe.baselines,
    )
    wrong_labels: str | None = option("CSV file for the labels that are probably wrong, with their texts", default=None)
    review_below: Names = option(
        "confidence below which a row gets the status review; also by label: 0.5,Books=0.8",
        default=(str(ReviewSettings.below),),
    )
    target_precision: float | None = option(
        "pick the threshold for review, on the validation side or the folds, above which this share of the rows is correct",
        default=ReviewSettings.target_precision,
        within=BETWEEN_0_AND_1,
    )
    precision_confidence: float = option(
        "confidence level at which that precision is promised",
        default=ReviewSettings.precision_confidence,
        within=BETWEEN_0_AND_1,
    )
    threshold_by_label: bool = option(
        "pick that threshold for each label, rather than one for all", default=ReviewSettings.by_label
    )
    promote_margin: float = option("loss of weighted F1 at which `current` still moves", default=0.005)
    seed: int = option("seed of the split, the weights and the order", default=FitSettings.seed, within=SEED)
    data_note: str = option("origin and licence of the data, for the model card", default="")
    limits: Names = option("known limits, for the model card, separated by commas", default=())
    tensorboard: str | None = option("folder for TensorBoard's logs", default=None)
    log_format: str = option(
        "format of the output: text for people, or a line of JSON for each event", default=TEXT, choices=LOG_FORMATS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.review()
        self._check_files()
        if self.label_separator is not None and not self.label_separator.strip():
            raise InputError("Expected --label-separator with a visible character, such as ' > ', found blanks; correct it.")
        if self.taxonomy and not self.separator:
            raise InputError(
                "Expected --label-separator, or several columns in --label-column, with --taxonomy, found neither; give one of them."
            )
        if self.self_training and not self.unlabelled:
            raise InputError("Expected --unlabelled with --self-training, found none; name the catalogue to learn from.")
        if not self.test_share + self.validation_share < 0.9 or not self.validation_share:
            raise InputError("Expected --validation-share above 0 and together with --test-share below 0.9; correct them.")
        if not self.test_share and not self.folds:
            raise InputError("Expected --folds with --test-share 0, found none; without both nothing judges the model.")
        if self.wrong_labels and not (self.baselines or self.folds):
            raise InputError(
                "Expected --baselines or --folds with --wrong-labels, found neither; their models find the wrong labels."
            )

    def _check_files(self) -> None:
        if self.wrong_labels and not Path(self.wrong_labels).absolute().parent.is_dir():
            raise InputError(f"Expected --wrong-labels in an existing folder, found {self.wrong_labels}; correct it.")
        if self.vectors and not Path(self.vectors).is_file():
            raise InputError(f"Expected a file of word vectors at {self.vectors}, found none; correct --vectors.")

    def review(self) -> tuple[float, dict[str, float]]:
        """--review-below as the threshold for all labels and those of single labels."""
        for_all, by_label = ReviewSettings.below, {}
        for one in _thresholds(self.review_below):
            label, _, number = one.rpartition("=")
            value = float(number) if _is_number(number) else -1.0
            if not 0 <= value < 1:
                raise InputError(
                    f"Expected --review-below as a number from 0 to below 1, or LABEL=NUMBER, found {one!r}; correct it."
                )
            if label:
                by_label[plain(label, self.separator)] = value
            else:
                for_all = value
        return for_all, by_label

    @property
    def separator(self) -> str | None:
        """The separator of a label's levels; None if labels are not paths."""
        return self.label_separator or (SEPARATOR if len(self.label_column) > 1 else None)

    @property
    def bundle_name(self) -> str:
        place = Path(self.labels.rstrip("/"))
        name = self.name or (place.stem if place.suffix in SUFFIXES else place.name.split(".")[-1])
        return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "labels"


def _thresholds(parts: Names) -> list[str]:
    """The thresholds of a list that was split at its commas: labels may have some, so what has no number belongs to what follows it."""
    whole, begun = [], ""
    for part in parts:
        _, mark, number = part.rpartition("=")
        if _is_number(number) and (mark or not begun):
            whole.append(begun + part)
            begun = ""
        else:
            begun += f"{part}, "
    return [*whole, *([begun.removesuffix(", ")] if begun else [])]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def main(settings: TrainSettings) -> int:
    # Imported here, so that --help and wrong use answer at once and without TensorFlow.
    from training.progress import STEPS, Telling

    with watched(settings.log_format, STEPS) as told:
        trained = _train(settings, Telling(told, answers=not speaks_json(settings)))
    if speaks_json(settings):
        said = {"bundle": trained.place, "promoted": trained.promoted, "verdict": trained.verdict}
        figures = (
            "judged_on",
            "rows",
            "accuracy",
            "f1_weighted",
            "f1_weighted_interval",
            "f1_macro",
            "expected_calibration_error",
        )
        print(json_line("trained", **said, **{name: trained.metrics[name] for name in figures}), flush=True)
    return 0


def _train(s: TrainSettings, say: Telling) -> Trained:
    from training.quiet import import_tensorflow

    import_tensorflow()
    from training.dataset import remarks, remarks_on_length
    from training.pretrained import coverage, vectors_for
    from training.progress import step
    from training.training import train
    from training.upload import check_may_write

    recipe = recipe_of(s)
    say(step("reading"))
    data, unlabelled, elsewhere = _read(s, recipe, say)
    dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in data.dropped.items())
    say(f"{data.rows_read:,} labelled rows read; dropped: {dropped}")
    for line in [*remarks(data), *remarks_on_length(data, recipe.text)]:
        say(line)
    check_may_write(s.models, s.bundle_name)
    vectors = None
    if s.vectors:
        texts = [data.texts, *([] if unlabelled is None else [unlabelled])]
        vectors = vectors_for(s.vectors, texts, recipe.text, s.vectors_words, s.vectors_note)
        say(str(coverage(vectors, data.texts, recipe.text)))
    place = Place(s.models, s.bundle_name, s.promote_margin, s.data_note, s.limits, s.wrong_labels)
    return train(data, recipe, place, unlabelled, elsewhere, s.tensorboard, say, vectors)


def _read(s: TrainSettings, recipe: Recipe, say: Telling) -> tuple[LabelledTexts, pa.Array | None, Elsewhere | None]:
    """The labelled texts, the unlabelled ones, and those of another origin; the last two are None if they are not requested."""
    from training.dataset import read_elsewhere, read_unlabelled_texts
    from training.taxonomy import read_taxonomy

    limits = limits_of(s)
    taxonomy = read_taxonomy(s.taxonomy, s.separator) if s.taxonomy and s.separator else None
    changes = read_changes(s.changes) if s.changes else None
    unlabelled = elsewhere = None
    with spark_session("train", s.debug) as spark:
        data = _read_labels(spark, s, recipe, taxonomy, changes, say)
        if s.unlabelled:
            named = columns_and_markers(s.unlabelled_columns, recipe.text.fields)
            more = read_source(spark, locate(spark, s.unlabelled), ReadOptions(wanted=named[0]))
            unlabelled = read_unlabelled_texts(more, *named, recipe.text, limits)
        if s.elsewhere:
            named = columns_and_markers(s.elsewhere_columns or s.text_columns, recipe.text.fields)
            judged = read_source(spark, locate(spark, s.elsewhere), ReadOptions(wanted=("label", "origin", *named[0])))
            elsewhere = read_elsewhere(judged, *named, recipe.text, limits, s.separator, changes).as_learned(data.moved_up)
            for line in elsewhere.remarks(s.elsewhere):
                say(line)
            if known := elsewhere.labelled_too(data, recipe.text):
                say(
                    f"{known:,} of the {len(elsewhere.texts):,} texts of {s.elsewhere} are labelled ones too, most of which the model is fitted to, so their "
                    "figures are too good"
                )
    return data, unlabelled, elsewhere


def _read_labels(
    spark: SparkSession, s: TrainSettings, recipe: Recipe, taxonomy: Taxonomy | None, changes: Changes | None, say: Telling
) -> LabelledTexts:
    """The labelled texts, and people's corrections if they are requested."""
    from training.dataset import LabelRules, read_corrected_texts, read_labelled_texts

    wanted = tuple(filter(None, (*s.label_column, s.group_column, *s.text_columns)))
    source = read_source(spark, locate(spark, s.labels), ReadOptions.of(s, wanted))
    corrected = None
    if s.corrections:
        named = columns_and_markers(s.corrections_columns or s.text_columns, recipe.text.fields)
        rows = standing(spark, locate(spark, s.corrections))
        corrected = read_corrected_texts(rows, s.corrections, *named, recipe.text)
        say(f"{len(corrected):,} corrections read")
    rules = LabelRules(s.label_column, s.separator, s.min_rows_per_label, taxonomy, changes)
    data = read_labelled_texts(source, s.text_columns, rules, recipe.text, limits_of(s), s.group_column, corrected)
    check_unchanged(source)
    check_thresholds(recipe, data.labels)
    return data


def limits_of(s: TrainSettings) -> Limits:
    from training.dataset import Limits

    return Limits(s.max_rows, s.max_bytes)


def recipe_of(s: TrainSettings) -> Recipe:
    below, below_by_label = s.review()
    return Recipe(
        text=TextSettings(
            max_characters=characters_for(s.max_tokens),
            max_tokens=s.max_tokens,
            fields=s.text_columns if s.mark_fields and len(s.text_columns) > 1 else (),
        ),
        network=NetworkSettings(s.embedding, s.units, s.bidirectional, s.dense),
        fit=FitSettings(
            epochs=s.epochs,
            batch=s.batch,
            learning_rate=s.learning_rate,
            word_dropout=s.word_dropout,
            label_smoothing=s.label_smoothing,
            field_dropout=s.field_dropout,
            seed=s.seed,
        ),
        vocabulary=s.vocabulary,
        min_count=s.min_count,
        pretrain=s.pretrain,
        vector_words=s.vectors_words,
        test_share=s.test_share,
        validation_share=s.validation_share,
        review=ReviewSettings(below, below_by_label, s.target_precision, s.threshold_by_label, s.precision_confidence),
        bag=bag_of(s) if s.bag else None,
        refit=s.refit,
        logit_adjustment=s.logit_adjustment,
        self_training=s.self_training,
        search_minutes=s.search,
        folds=s.folds,
        baselines=s.baselines,
    )


def bag_of(s: TrainSettings) -> BagSettings:
    return BagSettings(
        linear=s.bag_linear,
        scored_pairs=s.bag_pairs,
        scored_subwords=s.bag_subwords,
        epochs=s.bag_epochs,
        learning_rate=s.bag_learning_rate,
    )


def check_thresholds(recipe: Recipe, labels: tuple[str, ...]) -> None:
    unknown = sorted(set(recipe.review.below_by_label) - set(labels))
    if unknown:
        raise InputError(
            f"Expected --review-below for labels of the data ({', '.join(labels[:10])}), found {', '.join(unknown)}; correct it."
        )


if __name__ == "__main__":
    sys.exit(run_command(TrainSettings, main, "train"))
