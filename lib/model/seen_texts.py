"""Which texts a bundle was fitted to, as digests: a later bundle is compared with it on texts that neither has seen, and `evaluate` counts them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lib.model.text import TextSettings, joined_tokens

# Of more texts every second, third ... is recorded, chosen by its digest: enough to compare on, and little for a manifest.
MOST_RECORDED = 10_000
ONE_IN, DIGESTS = "one_in", "digests"


@dataclass(frozen=True)
class SeenTexts:
    """Digests of the texts that a bundle was fitted or calibrated on.

    one_in: of how many texts one was recorded; digests: unsigned 32 bits of each [recorded], ascending.
    """

    one_in: int
    digests: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> SeenTexts:
        """texts: the tokens of each, as lib.model.text.joined_tokens returns them."""
        one_in = -(-len(texts) // MOST_RECORDED) or 1
        chosen, digests = _digests(texts)
        return cls(one_in, np.unique(digests[chosen % one_in == 0]))

    @classmethod
    def read(cls, record: Mapping[str, Any] | None) -> SeenTexts | None:
        """From a manifest; None for that of a bundle which is older than this record."""
        if record is None:
            return None
        return cls(record[ONE_IN], np.frombuffer(base64.b64decode(record[DIGESTS]), "<u4").astype(np.uint32))

    def record(self) -> dict[str, Any]:
        return {ONE_IN: self.one_in, DIGESTS: base64.b64encode(self.digests.astype("<u4").tobytes()).decode()}

    def unseen(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of the texts are known not to be among them, bool [rows]: of those that would have been recorded. texts: as for `of`."""
        asked, there = self.found(texts)
        unseen: npt.NDArray[np.bool_] = asked & ~there
        return unseen

    def found(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which of the texts would have been recorded, and which of these are: bool [rows] each. texts: as for `of`."""
        chosen, digests = _digests(texts)
        asked = chosen % self.one_in == 0
        return asked, asked & np.isin(digests, self.digests)


def seen_batches(record: Mapping[str, Any], settings: TextSettings, batches: Iterable[pa.Array]) -> Iterator[pa.StructArray]:
    """The columns of schemas.tables.SEEN for each batch of texts.

    Args:
        record: SeenTexts.record(); settings: those of the bundle, by which texts become tokens.
    """
    seen = SeenTexts.read(record)
    assert seen
    for texts in batches:
        asked, there = seen.found(joined_tokens(texts, settings).to_pylist())
        yield pa.StructArray.from_arrays([pa.array(asked), pa.array(there)], names=["asked", "there"])


def _digests(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """For each text a number that it is chosen by, and its digest, each of 32 bits."""
    both = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    pairs = np.frombuffer(both, "<u4").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
