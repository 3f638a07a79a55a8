"""The compiled half of scoring (native/*.cpp), called through ctypes, which lets other threads run meanwhile.

The library stands beside this file, under the name of the processor's architecture, also inside the zip that travels to
executors. It is built where there is a C++ compiler; where there is none, pyarrow and ONNX Runtime do its work.
"""

from __future__ import annotations

import ctypes
import platform
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lib.arrays import Float32s, Int32s, Int64s, UInt32s
from lib.errors import InputError

# In the table of characters: one that parts words, and one that leaves its text to pyarrow.
SEPARATOR = 0
FOREIGN = 0xFFFFFFFF

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_POINTERS = ctypes.POINTER(ctypes.c_void_p)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "best_instruction_set": (_INT, []),
    "instruction_set_name": (ctypes.c_char_p, [_INT]),
    "network": (
        _POINTER,
        [_LONG, _LONG, _LONG, _POINTERS, _POINTERS, _LONG, _POINTER, _POINTER, _LONG, _POINTER, _POINTER, _INT],
    ),
    "free_network": (None, [_POINTER]),
    "probabilities": (_INT, [_POINTER, _POINTER, _POINTER, _LONG, _POINTER]),
    "tokenizer": (_POINTER, [_POINTER, _POINTER, _LONG, _POINTER, _LONG, _LONG, _LONG, ctypes.c_int32, ctypes.c_int32]),
    "free_tokenizer": (None, [_POINTER]),
    "ids": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG, _POINTER, _LONG, _POINTER]),
}


def library_name() -> str:
    return f"_native.{platform.machine()}.so"


@cache
def library() -> Any | None:
    """The loaded library; None where there is none for this processor."""
    file = resources.files("lib").joinpath(library_name())
    if not file.is_file():
        return None
    try:
        loaded = _loaded(file)
    except OSError:
        # Built on another system, with a C++ library that this one lacks.
        return None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, f"categorizer_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


def _loaded(file: Any) -> ctypes.CDLL:
    if isinstance(file, Path):
        return ctypes.CDLL(str(file))
    # Inside a zip. The system's loader wants a file; once loaded, it may go.
    with tempfile.NamedTemporaryFile(suffix=".so") as copy:
        copy.write(file.read_bytes())
        copy.flush()
        return ctypes.CDLL(copy.name)


def instruction_sets() -> tuple[str, ...]:
    """What this processor can do, from the plainest up; empty without the library."""
    of = library()
    return (
        tuple(of.categorizer_instruction_set_name(i).decode() for i in range(of.categorizer_best_instruction_set() + 1))
        if of
        else ()
    )


def _loaded_library() -> Any:
    of = library()
    if of is None:
        raise InputError(
            f"Expected the compiled library {library_name()} for --engine native, found none that loads; install a C++ compiler "
            "(on Debian or Ubuntu: sudo apt-get install g++) and run again, or use --engine onnx."
        )
    return of


class NativeNetwork:
    """An LSTM classifier with its weights in int16 and its sums in int32; see native/lstm.cpp."""

    def __init__(
        self,
        inputs: Sequence[Float32s],
        recurrent: Sequence[Float32s],
        dense: tuple[Float32s, Float32s],
        output: tuple[Float32s, Float32s],
        instruction_set: str | None = None,
    ) -> None:
        """
        Args:
            inputs: for each direction, forward first, embedding x kernel + bias: [vocabulary, 4 x units]; gates i, f, g, o.
            recurrent: for each direction [units, 4 x units].
            dense: weights [directions x units, dense] and bias [dense] of the layer with ReLU.
            output: weights [dense, labels] and bias [labels] of the layer with softmax.
            instruction_set: one of `instruction_sets()`; the best if None.
        Raises:
            InputError: there is no library for this processor.
            ValueError: shapes that do not fit each other, or a number that is not finite.
        """
        self._library = _loaded_library()
        arrays = [[np.ascontiguousarray(array, np.float32) for array in group] for group in (inputs, recurrent, dense, output)]
        vocabulary, units = arrays[0][0].shape[0], arrays[1][0].shape[0]
        width, labels = arrays[2][0].shape[1], arrays[3][0].shape[1]
        shapes = (
            [(vocabulary, 4 * units)] * len(inputs),
            [(units, 4 * units)] * len(inputs),
            [(len(inputs) * units, width), (width,)],
            [(width, labels), (labels,)],
        )
        found = tuple([array.shape for array in group] for group in arrays)
        if len(inputs) not in (1, 2) or found != shapes or min(vocabulary, units, width, labels) < 1:
            raise ValueError(f"shapes that do not fit each other: {found}")
        if not all(np.isfinite(array).all() for group in arrays for array in group):
            raise ValueError("weights that are not finite")
        sets = instruction_sets()
        self._vocabulary, self._labels = vocabulary, labels
        self._network = self._library.categorizer_network(
            vocabulary,
            units,
            len(inputs),
            _addresses(arrays[0]),
            _addresses(arrays[1]),
            width,
            *(array.ctypes.data for array in arrays[2]),
            labels,
            *(array.ctypes.data for array in arrays[3]),
            len(sets) - 1 if instruction_set is None else sets.index(instruction_set),
        )
        if not self._network:
            raise MemoryError("no room for the network's weights")

    def probabilities(self, ids: Int32s, offsets: Int64s) -> Float32s:
        """Probability of each label, float32 [rows, labels], of texts in the flat form of lib.text.TokenIds; NaN without ids.

        Raises:
            IndexError: an id outside the vocabulary.
        """
        ids, offsets = np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(offsets, np.int64)
        if len(offsets) < 1 or offsets[0] < 0 or offsets[-1] > len(ids) or (np.diff(offsets) < 0).any():
            raise IndexError(f"offsets that leave the {len(ids)} ids")
        rows = len(offsets) - 1
        out = np.empty((rows, self._labels), np.float32)
        fault = self._library.categorizer_probabilities(
            self._network, ids.ctypes.data, offsets.ctypes.data, rows, out.ctypes.data
        )
        if fault == 1:
            raise IndexError(f"an id outside the vocabulary of {self._vocabulary}")
        if fault:
            raise MemoryError(f"no room to score {rows} texts")
        return out

    def __del__(self) -> None:
        if getattr(self, "_network", None):
            self._library.categorizer_free_network(self._network)


def _addresses(arrays: Sequence[npt.NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


class NativeTokenizer:
    """Texts to ids in one pass over their bytes; see native/tokens.cpp."""

    def __init__(
        self, words: pa.Array, characters: UInt32s, max_characters: int, max_tokens: int, first_id: int, unknown_id: int
    ) -> None:
        """
        Args:
            words: strings [words], no null; word i has the id first_id + i.
            characters: what becomes of the character of each number: another one, SEPARATOR, or FOREIGN.
        Raises:
            InputError: there is no library for this processor.
        """
        self._library = _loaded_library()
        self._max_tokens = max_tokens
        starts, content = _buffers(words)
        offsets = starts.astype(np.int64)
        characters = np.ascontiguousarray(characters, np.uint32)
        self._tokenizer = self._library.categorizer_tokenizer(
            content,
            offsets.ctypes.data,
            len(words),
            characters.ctypes.data,
            len(characters),
            max_characters,
            max_tokens,
            first_id,
            unknown_id,
        )
        if not self._tokenizer:
            raise MemoryError("no room for the vocabulary")

    def ids_of(self, texts: pa.Array) -> tuple[Int32s, Int64s]:
        """Ids of all texts one behind the other, and how many each has, int64 [rows]: -1 for a text with a foreign character.

        Args:
            texts: strings [rows], no null.
        """
        starts, content = _buffers(texts)
        most = np.minimum((np.diff(starts).astype(np.int64) + 1) // 2, self._max_tokens)
        ids = np.empty(int(most.sum()), np.int32)
        lengths = np.empty(len(texts), np.int64)
        count = self._library.categorizer_ids(
            self._tokenizer, content, starts.ctypes.data, len(texts), ids.ctypes.data, len(ids), lengths.ctypes.data
        )
        if count < 0:
            raise MemoryError(f"no room for the ids of {len(texts)} texts")
        return ids[:count], lengths

    def __del__(self) -> None:
        if getattr(self, "_tokenizer", None):
            self._library.categorizer_free_tokenizer(self._tokenizer)


def _buffers(texts: pa.Array) -> tuple[Int32s, int | None]:
    """Where each string begins and the last ends, int32 [rows + 1], and the address of the bytes they are in."""
    _, offsets, content = texts.buffers()
    if offsets is None or not len(texts):
        return np.zeros(len(texts) + 1, np.int32), None
    starts: Int32s = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.ascontiguousarray(starts), content.address if content is not None else None
