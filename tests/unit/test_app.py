"""The parts of the page, without a browser: answers, files, and how they are drawn."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.app import AppSettings
from jobs.app import main as app_main
from lib.app.model import Answer, Level, Model, answer_of, decided_rows, opened_model
from lib.app.paths import nodes_of, separator_in, sure_only_of
from lib.app.rows import Overview
from lib.app.server import options
from lib.app.shown import fault, headline, levels, markdown, own, probabilities, product_id, products, words
from lib.app.table_file import added_names, likely_columns, read_table_file, written
from lib.command import run_command
from lib.errors import InputError
from lib.model.explanation import WordEffect, explain
from tests.conftest import SHIPPED
from tests.postgres import free_port

KETTLE = "Stainless steel kettle, 1.7 litres"


@pytest.fixture(scope="module")
def model() -> Model:
    return opened_model(str(SHIPPED))


def app(*arguments: object) -> int:
    return run_command(AppSettings, app_main, "app", list(map(str, arguments)))


def test_an_answer_is_what_explain_and_the_night_say(model: Model) -> None:
    answer = answer_of(model, {"text": KETTLE})
    why = explain(KETTLE, model.bundle, model.engine)
    assert answer.why == why
    assert (answer.category, answer.scores) == (why.category, tuple(why.scores.items()))
    assert answer.confidence == pytest.approx(why.confidence)
    assert answer.status == ("categorized" if answer.confidence >= answer.threshold else "review")


@pytest.mark.parametrize(
    ("text", "reason"), [("", "no text"), ("!!!", "no words in the text"), ("\ud83d", "no words in the text")]
)
def test_a_text_without_words_has_no_category(model: Model, text: str, reason: str) -> None:
    assert answer_of(model, {"text": text}) == Answer("unclassifiable", reason)


def test_a_file_is_given_back_with_columns_behind_its_own(model: Model) -> None:
    content = b'\xef\xbb\xbfid,title\r\n1,"a ""steel""\nkettle"\r\n\r\n2,\r\n'
    file = read_table_file(content)
    assert {name: column.to_pylist() for name, column in file.columns.items()} == {
        "id": ["1", "2"],
        "title": ['a "steel"\nkettle', ""],
    }
    rows = [row for batch in decided_rows(model, [file.columns["title"]], ["title"]) for row in batch.to_pylist()]
    answers = [answer_of(model, {"text": text}) for text in file.columns["title"].to_pylist()]
    assert [(row["category"], row["status"]) for row in rows] == [(one.category, one.status) for one in answers]
    again = read_table_file(written(file, rows, None))
    assert again.has_mark
    assert again.names == ("id", "title", *added_names((), False).values())
    assert again.columns["id"] == file.columns["id"]
    assert again.columns["category"].to_pylist() == [answers[0].category, ""]


def test_an_empty_line_of_a_file_of_one_column_is_a_row() -> None:
    file = read_table_file(b"\r\n\r\ntitle\r\nbook\r\n\r\nlamp\r\n\r\n")
    assert {name: column.to_pylist() for name, column in file.columns.items()} == {"title": ["book", "", "lamp", ""]}
    decided = [dict.fromkeys(added_names((), False))] * file.rows
    assert [line.split(b",")[0] for line in written(file, decided, None).splitlines()] == [b"title", b"book", b"", b"lamp", b""]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "found none"),
        (b"a,a\n1,2\n", "found 'a' more than once"),
        (b"a,b\n1,2\n1\n", "Expected 2 values in each row of the CSV file, as in its header, found 1 in line 3"),
        (b'a,b\n1,"2\n', "Expected CSV with each quote inside a quoted text doubled, found an error in line 2"),
        (b"a\n\xff\n", "found an invalid byte after 2 others"),
    ],
)
def test_a_file_that_is_no_csv_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_table_file(content)


def test_columns_of_a_file_keep_their_names() -> None:
    assert added_names(["category", "title"], True)["status"] == "model_status"
    with pytest.raises(InputError, match="found model_category"):
        added_names(["category", "model_category"], False)
    assert likely_columns(["Description", "price", "Title"], ["text"]) == ("Title", "Description")
    assert likely_columns(["Description", "name"], ["title", "description"]) == ("", "Description")


def test_of_many_labels_the_most_probable_are_drawn(model: Model) -> None:
    scores = tuple((f"label {i}", 1 / 500) for i in range(500))
    drawn = probabilities(replace(answer_of(model, {"text": KETTLE}), scores=scores))
    assert drawn.count("<tr>") == 1 + 10
    assert "and 490 more labels, 0.980 together" in drawn


def test_levels_say_which_are_published() -> None:
    word = WordEffect("steel", 1, 0.5, 2.0)
    drawn = levels([Level("Home", 0.99, 0.5, True), Level("Kettles", 0.6, 0.9, False, (word,))])
    assert (
        drawn.index("Home")
        < drawn.index("yes")
        < drawn.index("Kettles")
        < drawn.index("steel +2.00")
        < drawn.index("not sure enough")
    )
    assert levels([]) == ""


def test_a_caption_names_the_category_once_escaped(model: Model) -> None:
    answer = answer_of(model, {"text": KETTLE})
    assert answer.why is not None
    drawn = words(replace(answer, why=replace(answer.why, category="Food > Tea & Coffee")))
    assert "Words that speak for Food &gt; Tea &amp; Coffee, or against" in drawn


def test_how_far_down_a_path_is_sure() -> None:
    path = ["Home", "Kitchen", "Kettles"]
    for separator in (" > ", "/"):
        category = separator.join(path)
        assert separator_in(category, path) == separator
        assert nodes_of(category, separator) == [separator.join(path[:depth]) for depth in (1, 2, 3)]
        assert sure_only_of(category, path, path[:2]) == f"sure only of Home{separator}Kitchen"
    assert sure_only_of("Home", ["Home"], []) == "sure of no level"
    assert [sure_only_of("Home", ["Home"], ["Home"]), sure_only_of("Home", None, None), sure_only_of(None, None, None)] == [
        None
    ] * 3
    assert (separator_in("Home", ["Home"]), nodes_of("Home > Kitchen", None)) == ("", ["Home > Kitchen"])


def test_products_are_counted_at_each_level() -> None:
    counts = [
        ("b/x", "review", 3),
        ("a", "categorized", 2),
        ("b/y", "review", 1),
        ("b/x", "categorized", 1),
        (None, "unclassifiable", 5),
    ]
    flat = Overview((0, None), counts, (), (), "m/1", None)
    assert list(flat.by_category.items()) == [("b/x", 4), ("a", 2), ("b/y", 1), (None, 5)]
    assert list(replace(flat, separator="/").by_category.items()) == [(None, 5), ("a", 2), ("b", 5), ("b/x", 4), ("b/y", 1)]


def test_nothing_of_a_text_is_taken_for_html(model: Model) -> None:
    evil = "<script>alert(1)</script> <img src=x onerror=alert(1)> kettle"
    answer = replace(answer_of(model, {"text": evil}), category=evil)
    row = {
        "product_id": evil,
        "title": evil,
        "category": evil,
        "confidence": None,
        "runner_up": evil,
        "status": "review",
        "reason": evil,
    }
    drawn = (
        headline(answer, evil)
        + probabilities(answer)
        + words(answer)
        + products([row], ["title"], evil)
        + product_id(evil)
        + fault(evil)
    )
    assert "<script" not in drawn
    assert "<img" not in drawn
    # Persian separates letters by an invisible character; one that reverses the line is shown.
    assert own("می\u200cخواهم") == '<bdi dir="auto">می\u200cخواهم</bdi>'
    assert own("\u202egnp.exe") == '<bdi dir="auto">\\u202egnp.exe</bdi>'


def test_nothing_of_a_label_is_taken_for_markdown() -> None:
    assert markdown("a\n\n![x](u) :red[b] &lt; 1. $x$") == r"a \!\[x\]\(u\) \:red\[b\] \&lt\; 1\. \$x\$"


def test_the_server_tells_nobody_anything() -> None:
    told = options("127.0.0.1", 8501, False)
    assert (told["browser.gatherUsageStats"], told["server.fileWatcherType"], told["server.address"]) == (
        False,
        "none",
        "127.0.0.1",
    )
    assert AppSettings().host == "127.0.0.1"


def test_wrong_arguments_end_before_anything_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, code, sentence in (
            (["--port", port], 2, "Expected a free port of this machine in --host 127.0.0.1 --port"),
            (["--port", 0], 2, "Expected --port from 1 to 65535, found 0"),
            (["--host", "192.0.2.1"], 2, "Expected a free port of this machine in --host 192.0.2.1"),
            (
                ["--port", free_port(), "--target", tmp_path],
                2,
                f"Expected a table at {tmp_path}, found none; correct --target.",
            ),
            (["--port", free_port(), "--model", tmp_path], 3, "Expected a bundle"),
        ):
            assert app(*arguments) == code
            said = capsys.readouterr().err.strip()
            assert said.startswith(f"error: {sentence}")
            assert "\n" not in said
