"""Odd sources, drawn at random and judged in plain Python (inputs.py): each is read correctly, or refused.

./run-tests.sh tests/faults/test_inputs.py --inputs 10000 --seed 1
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql.types import StringType

from lib.errors import InputError
from lib.scoring.catalogue import CatalogueColumns, catalogue_rows, rejected_rows, take_census
from lib.spark_errors import input_fault
from lib.tables.columns import ID_TYPES, require_columns, require_text
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import check_unchanged, read_source
from tests.faults.inputs import Delivery, draw, text_of

pytestmark = pytest.mark.usefixtures("spark")

MOST_CHARACTERS = 100_000
PART = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("first", range(0, metafunc.config.getoption("inputs"), PART))


@pytest.mark.fault(
    "random sources of all formats, layouts, encodings and options, two fifths with a fault in them",
    "read correctly or refused with a sentence",
    "each of them",
)
def test_every_source_is_read_right_or_refused(spark, tmp_path: Path, first: int, pytestconfig) -> None:
    seed, seen = pytestconfig.getoption("seed"), Counter()
    numbers = range(first, min(first + PART, pytestconfig.getoption("inputs")))
    for number in numbers:
        found = draw(f"{seed}-{number}", tmp_path / str(number))
        seen[judged(spark, found, f"--seed {seed}, number {number}")] += 1
        shutil.rmtree(tmp_path / str(number))
    print(dict(seen))
    # Correct sources are not refused, and faults are drawn often enough to show that.
    assert len(numbers) < PART or seen["read, without a fault"] > seen["refused"] > 0


def judged(spark, found: Delivery, which: str) -> str:
    """The job's verdict on a source: refused, or read correctly; with its fault, or without one."""
    told = f"{which}: {found.path.name}, {found.options}, order {found.order_by}, fault {found.fault}, {found.notes}"
    try:
        texts, rejected = job_s_answer(spark, found)
    except Exception as error:
        if not isinstance(error, InputError) and input_fault(error) is None:
            raise AssertionError(f"{told}\nno sentence for {str(error)[:2000]}") from error
        if found.fault is None:
            raise AssertionError(f"{told}\nrefused: {error}") from error
        return "refused"
    wanted, wanted_rejected = found.answer
    if found.fault is not None:
        copies = found.copies
        others = [one for one, text in texts.items() if text not in {text_of(row) for row in copies.get(one, ())}]
        missing = [] if found.may_end else copies.keys() - texts.keys()
        if found.may_differ is not None:
            assert max(len(others), len(missing)) <= found.may_differ, f"{told}\nothers {others}, missing {missing}"
        return "read, with a fault"
    assert texts.keys() == wanted.keys(), f"{told}\nids {texts.keys() ^ wanted.keys()}"
    assert {one: text for one, text in wanted.items() if text is not None and texts[one] != text} == {}, told
    assert rejected == wanted_rejected, f"{told}\nrejected {rejected}, not {wanted_rejected}"
    return "read, without a fault"


def job_s_answer(spark, found: Delivery) -> tuple[dict[str, str], int]:
    """The text of each id and the rejected rows, by the steps of `categorize` before it scores."""
    columns = CatalogueColumns("product_id", ("title", "description"), order_by=found.order_by)
    source = read_source(spark, locate(spark, str(found.path)), ReadOptions(**found.options, wanted=columns.all))
    where = str(found.path)
    require_columns(source.frame, where, id_column=([columns.id], ID_TYPES))
    require_text(source.frame, where, columns.text)
    if columns.order_by:
        require_columns(source.frame, where, order_by=([columns.order_by], (StringType,)))
    census = take_census(source.frame, columns)
    rows = catalogue_rows(source.frame, columns, MOST_CHARACTERS, census).collect()
    texts = {row["product_id"]: row["text"] for row in rows}
    assert len(texts) == len(rows) == census.ids
    rejected = rejected_rows(source.frame, columns, census).count()
    assert census.rows_rejected == rejected
    check_unchanged(source)
    return texts, rejected
