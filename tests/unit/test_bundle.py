from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.errors import BundleError
from lib.model.bundle import MANIFEST, SEAL, TOKENIZER, Bundle, load_bundle, resolve_bundle, sha256_of, text_settings
from lib.model.engines import AUTO, build_engine, check_golden_rows, checked_engine, usable_engines
from tests.conftest import SHIPPED
from training.publication import write_bundle


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A copy of the shipped version's folder."""
    shutil.copytree(SHIPPED, tmp_path / "ecommerce")
    return resolve_bundle(str(tmp_path / "ecommerce"))


def change_manifest(version: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change it as a program that knows of the seal could."""
    manifest = json.loads((version / MANIFEST).read_text())
    change(manifest)
    (version / MANIFEST).write_text(json.dumps(manifest))
    (version / SEAL).write_text(sha256_of((version / MANIFEST).read_bytes()))


def load_and_check(path: Path) -> None:
    checked_engine("onnx", load_bundle(str(path)))


def refused(path: Path, *, because: str) -> None:
    with pytest.raises(BundleError, match=because) as raised:
        load_and_check(path)
    assert raised.value.exit_code == 3


def test_the_shipped_bundle_verifies_and_is_small(shipped) -> None:
    check_golden_rows(build_engine("onnx", shipped, 1), shipped)
    assert shipped.labels == ("Books", "Clothing & Accessories", "Electronics", "Household")
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) <= 12 << 20


def test_a_bundle_that_is_older_than_a_text_setting_reads_texts_as_it_did(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    for name in ("one_character_words", "ignored", "lowercase_normalized", "markup"):
        manifest["text"].pop(name, None)
    found = text_settings(manifest)
    assert (found.one_character_words, found.ignored, found.lowercase_normalized, found.markup) == ("", "", False, False)


def test_a_folder_of_versions_and_its_pointer_name_the_same_bundle(version: Path) -> None:
    assert resolve_bundle(str(version.parent)) == version
    assert resolve_bundle(str(version.parent / "current")) == version


def test_thresholds_by_label(version: Path) -> None:
    change_manifest(version, lambda m: m["thresholds"].update(review_below=0.5, by_label={"Books": 0.9}))
    assert load_bundle(str(version)).review_below == (0.9, 0.5, 0.5, 0.5)
    for wrong in ({"Toys": 0.9}, {"Books": "high"}, [0.9]):
        change_manifest(version, lambda m, wrong=wrong: m["thresholds"].update(by_label=wrong))
        refused(version, because="Expected the threshold review_below, and by_label for labels of the bundle")


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "none", because="found nothing; train one")


def test_pointer_to_a_version_that_is_not_there(version: Path) -> None:
    (version.parent / "current").write_bytes(b"\xff\xfe\n")
    with pytest.raises(BundleError, match="to name a version next to it"):
        resolve_bundle(str(version.parent))
    (version.parent / "current").write_text("../../elsewhere\n")
    refused(version.parent, because="to name a version next to it")


@pytest.mark.parametrize("name", ["model.onnx", "model.keras", "tokenizer.json", "README.md"])
def test_missing_file(version: Path, name: str) -> None:
    (version / name).unlink()
    refused(version, because=f"Expected the file {name}")


def test_wrong_checksum(version: Path) -> None:
    with (version / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xfe")
    refused(version, because="Expected SHA-256")


@pytest.fixture
def packed(tmp_path: Path, shipped: Bundle) -> Path:
    """The shipped bundle as one with a large model.onnx is written."""
    folder = tmp_path / "packed"
    folder.mkdir()
    write_bundle(folder, shipped.manifest, shipped.files, unpacked=1 << 20)
    return folder


def test_a_large_model_is_compressed(packed: Path, shipped: Bundle) -> None:
    bundle = load_bundle(str(packed))
    assert bundle.files == shipped.files
    assert bundle.decisions == shipped.decisions
    assert (bundle.manifest["format_version"], bundle.manifest["packed"]) == (7, ["model.onnx"])
    assert not (packed / "model.onnx").exists()
    assert (packed / "model.onnx.gz").stat().st_size < len(shipped.files["model.onnx"]) * 0.95
    load_and_check(packed)
    # Written again in the other way, as a relabelled one may be.
    (packed / "model.onnx.gz").unlink()
    write_bundle(packed, bundle.manifest, bundle.files)
    assert "packed" not in load_bundle(str(packed)).manifest


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"plain", r"Expected a file compressed by gzip at .*model\.onnx\.gz, found another"),
        (gzip.compress(b"another model", mtime=0), "Expected SHA-256"),
        (gzip.compress(b"another model", mtime=0)[:-9], "found another or a damaged one"),
        (b"\x1f\x8b\x08" + bytes(20), "found another or a damaged one"),
        (None, r"Expected the file model\.onnx\.gz in the bundle"),
    ],
)
def test_a_damaged_compressed_model(packed: Path, content: bytes | None, because: str) -> None:
    (packed / "model.onnx.gz").unlink()
    if content is not None:
        (packed / "model.onnx.gz").write_bytes(content)
    refused(packed, because=because)


def test_a_file_that_unpacks_to_more_than_is_read(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.model.bundle.MAX_FILE_BYTES", 1000)
    (packed / "model.onnx.gz").write_bytes(gzip.compress(bytes(5000)))
    # The first one that is read.
    change_manifest(packed, lambda m: m.update(files={"model.onnx": "", **m["files"]}))
    refused(packed, because=r"Expected at most 1000 bytes in .*model\.onnx\.gz, unpacked, found more")


def test_newer_format(version: Path) -> None:
    change_manifest(version, lambda m: m.update(format_version=99))
    refused(version, because="found format 99; update catalog-categorizer")


def test_manifest_that_is_no_json(version: Path) -> None:
    (version / MANIFEST).write_text("{")
    refused(version, because="Expected JSON in")


@pytest.mark.parametrize("name", ["labels", "text", "files", "golden", "thresholds", "vocabulary_size"])
def test_manifest_without_a_part(version: Path, name: str) -> None:
    change_manifest(version, lambda m: m.pop(name))
    refused(version, because=name)


def test_label_count_that_does_not_fit_the_golden_rows(version: Path) -> None:
    change_manifest(version, lambda m: m["labels"].append("Garden"))
    refused(version, because="Expected 5 probabilities in each golden row")


def test_label_count_that_does_not_fit_the_model(version: Path) -> None:
    def add_label(manifest: dict[str, Any]) -> None:
        manifest["labels"].append("Garden")
        for row in manifest["golden"]:
            row["probabilities"].append(0.0)

    change_manifest(version, add_label)
    refused(version, because="to 5 labels")


def test_vocabulary_that_does_not_fit(version: Path) -> None:
    words = json.loads((version / TOKENIZER).read_text())["words"][:-1]
    content = json.dumps({"words": words}).encode()
    (version / TOKENIZER).write_bytes(content)
    change_manifest(version, lambda m: m["files"].update({TOKENIZER: sha256_of(content)}))
    refused(version, because="Expected a vocabulary of")


def test_a_manifest_changed_by_hand(version: Path) -> None:
    text = (version / MANIFEST).read_text()
    (version / MANIFEST).write_text(text.replace('"review_below": 0.9', '"review_below": 0.1'))
    refused(version, because="as training wrote it")
    # A bundle of an older version has no seal.
    (version / SEAL).unlink()
    assert load_bundle(str(version)).review_below[0] < 0.2


def test_what_decides_has_a_digest_of_its_own(version: Path) -> None:
    seen = {load_bundle(str(version)).decisions}
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda m: m["thresholds"].update(review_below=0.25),
        lambda m: m["thresholds"].update(by_label={"Books": 0.9}),
        lambda m: m["text"].update(lowercase=False),
        lambda m: m["labels"].reverse(),
    ]
    for change in changes:
        change_manifest(version, change)
        seen.add(load_bundle(str(version)).decisions)
    assert len(seen) == 5
    change_manifest(version, lambda m: m.update(created_at="another day"))
    assert load_bundle(str(version)).decisions in seen


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["thresholds"].update(review_below=float("nan")),
        lambda m: m["thresholds"].update(review_below=2),
        lambda m: m["thresholds"].update(review_below=True),
        lambda m: m["thresholds"].update(by_label={"Books": float("nan")}),
        lambda m: m.update(golden=["a text"]),
        lambda m: m.update(golden=[{"text": 5, "probabilities": [0.25] * 4}]),
        lambda m: m.update(golden=[{"text": "x", "probabilities": "abcd"}]),
        lambda m: m.update(golden=[{"text": "x", "probabilities": [[]] * 4}]),
        lambda m: m["golden"][0].update(text="half \ud800"),
        lambda m: m["golden"][0].update(probabilities=[10**400] * 4),
        lambda m: m.update(labels=[["Books"], ["Books"]]),
        lambda m: m.update(labels=[{}, {}]),
        lambda m: m["labels"].__setitem__(0, " "),
        lambda m: m["labels"].__setitem__(0, "half \ud800"),
        lambda m: m["text"].update(max_characters="many"),
        lambda m: m["text"].update(max_tokens=None),
        lambda m: m["text"].update(separators="["),
        lambda m: m["text"].update(fields=7),
        lambda m: m["text"].update(fields="name"),
        lambda m: m["text"].update(fields=["name", "name"]),
        lambda m: m["text"].update(lowercase="no"),
        # Room for so many is asked of the machine.
        lambda m: m["text"].update(max_tokens=1 << 61),
        lambda m: m["text"].update(max_characters=1 << 65),
        lambda m: m["text"].update(max_tokens=True),
        lambda m: m["text"].update(ignored="("),
        lambda m: m["text"].update(normal_form="NFX"),
        lambda m: m["files"].update({"model.onnx": 5}),
        lambda m: m.update(vocabulary_size=True),
    ],
)
def test_malformed_parts_are_refused(version: Path, change: Callable[[dict[str, Any]], object]) -> None:
    change_manifest(version, change)
    refused(version, because="Expected")


@pytest.mark.parametrize("name", [MANIFEST, TOKENIZER])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "5", "\ufeff{}", "\x00"])
def test_json_that_is_none(version: Path, name: str, text: str) -> None:
    (version / name).write_text(text)
    if name == TOKENIZER:
        change_manifest(version, lambda m: m["files"].update({name: sha256_of(text.encode())}))
    refused(version, because="Expected")


def test_a_file_under_two_spellings(version: Path) -> None:
    def spell_twice(manifest: dict[str, Any]) -> None:
        manifest["files"]["evaluation/./metrics.json"] = manifest["files"]["evaluation/metrics.json"]

    change_manifest(version, spell_twice)
    refused(version, because="Expected file names inside")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "evaluation/../../../outside.txt"])
def test_path_outside_the_bundle(version: Path, name: str) -> None:
    (version.parent / "outside.txt").write_text("secret")
    change_manifest(version, lambda m: m["files"].update({name: sha256_of(b"secret")}))
    refused(version, because="Expected file names inside")


def test_link_that_leads_outside_the_bundle(version: Path) -> None:
    (version.parent / "outside.txt").write_text("secret")
    (version / "link.txt").symlink_to(version.parent / "outside.txt")
    change_manifest(version, lambda m: m["files"].update({"link.txt": sha256_of(b"secret")}))
    refused(version, because="Expected file names inside")


@pytest.mark.parametrize("engine", usable_engines())
def test_golden_rows_that_the_model_does_not_give(version: Path, engine: str) -> None:
    change_manifest(version, lambda m: m["golden"][0]["probabilities"].reverse())
    bundle = load_bundle(str(version))
    with pytest.raises(BundleError, match="to reproduce its golden rows' probabilities"):
        check_golden_rows(build_engine(engine, bundle, 1), bundle)


def test_golden_rows_that_are_not_numbers(version: Path) -> None:
    change_manifest(version, lambda m: m["golden"][0].update(probabilities=[float("nan")] * 4))
    refused(version, because="found a difference of nan")


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_no_model_for_any_engine(version: Path, content: bytes) -> None:
    (version / "model.onnx").write_bytes(content)
    change_manifest(version, lambda m: m["files"].update({"model.onnx": sha256_of(content)}))
    for name in (AUTO, *(engine for engine in usable_engines() if engine != "keras")):
        with pytest.raises(BundleError, match="Expected"):
            checked_engine(name, load_bundle(str(version)))


def test_a_model_that_is_none(version: Path) -> None:
    (version / "model.onnx").write_bytes(b"not a model")
    change_manifest(version, lambda m: m["files"].update({"model.onnx": sha256_of(b"not a model")}))
    refused(version, because="found one that does not load")


def test_a_keras_model_that_would_run_code_is_refused(version: Path, tmp_path: Path) -> None:
    import keras

    witness = tmp_path / "witness"
    place = str(witness)
    ids = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(10, 4, name="embedding")(ids)
    smuggled = keras.layers.Lambda(lambda x: (open(place, "w").close(), x)[1])(embedded)
    pooled = keras.layers.GlobalAveragePooling1D()(smuggled)
    keras.Model(ids, keras.layers.Dense(4, activation="softmax")(pooled)).save(version / "model.keras")
    witness.unlink(missing_ok=True)
    content = (version / "model.keras").read_bytes()
    change_manifest(version, lambda m: m["files"].update({"model.keras": sha256_of(content)}))
    bundle = load_bundle(str(version))
    with pytest.raises(BundleError, match="found one that does not load"):
        build_engine("keras", bundle, 1)
    assert not witness.exists()


def test_an_address_where_only_the_disk_is_read() -> None:
    with pytest.raises(
        BundleError, match=r"on this machine's disk, found the address s3a://lake/models, which is not read here"
    ):
        load_bundle("s3a://lake/models")
