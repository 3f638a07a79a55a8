"""docs/first-errors.md quotes the sentences that point to it as they are printed, with … for what varies."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from lib.command import run_command
from lib.errors import PAGE, InputError, pointer
from lib.settings import JobSettings
from lib.spark_errors import SPARK_IS_GONE
from tests.conftest import ROOT

TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def quoted(section: str) -> list[str]:
    return [line.strip().removeprefix("error: ") for line in section.splitlines() if line.startswith("    error: ")]


def raised() -> Iterator[tuple[str, str]]:
    """(section, sentence) of each error in the code that points to one."""
    for folder in ("lib", "training", "jobs"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                see = next((k.value for k in getattr(call, "keywords", ()) if k.arg == "see"), None)
                if isinstance(see, ast.Constant):
                    yield see.value, told(call.args[0]) + pointer(see.value)
    yield "no-memory", SPARK_IS_GONE + pointer("no-memory")


def told(node: ast.expr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)


def said_by_the_set_up() -> Iterator[tuple[str, str]]:
    for sentence in re.findall(r'fail "(.*first-errors\.md.*?)"(?: 2)?(?: ?$|;)', SET_UP, re.MULTILINE):
        plain = re.sub(r"\$\((?:[^()]|\([^()]*\))*\)|\$\{[^}]*\}|\$\w+", "…", sentence)
        yield re.search(r"#([a-z-]+)\.$", plain)[1], plain


SET_UP = (ROOT / "scripts" / "environment.sh").read_text(encoding="utf-8")
SENTENCES = sorted({*raised(), *said_by_the_set_up()})


def test_there_are_some_of_each_kind() -> None:
    assert len(list(raised())) >= 7
    assert len(list(said_by_the_set_up())) == len(re.findall(r"first-errors\.md#", SET_UP))


@pytest.mark.parametrize(("section", "sentence"), SENTENCES)
def test_each_sentence_stands_in_its_section(section: str, sentence: str) -> None:
    found = {anchor(heading): quoted(body) for heading, body in SECTIONS.items()}
    assert section in found, f"no section {section} in {PAGE}"
    assert sentence in found[section]


def test_each_quoted_sentence_is_printed_by_something() -> None:
    printed = {sentence for _, sentence in SENTENCES}
    assert [
        line for body in SECTIONS.values() for line in quoted(body) if "first-errors.md" in line and line not in printed
    ] == []


def test_a_job_prints_where_to_look(capsys) -> None:
    def main(settings: JobSettings) -> int:
        raise InputError("Expected the column a in b, found c; correct --d.", see="no-column")

    assert run_command(JobSettings, main, "evaluate", []) == 2
    assert capsys.readouterr().err == f"error: Expected the column a in b, found c; correct --d. See {PAGE}#no-column.\n"
