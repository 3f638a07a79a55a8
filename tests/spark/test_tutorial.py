"""Each command of docs/tutorial.md, in their order, with the samples in place of a user's files; the jobs in this process, to start one JVM."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_type_hints

from lib.command import run_command
from tests.conftest import ROOT, SAMPLES

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    command
    for block in re.findall(r"```bash\n(.+?)```", PAGE, re.DOTALL)
    for command in re.sub(r"\\\n\s*", "", block).strip().splitlines()
]
# The JVM's working directory is that of the tests, so paths are absolute.
OURS = re.compile(r"^((?:shop|lake|models)/|reports$)")


def job(words: list[str], folder: Path) -> int:
    name, *options = words
    module = importlib.import_module(f"jobs.{name}")
    given = [OURS.sub(rf"{folder}/\1", word) for word in options]
    return run_command(get_type_hints(module.main)["settings"], module.main, name, given)


def typed(spark, command: str, folder: Path) -> None:
    """Run a command: a job of ours in this process, anything else in the shell."""
    if command.startswith("./spark-submit.sh "):
        assert job(shlex.split(command)[1:], folder) == 0, command
    elif "spark-sql" in command:
        assert re.match(r"PATH=\.venv/bin:\$PATH SPARK_CONF_DIR=conf spark-sql +-e ", command)
        # As the shell passes it on.
        words = subprocess.run(
            ["bash", "-c", f"printf %s {command.partition('-e')[2]}"], cwd=folder, capture_output=True, text=True
        )
        spark.sql(words.stdout).show()
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, check=True)


def test_from_two_files_to_the_report(spark, tmp_path, monkeypatch, capfd) -> None:
    (tmp_path / "samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    said = {}
    for command in COMMANDS:
        capfd.readouterr()
        typed(spark, command, tmp_path)
        said[command] = capfd.readouterr().out
    jobs = [command.split()[1] for command in COMMANDS if command.startswith("./spark-submit.sh")]
    assert jobs == ["train", "evaluate", "categorize", "review", "correct", "report"]
    told = "\n".join(said.values())
    # The output that the page shows.
    assert "# shop" in told
    assert "in 209 = categorized 205 + rejected 4" in told
    assert "1 corrections added" in told
    assert (tmp_path / "reports" / "index.html").stat().st_size > 1000
    counted = next(out for command, out in said.items() if "spark-sql" in command)
    assert sum(int(row.split("|")[-2]) for row in counted.splitlines() if re.search(r"\d", row)) == 205
    assert (tmp_path / "shop" / "review.csv").read_text().startswith('"product_id",')


def test_the_files_that_it_shows_are_like_the_samples() -> None:
    """So that the commands can read files that a reader makes like them."""
    shown = re.findall(r"(?:^|\n\n)((?:    [^\n]+\n)+)", PAGE)
    heads = {line.strip().splitlines()[0].strip() for line in shown}
    assert {(SAMPLES / name).read_text().splitlines()[0] for name in ("labels.csv", "catalog.csv")} <= heads
