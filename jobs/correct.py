"""Correct categories: a person's correction overrides the model for readers, and teaches the next training.

./spark-submit.sh correct --target lake/categorized --file review.csv --text-columns title,description
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.model.changes import named
from lib.session import spark_session
from lib.settings import DELIMITER, ENCODING, FORMATS, TARGET, UTF_8, JobSettings, Names, option
from lib.tables.corrections import BY, CORRECT, WHY, add_corrections, corrections_of, of_no_product, read_corrections, user_here
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate, locate_to_write
from lib.tables.sources import check_unchanged, read_source
from lib.tables.target import check_categorized


@dataclass(frozen=True)
class CorrectSettings(JobSettings):
    target: str = option(f"{TARGET}; _corrections is next to it")
    file: str = option(
        f"file that a person has filled in, such as that of `review`: product_id and {CORRECT}, perhaps {BY} and {WHY}; rows without a "
        "category are skipped"
    )
    text_columns: Names = option("columns of it with the product's texts, which `train --corrections` learns from", default=())
    by: str | None = option(f"who corrects, if the file has no {BY} (default: the user of this machine)", default=None)
    withdraw: bool = option("the products of the file get the model's category again", default=False)
    new_categories: bool = option("also accept categories that the table does not have", default=False)
    format: str | None = option("its format, if the file's name does not show it", default=None, choices=FORMATS)
    delimiter: str = option(DELIMITER, default=",")
    encoding: str = option(ENCODING, default=UTF_8)


def main(settings: CorrectSettings) -> int:
    s = settings
    with spark_session("correct", s.debug) as spark:
        target = locate_to_write(spark, s.target)
        check_categorized(spark, target)
        wanted = ("product_id", *(() if s.withdraw else (CORRECT,)), *s.text_columns)
        source = read_source(spark, locate(spark, s.file), ReadOptions.of(s, wanted))
        # Kept, so that what is added is what was checked, whatever happens to the file.
        rows = read_corrections(source, s.text_columns, s.by or user_here(), s.withdraw).persist()
        try:
            rows.count()
            check_unchanged(source)
            found = add_corrections(spark, target, rows, s.new_categories)
            unknown = of_no_product(spark, target)
        finally:
            rows.unpersist()
    where = corrections_of(target).given
    print(f"{found.added:,} corrections added to {where}" if found.added else f"nothing to do: {where} has these already")
    print(f"  {found.standing:,} products are corrected; of these the model gives {found.agree:,} the same category by now")
    if unknown:
        print(
            f"  {sum(unknown.values()):,} of them name {len(unknown):,} categories that the model gives to no product: {named(unknown)}"
        )
    if found.gone:
        print(f"  {found.gone:,} of them are no longer in {target.given}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(CorrectSettings, main, "correct"))
