"""The unfamiliarity from training to every engine, and what the jobs report of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.explain import ExplainSettings
from jobs.explain import main as explain_main
from lib.command import run_command
from lib.errors import BundleError
from lib.model.bag import EDGE
from lib.model.bundle import MANIFEST, SEAL, load_bundle, sha256_of
from lib.model.engines import build_engine, check_golden_rows, usable_engines
from lib.model.predictions import predictions
from training.calibration import evidence_of, network_logits, network_probabilities
from training.network import build_network, joined_network
from training.recipe import NetworkSettings


def texts_for(bundle, rows: int = 200) -> pa.Array:
    random = np.random.default_rng(8)
    words = [*bundle.tokenizer.words, "zzyzx", "quux", "kettles"]
    return pa.array([" ".join(random.choice(words, random.integers(1, 30))) for _ in range(rows)] + ["", "?!"])


def test_engines_agree(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    ids = bundle.tokenizer.ids_of(texts_for(bundle))
    assert bundle.unfamiliarity is not None
    evidence = {name: build_engine(name, bundle, 1).probabilities_and_evidence(ids)[1] for name in usable_engines()}
    for name, found in evidence.items():
        np.testing.assert_allclose(found, evidence["keras"], rtol=0, atol=2e-4, err_msg=name)
        shares = bundle.unfamiliarity.of(found)
        np.testing.assert_allclose(shares, bundle.unfamiliarity.of(evidence["keras"]), rtol=0, atol=1e-4, err_msg=name)
        assert np.isnan(shares[-2:]).all()
        assert np.isfinite(shares[:-2]).all()


def test_threads_and_batches_do_not_matter(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    ids = bundle.tokenizer.ids_of(texts_for(bundle, 40).take(pa.array([*range(40), *range(40)])))
    for name in usable_engines():
        one, three = (build_engine(name, bundle, threads).probabilities_and_evidence(ids)[1] for threads in (1, 3))
        np.testing.assert_allclose(one, three, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(one[:40], one[40:])


def test_logits_are_what_the_softmax_sees(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    size = bundle.tokenizer.vocabulary_size
    network = joined_network(build_network(size, 4, NetworkSettings(embedding=6, units=5, dense=7)), 2.0, None)
    ids = bundle.tokenizer.ids_of(texts_for(bundle, 20))
    logits = network_logits(network, ids)
    found = np.exp(logits - evidence_of(logits)[:, None])
    np.testing.assert_allclose(found[:20], network_probabilities(network, ids)[:20], rtol=0, atol=1e-6)


def test_the_bundle_says_on_how_many_texts_it_rests(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    assert bundle.unfamiliarity is not None
    assert bundle.unfamiliarity.texts == bundle.manifest["data"]["split"]["validation"]
    found = bundle.manifest["metrics"]["unfamiliar"]
    assert found["asked"] == 0.01
    card = (tiny / (tiny / "current").read_text().strip() / "README.md").read_text()
    assert f"it is based on {bundle.unfamiliarity.texts:,} texts of the validation side" in card
    assert f"{found['found']:.1%} are above 0.99" in card


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny / (tiny / "current").read_text().strip(), tmp_path / "copy"))


def change_manifest(folder: Path, change) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / SEAL).write_text(sha256_of((folder / MANIFEST).read_bytes()))


def test_golden_rows_use_every_kind_of_feature_and_all_text_code(tiny: Path) -> None:
    """Otherwise a fault in one of these would pass: random words make no pairs that the bag knows, and have no unknown parts."""
    bundle = load_bundle(str(tiny))
    texts = pa.array([row.text for row in bundle.golden])
    bag, ids = bundle.tokenizer.bag, bundle.tokenizer.ids_of(texts)
    assert bag is not None
    assert ids.bag is not None
    pairs = bag.pairs[
        ids.bag.features[(ids.bag.features >= bag.first_pair) & (ids.bag.features < bag.first_subword)] - bag.first_pair
    ]
    assert (pairs[:, 0] == EDGE).any()
    assert (pairs[:, 1] == EDGE).any()
    assert len({(int(one), int(other)) for one, other in pairs if EDGE not in (one, other)}) > 10
    assert len({int(feature) for feature in ids.bag.features if feature >= bag.first_subword}) > 10
    if bundle.tokenizer.compiled is not None:
        _, lengths, _ = bundle.tokenizer.compiled.ids_of(texts)
        assert 0 < (lengths < 0).sum() < len(texts)


@pytest.mark.parametrize("engine", usable_engines())
def test_golden_rows_hold_the_evidence(copy: Path, engine: str) -> None:
    bundle = load_bundle(str(copy))
    check_golden_rows(build_engine(engine, bundle, 1), bundle)
    change_manifest(copy, lambda m: m["golden"][3].update(evidence=m["golden"][3]["evidence"] + 0.1))
    bundle = load_bundle(str(copy))
    with pytest.raises(BundleError, match=r"found a difference of 0\.01"):
        check_golden_rows(build_engine(engine, bundle, 1), bundle)


def test_golden_rows_without_evidence_are_refused(copy: Path) -> None:
    change_manifest(copy, lambda m: m["golden"][0].pop("evidence"))
    with pytest.raises(BundleError, match="Expected the evidence of each golden row"):
        load_bundle(str(copy))


def test_a_bundle_of_an_older_format_has_none(copy: Path) -> None:
    def older(manifest) -> None:
        manifest.pop("unfamiliarity")
        manifest["format_version"] = 2

    change_manifest(copy, older)
    bundle = load_bundle(str(copy))
    assert bundle.unfamiliarity is None
    engine = build_engine("onnx", bundle, 1)
    check_golden_rows(engine, bundle)
    assert [one["unfamiliarity"] for one in predictions(["steel kettle", ""], bundle, engine)] == [None, None]


def test_predict_and_explain_tell_it(tiny: Path, capsys) -> None:
    bundle = load_bundle(str(tiny))
    engine = build_engine("onnx", bundle, 1)
    assert bundle.unfamiliarity is not None
    found = bundle.unfamiliarity.of(engine.probabilities_and_evidence(bundle.tokenizer.ids_of(pa.array(["steel kettle"])))[1])[
        0
    ]
    answers = list(predictions(["steel kettle", ""], bundle, engine))
    assert (answers[0]["unfamiliarity"], answers[1]["unfamiliarity"]) == (pytest.approx(found, abs=1e-6), None)
    arguments = ["--model", str(tiny), "--text", "steel kettle", "--engine", "onnx"]
    assert run_command(ExplainSettings, explain_main, "explain", arguments) == 0
    assert f"unfamiliarity {found:.4f}:" in capsys.readouterr().out
    assert run_command(ExplainSettings, explain_main, "explain", [*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unfamiliarity"] == pytest.approx(found, abs=1e-6)
