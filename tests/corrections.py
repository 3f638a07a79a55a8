"""Corrections as a person gives them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from jobs.correct import CorrectSettings, main
from lib.command import run_command


def correct(lake: Path, categories: Mapping[str, str | None]) -> None:
    """By product; None withdraws an earlier correction."""
    for withdraw in (False, True):
        some = [(name, said or "") for name, said in categories.items() if (said is None) == withdraw]
        if some:
            file = lake.with_name(f"{lake.name}-said.csv")
            with file.open("w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows([("product_id", "correct_category"), *some])
            options = ["--by", "ann", "--new-categories", *(["--withdraw"] if withdraw else [])]
            arguments = ["--target", str(lake), "--file", str(file), *options]
            assert run_command(CorrectSettings, main, "correct", arguments) == 0
