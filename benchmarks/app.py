"""How long a user waits after typing a product into the page: from Ctrl+Enter until the answer is drawn, in a real browser.

benchmarks/app [PRODUCTS]

Types products of samples/catalog.csv one after another, after a first one that is not counted. For comparison it also
measures our own part alone, scoring and explaining, in this process. Writes docs/benchmarks/app.json and app.md.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from lib.app.model import answer_of, opened_model  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "app"
MODEL = ROOT / "models" / "ecommerce"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Characters that identify an answer.
BEGINNING = 40
# Resolves with the milliseconds from the key to the first frame after the whole answer to the text that begins like this.
WATCH = """wanted => { window.answered = new Promise(resolve => {
  let began = 0;
  const pressed = event => { if (event.key === 'Enter') { began = performance.now(); removeEventListener('keydown', pressed, true); } };
  addEventListener('keydown', pressed, true);
  const look = () => {
    const said = document.querySelector('.cc-hidden'), app = document.querySelector('.stApp');
    if (began && said && said.textContent.includes(wanted) && app.dataset.testScriptState === 'notRunning') {
      watcher.disconnect();
      requestAnimationFrame(() => resolve(performance.now() - began));
    }
  };
  const watcher = new MutationObserver(look);
  watcher.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
}); }"""


def products(count: int) -> list[str]:
    """Texts of the samples, numbered, so that no two begin in the same way."""
    with (ROOT / "samples" / "catalog.csv").open(newline="", encoding="utf-8") as file:
        texts = [f"{row['title']} {row['description']}".strip() for row in csv.DictReader(file)]
    long = [text for text in texts if len(text) > BEGINNING and text.isprintable()]
    return [f"No. {i}: {long[i % len(long)]}" for i in range(count + 1)]


def waited(page: Page, text: str) -> float:
    """Milliseconds."""
    field = page.locator("textarea")
    field.fill(text)
    page.evaluate(WATCH, text[:BEGINNING])
    field.press("Control+Enter")
    return float(page.evaluate("window.answered"))


def in_the_browser(texts: Sequence[str], port: int) -> list[float]:
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("textarea").wait_for()
        return [waited(page, text) for text in texts][1:]


def alone(texts: Sequence[str]) -> list[float]:
    model, found = opened_model(str(MODEL)), []
    for text in texts:
        began = time.perf_counter()
        answer_of(model, {"text": text})
        found.append(1000 * (time.perf_counter() - began))
    return found[1:]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measured(texts: Sequence[str]) -> dict[str, list[float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(ROOT / "spark-submit.sh"), "app", "--model", str(MODEL), "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        page = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            while not answers(port):
                if page.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended with {page.returncode}")
                time.sleep(0.05)
            return {"in the browser": in_the_browser(texts, port), "scored and explained, without a page": alone(texts)}
        finally:
            page.terminate()
            page.wait()


def written(found: Mapping[str, Sequence[float]], load: float) -> str:
    count = len(next(iter(found.values())))
    lines = [
        "# The page",
        "",
        f"    benchmarks/app {count}",
        "",
        f"Milliseconds from Ctrl+Enter until the answer is drawn, for {count} products of samples/catalog.csv typed one after another into a",
        "Chromium on the same machine, with the shipped bundle; and how much of that is scoring and explaining.",
        f"The load average at the end was {load:.1f} on {os.cpu_count()} cores; a load above that number is other work, which the answers waited for.",
        "",
        "| | median, ms | 90th percentile, ms | longest, ms |",
        "|---|---|---|---|",
    ]
    for name, values in found.items():
        tenth = statistics.quantiles(values, n=10)[-1]
        lines.append(f"| {name} | {statistics.median(values):.0f} | {tenth:.0f} | {max(values):.0f} |")
    return "\n".join([*lines, ""])


def main(count: int) -> None:
    texts = products(count)
    found = measured(texts)
    load = os.getloadavg()[0]
    PAGE.with_suffix(".json").write_text(json.dumps({"load": load, "milliseconds": found}, indent=1) + "\n")
    PAGE.with_suffix(".md").write_text(written(found, load))
    print(PAGE.with_suffix(".md").read_text())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
