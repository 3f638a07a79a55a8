"""CSV is read as RFC 4180 defines it, whatever its delimiter, or the run ends with the file's name."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.spark_errors import input_fault
from lib.tables.csv_checks import NOTHING, OUTSIDE, Quotes, quotes_of
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source
from tests.spark.test_readers import delivered, titles

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ('product_id,title\n1,5" pipe\n2,"never closed\n3,lamp\n4,chair\n', ","),
        ('product_id,title\n1,"lamp,"\n2,"never closed\n3,a ""b""\n', ","),
        ('product_id\ttitle\n1\t5" pipe\n2\t"never closed\n3\tlamp\n', "\\t"),
        ('product_id||title\n1||5" pipe\n2||"never closed\n3||lamp\n', "||"),
        ('product_id,title\r1,5" pipe\r2,"never closed\r3,lamp\r', ","),
    ],
)
@pytest.mark.fault(
    "a CSV text in quotes that is never closed, in a file with an even number of quotes or under another delimiter",
    "exit 2, the file named",
    "file named",
)
def test_a_text_that_is_never_closed(spark, tmp_path: Path, text: str, delimiter: str) -> None:
    with pytest.raises(InputError, match=r"closed in the CSV file .*a\.csv"):
        titles(spark, delivered(tmp_path / "in", {"a.csv": text}), delimiter=delimiter)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("product_id,title,TITLE", "title and TITLE"),
        ('product_id,"title",,title', "title and title"),
        ("\ufeffTitle,product_id,title", "Title and title"),
    ],
)
@pytest.mark.fault(
    "a CSV header that has a column of the job twice, in one spelling or in two",
    "exit 2, the file and both spellings named",
    "file and spellings named",
)
def test_a_column_twice_in_a_header(spark, tmp_path: Path, header: str, found: str) -> None:
    source = delivered(tmp_path / "in", {"a.csv": "product_id,title\n1,lamp\n", "b.csv": f"{header}\n"})
    with pytest.raises(InputError, match=rf"the column title once in the header of .*b\.csv, found {found};"):
        titles(spark, source)
    # Another one does not matter.
    other = delivered(tmp_path / "other", {"a.csv": "product_id,title,size,SIZE\n1,lamp,2,3\n"})
    assert titles(spark, other) == {"1": "lamp"}


@pytest.mark.parametrize(
    ("text", "title", "delimiter"),
    [
        ('product_id,title\n1,"lamp,"\n', "lamp,", ","),
        ('product_id,title\n1,"lamp\n"\n', "lamp\n", ","),
        ('product_id,title\n1,"lamp\r\n"\n', "lamp\r\n", ","),
        ('product_id,title\n1,5" pipe\n', '5" pipe', ","),
        ('product_id\t"ti\ntle"\ttitle\n1\tx\t"lamp\t"\n', "lamp\t", "\\t"),
        ('product_id\\title\n1\\"a\\b"\n', "a\\b", "\\\\"),
        ('product_id||title\n1||"a||"\n', "a||", "||"),
    ],
)
def test_quoted_texts_that_are_closed(spark, tmp_path: Path, text: str, title: str, delimiter: str) -> None:
    assert titles(spark, delivered(tmp_path / "in", {"a.csv": text}), delimiter=delimiter) == {"1": title}


@pytest.mark.parametrize(
    ("line", "does"),
    [
        ("1,lamp", NOTHING),
        ('1,"",""""', NOTHING),
        ('1,"lamp', Quotes(False, True)),
        ('1,"lamp"', OUTSIDE),
        ('1,5" pipe,"lamp', Quotes(True, True)),
        ('1,"lamp,"', NOTHING),
        ('"', Quotes(False, True)),
    ],
)
def test_what_the_quotes_of_a_line_do(line: str, does: Quotes) -> None:
    assert quotes_of(line, ",") == does


@pytest.mark.parametrize("delimiter", ["", "\\", "\\u0001", '"', "\n"])
def test_delimiters_that_are_none(spark, tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(InputError, match="Expected a delimiter such as"):
        titles(spark, delivered(tmp_path / "in", {"a.csv": "product_id,title\n1,lamp\n"}), delimiter=delimiter)


@pytest.mark.fault(
    "a CSV file whose first line is made of blanks",
    "exit 2: the line is the header, and no product",
    "refused",
)
def test_a_first_line_of_blanks_is_the_header(spark, tmp_path: Path) -> None:
    contents = {"a.csv": "  \nproduct_id,title\n1,lamp\n", "b.csv": "product_id,title\n2,chair\n"}
    with pytest.raises(InputError, match=r"the column product_id in each file .*a\.csv"):
        titles(spark, delivered(tmp_path / "in", contents))


def test_a_header_in_another_encoding(spark, tmp_path: Path) -> None:
    source = delivered(tmp_path / "in", {"a.csv": "product_id,title,Größe\n1,lamp,7\n".encode("latin-1")})
    assert titles(spark, source, "Größe", encoding="latin-1") == {"1": "lamp"}
    options = ReadOptions(encoding="latin-1", wanted=("product_id", "Größe"))
    frame = read_source(spark, locate(spark, str(source)), options).frame
    assert [tuple(row) for row in frame.select("Größe").collect()] == [("7",)]


def test_a_column_of_the_folder_and_of_the_header(spark, tmp_path: Path) -> None:
    source = delivered(tmp_path / "in", {"title=lamp/a.csv": "product_id,title\n1,chair\n"})
    with pytest.raises(InputError, match=r"the column title of .* found it in both for .*a\.csv"):
        titles(spark, source)


@pytest.mark.parametrize(
    ("header", "columns", "encoding"),
    [
        ("product_id,title,size", (), "latin-1"),
        ("\ufeffTITLE,Product_Id,colour", (), "utf-8"),
        ('"product_id","title",""', (), "utf-8"),
        ("product_id,title,size", ("product_id", "title", "size"), "shift_jis"),
        ("title,size,product_id", ("product_id", "title", "size"), "utf-8"),
    ],
)
@pytest.mark.fault(
    "a CSV header among the rows, where files were joined to one, or in a file for which `--columns` names the columns",
    "exit 2, the file named; the header is no product",
    "file named",
)
def test_a_header_among_the_rows(spark, tmp_path: Path, header: str, columns: tuple[str, ...], encoding: str) -> None:
    rows = "2,chair,5\n" if columns else "product_id,title,size\n1,lamp,3\n2,product_id title,size\n"
    contents = {"a b.csv": f"{rows}{header}\n3,cup,6\n".encode(encoding), "c.csv": rows.replace("2", "4").replace("1", "5")}
    with pytest.raises(Exception, match="HEADER") as caught:
        titles(spark, delivered(tmp_path / "in", contents), columns=columns, encoding=encoding)
    found = "CSV without a header where --columns" if columns else "one header, at the top"
    assert re.search(rf"Expected {found} .* in file:\S*a%20b\.csv; ", input_fault(caught.value) or "")


def test_rows_that_resemble_a_header(spark, tmp_path: Path) -> None:
    text = "product_id,title,size\nproduct_id,lamp,title\n2,title,product_id 2\n3,product_id,size\ntitle,,\n"
    found = titles(spark, delivered(tmp_path / "in", {"a.csv": text}))
    assert found == {"product_id": "lamp", "2": "title", "3": "product_id", "title": None}


@pytest.mark.parametrize("name", ["a.tsv", "in/a.TAB", "a.tsv.gz"])
def test_tabs_by_the_name_of_the_file(spark, tmp_path: Path, name: str) -> None:
    def written(text: str) -> Path:
        delivered(tmp_path, {name: gzip.compress(text.encode()) if name.endswith(".gz") else text})
        return tmp_path / name

    assert titles(spark, written("product_id\ttitle\n1\tlamp, red\n")) == {"1": "lamp, red"}
    assert titles(spark, written("product_id;title\n1;lamp\tred\n"), delimiter=";") == {"1": "lamp\tred"}
    assert titles(spark, written("product_id,title\n1,lamp\tred\n"), format="csv") == {"1": "lamp\tred"}
