"""docs/tables.md and the tables' own comments say the same about each column."""

from __future__ import annotations

import re

import pytest
from pyspark.sql.types import StructType

from schemas.tables import CATEGORIZED, COMMENTS, CORRECTIONS, REJECTED, RUNS
from tests.conftest import ROOT


def told(section: str) -> dict[str, str]:
    """The columns that a section of docs/tables.md describes, with their types; empty where it leaves a type out."""
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    found = {}
    for line in re.findall(r"^\| (.+) \|$", body, re.MULTILINE):
        cells = [cell.strip() for cell in line.split(" | ")]
        names = [name for name in cells[0].split(", ") if re.fullmatch(r"[a-z_]+", name)]
        kinds = re.findall(r"(?:map|array)<.*?>+|[a-z]+", cells[1])
        for i, name in enumerate(names):
            found[name] = kinds[i] if len(kinds) == len(names) else kinds[0] if kinds else ""
    found.pop("column")
    return found


TABLES = {"categorized": CATEGORIZED, "rejected": REJECTED, "runs": RUNS, "corrections": CORRECTIONS}


@pytest.mark.parametrize(("section", "schema"), TABLES.items())
def test_the_page_tells_every_column_and_no_other(section: str, schema: StructType) -> None:
    columns = {
        field.name: field.dataType.simpleString().replace("bigint", "long").replace(",", ", ") for field in schema.fields
    }
    page = told(section)
    assert page.keys() == columns.keys()
    assert {name: kind for name, kind in page.items() if kind} == {name: columns[name] for name, kind in page.items() if kind}


def test_every_column_has_a_comment_and_every_comment_a_column() -> None:
    assert COMMENTS.keys() == {field.name for schema in TABLES.values() for field in schema.fields}
