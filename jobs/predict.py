"""One text, or the lines of standard input, to category and scores; starts no Spark.

./spark-submit.sh predict --text "stainless steel kettle, 1.7 litres"
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.command import run_command
from lib.errors import InputError
from lib.model.arrays import Float32s
from lib.model.bundle import Bundle, load_bundle
from lib.model.engines import AUTO, ENGINE_CHOICES, Engine, checked_engine
from lib.model.fields import marked_text
from lib.model.text import without_halves
from lib.redaction import redacted
from lib.settings import BUNDLE, ENGINE, JobSettings, option
from schemas.statuses import OF_LEVELS

LINES_AT_ONCE = 1024
# The job runs from its folder, not from the zip, since it starts no Spark.
DEFAULT_MODEL = str(Path(__file__).resolve().parent.parent / "models" / "ecommerce")


@dataclass(frozen=True)
class PredictSettings(JobSettings):
    model: str = option(BUNDLE, default=DEFAULT_MODEL)
    text: str | None = option("the text; without it each line of standard input is one", default=None)
    field: str | None = option("the field the texts are, for a bundle of several fields (default: the first)", default=None)
    engine: str = option(ENGINE, default=AUTO, choices=ENGINE_CHOICES)


def main(settings: PredictSettings) -> int:
    if "://" in settings.model:
        raise InputError(
            f"Expected a bundle on this machine, since predict starts no Spark, found {redacted(settings.model)}; copy it here, or use the job explain."
        )
    bundle = load_bundle(settings.model)
    engine = checked_engine(settings.engine, bundle)
    texts = [settings.text] if settings.text is not None else _lines()
    fields = bundle.tokenizer.settings.fields
    for prediction in predictions((marked_text(text, fields, settings.field) for text in texts), bundle, engine):
        print(json.dumps(prediction, ensure_ascii=False), flush=True)
    return 0


def _lines() -> Iterator[str]:
    if sys.stdin is None:
        raise InputError("Expected texts in --text or on standard input, found it closed; give one.")
    # Whatever the terminal's encoding: bytes that are not UTF-8 count as unknown characters.
    # A line ends with a line feed alone: a carriage return inside of a text would give it two answers.
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace", newline="\n")
    return (line.rstrip("\r\n") for line in lines)


def predictions(texts: Iterable[str], bundle: Bundle, engine: Engine) -> Iterator[dict[str, object]]:
    """Category, confidence, scores, highest first, and unfamiliarity of each text; if labels are paths also their levels.

    The category of a text without words is null, and so is the unfamiliarity under a bundle of a format that has none.
    """
    texts = iter(texts)
    while several := list(islice(texts, LINES_AT_ONCE)):
        clean = [without_halves(text) for text in several]
        probabilities, evidence = engine.probabilities_and_evidence(bundle.tokenizer.ids_of(pa.array(clean, pa.string())))
        unfamiliar = bundle.unfamiliarity.of(evidence) if bundle.unfamiliarity else evidence * np.nan
        for row, unlike in zip(probabilities, unfamiliar, strict=True):
            order = np.argsort(-row, kind="stable")
            known = bool(np.isfinite(row).all())
            scores = {bundle.labels[i]: round(float(row[i]), 6) for i in order} if known else {}
            best = next(iter(scores.items()), (None, None))
            unfamiliarity = round(float(unlike), 6) if np.isfinite(unlike) else None
            said = {"category": best[0], "confidence": best[1], "scores": scores, "unfamiliarity": unfamiliarity}
            yield {**said, **(_levels(row, int(order[0]), bundle) if known else {})}


def _levels(row: Float32s, label: int, bundle: Bundle) -> dict[str, object]:
    """The values of the table's level columns, from a text's probabilities, float32 [labels], and its label."""
    if bundle.tree is None:
        return {}
    path, place = list(bundle.tree.paths[label]), np.array([label])
    confidences = bundle.tree.confidences(row[None], place)
    (published,) = bundle.tree.published(confidences, place, bundle.level_thresholds)
    sure = [round(float(one), 6) for one in confidences[0, : len(path)]]
    return dict(zip(OF_LEVELS, (path, sure, path[:published]), strict=True))


if __name__ == "__main__":
    sys.exit(run_command(PredictSettings, main, "predict"))
