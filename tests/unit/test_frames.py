"""What a notebook calls, on frames of pandas and Polars: no Spark is started here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import catalog_categorizer as cc
from catalog_categorizer import frames
from lib.model.predictions import predictions
from tests.conftest import ROOT, SAMPLES, SHIPPED
from tests.odd_texts import ODD_TEXTS

ADDED = ["category", "confidence", "runner_up", "runner_up_confidence", "status", "reason", "unfamiliarity"]


@pytest.fixture(scope="module")
def model() -> cc.Model:
    return cc.load_bundle(SHIPPED, threads=2)


@pytest.fixture(scope="module")
def products() -> pd.DataFrame:
    return pd.read_csv(SAMPLES / "catalog.csv")


@pytest.fixture(scope="module")
def labelled() -> pd.DataFrame:
    return pd.read_csv(SAMPLES / "labels.csv")


def test_a_frame_of_pandas_keeps_rows_index_and_columns(model, products) -> None:
    frame = products.set_index(pd.Index([7] * len(products), name="twice")).astype({"title": "category"})
    before = frame.copy()
    found = cc.categorize(frame, model, ["title", "description"])
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(found[list(frame)], before)
    assert list(found) == [*frame, *ADDED]
    expected = cc.categorize(products, model, ["title", "description"])
    pd.testing.assert_frame_equal(found[ADDED].reset_index(drop=True), expected[ADDED])
    assert set(found["status"]) <= {"categorized", "review", "unclassifiable"}
    assert found["confidence"].dtype == np.float32


def test_polars_gives_what_pandas_gives(model, products) -> None:
    frame = pl.from_pandas(products)
    found = cc.categorize(frame, model, ["title", "description"], scores=True)
    assert frame.columns == list(products)
    assert found.columns == [*products, *ADDED[:4], "scores", *ADDED[4:]]
    there = cc.categorize(products, model, ["title", "description"], scores=True)
    assert found.drop("price").to_dicts() == there.drop(columns="price").replace({np.nan: None}).to_dict("records")
    assert found["scores"].dtype == pl.Struct(dict.fromkeys(model.labels, pl.Float32))


def test_it_says_what_predict_says(model) -> None:
    found = cc.categorize(pd.DataFrame({"text": ODD_TEXTS}), model, "text", scores=True)
    said = list(predictions([text or "" for text in ODD_TEXTS], model.bundle, model.engine))
    assert found["category"].replace({np.nan: None}).tolist() == [one["category"] for one in said]
    for scores, one in zip(found["scores"], said, strict=True):
        assert (scores or {}) == pytest.approx(one["scores"], abs=1e-5)
    confidences = pd.Series([one["confidence"] for one in said], dtype=float)
    np.testing.assert_allclose(found["confidence"], confidences, atol=1e-5)
    np.testing.assert_allclose(
        found["unfamiliarity"], pd.Series([one["unfamiliarity"] for one in said], dtype=float), atol=1e-5
    )


def test_texts_without_words(model) -> None:
    found = cc.categorize(pd.DataFrame({"text": ["", None, "  ", "?!", "kettle"]}), model, "text", scores=True)
    assert found["status"].tolist()[:4] == ["unclassifiable"] * 4
    assert found["reason"].tolist()[:4] == ["no text"] * 3 + ["no words in the text"]
    assert found[[*ADDED[:4], "scores", "unfamiliarity"]].iloc[:4].isna().all(axis=None)
    assert found["category"][4] == "Household"


def test_review_by_the_bundle_s_thresholds_and_by_unfamiliarity(model, labelled) -> None:
    found = cc.categorize(labelled, model, "text", unfamiliar=0.05)
    thresholds = dict(zip(model.labels, np.array(model.bundle.review_below, np.float32), strict=True))
    strange = found["unfamiliarity"] > np.float32(0.95)
    unsure = found["confidence"] < found["category"].map(thresholds)
    assert strange.any()
    assert (unsure & ~strange).any()
    expected = np.select([strange, unsure], ["unfamiliar", "confidence below the threshold"], "")
    assert found["reason"].fillna("").tolist() == expected.tolist()
    assert ((found["status"] == "review") == (strange | unsure)).all()
    without = cc.categorize(labelled, model, "text")
    assert (without["reason"] != "unfamiliar").all()


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_a_frame_without_rows(model, kind) -> None:
    frame = kind({"text": ["kettle"], "n": [1]})
    full, none = (cc.categorize(one, model, "text", scores=True) for one in (frame, frame[:0]))
    assert len(none) == 0
    assert list(none.columns) == list(full.columns)
    if kind is pl.DataFrame:
        assert none.schema == full.schema


def test_a_frame_goes_through_in_parts(model, labelled, monkeypatch) -> None:
    whole = cc.categorize(labelled, model, "text", scores=True)
    seen = []
    scores_of = model.engine.scores_of
    monkeypatch.setattr(
        model.engine, "scores_of", lambda tokenizer, texts: seen.append(len(texts)) or scores_of(tokenizer, texts)
    )
    monkeypatch.setattr(frames, "ROWS_AT_ONCE", 64)
    pd.testing.assert_frame_equal(cc.categorize(labelled, model, "text", scores=True), whole)
    assert seen == [64, 64, 64, 8]
    assert cc.evaluate(labelled, model, "text", "label").rows == len(labelled)


def test_threads_and_engines_say_the_same(model, labelled) -> None:
    two = cc.categorize(labelled, model, "text")
    pd.testing.assert_frame_equal(cc.categorize(labelled, cc.load_bundle(SHIPPED, threads=1), "text"), two)
    onnx = cc.categorize(labelled, cc.load_bundle(str(SHIPPED), engine="onnx"), "text")
    assert (onnx["category"] == two["category"]).all()
    np.testing.assert_allclose(onnx["confidence"], two["confidence"], atol=1e-3)


@pytest.mark.parametrize(
    "texts",
    [
        pd.Series(["kettle", None], dtype="string"),
        pd.Series(["kettle", None], dtype=pd.ArrowDtype(pa.large_string())),
        pd.Series(["kettle", np.nan], dtype=object),
        pd.Series(["kettle", pd.NA], dtype="category"),
        pl.Series(["kettle", None], dtype=pl.Categorical),
        pl.Series(["kettle", None], dtype=pl.Enum(["kettle"])),
    ],
)
def test_columns_that_hold_texts(model, texts) -> None:
    kind = pd.DataFrame if isinstance(texts, pd.Series) else pl.DataFrame
    found = cc.categorize(kind({"text": texts}), model, "text")
    assert list(found["status"])[1] == "unclassifiable"
    assert next(iter(found["category"])) == "Household"


@pytest.mark.parametrize(
    "texts", [pd.Series([np.nan, np.nan]), pd.Series([None, None], dtype=object), pl.Series([None, None], dtype=pl.Null)]
)
def test_a_column_of_nothing(model, texts) -> None:
    """What pandas makes of an empty column of a CSV file is a column of numbers."""
    kind = pd.DataFrame if isinstance(texts, pd.Series) else pl.DataFrame
    assert list(cc.categorize(kind({"text": texts}), model, "text")["reason"]) == ["no text"] * 2


def test_half_a_character(model) -> None:
    found = cc.categorize(pd.DataFrame({"text": ["steel kettle \ud83d", "steel kettle"]}), model, "text")
    assert found["category"].tolist() == ["Household"] * 2


def test_evaluation(model, labelled) -> None:
    found = cc.evaluate(labelled, model, "text", "label")
    hits = cc.categorize(labelled, model, "text")["category"] == labelled["label"]
    assert found.rows == len(labelled)
    assert found.accuracy == pytest.approx(hits.mean())
    assert found.per_class["Books"]["support"] == (labelled["label"] == "Books").sum()
    assert found.f1_weighted == found.metrics["f1_weighted"]
    assert f"f1_macro                {found.f1_macro:.4f}" in repr(found)
    assert "--" not in repr(found)
    assert cc.evaluate(pl.from_pandas(labelled), model, "text", "label") == found


def test_evaluation_of_odd_labels(model) -> None:
    rows = [
        ("Books", "a novel"),
        (" Household ", "kettle"),
        ("<b>", "kettle"),
        (None, "kettle"),
        (" ", "kettle"),
        ("Books", "?"),
    ]
    found = cc.evaluate(pd.DataFrame(rows, columns=["label", "text"]), model, "text", "label")
    assert (found.rows, found.metrics["rows_without_label"], found.metrics["unknown_labels"]) == (4, 2, ["<b>"])
    assert found.accuracy == 0.5
    assert "left out: 2 rows without a label" in repr(found)
    assert "&lt;b&gt;" in found._repr_html_()
    assert "<b>" not in found._repr_html_()


def test_fields(model) -> None:
    """Columns come in the order of the bundle's fields, each after its marker."""
    manifest = {**model.bundle.manifest, "text": {**model.bundle.manifest["text"], "fields": ["title", "description"]}}
    marked = cc.Model(type(model.bundle)(manifest, model.bundle.digest, model.bundle.files), model.engine)
    frame = pd.DataFrame({"d": ["wireless", None, "?", "usb"], "name": ["mouse", "mouse", "?", None]})
    found = cc.categorize(frame, marked, {"description": "d", "title": "name"})
    texts = ["xxfield0 mouse xxfield1 wireless", "xxfield0 mouse", "", "xxfield1 usb"]
    expected = cc.categorize(pd.DataFrame({"text": texts}), model, "text")
    pd.testing.assert_frame_equal(found[ADDED], expected[ADDED])
    assert "fields title, description" in repr(marked)
    with pytest.raises(cc.InputError, match="Expected text_columns of the fields title, description"):
        cc.categorize(frame, marked, "name")


FRAME = pd.DataFrame({"text": ["kettle"], "n": [1], "label": ["Household"]})
WRONG = [
    (
        lambda m: cc.categorize(FRAME, m, "titel"),
        "Expected the column titel in the frame, found text, n, label; correct text_columns",
    ),
    (
        lambda m: cc.categorize(FRAME, m, ["text", "n"]),
        r"Expected texts in the column n of the frame, found 1 \(the column is of int64\)",
    ),
    (
        lambda m: cc.categorize(pl.from_pandas(FRAME), m, "n"),
        r"Expected texts in the column n of the frame, found 1 \(.* Int64\)",
    ),
    (lambda m: cc.categorize(FRAME.assign(text=[["a"]]), m, "text"), "Expected texts in the column text of the frame, found"),
    (
        lambda m: cc.categorize(FRAME.assign(status=1), m, "text"),
        "without columns of the names that are added, found status; rename",
    ),
    (lambda m: cc.categorize(pd.concat([FRAME, FRAME], axis=1), m, "text"), "Expected one column text in the frame, found 2"),
    (lambda m: cc.categorize(pl.from_pandas(FRAME).lazy(), m, "text"), r"found a LazyFrame of Polars; collect\(\) it first"),
    (
        lambda m: cc.categorize(FRAME["text"], m, "text"),
        "Expected a DataFrame of pandas, Polars or Spark, found pandas.*Series",
    ),
    (lambda m: cc.categorize(["kettle"], m, "text"), "Expected a DataFrame of pandas, Polars or Spark, found builtins.list"),
    (lambda m: cc.categorize(FRAME, "models", "text"), "Expected model as load_bundle returns it, found str"),
    (lambda m: cc.categorize(FRAME, m, []), r"Expected text_columns as the name of a column, .* found \[\]"),
    (lambda m: cc.categorize(FRAME, m, 3), "Expected text_columns as the name of a column, .* found 3"),
    (lambda m: cc.categorize(FRAME, m, {"title": "text"}), r"found fields \(title\); give only the names"),
    (lambda m: cc.categorize(FRAME, m, "text", unfamiliar=1.5), "Expected unfamiliar from .* found 1.5"),
    (
        lambda m: cc.categorize(FRAME, m, "text", unfamiliar="1 %"),
        "Expected unfamiliar as a share such as 0.01, or None, found '1 %'",
    ),
    (lambda m: cc.evaluate(FRAME, m, "text", "category"), "Expected the column category in the frame, .* correct label_column"),
    (lambda m: cc.evaluate(FRAME, m, "text", None), "Expected label_column as the name of a column, found None"),
    (lambda m: cc.evaluate(FRAME[:0], m, "text", "label"), "Expected rows with a label in the frame, found none"),
    (lambda m: cc.load_bundle(3), "Expected the path of a bundle, found int"),
    (lambda m: cc.load_bundle(SHIPPED, engine="tf"), "Expected engine to be one of auto, native, onnx, keras, found 'tf'"),
    (lambda m: cc.load_bundle(SHIPPED, threads=0), "Expected threads as a whole number above 0, found 0"),
]


@pytest.mark.parametrize(("call", "said"), WRONG)
def test_wrong_arguments_get_one_sentence(model, call, said) -> None:
    with pytest.raises(cc.InputError, match=said) as caught:
        call(model)
    assert "\n" not in str(caught.value)
    assert " --" not in str(caught.value)


def test_no_bundle(tmp_path) -> None:
    with pytest.raises(cc.BundleError, match="Expected a bundle"):
        cc.load_bundle(tmp_path)


def test_neither_spark_nor_the_other_frames_are_imported() -> None:
    code = f"""
import sys
import pandas as pd
import catalog_categorizer as cc
model = cc.load_bundle({str(SHIPPED)!r})
cc.categorize(pd.DataFrame({{"text": ["kettle"]}}), model, "text")
cc.evaluate(pd.DataFrame({{"text": ["kettle"], "label": ["Household"]}}), model, "text", "label")
print(*sorted({{"pyspark", "polars", "tensorflow", "rich"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "\n"
