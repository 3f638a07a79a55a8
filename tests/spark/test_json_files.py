"""JSON lines are read as they are written, or the run ends with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.command import input_fault
from lib.errors import InputError
from tests.spark.test_readers import delivered, titles

pytestmark = pytest.mark.usefixtures("spark")

LAMP, CHAIR = '{"product_id": "1", "title": "lamp"}', '{"product_id": "2", "title": "chair"}'


@pytest.mark.parametrize(
    "text",
    [
        f"{LAMP}{CHAIR}\n",
        f"{LAMP} {CHAIR}\n",
        f"{LAMP},{CHAIR}\n",
        f"{LAMP},\n{CHAIR}\n",
        f"{LAMP}\n{CHAIR} and a mat\n",
        f'{LAMP}\n{CHAIR}, "more": {{"product_id": "3"}}}}\n',
        f"{LAMP}\n[{CHAIR}],[{CHAIR}]\n",
        f"[] {LAMP}\n",
    ],
)
@pytest.mark.fault(
    "two JSON objects on one line, or text after one",
    "exit 2, the file named",
    "file named",
)
def test_more_than_one_object_on_a_line(spark, tmp_path: Path, text: str) -> None:
    source = delivered(tmp_path / "in", {"a.json": text, "b.json": '{"product_id": "4", "title": "mat"}\n'})
    with pytest.raises(InputError, match=r"one JSON object a line.*a\.json"):
        titles(spark, source)


@pytest.mark.parametrize(
    "text",
    [
        f"{LAMP}\n\n  \n{CHAIR}",
        f"  {LAMP} \t\n{CHAIR}\r\n",
        f"[{LAMP},{CHAIR}]\n",
        f'{LAMP[:-1]}, "size": {{"is": NaN, "as": "}} {{"}}}}\n{CHAIR}\n',
        LAMP[:-1] + ", 'more': '\"}{'}\n" + CHAIR,
        LAMP[:-1] + ', "more": [{"a": 1}, {"a": 2}], "text": "}{\\""}\n' + CHAIR,
    ],
)
def test_one_object_on_a_line(spark, tmp_path: Path, text: str) -> None:
    assert titles(spark, delivered(tmp_path / "in", {"a.json": text})) == {"1": "lamp", "2": "chair"}


def test_lines_that_end_in_carriage_returns_in_another_encoding(spark, tmp_path: Path) -> None:
    source = delivered(tmp_path / "in", {"a.json": f"{LAMP}\r{CHAIR}\r"})
    assert titles(spark, source) == {"1": "lamp", "2": "chair"}
    with pytest.raises(InputError, match=r"each line ended by a line feed, in .*a\.json"):
        titles(spark, source, encoding="latin-1")


def test_keys_in_another_encoding(spark, tmp_path: Path) -> None:
    contents = {f"{i}.json": f'{{"product_id": "{i}", "title": "x", "Größe": "7"}}\n'.encode("latin-1") for i in "12"}
    assert titles(spark, delivered(tmp_path / "in", contents), "Größe", encoding="latin-1") == {"1": "x", "2": "x"}


@pytest.mark.parametrize("parted", [True, False])
@pytest.mark.fault(
    "JSON keys of one column that differ in case",
    "exit 2, both spellings named",
    "both named",
)
def test_keys_in_two_spellings(spark, tmp_path: Path, parted: bool) -> None:
    other = '{"Product_ID": "2", "Title": "chair"}\n'
    contents = {"a.json": f"{LAMP}\n", "b.json": other} if parted else {"a.json": f"{LAMP}\n{other}"}
    with pytest.raises(InputError, match=r"the key product_id in one spelling .* found Product_ID and product_id"):
        titles(spark, delivered(tmp_path / "in", contents))


def test_a_column_of_the_folder_and_of_the_lines(spark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the column title of .* found it in both"):
        titles(spark, delivered(tmp_path / "in", {"title=lamp/a.json": CHAIR}))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    "half", ['{"product_id": "3", "ti', '{"product_id": "3", "title": "Stu', '{"product_id": "3",', "[", '{"product_id": {']
)
@pytest.mark.fault("a truncated JSON line, in one file of several", "exit 2, the file named", "file named")
def test_half_a_line(spark, tmp_path: Path, half: str, encoding: str) -> None:
    source = delivered(tmp_path / "in", {"a.json": f"{LAMP}\n", "b.json": f"{CHAIR}\n{half}", "c.json": f"{LAMP}\n"})
    with pytest.raises(InputError, match=r"one JSON object a line in .*b\.json, found a line that is none"):
        titles(spark, source, encoding=encoding)


@pytest.mark.parametrize("text", ["5\n", '"x"\n', f"{LAMP}\n5\n"])
def test_lines_that_are_no_objects(spark, tmp_path: Path, text: str) -> None:
    with pytest.raises(Exception, match="JSON") as caught:
        titles(spark, delivered(tmp_path / "in", {"a.json": text}))
    assert "one JSON object a line" in (
        str(caught.value) if isinstance(caught.value, InputError) else input_fault(caught.value)
    )
