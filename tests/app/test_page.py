"""The page in a real browser: what it answers, shows and writes, that everybody can read it, and that it connects to nobody else."""

from __future__ import annotations

import csv
import io
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lib.app.model import answer_of, opened_model
from lib.scoring.report import printable
from lib.tables.corrections import standing
from lib.tables.locations import locate
from tests.app.conftest import HOSTILE_ID, PATIENCE, PRODUCTS, Visit, assert_read_by_everybody
from tests.conftest import SHIPPED

expect.set_options(timeout=PATIENCE)
HOSTILE = 'Stainless steel kettle <img src=x onerror="window.hit = 1"> & **bold** قهوة'
PAGES = {"": "A product", "file": "A file", "compare": "Two bundles", "table": "The table", "review": "Review", "runs": "Runs"}
KEY_2 = "body.dispatchEvent(new KeyboardEvent('keydown', {key: '2', code: 'Digit2', bubbles: true}));"
# What is visible once a page is fully drawn.
DRAWN = {
    "": "text=Type or paste a product.",
    "file": "text=CSV file in UTF-8 with a header",
    "compare": "text=Type or paste a product.",
    "table": "text=Products 1 to 6",
    "review": "text=The model:",
    "runs": "iframe",
}


def typed(page: Page, text: str) -> None:
    field = page.get_by_label("Product text")
    field.fill(text)
    field.press("Control+Enter")


def rows_of(page: Page, caption: str) -> Locator:
    return page.get_by_role("region", name=caption).locator("tbody tr")


def test_a_typed_product_is_answered_and_explained(visit: Visit) -> None:
    page = visit("", "A product")
    typed(page, HOSTILE)
    answer = answer_of(opened_model(str(SHIPPED)), {"text": HOSTILE})
    assert answer.why is not None
    expect(page.locator(".cc-answer")).to_have_text(f"{answer.category} {answer.status}")
    expect(page.get_by_text(f"threshold of {answer.threshold:.3f}")).to_contain_text(f"Confidence {answer.confidence:.3f}")
    bars = [f"{label} {score:.3f}" for label, score in answer.scores]
    shown = rows_of(page, "How probable each label is").all_inner_texts()
    assert [" ".join(row.split()) for row in shown] == bars
    words = rows_of(page, "Words that speak for").all_inner_texts()
    assert [row.split("\t")[0] for row in words] == [
        f"{one.word} × {one.count}" if one.count > 1 else one.word for one in answer.why.words
    ]
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src='x']").count() == 0


def test_texts_that_say_nothing_and_texts_without_end(visit: Visit) -> None:
    page = visit("", "A product")
    expect(page.get_by_text("Type or paste a product.")).to_be_visible()
    typed(page, "!!! ???")
    expect(page.get_by_text("no words in the text: such a row is unclassifiable.")).to_be_visible()
    typed(page, "steel kettle " * 20_000)
    expect(page.get_by_text("Read: the first 200 of")).to_be_visible()
    typed(page, "")
    expect(page.get_by_text("Type or paste a product.")).to_be_visible()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_read_by_everybody(visit: Visit, name: str) -> None:
    page = visit(name, PAGES[name])
    page.locator(DRAWN[name]).first.wait_for()
    if not name:
        typed(page, "Stainless steel kettle, 1.7 litres")
        page.locator(".cc-answer").wait_for()
    assert_read_by_everybody(page)


def test_the_table_by_category_and_status(visit: Visit, spark, lake: Path) -> None:
    page = visit("table", "The table")
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    shown = rows_of(page, "Products 1 to")
    expect(shown).to_have_count(len(rows))
    assert PRODUCTS[HOSTILE_ID] in page.get_by_role("row", name="b1").inner_text()
    for label, column, value in (("Category", "category", rows["k1"]["category"]), ("Status", "status", "review")):
        page.get_by_label(label).click()
        page.get_by_role("option", name=value).click()
        rows = {name: row for name, row in rows.items() if row[column] == value}
        expect(shown).to_have_count(len(rows))
        assert {text.split("\t")[0] for text in shown.all_inner_texts()} == set(map(printable, rows))
    page.get_by_label("Product id contains").fill("nobody has this")
    page.get_by_label("Product id contains").press("Enter")
    expect(page.get_by_text("No product matches.")).to_be_visible()
    assert page.evaluate("window.hit") is None


def test_an_id_and_a_refused_file_are_text(visit: Visit) -> None:
    """The window requests nothing that they name (conftest.py)."""
    page = visit("review", "Review")
    at = page.get_by_text("Row ").first
    seen = set()
    expect(at).to_contain_text("Row 1 of")
    # Keys work once the buttons are there.
    page.locator(DRAWN["review"]).first.wait_for()
    page.get_by_role("button", name="Skip").wait_for()
    rows = int(at.inner_text().split(" of ")[1].split(":")[0])
    for row in range(1, rows + 1):
        expect(at).to_contain_text(f"Row {row} of")
        seen.add(at.locator("code").inner_text())
        assert page.locator("img, h1:text('Big'), a[href*=':9/']").count() == 0
        page.locator("body").press("s")
    assert printable(HOSTILE_ID) in seen
    page = visit("file", "A file")
    content = f'"{HOSTILE_ID}","{HOSTILE_ID}"\n'.encode()
    page.locator("input[type=file]").set_input_files({"name": "p.csv", "mimeType": "text/csv", "buffer": content})
    expect(page.get_by_role("alert")).to_contain_text("more than once; correct the file.")
    assert page.locator("img, h1:text('Big'), a[href*=':9/']").count() == 0


def test_the_queue_is_worked_through_by_keys(visit: Visit, spark, lake: Path) -> None:
    page = visit("review", "Review")
    at = page.get_by_text("Row ").first
    expect(at).to_contain_text("Row 1 of")
    expect(page.get_by_text("Asked because:")).to_contain_text("likely wrong")
    first = {printable(name): name for name in PRODUCTS}[at.locator("code").inner_text()]
    second = sorted(opened_model(str(SHIPPED)).bundle.labels)[1]
    expect(page.get_by_role("button", name=second)).to_be_visible()
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Why (may stay empty)").fill("2 of these were sold as such")
    page.get_by_label("Why (may stay empty)").press("Tab")
    # What was typed into a field has corrected nothing.
    expect(page.get_by_text("Corrections of this page: 0 written")).to_be_visible()
    page.locator("body").press("s")
    expect(at).to_contain_text("Row 2 of")
    page.locator("body").press("b")
    expect(at).to_contain_text("Row 1 of")
    expect(page.get_by_label("Why (may stay empty)")).to_have_value("2 of these were sold as such")
    # Twice at once: one correction, of this row.
    page.locator("body").evaluate(f"body => {{ {KEY_2} {KEY_2} }}")
    expect(at).to_contain_text("Row 2 of")
    expect(page.get_by_text("Corrections of this page: 1 written")).to_be_visible()
    found = standing(spark, locate(spark, str(lake)))
    assert found is not None
    (said,) = [row.asDict() for row in found.filter(found.product_id == first).collect()]
    assert (said["category"], said["corrected_by"], said["why"]) == (second, "Ada", "2 of these were sold as such")
    assert said["texts"] == {"title": PRODUCTS[first]}
    page.get_by_role("button", name="Load the queue again").click()
    expect(at).to_contain_text("Row 1 of")
    expect(at.locator("code")).not_to_have_text(first)


def test_a_file_comes_back_categorized(visit: Visit) -> None:
    page = visit("file", "A file")
    content = "\ufefftitle,price\r\n" + "".join(f'"{text.replace(chr(34), chr(34) * 2)}",1\r\n' for text in PRODUCTS.values())
    page.locator("input[type=file]").set_input_files({"name": "p.csv", "mimeType": "text/csv", "buffer": content.encode()})
    page.get_by_role("button", name="Categorize").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the file").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig"))))
    model = opened_model(str(SHIPPED))
    expected = [answer_of(model, {"text": text}) for text in PRODUCTS.values()]
    assert [row["title"] for row in rows] == list(PRODUCTS.values())
    assert [(row["category"] or None, row["status"]) for row in rows] == [(one.category, one.status) for one in expected]
    assert page.evaluate("window.hit") is None
    page.locator("input[type=file]").set_input_files(
        {"name": "q.csv", "mimeType": "text/csv", "buffer": b"title,price\na,b,c\n"}
    )
    expect(
        page.get_by_text("Expected 2 values in each row of the CSV file, as in its header, found 3 in line 2")
    ).to_be_visible()


def test_two_bundles_side_by_side(visit: Visit, tiny: Path) -> None:
    page = visit("compare", "Two bundles")
    typed(page, "Steel kettle, 1.7 litres")
    both = [answer_of(opened_model(str(path)), {"text": "Steel kettle, 1.7 litres"}) for path in (SHIPPED, tiny)]
    expect(page.locator(".cc-answer")).to_have_text([f"{one.category} {one.status}" for one in both])
    page.get_by_text("the table's products").click()
    page.get_by_role("button", name="Compare").click()
    models = [opened_model(str(path)) for path in (SHIPPED, tiny)]
    categories = [[answer_of(model, {"text": text}).category for text in PRODUCTS.values()] for model in models]
    same = sum(one == other for one, other in zip(*categories, strict=True)) / len(PRODUCTS)
    expect(page.get_by_text(f"{same:.1%} of 6 rows get the same category.")).to_be_visible()


def upgraded(port: int, host: str) -> int:
    """The status with which the server answers somebody who connects to the page under a host name."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = (
            "GET /_stcore/stream HTTP/1.1",
            f"Host: {host}:{port}",
            f"Origin: http://{host}:{port}",
            *(
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ),
        )
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(64).split()[1])


def test_a_page_under_another_name_is_not_let_in(served: str) -> None:
    port = int(served.rsplit(":", 1)[1])
    assert [upgraded(port, host) for host in ("127.0.0.1", "localhost", "shop.example")] == [101, 101, 403]


def test_the_runs_are_read(visit: Visit, spark, lake: Path) -> None:
    page = visit("runs", "Runs")
    (run,) = spark.read.format("delta").load(f"{lake}_runs").collect()
    expect(page.frame_locator("iframe").get_by_role("heading", name=f"Run {run['run_id']}")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download this page").click()
    assert f"Run {run['run_id']}" in Path(download.value.path()).read_text(encoding="utf-8")
