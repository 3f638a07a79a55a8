"""The order of the review queue: unsure rows, those that represent many, and those of categories that drift, each with its reason."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from jobs.review import ReviewSettings
from jobs.review import main as review_main
from lib.command import run_command
from tests.faults.nights import run, write_source

pytestmark = pytest.mark.usefixtures("spark")

# Texts of one word or two, nearly all of which go to review.
THINGS = ("kettle", "cable", "shirt", "novel", "lamp", "chair", "phone", "dress", "pan", "charger")
COLOURS = ("red", "blue", "green")
QUIET = {f"q{i}": f"{colour} {thing}" for i, (colour, thing) in enumerate((c, t) for c in COLOURS for t in THINGS)}
# Enough novels to more than double the share of books.
NOVELS = {f"n{i}": f"{word} novel" for i, word in enumerate(("war", "sea", "moon", "tale", "poem", "myth", "saga", "dream"), 1)}
NOVELS |= {f"{name}-{i}": f"{text} {i}" for name, text in NOVELS.items() for i in range(3)}
OPEN = ("--unfamiliar", "0.99", "--guard-rows", "inf", "--guard-drift", "inf", "--guard-ids", "inf", "--guard-review", "inf")
OPEN += ("--guard-confidence", "inf", "--guard-length", "inf", "--guard-unknown", "inf")


def queue(folder: Path) -> pd.DataFrame:
    where = ["--target", folder / "lake" / "categorized", "--source", folder / "source.parquet"]
    given = [*where, "--text-columns", "title", "--output", folder / "review.csv"]
    assert run_command(ReviewSettings, review_main, "review", list(map(str, given))) == 0
    return pd.read_csv(folder / "review.csv")


def by_hand(rows: pd.DataFrame, weights: dict[str, float]) -> pd.DataFrame:
    """How likely each row is wrong, were its categories as frequent as before, added up over rows of the same words."""
    right = rows["confidence"] * rows["category"].map(weights).fillna(1)
    second = rows["runner_up_confidence"].fillna(0)
    other = second * rows["runner_up"].map(weights).fillna(1) + (1 - rows["confidence"] - second).clip(lower=0)
    words = rows["title"].map(lambda title: " ".join(sorted({word for word in title.split() if not word.isdigit()})))
    doubts = rows.assign(doubt=1 - right / (right + other), words=words)
    groups = doubts.groupby("words").agg(to_fix=("doubt", "sum"), alike=("doubt", "size"), doubt=("doubt", "max"))
    return groups.sort_values("to_fix", ascending=False)


def in_review(spark, folder: Path, titles: dict[str, str]) -> pd.DataFrame:
    rows = spark.read.format("delta").load(str(folder / "lake" / "categorized")).filter("status = 'review'").toPandas()
    return rows.assign(title=rows["product_id"].map(titles))


def assert_ranked(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    words = found["title"].map(lambda title: " ".join(sorted({word for word in title.split() if not word.isdigit()})))
    assert sorted(words) == sorted(wanted.index)
    assert list(wanted.loc[words, "to_fix"]) == pytest.approx(list(wanted["to_fix"]), abs=1e-5)
    for word, because in zip(words, found["asked_because"], strict=True):
        group = wanted.loc[word]
        assert because.startswith(f"{100 * group['doubt']:.0f}% likely wrong")
        alike = f"; stands for {group['alike']:.0f} alike, {group['to_fix']:.1f} of them likely wrong"
        assert (alike in because) == (group["alike"] > 1), because


def test_a_drifting_category_is_asked_for_first(spark, tmp_path, capsys) -> None:
    lake = tmp_path / "lake" / "categorized"
    assert run(write_source(tmp_path / "source.parquet", QUIET), lake, *OPEN) == 0
    calm = queue(tmp_path)
    assert len(calm)
    assert_ranked(calm, by_hand(in_review(spark, tmp_path, QUIET), {}))
    assert not calm["asked_because"].str.contains("rose|fell").any()
    every = QUIET | NOVELS
    assert run(write_source(tmp_path / "source.parquet", every), lake, *OPEN) == 0
    now, before = shares(spark, lake)
    assert now["Books"] > 2 * before["Books"], "the texts above are no longer what this test needs"
    capsys.readouterr()
    moved = queue(tmp_path)
    told = f"Books rose from {before['Books']:.1%} to {now['Books']:.1%} of the rows"
    assert f"drifting since the last good runs: {told}" in capsys.readouterr().out
    fell = [name for name in before if name != "Books" and f"{name} fell" in " ".join(moved["asked_because"])]
    weights = {name: min(max(before[name] / now[name], 0.25), 4) for name in ("Books", *fell)}
    assert_ranked(moved, by_hand(in_review(spark, tmp_path, every), weights))
    assert moved[moved["category"] == "Books"]["asked_because"].str.contains(told, regex=False).all()
    assert not moved[moved["category"] != "Books"]["asked_because"].str.contains("Books rose").any()


def shares(spark, lake: Path) -> list[dict[str, float]]:
    """Those of the newest run, and of the one before."""
    runs = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at", ascending=False).toPandas()
    return [dict(one) for one in runs["category_shares"]]
