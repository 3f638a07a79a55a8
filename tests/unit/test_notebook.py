"""The example notebook and the examples of its page, run as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, SAMPLES

NOTEBOOK = json.loads((SAMPLES / "categorize.ipynb").read_text(encoding="utf-8"))
CELLS = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
PAGE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, folder: Path) -> str:
    """The output of a program that runs in a folder, with the package importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cells_run_in_their_folder() -> None:
    cells = ["".join(cell["source"]) for cell in CELLS]
    shown = "\nprint(model, len(found), list(review.status.unique()), metrics.rows)"
    out = run("\n".join(cells) + shown, SAMPLES)
    assert re.search(r"<Model ecommerce/.* engine \w+> 209 \['review'\] 200\n$", out)


def test_it_holds_no_output_that_could_be_stale() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    """Those for pandas and Polars, one after another; those of Spark are run by tests/spark/test_frames.py."""
    for name in ("models", "samples"):
        (tmp_path / name).symlink_to(ROOT / name)
    run("\n".join(one for one in PAGE if "spark" not in one), tmp_path)
