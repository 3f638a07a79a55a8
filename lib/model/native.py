"""The compiled half of scoring (native/*.cpp), called through ctypes, which lets other threads run meanwhile.

The library is next to this file, with the processor's architecture in its name, also inside the zip that is sent to
executors. It is built where there is a C++ compiler; where there is none, pyarrow and ONNX Runtime do its work.
"""

from __future__ import annotations

import ctypes
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lib.errors import InputError
from lib.model.arrays import Float32s, Float64s, Int8s, Int32s, Int64s, UInt32s
from lib.model.bag import LONGEST, SHORTEST, WORD_CHARACTERS, Bag, BagVocabulary

# In the table of characters: one that separates words, and one that leaves its text to pyarrow.
SEPARATOR = 0
FOREIGN = 0xFFFFFFFF

# categorizer_interface() of native/categorizer.h.
INTERFACE = 2
_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_POINTERS = ctypes.POINTER(ctypes.c_void_p)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "best_instruction_set": (_INT, []),
    "instruction_set_name": (ctypes.c_char_p, [_INT]),
    "network": (
        _POINTER,
        [
            *(_LONG, _LONG, _LONG, _POINTERS, _POINTERS, _LONG, _POINTER, _POINTER, _LONG, _POINTER, _POINTER),
            *(_LONG, _LONG, _POINTER, _POINTER, _POINTER, _POINTER, _INT),
        ],
    ),
    "free_network": (None, [_POINTER]),
    "probabilities": (_INT, [_POINTER, _POINTER, _POINTER, _LONG, *[_POINTER] * 5]),
    "tokenizer": (_POINTER, [_POINTER, _POINTER, _LONG, _POINTER, _LONG, _INT, _LONG, _LONG, ctypes.c_int32, ctypes.c_int32]),
    "set_bag": (
        _INT,
        [_POINTER, _POINTER, _LONG, ctypes.c_float, _POINTER, _LONG, _POINTER, _POINTER, _LONG, _LONG, _LONG, _LONG],
    ),
    "free_tokenizer": (None, [_POINTER]),
    "ids": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG, _POINTER, _LONG, _POINTER, _POINTER, _POINTERS, _POINTER]),
    "read_bag": (None, [_POINTER, _POINTER, _POINTER]),
    "score": (_INT, [_POINTER, _POINTER, _POINTER, _POINTER, _LONG, _POINTER, _LONG, *[_POINTER] * 4]),
}


def library_name() -> str:
    return f"_native.{platform.machine()}.so"


def library() -> Any | None:
    """The loaded library; None where there is none for this processor, or only one that does not load, or was built from other sources."""
    return _found()[0]


def why_there_is_none() -> str:
    """What is found in place of a library that can be used: nothing, one that does not load, or one of other sources."""
    return _found()[1]


@cache
def _found() -> tuple[Any | None, str]:
    # Two packages up, whatever that package is called where it is installed.
    file = resources.files(__name__.rpartition(".model.")[0]).joinpath(library_name())
    if not file.is_file():
        return None, "none"
    try:
        loaded = _loaded(file)
    except OSError as error:
        # It was built on another system, with a C++ library that this one lacks, or the file system is mounted noexec.
        return None, f"one that does not load ({error})"
    # One that is older, where the new sources did not compile, has functions that take other arguments.
    if getattr(loaded, "categorizer_interface", lambda: 0)() != INTERFACE:
        return None, "one of another version of the sources"
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, f"categorizer_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded, ""


def _loaded(file: Any) -> ctypes.CDLL:
    if isinstance(file, Path):
        return ctypes.CDLL(str(file))
    # Inside a zip. The system's loader needs a file; once loaded, the file may be removed.
    with tempfile.NamedTemporaryFile(suffix=".so") as copy:
        copy.write(file.read_bytes())
        copy.flush()
        return ctypes.CDLL(copy.name)


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this processor, from the plainest up; empty without the library."""
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
            f"Expected the compiled library {library_name()} for --engine native, found {why_there_is_none()}; install a C++ "
            "compiler (on Debian or Ubuntu: sudo apt-get install g++) and run again, or use --engine onnx.",
            see="no-compiler",
        )
    return of


@dataclass(frozen=True)
class BagLayer:
    """The bag next to the LSTM: rows of features are summed, and go through a hidden layer to the softmax.

    table: int8 [features, width]; scales: float32 [features], one for each row; slopes: float32 [width], by which a value below zero
    is multiplied: 0 is ReLU, 1 a linear layer; output: float32 [width, labels], weights of the layer with softmax.
    """

    table: Int8s
    scales: Float32s
    slopes: Float32s
    output: Float32s

    def fits(self, labels: int) -> bool:
        """Whether the table is int8, the shapes fit each other, and all numbers are finite."""
        features, width = self.table.shape
        shapes = (self.scales.shape, self.slopes.shape, self.output.shape)
        finite = all(np.isfinite(array).all() for array in (self.scales, self.slopes, self.output))
        fitting = shapes == ((features,), (width,), (width, labels))
        return self.table.dtype == np.int8 and width > 0 and fitting and finite


def _as_float(array: npt.NDArray[Any]) -> Float32s:
    return array.astype(np.float32)


class NativeScores(NamedTuple):
    """For texts [rows]: probabilities, float32 [rows, labels]; evidence, float32 [rows]; ids of each and how many of them mean
    an unknown word, int32 [rows], -1 for a text with a foreign character, whose probabilities are NaN; the seconds that ids and
    network took, float64 [2].
    """

    probabilities: Float32s
    evidence: Float32s
    tokens: Int32s
    unknown_tokens: Int32s
    seconds: Float64s


class NativeNetwork:
    """An LSTM classifier whose recurrent weights are in int16, with sums in int32, and whose other weights are floats; see native/lstm.cpp."""

    def __init__(
        self,
        inputs: Sequence[Float32s],
        recurrent: Sequence[Float32s],
        dense: tuple[Float32s, Float32s],
        output: tuple[Float32s, Float32s],
        instruction_set: str | None = None,
        bag: BagLayer | None = None,
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
        vocabulary, units, width, labels = _sizes(arrays)
        if bag and not bag.fits(labels):
            raise ValueError("a bag that does not fit, or is not finite")
        sets = instruction_sets()
        self._vocabulary, self._labels, self._has_bag = vocabulary, labels, bag is not None
        # Keep them alive until the library has copied them.
        layers = bag and [
            np.ascontiguousarray(array) for array in (bag.table, *map(_as_float, (bag.scales, bag.slopes, bag.output)))
        ]
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
            *((*bag.table.shape, *(array.ctypes.data for array in layers)) if bag and layers else (0, 0, *[None] * 4)),
            len(sets) - 1 if instruction_set is None else sets.index(instruction_set),
        )
        if not self._network:
            raise MemoryError("no room for the network's weights")

    def probabilities(self, ids: Int32s, offsets: Int64s, bag: Bag | None = None) -> Float32s:
        """Probability of each label, float32 [rows, labels]: the first half of `probabilities_and_evidence`."""
        return self.probabilities_and_evidence(ids, offsets, bag)[0]

    def probabilities_and_evidence(self, ids: Int32s, offsets: Int64s, bag: Bag | None = None) -> tuple[Float32s, Float32s]:
        """Probabilities and evidence of texts in the flat form of lib.model.text.TokenIds; NaN for a text without ids.

        Returns:
            the probability of each label, float32 [rows, labels], and the logarithm of the sum of the exponentials of a text's
            logits, float32 [rows].
        Raises:
            IndexError: an id outside the vocabulary, or a feature outside the bag.
        """
        ids, offsets = np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(offsets, np.int64)
        _check_offsets(offsets, len(ids))
        rows = len(offsets) - 1
        bags: list[npt.NDArray[Any]] = []
        if self._has_bag:
            if bag is None or len(bag.offsets) != rows + 1 or len(bag.weights) != len(bag.features):
                raise IndexError(f"no bag of features for each of {rows} texts")
            bags = [np.ascontiguousarray(array) for array in (bag.features, bag.weights, bag.offsets)]
            _check_offsets(bag.offsets, len(bag.features))
        out, evidence = np.empty((rows, self._labels), np.float32), np.empty(rows, np.float32)
        addresses: list[int | None] = [array.ctypes.data for array in bags] if bags else [None] * 3
        fault = self._library.categorizer_probabilities(
            self._network, ids.ctypes.data, offsets.ctypes.data, rows, *addresses, out.ctypes.data, evidence.ctypes.data
        )
        self._check(fault, rows)
        return out, evidence

    def scores_of(self, tokenizer: NativeTokenizer, texts: pa.Array) -> NativeScores:
        """Probabilities of texts, a few of which at a time become ids and go through the network.

        Args:
            texts: strings [rows], no null.
        Raises:
            IndexError: the tokenizer returns an id or a feature that the network does not have.
        """
        if tokenizer.has_bag != self._has_bag:
            raise IndexError("a bag of features that the other half lacks")
        rows = len(texts)
        starts, content = _buffers(texts)
        out, evidence = np.empty((rows, self._labels), np.float32), np.empty(rows, np.float32)
        tokens, unknown, seconds = np.empty(rows, np.int32), np.empty(rows, np.int32), np.empty(2)
        fault = self._library.categorizer_score(
            *(tokenizer.address, self._network, content, starts.ctypes.data, rows, out.ctypes.data, self._labels),
            *(array.ctypes.data for array in (evidence, tokens, unknown, seconds)),
        )
        self._check(fault, rows)
        return NativeScores(out, evidence, tokens, unknown, seconds)

    def _check(self, fault: int, rows: int) -> None:
        if fault == 1:
            raise IndexError(f"an id outside the vocabulary of {self._vocabulary}, or a feature outside the bag")
        if fault:
            raise MemoryError(f"no room to score {rows} texts")

    def __del__(self) -> None:
        if getattr(self, "_network", None):
            self._library.categorizer_free_network(self._network)


def _sizes(arrays: Sequence[Sequence[Float32s]]) -> tuple[int, int, int, int]:
    """Vocabulary, units, width of the dense layer and labels, of the arrays that NativeNetwork takes.

    Raises:
        ValueError: shapes that do not fit each other, or a number that is not finite.
    """
    vocabulary, units = arrays[0][0].shape[0], arrays[1][0].shape[0]
    width, labels = arrays[2][0].shape[1], arrays[3][0].shape[1]
    directions = len(arrays[0])
    shapes = [
        [(vocabulary, 4 * units)] * directions,
        [(units, 4 * units)] * directions,
        [(directions * units, width), (width,)],
        [(width, labels), (labels,)],
    ]
    found = [[array.shape for array in group] for group in arrays]
    if directions not in (1, 2) or found != shapes or min(vocabulary, units, width, labels) < 1:
        raise ValueError(f"shapes that do not fit each other: {found}")
    if not all(np.isfinite(array).all() for group in arrays for array in group):
        raise ValueError("weights that are not finite")
    return vocabulary, units, width, labels


def _check_offsets(offsets: Int64s, values: int) -> None:
    if len(offsets) < 1 or offsets[0] < 0 or offsets[-1] > values or (np.diff(offsets) < 0).any():
        raise IndexError(f"offsets that leave the {values} values")


def _addresses(arrays: Sequence[npt.NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


class NativeTokenizer:
    """Texts to ids; see native/tokens.cpp. `has_bag`: whether to their features, too."""

    def __init__(
        self,
        words: pa.Array,
        characters: UInt32s,
        markup: bool,
        max_characters: int,
        max_tokens: int,
        first_id: int,
        unknown_id: int,
        bag: BagVocabulary | None = None,
    ) -> None:
        """
        Args:
            words: strings [words], no null; word i has the id first_id + i.
            characters: what each character becomes, by its number: another one, SEPARATOR, or FOREIGN.
            markup: whether texts are read without their HTML.
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
            int(markup),
            max_characters,
            max_tokens,
            first_id,
            unknown_id,
        )
        self.has_bag = bag is not None
        if not self._tokenizer or (bag and not self._set_bag(bag)):
            raise MemoryError("no room for the vocabulary")

    def _set_bag(self, bag: BagVocabulary) -> bool:
        # Bound to a name, so that the memory stays valid until the library has copied it.
        texts = pa.array(bag.subwords, pa.string())
        starts, content = _buffers(texts)
        offsets, pairs = starts.astype(np.int64), np.ascontiguousarray(bag.pairs)
        idf = np.ascontiguousarray(bag.idf)
        words = idf.ctypes.data, len(idf), bag.unknown_idf, pairs.ctypes.data, len(pairs)
        subwords = content, offsets.ctypes.data, len(bag.subwords), SHORTEST, LONGEST, WORD_CHARACTERS
        return bool(self._library.categorizer_set_bag(self._tokenizer, *words, *subwords))

    @property
    def address(self) -> int:
        """For the library, as long as this object lives."""
        return int(self._tokenizer)

    def ids_of(self, texts: pa.Array) -> tuple[Int32s, Int64s, Bag | None]:
        """Ids of all texts one after another, and how many each has, int64 [rows]: -1 for a text with a foreign character.

        With a bag also the texts' features; a foreign text has none.

        Args:
            texts: strings [rows], no null.
        """
        starts, content = _buffers(texts)
        most = np.minimum((np.diff(starts).astype(np.int64) + 1) // 2, self._max_tokens)
        ids = np.empty(int(most.sum()), np.int32)
        lengths, bag_lengths = np.empty(len(texts), np.int64), np.zeros(len(texts), np.int64)
        bag, bag_size = ctypes.c_void_p(), ctypes.c_int64()
        count = self._library.categorizer_ids(
            self._tokenizer,
            content,
            starts.ctypes.data,
            len(texts),
            ids.ctypes.data,
            len(ids),
            lengths.ctypes.data,
            bag_lengths.ctypes.data,
            ctypes.byref(bag),
            ctypes.byref(bag_size),
        )
        if count < 0:
            raise MemoryError(f"no room for the ids of {len(texts)} texts")
        return ids[:count], lengths, self._read(bag, bag_size.value, bag_lengths) if self.has_bag else None

    def _read(self, bag: ctypes.c_void_p, size: int, lengths: Int64s) -> Bag:
        features, weights = np.empty(size, np.int32), np.empty(size, np.float32)
        self._library.categorizer_read_bag(bag, features.ctypes.data, weights.ctypes.data)
        return Bag(features, weights, np.concatenate(([0], np.cumsum(lengths))))

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
