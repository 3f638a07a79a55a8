"""Which texts a bundle was fitted to, from its manifest."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lib.model.seen_texts import MOST_RECORDED, SeenTexts


@pytest.mark.parametrize(("texts", "one_in"), [(0, 1), (1, 1), (MOST_RECORDED, 1), (MOST_RECORDED + 1, 2), (95_000, 10)])
def test_what_was_seen(texts: int, one_in: int) -> None:
    seen = SeenTexts.of([f"text {i}" for i in range(texts)])
    record = json.loads(json.dumps(seen.record()))
    assert record["one_in"] == one_in
    again = SeenTexts.read(record)
    assert again is not None
    assert not again.unseen([f"text {i}" for i in range(texts)]).any()
    others = again.unseen([f"other {i}" for i in range(20_000)])
    assert abs(others.mean() - 1 / one_in) < 0.02
    np.testing.assert_array_equal(others, seen.unseen([f"other {i}" for i in range(20_000)]))


def test_an_older_bundle_has_no_record() -> None:
    assert SeenTexts.read(None) is None
