from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lib.errors import InputError
from lib.model.fields import columns_and_markers, marked_text, marker, markers_of
from lib.model.text import TextSettings, tokens_of

FIELDS = ("title", "brand", "description")


def test_markers_are_one_token_each() -> None:
    tokens = tokens_of(pa.array([" ".join(markers_of(FIELDS))]), TextSettings())[0].as_py()
    assert tokens == list(markers_of(FIELDS))
    assert len(set(tokens)) == 3


@pytest.mark.parametrize(
    ("given", "columns", "fields"),
    [
        (("title", "description"), ("title", "description"), (0, 2)),
        (("description", "title"), ("title", "description"), (0, 2)),
        (("description=long text", "title=name=short"), ("name=short", "long text"), (0, 2)),
        (("brand",), ("brand",), (1,)),
    ],
)
def test_columns_come_in_the_bundle_s_order(given, columns, fields) -> None:
    assert columns_and_markers(given, FIELDS) == (columns, tuple(marker(i) for i in fields))


def test_without_fields_the_columns_are_as_given() -> None:
    assert columns_and_markers(("b", "a=c"), ()) == (("b", "a=c"), ())


@pytest.mark.parametrize("given", [("name",), ("title", "title=name"), ("name=title",)])
def test_what_is_no_field_is_refused(given) -> None:
    with pytest.raises(InputError, match="of the fields title, brand, description that this bundle was trained on"):
        columns_and_markers(given, FIELDS)


def test_a_single_text_is_the_first_field_unless_told() -> None:
    assert marked_text("kettle", FIELDS) == "xxfield0 kettle"
    assert marked_text("kettle", FIELDS, "description") == "xxfield2 kettle"
    # A marker alone is no text: the nightly run finds no word in these either.
    for nothing in (" ", "", "!!!", "™ — ™", "\u200b", "\u0301", "\ud800", "<p></p>", "<BR/>&nbsp;"):
        assert marked_text(nothing, FIELDS) == ""
    assert marked_text("kettle", ()) == "kettle"
    with pytest.raises(InputError, match="Expected as --field one of title, brand, description, found 'name'"):
        marked_text("kettle", FIELDS, "name")
    with pytest.raises(InputError, match="trained on one text column"):
        marked_text("kettle", (), "title")


def test_a_field_alone_keeps_its_marker_and_order() -> None:
    from training.fit import one_field_alone

    markers = np.array([2, 3], np.int32)
    ids = np.array([[2, 10, 11, 3, 12, 13, 14], [2, 20, 21, 0, 0, 0, 0], [3, 30, 2, 31, 0, 0, 0]], np.int32)
    found = one_field_alone(np.repeat(ids, 400, axis=0), markers, 0.5, np.random.default_rng(1)).reshape(3, 400, 7)
    allowed = [
        {(2, 10, 11, 3, 12, 13, 14), (2, 10, 11, 0, 0, 0, 0), (3, 12, 13, 14, 0, 0, 0)},
        {(2, 20, 21, 0, 0, 0, 0)},
        {(3, 30, 2, 31, 0, 0, 0), (3, 30, 0, 0, 0, 0, 0), (2, 31, 0, 0, 0, 0, 0)},
    ]
    for rows, texts in zip(found, allowed, strict=True):
        assert set(map(tuple, rows.tolist())) == texts
    whole = (found[0][:, 6] == 14).mean()
    assert whole == pytest.approx(0.5, abs=0.1)
    assert (one_field_alone(ids, markers, 0.0, np.random.default_rng(1)) == ids).all()
