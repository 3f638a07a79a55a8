from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from jobs.explain import ExplainSettings, main
from lib.command import run_command
from lib.errors import InputError
from lib.model.engines import build_engine
from lib.model.explanation import Explanation, explain, explanation_text

TEXT = "Stainless steel kettle, 1.7 litres. The kettle zzyzx is light."


@pytest.fixture(scope="module")
def engine(shipped):
    return build_engine("onnx", shipped, threads=1)


def probability(shipped, engine, text: str, label: str) -> float:
    return float(engine.probabilities(shipped.tokenizer.ids_of(pa.array([text])))[0][shipped.labels.index(label)])


def test_a_word_s_effect_is_that_of_making_it_unknown(shipped, engine) -> None:
    found = explain(TEXT, shipped, engine)
    assert found.category == "Household"
    assert found.confidence == pytest.approx(probability(shipped, engine, TEXT, "Household"), abs=1e-6)
    assert found.unknown == ("zzyzx",)
    kettle = next(one for one in found.words if one.word == "kettle")
    assert kettle.count == 2
    words = ["stainless", "steel", None, "1", "7", "litres", "the", None, "zzyzx", "is", "light"]
    ids = shipped.tokenizer.ids_of_tokens(pa.array([words]))
    without = float(engine.probabilities(ids)[0][shipped.labels.index("Household")])
    assert kettle.probability_without == pytest.approx(without, abs=1e-6)
    odds = np.log(found.confidence / (1 - found.confidence)) - np.log(without / (1 - without))
    assert kettle.effect == pytest.approx(odds, abs=1e-3)
    effects = [abs(one.effect) for one in found.words]
    assert effects == sorted(effects, reverse=True)


def test_another_category_can_be_asked_for(shipped, engine) -> None:
    found = explain(TEXT, shipped, engine, category="Books")
    assert found.category == "Books"
    assert found.confidence == pytest.approx(found.scores["Books"])
    assert next(iter(found.scores)) == "Household"


@pytest.mark.parametrize(("text", "category", "because"), [("!?", None, "a text with words"), ("x", "Toys", "found 'Toys'")])
def test_what_cannot_be_explained(shipped, engine, text, category, because) -> None:
    with pytest.raises(InputError, match=because):
        explain(text, shipped, engine, category)


def test_what_is_not_read_is_told(shipped, engine) -> None:
    limit = shipped.tokenizer.settings.max_tokens
    found = explain("book " * (limit + 5), shipped, engine)
    assert (found.tokens, found.tokens_read) == (limit + 5, limit)
    assert f"read: the first {limit} of {limit + 5} words" in explanation_text(found, 3)


def run(*arguments: str) -> int:
    return run_command(ExplainSettings, main, "explain", list(arguments))


def test_the_job_shows_as_many_words_as_asked(capsys) -> None:
    assert run("--text", TEXT, "--top", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Household 0.")
    # The category; a blank line, the head and the words; a blank line, what is unknown and how unfamiliar it all is.
    assert len(lines) == 1 + 2 + 2 + 1 + 1 + 2
    assert len([line for line in lines if line.startswith("stainless ")]) == 1
    assert run("--text", TEXT, "--json") == 0
    assert json.loads(capsys.readouterr().out)["category"] == "Household"


@pytest.mark.parametrize("wrong", [(), ("--text", "a", "--id", "3"), ("--id", "3"), ("--text", "a", "--top", "0")])
def test_wrong_use(capsys, wrong) -> None:
    assert run(*wrong) == 2
    assert capsys.readouterr().err.startswith("error: Expected")


def test_of_thousands_of_labels_the_terminal_shows_a_few() -> None:
    found = Explanation("label 0", 0.5, {f"label {i}": 0.5 / (i + 1) for i in range(3000)}, (), (), 1, 1)
    first = explanation_text(found, 5).splitlines()[0]
    assert first.endswith("label 9 0.050, and 2,990 more)")
