"""Evidence to a share of texts that are less unlike."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BundleError, InputError
from lib.model.unfamiliarity import MOST_QUANTILES, Unfamiliarity, fitted_unfamiliarity, is_above, unfamiliarity_of


def drawn(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(3, 2, rows).astype(np.float32)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("rows", [2_000, 20_000])
def test_so_many_of_other_texts_of_the_kind_are_above(share: float, rows: int) -> None:
    found = is_above(fitted_unfamiliarity(drawn(rows, 1)).of(drawn(100_000, 2)), share).mean()
    # Four standard deviations of a quantile of this many texts.
    assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / rows)


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40), st.lists(st.floats(-200, 200, width=32), min_size=2))
def test_less_evidence_is_never_less_unfamiliar(seen: list[float], found: list[float]) -> None:
    evidence = np.sort(np.array(found, np.float32))
    shares = fitted_unfamiliarity(np.array(seen, np.float32)).of(evidence)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (np.diff(shares) <= 0).all()


def test_texts_beyond_all_seen_keep_their_order() -> None:
    known = fitted_unfamiliarity(drawn(1_000, 3))
    beyond = known.of(np.array([-known.quantiles[-1] - step for step in (0.0, 0.01, 0.1, 0.5, 1.0)], np.float32))
    assert (np.diff(beyond) > 0).all()
    assert (beyond[0], beyond[-1] < 1) == (pytest.approx(0.9995), True)


def test_without_evidence_there_is_no_number() -> None:
    assert np.isnan(fitted_unfamiliarity(drawn(10, 4)).of(np.array([np.nan], np.float32))).all()


def test_a_manifest_keeps_it() -> None:
    known = fitted_unfamiliarity(drawn(5_000, 5))
    assert len(known.quantiles) == MOST_QUANTILES
    read = unfamiliarity_of({"unfamiliarity": json.loads(json.dumps(known.as_json()))})
    assert read is not None
    np.testing.assert_allclose(read.of(drawn(300, 6)), known.of(drawn(300, 6)), rtol=0, atol=1e-4)
    assert unfamiliarity_of({}) is None


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"quantiles": [], "texts": 3},
        {"quantiles": [2.0, 1.0], "texts": 3},
        {"quantiles": [1.0, float("nan")], "texts": 3},
        {"quantiles": [1.0, 2.0], "texts": 1},
        {"quantiles": "many", "texts": 3},
        7,
    ],
)
def test_a_manifest_with_something_else_is_refused(content) -> None:
    with pytest.raises(BundleError, match="Expected ascending quantiles"):
        unfamiliarity_of({"unfamiliarity": content})


@pytest.mark.parametrize("share", [0.0, -0.1, 0.001, 1.0, float("nan")])
def test_a_share_that_the_texts_cannot_tell_is_refused(share: float) -> None:
    known = Unfamiliarity(np.array([1.0, 2.0], np.float32), 500)
    with pytest.raises(InputError, match=r"Expected --unfamiliar from 0\.002 to below 1, since .* is based on 500 texts"):
        known.check_share(share)
    known.check_share(0.002)
