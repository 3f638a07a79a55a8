"""The bag of features: what it is made of, what it learns, and that all engines compute the same with it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import training.workers
from lib.errors import CategorizerError
from lib.model.bag import marked
from lib.model.bundle import load_bundle
from lib.model.engines import build_engine, usable_engines
from lib.model.text import TextSettings, Tokenizer, tokens_of
from tests.conftest import ROOT
from tests.recipes import tiny_recipe
from tests.waiting import until
from training.bag import bag_data, build_bag_vocabulary, expansion, fit_bag, quantized
from training.fit import FitData
from training.recipe import BagSettings, FitSettings, epochs_for_steps
from training.workers import Say, prefixed, run_together

SETTINGS = TextSettings()
WORDS = ("steel", "kettle", "cup")
TEXTS = ["Steel kettle", "steel kettle cup", "kettle steel", "cup cup"]


def vocabulary_of(settings: BagSettings):
    texts = pa.array(TEXTS)
    return build_bag_vocabulary(Tokenizer(WORDS, SETTINGS).ids_of(texts), tokens_of(texts, SETTINGS), WORDS, settings)


def test_pairs_and_subwords_are_the_frequent_ones() -> None:
    vocabulary, pair_idf = vocabulary_of(BagSettings(min_texts_pair=2, min_count_subword=3, subwords=3))
    # Words 2, 3 and 4 occur in 3, 3 and 2 of 4 texts.
    assert vocabulary.idf[2:].tolist() == pytest.approx([math.log(5 / 4) + 1] * 2 + [math.log(5 / 3) + 1])
    assert vocabulary.unknown_idf == pytest.approx(math.log(5) + 1)
    # "steel kettle", and what a text begins and ends with in two of them.
    assert vocabulary.pairs.tolist() == [[0, 2], [2, 3], [4, 0]]
    assert pair_idf.tolist() == pytest.approx([math.log(5 / 3) + 1] * 3)
    # Every word occurs there three times; ties are in alphabetical order.
    assert vocabulary.subwords == ("<cu", "<cup", "<cup>")
    assert vocabulary_of(BagSettings(min_count_subword=4))[0].subwords == ()


def test_of_few_texts_every_word_counts() -> None:
    recipe = tiny_recipe()
    usual, own = replace(recipe, min_count=None), replace(recipe, min_count=5)
    assert [usual.min_count_for(texts) for texts in (10, 3_999, 4_000)] == [1, 1, 2]
    assert own.min_count_for(10) == 5
    assert [BagSettings().min_count_subword_for(texts) for texts in (10, 3_999, 4_000)] == [2, 2, 3]
    assert BagSettings(min_count_subword=7).min_count_subword_for(10) == 7


def test_a_word_is_itself_and_its_subwords() -> None:
    vocabulary, pair_idf = vocabulary_of(BagSettings(min_count_subword=1))
    rows = expansion(vocabulary, WORDS, pair_idf, 5).toarray()
    parts = vocabulary.subword_features(marked("cup"))
    assert len(parts) == 6
    expected = np.zeros(vocabulary.size)
    expected[4], expected[parts] = vocabulary.idf[4], vocabulary.idf[4] / math.sqrt(6)
    np.testing.assert_allclose(rows[4], expected, rtol=1e-6)
    # One that training never saw.
    expected[4] = 0
    np.testing.assert_allclose(expansion(vocabulary, WORDS, pair_idf, 4).toarray()[4], expected, rtol=1e-6)
    np.testing.assert_allclose(rows[vocabulary.first_pair, vocabulary.first_pair], pair_idf[0], rtol=1e-6)
    assert (rows[vocabulary.first_subword :, vocabulary.first_subword :] == np.eye(len(vocabulary.subwords))).all()


def test_rounded_rows_are_small_integers_times_a_power_of_two() -> None:
    table = np.random.default_rng(1).normal(0, [[3.0], [1e-3], [0.0], [40.0]], (4, 50)).astype(np.float32)
    integers, scales = quantized(table)
    assert integers.dtype == np.int8
    assert (np.log2(scales) == np.rint(np.log2(scales))).all()
    assert (np.abs(integers * scales[:, None] - table) <= scales[:, None] / 2).all()
    assert (np.abs(integers).max(axis=1)[[0, 1, 3]] > 63).all()
    # Values on the grid stay as they are, so that ONNX and Keras have the same numbers.
    again, same = quantized(integers * scales[:, None])
    assert (again * same[:, None] == integers * scales[:, None]).all()


@pytest.mark.parametrize(("texts", "expected"), [(100, 40), (1_600, 40), (6_400, 15), (64_000, 10)])
def test_few_texts_get_more_passes(texts: int, expected: int) -> None:
    assert epochs_for_steps(1_500, texts, 64, (10, 40)) == expected


def test_many_labels_get_more_passes_of_the_lstm() -> None:
    assert [FitSettings().epochs_for(6_400, labels) for labels in (4, 16, 32, 300)] == [15, 15, 30, 40]
    assert FitSettings(epochs=3).epochs_for(6_400, 300) == 3


def fitted(**settings):
    """On 80 made-up words of two kinds with the same endings."""
    random = np.random.default_rng(5)
    stems = ["".join(random.choice(list("bdfgklmnprst"), 4)) for _ in range(80)]
    texts = [f"{stem}{'ouze' if i % 2 else 'iki'}" for i, stem in enumerate(stems)]
    labels, rows = np.arange(80) % 2, np.arange(80)
    tokenizer = Tokenizer(texts, SETTINGS)
    ids = tokenizer.ids_of(pa.array(texts))
    data = FitData(ids, labels, 2, rows[:60], rows[60:], tokenizer.vocabulary_size, None, np.empty(0, np.int32))
    chosen = BagSettings(width=8, epochs=15, batch=8, learning_rate=0.02, **settings)
    said: list[str] = []
    return fit_bag(bag_data(pa.array(texts), data, tokenizer, chosen), chosen, 3, said.append), tokenizer, said


def test_an_unknown_word_is_told_by_its_parts() -> None:
    bag, tokenizer, said = fitted()
    scoring = bag.for_scoring(10_000, 10_000)
    texts = pa.array(["wqxhouze", "wqxhiki", "vvvvouze"])
    found = Tokenizer(tokenizer.words, SETTINGS, scoring.vocabulary).ids_of(texts)
    assert found.ids.tolist() == [1, 1, 1]
    assert scoring.logits(found.bag).argmax(axis=1).tolist() == [1, 0, 1]
    assert len(said) == 15
    assert "validation accuracy" in said[-1]


def test_the_same_seed_gives_the_same_bag() -> None:
    first, second = fitted()[0], fitted()[0]
    assert (first.table == second.table).all()
    assert (first.output == second.output).all()


def test_fewer_pairs_and_subwords_are_the_most_frequent_ones() -> None:
    bag, _, _ = fitted()
    pairs = np.array([[2, 3], [3, 4], [4, 5]], np.int32)
    whole = replace(bag.vocabulary, pairs=pairs)
    rows = np.insert(bag.table, [bag.vocabulary.first_pair] * 3, [[1.0], [2.0], [3.0]], axis=0)
    few = replace(bag, vocabulary=whole, table=rows).for_scoring(2, 5)
    assert few.vocabulary.pairs.tolist() == [[2, 3], [3, 4]]
    assert few.vocabulary.subwords == bag.vocabulary.subwords[:5]
    expected = np.concatenate([rows[: whole.first_pair + 2], rows[whole.first_subword :][:5]])
    np.testing.assert_array_equal(few.table, expected)


def test_a_loss_that_is_no_number_ends_the_fit(monkeypatch) -> None:
    monkeypatch.setattr("training.bag.INITIAL_SPREAD", float("inf"))
    with pytest.raises(CategorizerError, match="Expected a finite loss of the bag, found nan"):
        fitted()


def test_engines_agree_on_unknown_words(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    words = [*bundle.tokenizer.words[:40], "kettles", "zzyzx", "cupboard", "дом", "steel-kettle"]
    random = np.random.default_rng(6)
    texts = [" ".join(random.choice(words, random.integers(1, 40))) for _ in range(100)]
    ids = bundle.tokenizer.ids_of(pa.array(texts))
    assert (np.diff(ids.bag.offsets) > 0).any()
    scores = {name: build_engine(name, bundle, 1).probabilities(ids) for name in usable_engines()}
    for name, found in scores.items():
        np.testing.assert_allclose(found, scores["keras"], rtol=0, atol=1e-4, err_msg=name)


def squared(number: int, say: Say) -> int:
    if number < 0:
        raise CategorizerError(f"Expected no {number}.")
    say(f"{number} squared")
    return number * number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_lines_are_said(processes: int) -> None:
    said: list[str] = []
    tasks = [partial(squared, number) for number in (3, 1, 2)]
    assert run_together(tasks, prefixed(said.append, "> "), processes) == [9, 1, 4]
    assert sorted(said) == ["> 1 squared", "> 2 squared", "> 3 squared"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_task_s_error_is_raised(processes: int) -> None:
    with pytest.raises(CategorizerError, match="Expected no -1"):
        run_together([partial(squared, number) for number in (2, -1)], print, processes)


def endless(path: str, say: Say) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def failing_once_it_is_there(path: str, say: Say) -> None:
    until(lambda: Path(path).exists() and Path(path).read_text() != "", "the other task")
    raise CategorizerError("Expected another end.")


def is_gone(process: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True


def endless_while_it_speaks(path: str, say: Say) -> None:
    """As a process that passes on a message when it is ended."""
    with training.workers._lines._wlock:
        endless(path, say)


@pytest.mark.parametrize("task", [endless, endless_while_it_speaks])
def test_one_task_s_error_ends_the_others(tmp_path: Path, task: Callable[[str, Say], None]) -> None:
    path = str(tmp_path / "process")
    with pytest.raises(CategorizerError, match="Expected another end"):
        run_together([partial(failing_once_it_is_there, path), partial(task, path)], print, 2)
    assert is_gone(int(Path(path).read_text()))


def test_a_killed_parent_takes_its_tasks_along(tmp_path: Path) -> None:
    path = tmp_path / "process"
    code = (
        "from functools import partial\n"
        "from tests.training.test_bag import endless\n"
        "from training.workers import run_together\n"
        "if __name__ == '__main__':\n"
        f"    run_together([partial(endless, {str(path)!r}), partial(endless, {str(path)!r})], print, 2)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env={**os.environ, "PYTHONPATH": str(ROOT)})
    until(lambda: path.exists() and path.read_text() != "", "a task")
    parent.kill()
    parent.wait()
    until(lambda: is_gone(int(path.read_text())), "the task's end")
