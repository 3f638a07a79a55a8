from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError
from lib.model.engines import build_engine
from lib.model.engines.engine import score_in_micro_batches, usable_cores
from lib.model.engines.keras import before_tensorflow
from lib.model.text import TokenIds
from tests.conftest import ROOT


def texts_of_lengths(lengths: list[int]) -> TokenIds:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return TokenIds(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets)


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 9))
def test_sorting_by_length_and_back_is_the_identity(lengths: list[int], size: int) -> None:
    texts = texts_of_lengths(lengths)

    def score(inputs):
        ids, filled = inputs["ids"], inputs["lengths"]
        assert ids.shape[0] == size
        assert ids.shape[1] == filled.max()
        return np.stack([ids[:, 0], filled], axis=1).astype(np.float32)

    scores = score_in_micro_batches(texts, 2, size, score)
    for row, length in enumerate(lengths):
        if length:
            assert scores[row].tolist() == [texts.ids[texts.offsets[row]], length]
        else:
            assert np.isnan(scores[row]).all()


def test_probabilities_do_not_depend_on_the_batch(shipped) -> None:
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(shipped.tokenizer.words, random.integers(1, 120))) for _ in range(150)]
    engine = build_engine("onnx", shipped, 1)
    together = engine.probabilities(shipped.tokenizer.ids_of(pa.array(texts)))
    order = random.permutation(len(texts))
    shuffled = engine.probabilities(shipped.tokenizer.ids_of(pa.array(texts).take(pa.array(order))))
    alone = np.concatenate([engine.probabilities(shipped.tokenizer.ids_of(pa.array([text]))) for text in texts[:20]])
    assert (together.argmax(axis=1)[order] == shuffled.argmax(axis=1)).all()
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(alone, together[:20], rtol=0, atol=1e-6)


def test_a_text_of_very_many_features_is_scored_alone(shipped, monkeypatch) -> None:
    """Each of the rows that shared its rectangle would get room for as many."""
    monkeypatch.setattr("lib.model.engines.engine.MOST_FEATURES", 40)
    words = shipped.tokenizer.words
    texts = [" ".join(words[i : i + 5]) for i in range(0, 200, 5)]
    texts[7] = " ".join(f"{one}{other}" for one, other in zip(words[100:120], words[300:320], strict=True))
    ids = shipped.tokenizer.ids_of(pa.array(texts))
    assert (np.diff(ids.bag.offsets) > 40).tolist() == [i == 7 for i in range(40)]
    shapes = []

    def score(inputs):
        shapes.append(inputs["features"].shape)
        return np.zeros((len(inputs["ids"]), 2), np.float32)

    score_in_micro_batches(ids, 2, 32, score)
    assert [rows for rows, _ in shapes] == [32, 32, 1]
    assert max(width for rows, width in shapes if rows == 32) <= 40 < shapes[-1][1]
    onnx, native = (build_engine(name, shipped, 1).probabilities(ids) for name in ("onnx", "native"))
    np.testing.assert_allclose(onnx, native, rtol=0, atol=1e-3)


def test_engines_agree_on_random_texts(shipped) -> None:
    random = np.random.default_rng(5)
    words = np.array([*shipped.tokenizer.words[:3000], "zzyzx", "quux"], dtype=object)
    texts = [" ".join(random.choice(words, random.integers(1, 230))) for _ in range(200)]
    ids = shipped.tokenizer.ids_of(pa.array(texts))
    onnx, keras = (build_engine(name, shipped, 2).probabilities(ids) for name in ("onnx", "keras"))
    np.testing.assert_allclose(onnx, keras, rtol=0, atol=1e-4)


def test_engines_agree_on_real_texts(shipped, real_data) -> None:
    import pandas as pd

    rows = pd.read_parquet(real_data / "catalog.parquet").sample(1500, random_state=1)
    texts = rows["title"].fillna("") + " " + rows["description"].fillna("")
    ids = shipped.tokenizer.ids_of(pa.array(texts, pa.string()))
    onnx, keras = (build_engine(name, shipped, 2).probabilities(ids) for name in ("onnx", "keras"))
    np.testing.assert_allclose(onnx, keras, rtol=0, atol=1e-4)


def test_tensorflow_is_not_imported_on_a_processor_that_it_does_not_run_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    processors = tmp_path / "cpuinfo"
    processors.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx\n")
    before_tensorflow(processors)
    processors.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 noavx\n")
    with pytest.raises(InputError, match="Expected a processor with AVX, which TensorFlow needs, found one without"):
        before_tensorflow(processors)


def test_keras_takes_no_settings_from_the_users_home(tmp_path) -> None:
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"floatx": "float64", "epsilon": 0.5, "backend": "jax"}')
    code = "from training.quiet import import_tensorflow; import_tensorflow(); import keras; print(keras.config.floatx(), keras.config.backend())"
    other = {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / ".keras"), "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **other}, capture_output=True, text=True)
    assert done.stdout == "float32 tensorflow\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "3200000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)
def test_no_more_cores_than_the_containers_share(tmp_path, monkeypatch, files: dict[str, str], cores: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == cores


def test_unknown_engine(shipped) -> None:
    with pytest.raises(InputError, match="Expected an engine of native, onnx, keras, found 'torch'"):
        build_engine("torch", shipped, 1)
