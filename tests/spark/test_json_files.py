"""JSON lines are read as they are written, or the run ends with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import InputError
from lib.spark_errors import input_fault
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source
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


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "shift_jis", "us-ascii"])
@pytest.mark.fault(
    "JSON numbers such as 1.10 in another encoding than UTF-8, which Spark reads as 1.1",
    "exit 2 with file and column, unless the number is read as it is written",
    "file and column named",
)
def test_numbers_in_another_encoding_are_read_as_written(spark, tmp_path: Path, encoding: str) -> None:
    same = ["7", "19.99", "-0.5", "100.0", "0.001", "123456789012345678901234567890"]
    lines = [f'{{"product_id": {number}, "title": "x 1.10", "size": 1.10}}\n' for number in same]
    read = titles(spark, delivered(tmp_path / "same", {"a.json": "".join(lines)}), encoding=encoding)
    assert read == dict.fromkeys(same, "x 1.10")
    for i, number in enumerate(("1.10", "-0", "1e2", "0.0001", "12345678.5")):
        source = delivered(
            tmp_path / f"other-{i}", {"a.json": "".join(lines), "b.json": f'{{"title": "x", "product_id":{number}}}\n'}
        )
        with pytest.raises(InputError, match=r"without numbers such as 1\.10, .* in file:\S*b\.json, found some as product_id"):
            titles(spark, source, encoding=encoding)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('{"product_id": {"$oid": "65a1"}, "title": "x"}', "product_id"),
        ('{"product_id": "2", "title": ["x", "y"]}', "title"),
        ('[{"product_id": "3", "title": "x"}, {"Title":\t{}, "product_id": "2"}]', "title"),
        ("{'product_id': [], 'title': 'x'}", "product_id"),
        ('{"product_id": "2", "title": "x", "Gr\\u00f6\\u00dfe": {"cm": 5}}', "Größe"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.fault(
    "a JSON object or array in a line where others have the id or a text",
    "exit 2, file and column named",
    "file and column named",
)
def test_an_object_is_no_text(spark, tmp_path: Path, line: str, name: str, encoding: str) -> None:
    source = delivered(tmp_path / "in", {"a.json": f"{LAMP}\n", "b.json": f"{CHAIR}\n{line}\n"})
    with pytest.raises(
        InputError, match=rf"a single value as {name} in each line of file:\S*b\.json, found an object or array"
    ):
        titles(spark, source, "Größe", encoding=encoding)


def test_a_text_may_begin_with_a_bracket(spark, tmp_path: Path) -> None:
    lines = [
        '{"product_id": "1", "title": "[new] lamp", "parts": [{"title": {"de": "Lampe"}}]}',
        '{"product_id": "{2}", "title": "\\"title\\": {", "sizes": {"product_id": ["5"]}}',
    ]
    found = titles(spark, delivered(tmp_path / "in", {"a.json": "\n".join(lines)}))
    assert found == {"1": "[new] lamp", "{2}": '"title": {'}


def test_keys_with_escapes_are_there(spark, tmp_path: Path) -> None:
    contents = {f"{i}.json": f'{{"\\u00c4rtikel": "{i}", "product_id": "{i}", "title": "x"}}\n' for i in "12"}
    options = ReadOptions(wanted=("Ärtikel", "title"))
    rows = read_source(spark, locate(spark, str(delivered(tmp_path / "in", contents))), options).frame.collect()
    assert sorted(row["Ärtikel"] for row in rows) == ["1", "2"]
