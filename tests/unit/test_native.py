"""The compiled kernel and tokenizer against float32, against pyarrow, and under the sanitizers."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib.errors import InputError
from lib.model.bag import Bag, BagVocabulary
from lib.model.engines import build_engine, checked_engine
from lib.model.engines.engine import Engine
from lib.model.engines.native import NativeEngine
from lib.model.native import BagLayer, NativeNetwork, _found, instruction_sets, library, library_name, why_there_is_none
from lib.model.text import TextSettings, TokenIds, Tokenizer
from tests.conftest import ROOT, SHIPPED

COMPILER = shutil.which(os.environ.get("CXX", "c++"))
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on this machine")
pytestmark = pytest.mark.skipif(library() is None and COMPILER is None, reason="no compiled library, and no C++ compiler")


def random_ids(vocabulary: int, lengths: list[int], seed: int = 0) -> TokenIds:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return TokenIds(np.random.default_rng(seed).integers(0, vocabulary, offsets[-1]).astype(np.int32), offsets)


def lstm_in_float64(texts: TokenIds, inputs, recurrent, dense, output) -> tuple[np.ndarray, np.ndarray]:
    """The equations as a textbook has them, one text and one step at a time."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-np.clip(x, -500, 500)))

    def last_state(ids, rows, weights):
        units = weights.shape[0]
        h, c = np.zeros(units), np.zeros(units)
        for i in ids:
            z = rows[i].astype(np.float64) + h @ weights
            i_, f_, g_, o_ = np.split(z, 4)
            c = sigmoid(f_) * c + sigmoid(i_) * np.tanh(g_)
            h = sigmoid(o_) * np.tanh(c)
        return h

    found, evidence = [], []
    for a, b in zip(texts.offsets[:-1], texts.offsets[1:], strict=True):
        ids = texts.ids[a:b]
        ordered = (ids, ids[::-1])
        h = np.concatenate([last_state(ordered[d], inputs[d], recurrent[d].astype(np.float64)) for d in range(len(inputs))])
        x = np.maximum(h @ dense[0] + dense[1], 0) @ output[0] + output[1]
        e = np.exp(x - x.max())
        found.append(e / e.sum() if len(ids) else np.full(len(e), np.nan))
        evidence.append(np.log(e.sum()) + x.max() if len(ids) else np.nan)
    return np.array(found).reshape(len(found), len(output[1])), np.array(evidence)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 2),
    st.integers(1, 9),
    st.integers(1, 30),
    st.lists(st.integers(0, 15), max_size=12),
    st.integers(0, 9),
)
def test_every_instruction_set_computes_the_lstm(units, directions, dense, vocabulary, lengths, seed) -> None:
    random = np.random.default_rng(seed)

    def numbers(*shape, size=0.5):
        return random.normal(0, size, shape).astype(np.float32)

    inputs = [numbers(vocabulary, 4 * units, size=1) for _ in range(directions)]
    recurrent = [numbers(units, 4 * units, size=1 / np.sqrt(units)) for _ in range(directions)]
    layers = (numbers(directions * units, dense), numbers(dense)), (numbers(dense, 3), numbers(3))
    texts = random_ids(vocabulary, lengths, seed)
    expected, expected_evidence = lstm_in_float64(texts, inputs, recurrent, *layers)
    for name in instruction_sets():
        found, evidence = NativeNetwork(inputs, recurrent, *layers, name).probabilities_and_evidence(texts.ids, texts.offsets)
        assert found.shape == (len(lengths), 3)
        np.testing.assert_allclose(evidence, expected_evidence, rtol=0, atol=2e-3, err_msg=name)
        if lengths:
            np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.lists(st.integers(0, 30), max_size=12), st.integers(0, 9))
def test_every_instruction_set_sums_the_bag(width, lengths, seed) -> None:
    random = np.random.default_rng(seed)
    zeros = [np.zeros(shape, np.float32) for shape in ((5, 8), (2, 8), (2, 3), (3,), (3, 2), (2,))]
    bag = BagLayer(
        random.integers(-127, 128, (9, width)).astype(np.int8),
        random.uniform(0, 0.1, 9).astype(np.float32),
        random.integers(0, 2, width).astype(np.float32),
        random.normal(0, 0.1, (width, 2)).astype(np.float32),
    )
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    features = random.integers(0, 9, offsets[-1]).astype(np.int32)
    weights = random.uniform(0, 1, offsets[-1]).astype(np.float32)
    texts = random_ids(5, [1] * len(lengths))
    table = bag.table * bag.scales[:, None].astype(np.float64)
    of_text = [weights[a:b] @ table[features[a:b]] for a, b in pairwise(offsets)]
    for name in instruction_sets():
        network = NativeNetwork([zeros[0]], [zeros[1]], (zeros[2], zeros[3]), (zeros[4], zeros[5]), name, bag)
        found = network.probabilities(texts.ids, texts.offsets, Bag(features, weights, offsets))
        if lengths:
            hidden = np.array(of_text)
            powers = np.exp(np.where(hidden > 0, hidden, bag.slopes * hidden) @ bag.output.astype(np.float64))
            np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), rtol=0, atol=1e-5, err_msg=name)


def test_a_bag_that_does_not_fit() -> None:
    zeros = [np.zeros(shape, np.float32) for shape in ((5, 8), (2, 8), (2, 3), (3,), (3, 2), (2,))]
    table, scales, output = np.zeros((4, 6), np.int8), np.ones(4, np.float32), np.ones((6, 2), np.float32)
    slopes = np.zeros(6, np.float32)
    for wrong in (
        BagLayer(table, scales[:3], slopes, output),
        BagLayer(table, scales, slopes[:5], output),
        BagLayer(table, scales, slopes, output[:5]),
        BagLayer(table, scales, slopes, np.full((6, 2), np.nan, np.float32)),
        BagLayer(table.astype(np.int16), scales, slopes, output),
    ):
        with pytest.raises(ValueError, match="a bag that does not fit"):
            NativeNetwork([zeros[0]], [zeros[1]], (zeros[2], zeros[3]), (zeros[4], zeros[5]), bag=wrong)
    # Other floating-point numbers are converted.
    good = BagLayer(table, scales.astype(np.float16), slopes, output.astype(np.float64))
    network = NativeNetwork([zeros[0]], [zeros[1]], (zeros[2], zeros[3]), (zeros[4], zeros[5]), bag=good)
    ids, one = np.array([0], np.int32), np.ones(1, np.float32)
    for bag in (None, Bag(np.array([4], np.int32), one, np.array([0, 1])), Bag(ids, one, np.array([0, 2]))):
        with pytest.raises(IndexError):
            network.probabilities(ids, np.array([0, 1]), bag)


def test_sums_of_the_greatest_weights_and_states_do_not_overflow() -> None:
    """All gates wide open: every state is 1, so every sum is as large as it can be."""
    units = 64
    inputs, recurrent = [np.full((1, 4 * units), 50, np.float32)], [np.full((units, 4 * units), 1e4, np.float32)]
    layers = (
        (np.eye(units, 2, dtype=np.float32), np.zeros(2, np.float32)),
        (np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),
    )
    texts = random_ids(1, [30])
    expected = lstm_in_float64(texts, inputs, recurrent, *layers)[0]
    for name in instruction_sets():
        found = NativeNetwork(inputs, recurrent, *layers, name).probabilities(texts.ids, texts.offsets)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=name)


def test_a_text_s_probabilities_do_not_depend_on_its_batch_by_a_bit(shipped) -> None:
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(shipped.tokenizer.words, random.integers(1, 250))) for _ in range(150)]
    # Copies in one batch are scored once.
    texts += texts[:20]
    ids = shipped.tokenizer.ids_of(pa.array(texts))
    for name in instruction_sets():
        engine = NativeEngine(shipped, 1, name)
        together = engine.probabilities(ids)
        order = random.permutation(len(texts))
        assert (engine.probabilities(ids.rows(order)) == together[order]).all()
        alone = [engine.probabilities(ids.rows(np.array([row])))[0] for row in range(30)]
        assert (np.array(alone) == together[:30]).all()
        assert (NativeEngine(shipped, 3, name).probabilities(ids) == together).all()
        assert (together[-20:] == together[:20]).all()


def test_texts_to_scores_are_ids_of_texts_to_probabilities_by_a_bit(shipped) -> None:
    """More texts than go through the two halves at a time, with foreign ones, copies, blanks and nulls among them."""
    random = np.random.default_rng(4)
    words = np.array([*shipped.tokenizer.words[:3000], "zzyzx", "quux-12", "e\u0301", "½", "手机"], dtype=object)
    texts = [" ".join(random.choice(words, random.integers(0, 60))) for _ in range(700)]
    texts = pa.array([*texts, None, "", " ", *texts[:5], "手机 kettle"], pa.string())
    for threads in (1, 3):
        engine = NativeEngine(shipped, threads)
        found, expected = engine.scores_of(shipped.tokenizer, texts), Engine.scores_of(engine, shipped.tokenizer, texts)
        for name in ("probabilities", "evidence", "tokens", "unknown_tokens"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
        assert set(found.seconds) == {"text", "network"}
        assert min(found.seconds.values()) > 0
    assert (found.tokens[-9:-6] == 0).all()
    sliced = engine.scores_of(shipped.tokenizer, texts.slice(3).cast(pa.large_string()))
    np.testing.assert_array_equal(sliced.probabilities, found.probabilities[3:])
    nothing = engine.scores_of(shipped.tokenizer, texts[:0])
    assert nothing.probabilities.shape == (0, len(shipped.labels))


def test_a_tokenizer_of_another_bundle(shipped) -> None:
    engine = NativeEngine(shipped, 1)
    with pytest.raises(IndexError, match="a bag of features that the other half lacks"):
        engine.scores_of(Tokenizer(shipped.tokenizer.words, shipped.tokenizer.settings), pa.array(["kettle"]))
    more = Tokenizer((*shipped.tokenizer.words, "zzyzx"), shipped.tokenizer.settings, shipped.tokenizer.bag)
    with pytest.raises(IndexError, match="an id outside the vocabulary"):
        engine.scores_of(more, pa.array(["zzyzx"]))


def test_float32_and_every_instruction_set_agree(shipped) -> None:
    random = np.random.default_rng(5)
    words = np.array([*shipped.tokenizer.words[:3000], "zzyzx", "quux"], dtype=object)
    ids = shipped.tokenizer.ids_of(pa.array([" ".join(random.choice(words, random.integers(1, 230))) for _ in range(300)]))
    expected = build_engine("onnx", shipped, 1).probabilities(ids)
    for name in instruction_sets():
        np.testing.assert_allclose(NativeEngine(shipped, 1, name).probabilities(ids), expected, rtol=0, atol=5e-4)


def test_labels_and_f1_on_real_texts(shipped, real_data) -> None:
    import pandas as pd
    from sklearn.metrics import f1_score

    rows = pd.read_parquet(real_data / "ecommerce_text.parquet")
    ids = shipped.tokenizer.ids_of(pa.array(rows["text"]))
    expected = build_engine("onnx", shipped, 2).probabilities(ids).argmax(axis=1)
    truth = [shipped.labels.index(label) for label in rows["label"]]
    for name in instruction_sets():
        found = NativeEngine(shipped, 1, name).probabilities(ids).argmax(axis=1)
        assert (found == expected).mean() >= 0.999
        assert abs(f1_score(truth, found, average="weighted") - f1_score(truth, expected, average="weighted")) < 0.001


@pytest.mark.parametrize(
    ("ids", "offsets"), [([0, 5], [0, 2]), ([0, -1], [0, 2]), ([0, 1], [0, 3]), ([0, 1], [1, 0]), ([0, 1], [-1, 2])]
)
def test_ids_and_offsets_out_of_bounds(ids, offsets) -> None:
    zeros = [np.zeros(shape, np.float32) for shape in ((5, 8), (2, 8), (2, 3), (3,), (3, 2), (2,))]
    network = NativeNetwork([zeros[0]], [zeros[1]], (zeros[2], zeros[3]), (zeros[4], zeros[5]))
    assert network.probabilities(np.array([0, 4], np.int32), np.array([0, 2])).tolist() == [[0.5, 0.5]]
    with pytest.raises(IndexError):
        network.probabilities(np.array(ids, np.int32), np.array(offsets))


def test_weights_that_do_not_fit() -> None:
    good = [np.zeros(shape, np.float32) for shape in ((5, 8), (2, 8), (2, 3), (3,), (3, 2), (2,))]
    for place, wrong in ((0, np.zeros((5, 12))), (1, np.full((2, 8), np.nan)), (2, np.zeros((4, 3))), (5, np.zeros(3))):
        parts = [*good[:place], wrong.astype(np.float32), *good[place + 1 :]]
        with pytest.raises(ValueError, match=r"fit each other|not finite"):
            NativeNetwork([parts[0]], [parts[1]], (parts[2], parts[3]), (parts[4], parts[5]))


WORDS = ["kettle", "1", "é", "naïve", "дом", "a", "ab", "abcdefgh", "abcdefghi", "k" * 17, "ǆ", "tm", "2"]
ANY_TEXT = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from([*WORDS, " ", "™", "’", "\u0301", "😀", "KETTLE", "²", "½"]),
        st.sampled_from(
            [
                "<",
                ">",
                "/",
                "&",
                ";",
                "#",
                "=",
                "<b>",
                "</B>",
                "<br/",
                '<div class="a',
                "<!--",
                "&amp;",
                "&nbsp;",
                "&lt;",
                "&#39;",
                "&#xe9;",
                "&eacute;",
                "&ab",
            ]
        ),
    )
).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(ANY_TEXT, st.none()), max_size=6),
    st.sampled_from([4, 30, 4096]),
    st.sampled_from([1, 3, 200]),
    st.sampled_from(["NFC", "NFKC", "NFKD"]),
    st.booleans(),
)
@example(["e\u0301 é", None, "", "½ ² ™ tm"], 4096, 200, "NFKC", True)
@example(
    ["<b>ab</b><A b='1'>a &lt;i&gt;1</a>", "<style>a</style>ab", "ab <abcdefgh a", "<s\u017f>", "a<br"], 4096, 200, "NFKC", True
)
def test_tokens_are_those_of_pyarrow(texts, most_characters, most_tokens, form, lowercase) -> None:
    tokenizer = Tokenizer(WORDS, TextSettings(form, lowercase, max_characters=most_characters, max_tokens=most_tokens))
    assert tokenizer.compiled is not None
    array = pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())
    found, expected = tokenizer.ids_of(array), tokenizer.ids_by_arrow(array)
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.ids.tolist() == expected.ids.tolist()
    assert tokenizer.ids_of(array.cast(pa.large_string())).ids.tolist() == expected.ids.tolist()
    # A slice begins in the middle of its buffers.
    assert tokenizer.ids_of(array[1:]).ids.tolist() == tokenizer.ids_by_arrow(array[1:]).ids.tolist()


BAG = BagVocabulary(
    idf=np.linspace(1, 5, len(WORDS) + 2).astype(np.float32),
    unknown_idf=6.5,
    pairs=np.array([[2, 3], [3, 2], [2, 2], [6, 7], [9, 10]], np.int32),
    subwords=("<ke", "ett", "tle>", "é>", "<дом", "дом>", "aaa", "kkkkk", "<a>", "😀", "ab", "<ab", "tm>"),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(ANY_TEXT, st.none()), max_size=6), st.sampled_from([4, 30, 4096]), st.sampled_from([1, 3, 200]))
@example(["kettle 1 kettle kettles 1 kettle", "k" * 40 + " " + "k" * 33 + "a " + "k" * 32, "дома дома домашний"], 4096, 200)
# A text that is left to pyarrow, and others with the same features after it.
@example(["kettle 2 1 e\u0301", "1 kettle", "2"], 4096, 200)
def test_bags_are_those_of_python(texts, most_characters, most_tokens) -> None:
    tokenizer = Tokenizer(WORDS, TextSettings(max_characters=most_characters, max_tokens=most_tokens), BAG)
    array = pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())
    found, expected = tokenizer.ids_of(array), tokenizer.ids_by_arrow(array)
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert bags_of(found) == bags_of(expected)


def bags_of(texts: TokenIds) -> list[list[tuple[int, float]]]:
    """The features of each text with their weights, in a fixed order."""
    bag = texts.bag
    pairs = list(zip(bag.features.tolist(), [float(f"{weight:.4g}") for weight in bag.weights], strict=True))
    return [sorted(pairs[a:b]) for a, b in zip(bag.offsets[:-1], bag.offsets[1:], strict=True)]


def test_separators_that_look_further_than_a_character_are_left_to_pyarrow() -> None:
    tokenizer = Tokenizer(["ab"], TextSettings(separators=r"--+| +"))
    assert tokenizer.compiled is None
    assert tokenizer.ids_of(pa.array(["ab--ab c-d"])).ids.tolist() == [2, 2, 1]


def test_most_real_texts_are_read_by_the_compiled_tokenizer(shipped, real_data) -> None:
    import pandas as pd

    rows = pd.read_parquet(real_data / "catalog.parquet")
    texts = pa.array(rows["title"].fillna("") + " " + rows["description"].fillna(""), pa.string())
    _, lengths, _ = shipped.tokenizer.compiled.ids_of(texts)
    assert (lengths < 0).mean() < 0.01
    found, expected = shipped.tokenizer.ids_of(texts), shipped.tokenizer.ids_by_arrow(texts)
    assert (found.ids == expected.ids).all()
    assert (found.offsets == expected.offsets).all()


def test_without_the_library_onnx_runtime_scores_and_says_so(shipped, monkeypatch, capsys) -> None:
    assert checked_engine("auto", shipped).name == "native"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("lib.model.native._found", lambda: (None, "none"))
    assert checked_engine("auto", shipped).name == "onnx"
    assert "engine onnx: no compiled library" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"Expected the compiled library .* for --engine native, found none; install"):
        build_engine("native", shipped, 1)


def test_a_library_of_other_sources_is_not_called(monkeypatch) -> None:
    assert library() is not None
    _found.cache_clear()
    try:
        monkeypatch.setattr("lib.model.native.INTERFACE", 0)
        assert library() is None
        assert why_there_is_none() == "one of another version of the sources"
    finally:
        _found.cache_clear()


def test_a_library_that_does_not_load_is_told_apart_from_none(shipped, monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / library_name()).write_bytes(b"of another machine")
    monkeypatch.setattr("lib.model.native.resources.files", lambda package: tmp_path)
    _found.cache_clear()
    try:
        assert checked_engine("auto", shipped).name == "onnx"
        assert "that works, but one that does not load (" in capsys.readouterr().err
        with pytest.raises(InputError, match=r"for --engine native, found one that does not load \(.*; install"):
            build_engine("native", shipped, 1)
    finally:
        _found.cache_clear()


def test_a_vocabulary_too_large_for_a_worker_is_left_to_onnx_runtime(shipped, monkeypatch, capsys) -> None:
    monkeypatch.setattr("lib.model.engines.native.MAX_INPUT_BYTES", 1 << 20)
    assert checked_engine("auto", shipped).name == "onnx"
    assert "would be more than 1 MB a worker" in capsys.readouterr().err


def test_the_library_loads_from_the_zip_that_executors_get(tmp_path: Path) -> None:
    archive = tmp_path / "code.zip"
    subprocess.run([sys.executable, "scripts/zip_code.py", str(archive), "lib", "schemas"], cwd=ROOT, check=True)
    code = (
        "from lib.model.bundle import load_bundle; from lib.model.engines import build_engine; import lib, pyarrow as pa;"
        f"assert 'code.zip' in lib.__file__; b = load_bundle({str(SHIPPED)!r});"
        "e = build_engine('native', b, 1);"
        "print(b.labels[e.probabilities(b.tokenizer.ids_of(pa.array(['steel kettle'])))[0].argmax()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "Household", done.stderr


@needs_compiler
def test_fuzz_under_the_sanitizers(tmp_path: Path) -> None:
    sources = [*(ROOT / "native").glob("*.cpp"), ROOT / "tests" / "native" / "fuzz.cpp"]
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-w"]
    program = str(tmp_path / "fuzz")
    subprocess.run([COMPILER, *flags, "-o", program, *map(str, sources)], check=True)
    done = subprocess.run([program, "300", "1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr[-3000:]


def test_the_library_is_built_where_a_compiler_is() -> None:
    """Were the build broken, every test above would be skipped or run on ONNX Runtime."""
    if COMPILER is None or platform.system() != "Linux":
        pytest.skip("no C++ compiler on this machine")
    assert library() is not None
