"""`review`, `correct` and what follows: a correction is stored next to the model's category, outlasts every scoring, and is learned from."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from jobs.correct import CorrectSettings
from jobs.correct import main as correct_main
from jobs.review import ReviewSettings
from jobs.review import main as review_main
from lib.command import run_command
from lib.errors import InputError
from lib.model.changes import Change, Changes
from lib.model.text import TextSettings
from lib.tables.corrections import standing
from lib.tables.locations import locate
from lib.tables.sources import read_source
from tests.conftest import ROOT
from tests.faults.nights import run, write_source
from training.dataset import LabelRules, Limits, read_corrected_texts, read_labelled_texts, with_corrections

pytestmark = pytest.mark.usefixtures("spark")

PRODUCTS = {
    "k1": "Steel kettle, 1.7 litres",
    "k2": "kettle steel 2 litres",
    "b1": "detective novel, paperback",
    "c1": "usb cable for phones",
    "s1": "cotton shirt",
}
# Nine in ten of texts like the labelled ones.
IN_REVIEW = ("--unfamiliar", "0.9")
QUERIES = re.findall(r"```sql\n(.+?)```", (ROOT / "docs" / "queries.md").read_text(), re.DOTALL)
PUBLISHED, OF_ANOTHER_TEXT = (query for query in QUERIES if "lake/categorized_corrections" in query)


@pytest.fixture
def lake(tmp_path) -> Path:
    assert run(write_source(tmp_path / "source.parquet", PRODUCTS), tmp_path / "lake" / "categorized", *IN_REVIEW) == 0
    return tmp_path / "lake" / "categorized"


def review(lake: Path, *more: object) -> int:
    source, output = lake.parent.parent / "source.parquet", lake.parent.parent / "review.csv"
    arguments = ["--target", lake, "--source", source, "--text-columns", "title", "--output", output, *more]
    return run_command(ReviewSettings, review_main, "review", list(map(str, arguments)))


def correct(lake: Path, rows: dict[str, list[object]], *more: object) -> int:
    file = lake.parent.parent / "corrected.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return run_command(CorrectSettings, correct_main, "correct", list(map(str, ["--target", lake, "--file", file, *more])))


def published(spark, lake: Path) -> dict[str, tuple[str, bool]]:
    rows = spark.sql(PUBLISHED.replace("`lake/", f"`{lake.parent}/")).collect()
    assert len(rows) == len({row["product_id"] for row in rows})
    return {row["product_id"]: (row["category"], row["is_corrected"]) for row in rows}


def test_from_the_queue_to_the_published_category(spark, lake, tmp_path, capsys) -> None:
    models = {row["product_id"]: row["category"] for row in spark.read.format("delta").load(str(lake)).collect()}
    assert review(lake) == 0
    queue = pd.read_csv(tmp_path / "review.csv", keep_default_na=False)
    # Of two kettles, whose texts have the same words, one is shown.
    kettle = queue[queue["title"].str.contains("ettle")]
    assert list(kettle["similar_products"]) == [2]
    assert set(queue["correct_category"]) == {""}
    rest = [name for name in ("b1", "c1", "s1") if name in set(queue["product_id"])]
    assert len(queue) == 1 + len(rest)
    # A person fills in the file, adds a row that is not in it, and leaves the rest.
    id = kettle["product_id"].iloc[0]
    queue.loc[queue["product_id"] == id, ["correct_category", "why"]] = ["Electronics", "it has a plug"]
    capsys.readouterr()
    assert correct(lake, queue.to_dict("list"), "--text-columns", "title", "--by", "anna") == 0
    assert "1 corrections added" in capsys.readouterr().out
    found = standing(spark, locate(spark, str(lake))).collect()
    assert [(row["product_id"], row["category"], row["corrected_by"], row["why"]) for row in found] == [
        (id, "Electronics", "anna", "it has a plug")
    ]
    assert (found[0]["texts"], found[0]["model_category"]) == ({"title": PRODUCTS[id]}, models[id])
    assert published(spark, lake) == {
        **{name: (category, False) for name, category in models.items()},
        id: ("Electronics", True),
    }
    # It is not asked for again, and stays in force when everything is scored again.
    assert review(lake) == 0
    assert id not in set(pd.read_csv(tmp_path / "review.csv")["product_id"])
    assert run(tmp_path / "source.parquet", lake, "--mode", "full", "--guard-ids", "inf") == 0
    assert published(spark, lake)[id] == ("Electronics", True)
    of_another_text = OF_ANOTHER_TEXT.replace("`lake/", f"`{lake.parent}/")
    assert spark.sql(of_another_text).collect() == []
    assert run(write_source(tmp_path / "source.parquet", {**PRODUCTS, id: "cotton shirt, blue"}), lake) == 0
    assert [(row["product_id"], row["corrected"]) for row in spark.sql(of_another_text).collect()] == [(id, "Electronics")]


def test_the_newest_correction_counts_until_it_is_taken_back(spark, lake, capsys) -> None:
    models, id = {row["product_id"]: row["category"] for row in spark.read.format("delta").load(str(lake)).collect()}, "k1"
    assert correct(lake, {"product_id": [id], "correct_category": ["Electronics"]}) == 0
    capsys.readouterr()
    version = spark.sql(f"DESCRIBE HISTORY delta.`{lake}_corrections`").count()
    assert correct(lake, {"product_id": [id], "correct_category": ["Electronics"]}) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert spark.sql(f"DESCRIBE HISTORY delta.`{lake}_corrections`").count() == version
    assert correct(lake, {"product_id": [id, "b1"], "correct_category": ["Household", models["b1"]]}) == 0
    assert published(spark, lake)[id] == ("Household", True)
    assert "2 products are corrected; of these the model gives" in capsys.readouterr().out
    assert correct(lake, {"product_id": [id]}, "--withdraw") == 0
    assert published(spark, lake)[id] == (models[id], False)


def test_many_small_commits_are_compacted(spark, lake, monkeypatch) -> None:
    monkeypatch.setattr("lib.tables.maintenance.MOST_SMALL_FILES", 3)
    for category in ("Books", "Household") * 3:
        assert correct(lake, {"product_id": ["k1"], "correct_category": [category]}) == 0
    table = spark.sql(f"DESCRIBE DETAIL delta.`{lake}_corrections`").head()
    assert table["numFiles"] <= 3
    assert spark.read.format("delta").load(f"{lake}_corrections").count() == 6
    assert published(spark, lake)["k1"] == ("Household", True)


def test_texts_may_be_added_to_a_correction_afterwards(spark, lake, capsys) -> None:
    """As `train --corrections` asks for where none has texts."""
    rows = {"product_id": ["k1"], "correct_category": ["Electronics"], "title": ["a steel kettle"], "note": ["x"]}
    for options, added in (
        ((), True),
        (("--text-columns", "title,note"), True),
        (("--text-columns", "note,title"), False),
        ((), False),
    ):
        capsys.readouterr()
        assert correct(lake, rows, *options) == 0
        assert ("1 corrections added" in capsys.readouterr().out) is added, options
    (found,) = standing(spark, locate(spark, str(lake))).collect()
    assert (found["category"], found["texts"]) == ("Electronics", {"title": "a steel kettle", "note": "x"})


def test_who_and_why_are_kept_whatever_the_case_of_their_columns(spark, lake) -> None:
    rows = {"Product_ID": ["k1"], "CORRECT_CATEGORY": ["Electronics"], "Corrected_By": ["anna"], "Why": ["it has a plug"]}
    assert correct(lake, rows, "--by", "somebody") == 0
    (found,) = standing(spark, locate(spark, str(lake))).collect()
    assert [found[name] for name in ("product_id", "category", "corrected_by", "why")] == [
        "k1",
        "Electronics",
        "anna",
        "it has a plug",
    ]


def test_what_is_said_last_counts_whatever_the_clocks_say(spark, lake, capsys) -> None:
    assert correct(lake, {"product_id": ["k1", "b1"], "correct_category": ["Books", "Household"]}) == 0
    # As from a machine whose clock is ahead.
    spark.sql(f"UPDATE delta.`{lake}_corrections` SET corrected_at = corrected_at + INTERVAL 1 HOUR")
    assert correct(lake, {"product_id": ["k1"], "correct_category": ["Electronics"]}) == 0
    assert correct(lake, {"product_id": ["b1"]}, "--withdraw") == 0
    assert [row["category"] for row in standing(spark, locate(spark, str(lake))).collect()] == ["Electronics"]
    capsys.readouterr()
    assert correct(lake, {"product_id": ["k1"], "correct_category": ["Electronics"]}) == 0
    assert "has these already" in capsys.readouterr().out


def test_a_correction_of_a_product_that_is_gone_can_be_taken_back_and_not_changed(spark, lake, tmp_path, capsys) -> None:
    assert correct(lake, {"product_id": ["k1", "b1"], "correct_category": ["Electronics", "Household"]}) == 0
    before = standing(spark, locate(spark, str(lake))).filter("product_id = 'k1'").collect()[0]
    left = write_source(tmp_path / "left.parquet", {name: text for name, text in PRODUCTS.items() if name != "k1"})
    assert run(left, lake, "--missing", "delete", "--guard-ids", "inf", "--guard-rows", "inf", "--guard-removed", "inf") == 0
    capsys.readouterr()
    assert correct(lake, {"product_id": ["k1"], "correct_category": ["Books"]}) == 2
    assert "found 'k1' (one of 1 unknown ones)" in capsys.readouterr().err
    assert correct(lake, {"product_id": ["k1", "x9"]}, "--withdraw") == 2
    assert "found 'x9' (one of 1 unknown ones)" in capsys.readouterr().err
    # A second time there is nothing to withdraw.
    for said in ("1 corrections added", "nothing to do"):
        assert correct(lake, {"product_id": ["k1"]}, "--withdraw") == 0
        assert said in capsys.readouterr().out
    assert [row["product_id"] for row in standing(spark, locate(spark, str(lake))).collect()] == ["b1"]
    rows = spark.read.format("delta").load(f"{lake}_corrections").filter("product_id = 'k1'").orderBy("corrected_at").collect()
    assert [row["category"] for row in rows] == ["Electronics", None]
    model = ("model_category", "model_confidence", "model_version", "text_hash")
    assert [rows[1][name] for name in model] == [before[name] for name in model]


def test_the_queue_needs_a_file_before_it_is_read(tmp_path, capsys) -> None:
    assert review(tmp_path / "lake" / "nowhere", "--output", "-") == 2
    assert "Expected a file in --output, found '-'" in capsys.readouterr().err


def test_the_queue_shows_the_copy_that_was_scored(lake, tmp_path) -> None:
    texts = {f"{name}{i}": f"{text} number {i}" for name, text in PRODUCTS.items() for i in range(4)}
    older, newer = (
        {name: f"older {text}" for name, text in texts.items()},
        {name: f"newer {text}" for name, text in texts.items()},
    )
    source, target = tmp_path / "source.parquet", tmp_path / "other" / "categorized"
    frame = pd.DataFrame(
        {"product_id": [*older, *newer], "title": [*older.values(), *newer.values()], "at": [1] * len(texts) + [2] * len(texts)}
    )
    for order, kept in ((frame, newer), (frame[::-1], newer), (frame.assign(at=-frame["at"]), older)):
        order.to_parquet(source)
        assert run(source, target, *IN_REVIEW, "--order-by", "at", "--mode", "full", "--guard-ids", "inf") == 0
        # By the column that the run used; for another source, by the one that is given.
        assert review(target) == 0
        queue = pd.read_csv(tmp_path / "review.csv")
        assert dict(zip(queue["product_id"], queue["title"], strict=True)).items() <= kept.items()
    order.to_parquet(tmp_path / "copy.parquet")
    assert review(target, "--source", tmp_path / "copy.parquet", "--order-by", "at") == 0
    assert pd.read_csv(tmp_path / "review.csv").equals(queue)


def test_text_columns_of_any_name(lake, tmp_path, capsys) -> None:
    source = pd.DataFrame({"product_id": list(PRODUCTS), "words": list(PRODUCTS.values()), "Category": list(PRODUCTS.values())})
    source.to_parquet(tmp_path / "source.parquet")
    assert review(lake, "--text-columns", "words") == 0
    queue = pd.read_csv(tmp_path / "review.csv")
    assert dict(zip(queue["product_id"], queue["words"], strict=True)).items() <= PRODUCTS.items()
    assert review(lake, "--text-columns", "Category") == 2
    assert "found Category; rename them in the source" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"product_id;correct_category": ["k1;Books"]}, ["--withdraw"]),
        ({"correct_category": ["Books"]}, ["--withdraw"]),
        ({"product_id": ["k1"]}, []),
    ],
)
def test_what_is_advised_is_an_option_of_this_job(lake, capsys, columns, options) -> None:
    assert correct(lake, columns, *options) == 2
    assert "correct --file" in capsys.readouterr().err


def test_the_queue_holds_line_ends_and_quotes_for_every_reader(spark, lake, tmp_path) -> None:
    odd = {
        "cr\rx": "violin castle\rrocket garden",
        "lf\nx": 'kettle "two"\nlitres',
        "both\r\nx": "usb\r\ncable, long",
        "k1": "shirt\r",
    }
    assert run(write_source(tmp_path / "source.parquet", odd), lake, *IN_REVIEW, "--mode", "full", "--guard-ids", "inf") == 0
    assert review(lake) == 0
    with (tmp_path / "review.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["product_id"]: row["title"] for row in rows} == odd
    assert {row["correct_category"] for row in rows} == {""}
    with (tmp_path / "filled.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "correct_category": "Electronics"} for row in rows)
    arguments = ["--target", str(lake), "--file", str(tmp_path / "filled.csv"), "--text-columns", "title"]
    assert run_command(CorrectSettings, correct_main, "correct", arguments) == 0
    found = standing(spark, locate(spark, str(lake))).collect()
    assert {row["product_id"]: row["texts"]["title"] for row in found} == odd


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ({"product_id": ["k1", "x9"], "correct_category": ["Books", "Books"]}, (), "found 'x9' (one of 1 unknown ones)"),
        (
            {"product_id": ["k1"], "correct_category": ["Boks"]},
            (),
            "found 'Boks' (1 rows); correct the spelling, or give --new-categories",
        ),
        (
            {"product_id": ["k1", "k1"], "correct_category": ["Books", "Household"]},
            (),
            "found 'Books' and 'Household' for 'k1'",
        ),
        (
            {"product_id": ["k1"], "correct_category": [" "]},
            (),
            "Expected a category in the column correct_category of some rows",
        ),
        ({"product_id": [None, "k1"], "correct_category": ["Books", "Books"]}, (), "found 1 without"),
        ({"product_id": ["k1"], "category": ["Books"]}, (), "correct_category"),
        ({"product_id": ["k1"], "correct_category": ["Books"]}, ("--text-columns", "title"), "title"),
    ],
)
def test_what_cannot_be_taken_is_said_and_nothing_written(lake, capsys, rows, more, said) -> None:
    assert correct(lake, rows, *more) == 2
    assert said in capsys.readouterr().err
    assert not Path(f"{lake}_corrections").exists()


def test_corrections_of_a_category_that_no_product_has_are_told(spark, lake, capsys) -> None:
    said = {"product_id": ["k1", "k2", "b1"], "correct_category": ["Garden", "Garden", "Electronics"]}
    assert correct(lake, said, "--new-categories") == 0
    assert "2 of them name 1 categories that the model gives to no product: 'Garden'" in capsys.readouterr().out
    assert correct(lake, {"product_id": ["k1", "k2"]}, "--withdraw") == 0
    assert "that the model gives to no product" not in capsys.readouterr().out


def test_a_category_that_no_product_has_yet_is_a_label_or_asked_for(spark, lake) -> None:
    """The labels of the model are known from the scores."""
    assert correct(lake, {"product_id": ["b1"], "correct_category": ["Clothing & Accessories"]}) == 0
    assert correct(lake, {"product_id": ["k1"], "correct_category": ["Kitchen"]}, "--new-categories") == 0
    assert correct(lake, {"product_id": ["k2"], "correct_category": ["Kitchen"]}) == 0
    found = {row["product_id"]: row["category"] for row in standing(spark, locate(spark, str(lake))).collect()}
    assert found == {"b1": "Clothing & Accessories", "k1": "Kitchen", "k2": "Kitchen"}


def test_training_takes_a_persons_word_for_the_labels(spark, lake, tmp_path) -> None:
    rows = {"product_id": ["k1", "c1"], "correct_category": ["Electronics", "Books"], "title": [PRODUCTS["k1"], PRODUCTS["c1"]]}
    assert correct(lake, rows, "--text-columns", "title") == 0
    labels = pd.DataFrame(
        {"text": ["steel kettle 1.7 LITRES", "old novel", "red shirt"], "label": ["Household", "Books", "Clothing"]}
    )
    labels.to_csv(tmp_path / "labels.csv", index=False)
    settings, limits = TextSettings(), Limits(100, 10_000)
    found = read_corrected_texts(standing(spark, locate(spark, str(lake))), str(lake), ("title",), (), settings)
    assert {tuple(row) for row in found[["label", "text"]].to_numpy()} == {
        ("Electronics", PRODUCTS["k1"]),
        ("Books", PRODUCTS["c1"]),
    }
    source = read_source(spark, locate(spark, str(tmp_path / "labels.csv")))
    data = read_labelled_texts(source, ("text",), LabelRules(("label",), min_rows=1), settings, limits, corrections=found)
    labelled = dict(zip(data.texts.to_pylist(), [data.labels[i] for i in data.label_ids], strict=True))
    assert labelled == {PRODUCTS["k1"]: "Electronics", PRODUCTS["c1"]: "Books", "old novel": "Books", "red shirt": "Clothing"}
    assert data.dropped["corrected label"] == 1
    # Three labels and two corrections, one of them in place of a label.
    assert data.rows_read == 5 == len(data.texts) + sum(data.dropped.values())
    # Nobody knows what a correction is whose label became several: the labelled text stays.
    split = Changes([Change("Electronics", "Audio"), Change("Electronics", "Video")], "changes.csv")
    rules = LabelRules(("label",), min_rows=1, changes=split)
    data = read_labelled_texts(source, ("text",), rules, settings, limits, corrections=found)
    labelled = dict(zip(data.texts.to_pylist(), [data.labels[i] for i in data.label_ids], strict=True))
    assert labelled["steel kettle 1.7 LITRES"] == "Household"
    assert (data.dropped["corrected label"], data.dropped["label that became several"]) == (0, 1)
    assert data.rows_read == 5 == len(data.texts) + sum(data.dropped.values())
    with pytest.raises(InputError, match="found title; correct --corrections-columns"):
        read_corrected_texts(standing(spark, locate(spark, str(lake))), str(lake), ("text",), (), settings)
    with pytest.raises(InputError, match="Expected a table with corrections"):
        read_corrected_texts(standing(spark, locate(spark, str(tmp_path / "other"))), "other", ("text",), (), settings)


def test_corrections_alone_may_hold_all_texts_of_the_labels() -> None:
    pairs = pd.DataFrame({"label": ["a"], "text": ["one two"]})
    rows, overruled = with_corrections(pairs, pd.DataFrame({"label": ["b"], "text": ["One, two"]}), TextSettings())
    assert (rows.to_dict("list"), overruled) == ({"label": ["b"], "text": ["One, two"]}, 1)
