from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.errors import CategorizerError, InputError
from lib.model.bundle import load_bundle, move_current
from lib.model.engines import build_engine
from lib.model.text import TextSettings, Tokenizer
from tests.conftest import SAMPLES
from tests.recipes import tiny_place, tiny_recipe, with_paths
from training.baselines import BASELINES, CHARACTERS
from training.dataset import clean
from training.export import export_onnx
from training.fit import build_vocabulary
from training.network import build_network, round_embeddings
from training.publication import OWNER, STAGING_PREFIX
from training.recipe import NetworkSettings, Recipe
from training.training import train


def test_a_bundle_is_complete(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    folder = tiny / (tiny / "current").read_text().strip()
    listed = {*bundle.manifest["files"], "manifest.json", "manifest.sha256"}
    assert listed == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    pictures = {f"evaluation/{name}.png" for name in ("confusion_matrix", "learning_curves", "reliability", "architecture")}
    assert pictures <= listed
    assert {"model.keras", "model.onnx", "tokenizer.json", "README.md", "evaluation/metrics.json"} <= listed
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert metrics == json.loads((folder / "manifest.json").read_text())["metrics"]
    card = (folder / "README.md").read_text()
    assert "written for this project" in card
    assert f"weighted F1 {metrics['f1_weighted']:.4f}" in card
    # No text of the data is in the bundle: golden rows are made of random words.
    assert len(bundle.golden) == 16


def test_both_engines_agree(tiny: Path, sample_data) -> None:
    bundle = load_bundle(str(tiny))
    ids = bundle.tokenizer.ids_of(sample_data.texts)
    onnx, keras_ = (build_engine(name, bundle, 1).probabilities(ids) for name in ("onnx", "keras"))
    np.testing.assert_allclose(onnx, keras_, rtol=0, atol=1e-4)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_export_is_the_network(bidirectional: bool) -> None:
    """Random weights of odd sizes, texts of every length, against Keras itself."""
    import onnxruntime as ort

    keras.utils.set_random_seed(1)
    network = build_network(40, 3, NetworkSettings(5, 7, bidirectional, 6))
    for layer in network.layers:
        layer.set_weights([np.random.default_rng(2).normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
    round_embeddings(network)
    lengths = np.arange(1, 13, dtype=np.int32)
    ids = np.where(np.arange(12) < lengths[:, None], np.random.default_rng(3).integers(1, 40, (12, 12)), 0).astype(np.int32)
    session = ort.InferenceSession(export_onnx(network))
    found = session.run(None, {"ids": np.ascontiguousarray(ids.T), "lengths": lengths})[0]
    np.testing.assert_allclose(found, network.predict_on_batch(ids), rtol=0, atol=1e-5)


def test_the_same_seed_gives_the_same_model(tmp_path: Path, sample_data) -> None:
    first, second = (
        train(sample_data, tiny_recipe(epochs=2), tiny_place(tmp_path / name), say=lambda line: None) for name in ("a", "b")
    )
    onnx = [(trained.folder / "model.onnx").read_bytes() for trained in (first, second)]
    assert onnx[0] == onnx[1]
    assert first.metrics == second.metrics


def poor_recipe(learning_rate: float) -> Recipe:
    """One that learns next to nothing."""
    return replace(tiny_recipe(epochs=1, learning_rate=learning_rate), bag=None)


def test_current_stays_with_a_better_bundle_and_follows_one_that_is_no_worse(tmp_path: Path, sample_data) -> None:
    good = train(sample_data, tiny_recipe(epochs=6), tiny_place(tmp_path), say=lambda line: None)
    assert good.promoted
    poor = train(sample_data, poor_recipe(1e-6), tiny_place(tmp_path), say=lambda line: None)
    assert not poor.promoted
    assert (tmp_path / "tiny" / "current").read_text().strip() == good.folder.name
    assert "stays where it is" in poor.verdict
    wide = tiny_place(tmp_path, promote_margin=1.0)
    allowed = train(sample_data, poor_recipe(2e-6), wide, say=lambda line: None)
    assert allowed.promoted
    assert (tmp_path / "tiny" / "current").read_text().strip() == allowed.folder.name
    move_current(str(good.folder.parent), good.folder.name)
    assert load_bundle(str(tmp_path / "tiny")).manifest["version"] == good.folder.name


def test_the_present_bundle_is_judged_by_the_labels_that_the_new_one_learned(tmp_path: Path, tree: Path) -> None:
    shutil.copytree(tree, tmp_path / "tree")
    rows = pd.read_csv(SAMPLES / "labels.csv")
    data = clean(rows.assign(label=with_paths(rows["label"])), TextSettings(), "labels", separator=" > ")
    labels = tuple("Media" if label == "Media > Books" else label for label in data.labels)
    data = replace(data, labels=labels, moved_up={"Media > Books": "Media"})
    found = train(data, poor_recipe(1e-6), tiny_place(tmp_path, name="tree"), say=lambda line: None)
    # It is as good as it was, though it knows books.
    present = load_bundle(str(tree))
    assert f"against {present.manifest['metrics']['f1_weighted']:.4f} of the present {present.model_version}" in found.verdict


def test_a_loss_that_is_no_number_publishes_nothing(tmp_path: Path, sample_data) -> None:
    with pytest.raises(CategorizerError, match="Expected a finite loss, found nan"):
        train(sample_data, tiny_recipe(learning_rate=float("inf")), tiny_place(tmp_path), say=lambda line: None)
    assert not list(tmp_path.rglob("*.onnx"))


def test_what_a_killed_training_left_is_cleared_away(tmp_path: Path, sample_data) -> None:
    left = tmp_path / "tiny" / f"{STAGING_PREFIX}left"
    left.mkdir(parents=True)
    (left / "model.onnx").write_text("half")
    # Nobody holds its lock any more.
    (left / OWNER).touch()
    train(sample_data, tiny_recipe(epochs=1), tiny_place(tmp_path), say=lambda line: None)
    assert not left.exists()
    assert not list((tmp_path / "tiny").glob(".*"))


def test_a_folder_that_cannot_be_written(tmp_path: Path, sample_data) -> None:
    (tmp_path / "tiny").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="Expected a folder to write bundles into"):
        train(sample_data, tiny_recipe(epochs=1), tiny_place(tmp_path), say=lambda line: None)


def test_tensorboard_logs_are_written(tmp_path: Path, sample_data) -> None:
    train(
        sample_data,
        tiny_recipe(epochs=1),
        tiny_place(tmp_path / "m"),
        tensorboard=str(tmp_path / "logs"),
        say=lambda line: None,
    )
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_the_vocabulary_holds_the_most_frequent_words_first() -> None:
    texts = pa.array(["b a b", "c b a", "d"])
    assert build_vocabulary(texts, TextSettings(), 2, 1) == ["b", "a"]
    assert build_vocabulary(texts, TextSettings(), 9, 2) == ["b", "a"]
    assert Tokenizer(build_vocabulary(texts, TextSettings(), 9, 1), TextSettings()).words == ("b", "a", "c", "d")


def test_unlabelled_texts_serve_the_embeddings_but_for_those_held_out(tmp_path: Path, sample_data) -> None:
    more = pa.array([*(text.upper() + "!" for text in sample_data.texts.to_pylist()), "copper kettle with lid", "?!", None])
    place = tiny_place(tmp_path)
    alone = train(sample_data, tiny_recipe(epochs=1), place, say=lambda line: None)
    both = train(sample_data, tiny_recipe(epochs=1), place, more, say=lambda line: None)
    first, second = (load_bundle(str(trained.folder)).manifest for trained in (alone, both))
    # The network that scores is fitted on both.
    train_rows = first["data"]["split"]["train"] + first["data"]["split"]["validation"]
    assert first["training"]["pretrained_on_texts"] == train_rows
    # One new text and the blank one; the copies of test texts are left out, those of the other sides are known.
    assert second["training"]["pretrained_on_texts"] == train_rows + 2


def test_folds_baselines_wrong_labels_and_texts_from_elsewhere(tmp_path: Path, sample_data) -> None:
    from training.dataset import Elsewhere

    recipe = replace(tiny_recipe(epochs=6), folds=2)
    elsewhere = Elsewhere(pa.array(["paperback novel", "usb cable", "?!"]), ("Books", "Electronics", "Toys"), ("x", "x", "y"))
    place = tiny_place(tmp_path / "m", wrong_labels=str(tmp_path / "wrong.csv"))
    said: list[str] = []
    trained = train(sample_data, recipe, place, elsewhere=elsewhere, say=said.append)
    metrics = json.loads((trained.folder / "manifest.json").read_text())["metrics"]
    assert list(metrics["comparison"]) == ["LSTM", *BASELINES]
    assert metrics["comparison"]["LSTM"]["f1_weighted"] == metrics["f1_weighted"]
    models = metrics["cross_validation"]["models"]
    assert set(models) == set(metrics["comparison"])
    for row in models.values():
        assert row["mean"] == pytest.approx(np.mean(row["f1_weighted"]))
        assert row["spread"] == pytest.approx(np.std(row["f1_weighted"], ddof=1))
    assert models["LSTM"]["mean"] > models["majority class"]["mean"]
    assert [(row["origin"], row["label"], row["rows"]) for row in metrics["elsewhere"]] == [
        ("x", "Books", 1),
        ("x", "Electronics", 1),
        ("y", "Toys", 1),
    ]
    assert set(metrics["elsewhere"][2]["recall"].values()) == {0.0}
    hashes = {line.split(",")[0] for line in (trained.folder / "evaluation" / "wrong_labels.csv").read_text().splitlines()[1:]}
    assert len(hashes) == metrics["labels_probably_wrong"]
    with_texts = (tmp_path / "wrong.csv").read_text()
    assert all(one in with_texts for one in hashes)
    assert with_texts.splitlines()[0].endswith(",text")
    card = (trained.folder / "README.md").read_text()
    assert "## Texts from elsewhere" in card
    assert "2 folds that near-duplicates do not cross" in card
    assert "LSTM ahead by" in card
    assert any(line.startswith("fold 2/2  weighted F1: LSTM") for line in said)


def test_more_folds_than_groups(tmp_path: Path, sample_data) -> None:
    with pytest.raises(InputError, match=r"at least as many groups of unlike texts as folds, found \d+ for 999 folds"):
        train(sample_data, replace(tiny_recipe(epochs=1), folds=999), tiny_place(tmp_path), say=lambda line: None)
    assert not list(tmp_path.rglob("*.onnx"))


def test_fitted_on_all_texts_and_judged_over_folds(tmp_path: Path, sample_data) -> None:
    recipe = replace(tiny_recipe(epochs=6), folds=2, test_share=0.0)
    said: list[str] = []
    good = train(sample_data, recipe, tiny_place(tmp_path), say=said.append)
    bundle = load_bundle(str(good.folder))
    split, metrics = bundle.manifest["data"]["split"], good.metrics
    assert split["test"] == 0
    assert split["train"] + split["validation"] + split["left_out"] == len(sample_data.texts) == metrics["rows"]
    assert metrics["judged_on"] == "2 folds"
    over_folds = metrics["cross_validation"]["models"]
    assert set(metrics["comparison"]) == set(over_folds)
    for name, row in metrics["comparison"].items():
        # All folds together are not the mean of each, but near to it.
        assert row["f1_weighted"] == pytest.approx(over_folds[name]["mean"], abs=0.1)
    assert metrics["comparison"]["LSTM"]["f1_weighted"] == metrics["f1_weighted"]
    card = (good.folder / "README.md").read_text()
    assert "## Figures over 2 folds" in card
    assert "weighted F1, 2 folds" in card
    assert "test side |" not in card
    assert good.promoted
    worse = replace(poor_recipe(1e-6), folds=2, test_share=0.0, baselines=False)
    poor = train(sample_data, worse, tiny_place(tmp_path), say=said.append)
    assert not poor.promoted
    assert "recorded for the present tiny/" in poor.verdict
    # A test side of texts that the present bundle was fitted on would flatter it.
    sided = train(sample_data, replace(worse, test_share=0.2), tiny_place(tmp_path), say=said.append)
    assert "recorded for the present tiny/" in sided.verdict
    assert not sided.promoted


def test_labels_the_font_cannot_write_and_very_many_labels_make_a_picture() -> None:
    import warnings

    from lib.model.metrics import classification_metrics
    from training.pictures import confusion_matrix_png

    def picture(labels: list[str]) -> bytes:
        confusion = np.hstack([np.eye(len(labels), dtype=int), np.zeros((len(labels), 1), int)])
        confusion[0, 1 : len(labels[:30])] = range(1, len(labels[:30]))
        return confusion_matrix_png({**classification_metrics(confusion, labels), "labels": labels, "judged_on": "5 folds"})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert picture(["图书", "Küche"]).startswith(b"\x89PNG")
        # None of these is a formula.
        assert picture(["$5_$10", "US$ 5% off A$", "$0-$10"]).startswith(b"\x89PNG")
        assert picture([f"${i}_$10" for i in range(3000)]).startswith(b"\x89PNG")
        # Width and height are in the header: hundreds of labels must not make a picture of hundreds of megapixels.
        for many in (90, 3000):
            header = picture([f"Küche > {'Dinge > ' * 9} class {i}" for i in range(many)])[16:24]
            assert max(int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) < 3000


def test_baselines_can_be_left_out(tmp_path: Path, sample_data) -> None:
    trained = train(sample_data, replace(tiny_recipe(epochs=1), baselines=False), tiny_place(tmp_path), say=lambda line: None)
    assert list(trained.metrics["comparison"]) == ["LSTM"]
    assert trained.metrics["labels_probably_wrong"] is None
    assert not (trained.folder / "evaluation" / "wrong_labels.csv").exists()
    assert "probably wrong" not in (trained.folder / "README.md").read_text()


def test_a_better_baseline_is_named_on_the_screen_and_in_the_card(tmp_path: Path, sample_data) -> None:
    said: list[str] = []
    recipe = replace(tiny_recipe(epochs=1, learning_rate=1e-6), bag=None)
    poor = train(sample_data, recipe, tiny_place(tmp_path), say=said.append)
    better = json.loads((poor.folder / "manifest.json").read_text())["metrics"]["better_baselines"]
    assert better[0]["model"] in BASELINES
    assert better[0]["f1_weighted"] > better[0]["lstm_f1_weighted"] == poor.metrics["f1_weighted"]
    sentence = f"{better[0]['model']} is better than the LSTM on the test side by more than chance"
    (line,) = [line for line in said if line.startswith(sentence)]
    assert line.endswith(
        "try more labelled texts, other settings (--search 60), more passes over them (--epochs), the catalogue to learn words from (--unlabelled), word "
        "vectors of the texts' language (--vectors) or a larger network (--units, --embedding)."
    )
    assert sentence in (poor.folder / "README.md").read_text()


def test_what_would_take_too_long_is_left_out_and_said(tmp_path: Path, sample_data, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import baselines

    characters, labels = sum(map(len, sample_data.texts.to_pylist())), len(sample_data.labels)
    seconds = BASELINES[CHARACTERS].cost.seconds(characters, labels)
    monkeypatch.setattr(baselines, "MOST_SECONDS", seconds * 0.999)
    said: list[str] = []
    trained = train(sample_data, tiny_recipe(epochs=1), tiny_place(tmp_path), say=said.append)
    assert set(BASELINES) - set(trained.metrics["comparison"]) == {CHARACTERS}
    assert next(line for line in said if "left out of the comparison" in line).startswith(f"{CHARACTERS} is left out")


def test_folds_that_would_take_too_much_memory_are_left_out_or_refused(
    tmp_path: Path, sample_data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.training.MOST_BYTES", 4 * len(sample_data.texts) * len(sample_data.labels) - 1)
    recipe, lines = replace(tiny_recipe(epochs=1), folds=2), []
    with pytest.raises(
        InputError, match=r"Expected a --test-share above 0 with more texts and labels than folds have room for, found"
    ):
        train(sample_data, replace(recipe, test_share=0.0), tiny_place(tmp_path), say=lines.append)
    assert not list(tmp_path.iterdir())
    trained = train(
        sample_data, replace(recipe, baselines=True), tiny_place(tmp_path), say=lambda line: lines.append(str(line))
    )
    texts, labels = len(sample_data.texts), len(sample_data.labels)
    assert (
        f"The folds are left out: {texts:,} texts of {labels:,} labels, whose probabilities would take 0.0 GB, more than"
        in "\n".join(lines)
    )
    # Out-of-fold probabilities of another model would be as large.
    assert any("Labels that are probably wrong are not looked for" in line for line in lines)
    assert trained.metrics["cross_validation"] is None
