"""The page with a bundle whose labels are paths: each level is shown, the table is browsed by level, and all of it can be read by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from lib.app.model import answer_of, opened_model
from lib.app.paths import sure_only_of
from tests.app.conftest import PATIENCE, Visit, assert_read_by_everybody, serving, visiting
from tests.app.test_page import rows_of, typed
from tests.conftest import SAMPLES
from tests.faults.nights import run

expect.set_options(timeout=PATIENCE)
KETTLE = "Stainless steel kettle, 1.7 litres"


@pytest.fixture(scope="module")
def lake(spark: object, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("paths") / "categorized"
    options = ["--text-columns", "title,description", "--carry", "title", "--model", str(tree)]
    assert run(SAMPLES / "catalog.csv", lake, *options) == 0
    return lake


@pytest.fixture(scope="module")
def served(browser: Browser, lake: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("served"), "--model", tree, "--target", lake) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, served: str) -> Iterator[Visit]:
    with visiting(browser, served) as opened:
        yield opened


def test_a_product_is_told_level_by_level(visit: Visit, tree: Path) -> None:
    page = visit("", "A product")
    typed(page, KETTLE)
    answer = answer_of(opened_model(str(tree)), {"text": KETTLE})
    assert len(answer.levels) == 2
    expect(page.locator(".cc-answer")).to_have_text(f"{answer.category} {answer.status}")
    shown = [
        [cell.split("\n")[0] for cell in row.locator("th, td").all_inner_texts()]
        for row in rows_of(page, "Levels of the path").all()
    ]
    assert shown == [
        [one.name, f"{one.confidence:.3f}", f"{one.threshold:.3f}", "yes" if one.is_published else "not sure enough"]
        for one in answer.levels
    ]
    assert answer.why is not None
    assert len(rows_of(page, f"Words that speak for {answer.category}, or against").all()) == len(answer.why.words)


def test_the_table_is_browsed_by_level(visit: Visit, spark, lake: Path) -> None:
    rows = spark.read.format("delta").load(str(lake)).collect()
    below = [row for row in rows if row["category_path"] and row["category_path"][0] == "Media"]
    page = visit("table", "The table")
    page.get_by_label("Category").click()
    page.get_by_role("option", name=f"Media ({len(below)})", exact=True).click()
    shown = rows_of(page, "Products 1 to")
    # Before it has chosen, the page shows as many of all products, those without a category first.
    others = next(row["product_id"] for row in rows if row["category"] is None)
    expect(shown.filter(has_text=others)).to_have_count(0)
    expect(shown).to_have_count(min(len(below), 50))
    told = {row["product_id"]: sure_only_of(row["category"], row["category_path"], row["published_path"]) for row in below}
    assert len(set(told.values())) > 1
    for row in shown.all_inner_texts():
        name = row.split("\t")[0]
        assert ("sure " in row) is (told[name] is not None)
        assert (told[name] or "") in row


def test_paths_are_read_by_everybody(visit: Visit) -> None:
    for name, heading, drawn in (
        ("", "A product", ".cc-answer"),
        ("table", "The table", "text=Products 1 to"),
        ("review", "Review", "text=The model:"),
    ):
        page = visit(name, heading)
        if not name:
            typed(page, KETTLE)
        page.locator(drawn).first.wait_for()
        assert_read_by_everybody(page)
