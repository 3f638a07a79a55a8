"""Nothing of the place where the command is typed leaks in: its modules, its locale, its folder as a catalogue, its keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_spark_submit import submit
from tests.conftest import SHIPPED

TRAPS = (
    "numpy.py",
    "pyarrow.py",
    "pyspark/__init__.py",
    "lib/__init__.py",
    "jobs/__init__.py",
    "jobs/predict.py",
    "encodings.py",
)


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with code of the names that ours imports, which says in `seen` that it ran."""
    for name in TRAPS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'seen')!r}, 'a').write({name!r})\nraise RuntimeError('another module ran')\n")
    return tmp_path


@pytest.mark.fault(
    "typed in a folder with a `numpy.py`, a `jobs/` and a `lib/` of its own, under `LC_ALL=C`, into a target with an accent",
    "only our code runs; the name stays whole",
    "only our code ran, name whole",
)
def test_only_our_code_runs_and_names_stay_whole_in_any_locale(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (trapped / "né.csv").write_text("product_id,title\n1,café table\n2,日本の本\n", encoding="utf-8")
    options = ("--text-columns", "title", "--carry", "title", "--preview", "2")
    done = submit("categorize", "--source", "né.csv", "--target", "lake/café", "--model", SHIPPED, *options, cwd=trapped)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (trapped / "lake" / "café" / "_delta_log").is_dir()
    assert sorted(path.name for path in (trapped / "lake").iterdir()) == ["café", "café_rejected", "café_runs"]
    assert not (trapped / "seen").exists()


def test_single_texts_run_our_code_alone(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(trapped))
    done = submit("predict", "--text", "cotton shirt", cwd=trapped)
    assert json.loads(done.stdout)["category"] == "Clothing & Accessories", done.stderr
    assert submit("categorize", "--help", cwd=trapped).returncode == 0
    assert not (trapped / "seen").exists()


@pytest.mark.fault(
    "a bare name as target, and no catalogue that would hold it",
    "exit 2 and a sentence",
    "exit 2 and a sentence",
)
def test_a_bare_name_is_no_table_where_no_catalogue_holds_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("product_id,title\n1,lamp\n")
    done = submit(
        "categorize", "--source", "in.csv", "--target", "out", "--model", SHIPPED, "--text-columns", "title", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "write ./out for a path" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.fault(
    "keys in the address of a source",
    "redacted in all that is printed or kept",
    "redacted everywhere",
)
def test_keys_in_an_address_are_told_to_nobody(tmp_path: Path) -> None:
    source = "s3a://AKIAKEY:verysecret@bucket/catalogue"
    done = submit("categorize", "--source", source, "--target", "./out", "--model", SHIPPED, "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "s3a://***@bucket/catalogue" in done.stdout
    assert "verysecret" not in done.stdout + done.stderr
