"""One text, or the lines of standard input, to category and scores; starts no Spark.

./spark-submit.sh predict --text "stainless steel kettle, 1.7 litres"
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.command import run_command
from lib.errors import InputError
from lib.model.bundle import load_bundle
from lib.model.engines import AUTO, ENGINE_CHOICES, checked_engine
from lib.model.fields import marked_text
from lib.model.predictions import predictions
from lib.redaction import redacted
from lib.scoring.scores import DEFAULT, MOST_LABELS_OF_ALL, check_scores, scores_kept
from lib.settings import BUNDLE, ENGINE, JobSettings, option

# The job runs from its folder, not from the zip, since it starts no Spark.
DEFAULT_MODEL = str(Path(__file__).resolve().parent.parent / "models" / "ecommerce")


@dataclass(frozen=True)
class PredictSettings(JobSettings):
    model: str = option(BUNDLE, default=DEFAULT_MODEL)
    text: str | None = option("the text; without it each line of standard input is one", default=None)
    field: str | None = option("the field the texts are, for a bundle of several fields (default: the first)", default=None)
    engine: str = option(ENGINE, default=AUTO, choices=ENGINE_CHOICES)
    scores: str | None = option(
        "labels whose probabilities are printed: all, none, or top:N for the N most probable "
        f"(default: all of up to {MOST_LABELS_OF_ALL} labels, {DEFAULT} of more)",
        default=None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scores(self.scores)


def main(settings: PredictSettings) -> int:
    if "://" in settings.model:
        raise InputError(
            f"Expected a bundle on this machine, since predict starts no Spark, found {redacted(settings.model)}; copy it here, or use the job explain."
        )
    bundle = load_bundle(settings.model)
    engine = checked_engine(settings.engine, bundle)
    texts = [settings.text] if settings.text is not None else _lines()
    fields = bundle.tokenizer.settings.fields
    kept = scores_kept(settings.scores, len(bundle.labels))
    for prediction in predictions((marked_text(text, fields, settings.field) for text in texts), bundle, engine, kept):
        print(json.dumps(prediction, ensure_ascii=False), flush=True)
    return 0


def _lines() -> Iterator[str]:
    if sys.stdin is None:
        raise InputError("Expected texts in --text or on standard input, found it closed; give one.")
    # Whatever the terminal's encoding: bytes that are not UTF-8 count as unknown characters.
    # A line ends with a line feed alone: a carriage return inside of a text would give it two answers.
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace", newline="\n")
    return (line.rstrip("\r\n") for line in lines)


if __name__ == "__main__":
    sys.exit(run_command(PredictSettings, main, "predict"))
