"""The page as a user starts it, and a real browser that shows it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import ROOT
from tests.faults.nights import run, write_source
from tests.postgres import free_port
from tests.waiting import until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Next to other tests a page may take long. In milliseconds.
PATIENCE = 300_000
# Texts for which a browser would ask another server if they were read as Markdown.
HOSTILE_ID = "b1\n\n![x](http://127.0.0.1:9/id.png)\n\n# Big\n\n[click](http://127.0.0.1:9/)"
PRODUCTS = {
    "k1": "Steel kettle, 1.7 litres",
    "k2": "kettle steel 2 litres",
    HOSTILE_ID: 'detective novel, paperback <img src=x onerror="window.hit = 1"> **bold**',
    "c1": "usb cable for phones",
    "s1": "cotton shirt قميص",
    "n1": "!!!",
}
# Nine in ten of the texts like the labelled ones go to review.
IN_REVIEW = ("--unfamiliar", "0.9", "--carry", "title")
# What a test sets for itself must not reach the process.
OURS = ("PYTHONPATH", "SPARK_CONF_DIR", "SPARK_SUBMIT_OPTS", "PYSPARK_PYTHON", "PYSPARK_SUBMIT_ARGS")

Visit = Callable[[str, str], Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on this machine; ./run-tests.sh installs one as root on Debian")
    with sync_playwright() as playwright:
        # Its sandbox needs rights that root in a container does not have; it sees nothing but the page.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lake(spark: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with one run, nearly all of its rows in review."""
    folder = tmp_path_factory.mktemp("app")
    assert run(write_source(folder / "source.parquet", PRODUCTS), folder / "lake" / "categorized", *IN_REVIEW) == 0
    return folder / "lake" / "categorized"


@pytest.fixture(scope="module")
def served(browser: Browser, lake: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("served"), "--target", lake, "--other", tiny) as address:
        yield address


@contextmanager
def serving(folder: Path, *options: object) -> Iterator[str]:
    """The page's address. The process is told to stop at the end, and has to do so without an error."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    with (folder / "said").open("wb") as said:
        command = [str(ROOT / "spark-submit.sh"), "app", *map(str, options), "--port", str(port)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        until(lambda: _answers(port) or process.poll() is not None, "a page")
        assert process.poll() is None, _said(folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        ended = process.wait()
    assert ended == 0, _said(folder)
    assert [path.name for path in folder.iterdir()] == ["said"]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _said(folder: Path) -> str:
    return (folder / "said").read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def visit(browser: Browser, served: str) -> Iterator[Visit]:
    with visiting(browser, served) as opened:
        yield opened


@contextmanager
def visiting(browser: Browser, served: str) -> Iterator[Visit]:
    """Opens a page by its name, in its own window; whatever the tests do there, it may connect only to its server."""
    contexts, hosts, faults = [], set(), []

    def opened(name: str, heading: str) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("request", lambda request: hosts.add("/".join(request.url.split("/")[:3])))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{served}/{name}")
        page.get_by_role("heading", name=heading, exact=True).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    # What the page draws from its own memory needs no request.
    assert {host for host in hosts if not host.startswith(("data:", "blob:"))} == {served}
    assert faults == []


def assert_read_by_everybody(page: Page) -> None:
    """Nothing serious for a screen reader, wide in light colours and narrow in dark ones, and nothing to scroll sideways."""
    background = "getComputedStyle(document.querySelector('.stApp')).backgroundColor"
    light = page.evaluate(background)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{background} !== '{light}'")
