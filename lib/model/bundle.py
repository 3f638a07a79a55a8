"""The bundle: what training leaves and scoring loads. Written once, verified before use, never runs code.

A bundle is a folder `models/NAME/VERSION/` whose manifest.json lists every other file with its SHA-256. Here are its
reading and its verification; `training.publication` writes it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from lib.errors import BundleError
from lib.model.bag import bag_vocabulary
from lib.model.renames import Renames
from lib.model.text import FIRST_WORD_ID, TextSettings, Tokenizer, without_halves
from lib.model.tree import Tree
from lib.model.unfamiliarity import Unfamiliarity, unfamiliarity_of
from lib.redaction import redacted

# 2: thresholds by label, fields of a text. 4: a bag of features, unfamiliarity. An older program would ignore them,
# so it must refuse. Format 3, with bags that counted a word once per text, was never released. 5: labels that are paths, with a
# threshold for each level; 6: labels that were moved or merged; 7: a large file is compressed. Other bundles keep a format that
# older programs can read.
FORMAT_VERSION, PATHS_VERSION, RELABELLED_VERSION, PACKED_VERSION = 4, 5, 6, 7
READABLE_VERSIONS = (1, 2, FORMAT_VERSION, PATHS_VERSION, RELABELLED_VERSION, PACKED_VERSION)
MANIFEST = "manifest.json"
# Next to the manifest, its SHA-256: a manifest changed by hand is not what training has evaluated. Bundles of older versions lack this file.
SEAL = "manifest.sha256"
TOKENIZER = "tokenizer.json"
ONNX_MODEL = "model.onnx"
KERAS_MODEL = "model.keras"
REQUIRED_FILES = (KERAS_MODEL, ONNX_MODEL, TOKENIZER)
CURRENT = "current"
# After the name of a file that is stored compressed; the manifest lists it under its own name, by the digest of what it contains.
PACKED_SUFFIX = ".gz"
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True)
class GoldenRow:
    """A text of vocabulary words and what the reference engine returned for it when the bundle was written.

    evidence: None in bundles of a format before 4.
    """

    text: str
    probabilities: tuple[float, ...]
    evidence: float | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `files` holds the bytes of the files that scoring needs, by name."""

    manifest: Mapping[str, Any]
    digest: str
    files: Mapping[str, bytes]

    @property
    def model_version(self) -> str:
        """NAME/VERSION, as in rows and ledgers."""
        return f"{self.manifest['name']}/{self.manifest['version']}"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.manifest["labels"])

    @property
    def outputs(self) -> tuple[int, ...]:
        """The label that each of the network's probabilities counts for: several count for one label where labels were merged."""
        return tuple(self.manifest.get("outputs", range(len(self.labels))))

    @property
    def is_relabelled(self) -> bool:
        return "outputs" in self.manifest

    @property
    def renames(self) -> Renames:
        """The steps by which it was relabelled; none where it was not."""
        return Renames(self.manifest.get("relabelled", ()))

    @property
    def review_below(self) -> tuple[float, ...]:
        """Confidence below which a row gets the status `review`: one for each label, in their order."""
        thresholds = self.manifest["thresholds"]
        return tuple(float(thresholds.get("by_label", {}).get(label, thresholds["review_below"])) for label in self.labels)

    @cached_property
    def tree(self) -> Tree | None:
        """The tree of labels that are paths; None for a flat list."""
        separator = self.manifest.get("label_separator")
        return Tree(self.labels, separator) if separator else None

    @property
    def level_thresholds(self) -> tuple[float, ...]:
        """Confidence from which on a level is published, the top first; none where labels are no paths."""
        return tuple(map(float, self.manifest["thresholds"]["by_level"])) if self.tree else ()

    @property
    def moved_up(self) -> Mapping[str, str]:
        """Labels that training learned as one above them, for lack of texts -> that one; none where labels are no paths."""
        return self.manifest.get("data", {}).get("moved_up", {}) if self.tree else {}

    @property
    def decisions(self) -> str:
        """Digest of what decides a text's category and status: the models, the labels, the text settings, the thresholds."""
        # The files have been verified against these digests.
        return digest_of_decisions(self.manifest["files"], self.manifest)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        content = json.loads(self.files[TOKENIZER])
        bag = bag_vocabulary(content["bag"], FIRST_WORD_ID, len(content["words"]) + FIRST_WORD_ID) if "bag" in content else None
        return Tokenizer(content["words"], text_settings(self.manifest), bag)

    @property
    def golden(self) -> Sequence[GoldenRow]:
        return [GoldenRow(row["text"], tuple(row["probabilities"]), row.get("evidence")) for row in self.manifest["golden"]]

    @cached_property
    def unfamiliarity(self) -> Unfamiliarity | None:
        """None in bundles of a format before 4."""
        return unfamiliarity_of(self.manifest)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of_decisions(digests: Mapping[str, str], manifest: Mapping[str, Any]) -> str:
    """Digest of the files that scoring needs, by name, and of the parts of the manifest that decide along with them."""
    thresholds = manifest["thresholds"]
    parts = {
        "files": {name: digests[name] for name in REQUIRED_FILES},
        "labels": manifest["labels"],
        "text": manifest["text"],
        "thresholds": [thresholds["review_below"], thresholds.get("by_label", {})],
    }
    if "unfamiliarity" in manifest:
        parts["unfamiliarity"] = manifest["unfamiliarity"]
    if manifest.get("label_separator"):
        parts["levels"] = [manifest["label_separator"], list(thresholds["by_level"])]
    if "outputs" in manifest:
        parts["outputs"] = manifest["outputs"]
    # Through JSON, so that what is about to be written and what was read agree.
    return sha256_of(json.dumps(parts, sort_keys=True).encode())


def text_settings(manifest: Mapping[str, Any]) -> TextSettings:
    known = {field.name for field in fields(TextSettings)}
    unknown = sorted(set(manifest["text"]) - known)
    if unknown:
        raise BundleError(f"Expected the text settings {sorted(known)} in {MANIFEST}, found also {unknown}; train it again.")
    if not isinstance(manifest["text"].get("fields", []), list):
        raise BundleError(
            f"Expected a list in the text setting fields of {MANIFEST}, found {manifest['text']['fields']!r:.100}."
        )
    # A bundle without one of these is older than it.
    older = {"one_character_words": "", "ignored": "", "lowercase_normalized": False, "markup": False}
    return TextSettings(**{**older, **manifest["text"], "fields": tuple(manifest["text"].get("fields", ()))})


def resolve_bundle(path: str) -> Path:
    """The folder of one version: `path` itself, or the version that `current` names in a folder of versions.

    Raises:
        BundleError: there is no bundle at `path`.
    """
    folder = Path(path)
    if "://" in path and not folder.exists():
        raise BundleError(
            f"Expected the path of a bundle on this machine's disk, found the address {redacted(path)}, which is not read here; copy the bundle to "
            f"a folder first."
        )
    if folder.name == CURRENT and not folder.is_dir():
        folder = folder.parent
    if (folder / MANIFEST).is_file():
        return folder.resolve()
    pointer = folder / CURRENT
    if not pointer.is_file():
        raise BundleError(
            f"Expected a bundle (a folder with {MANIFEST}) or a folder of versions (with a file {CURRENT!r}) at {path}, "
            f"found {'neither' if folder.exists() else 'nothing'}; train one with the job `train`, or correct --model.",
            see="no-model",
        )
    version = pointer.read_text(encoding="utf-8", errors="replace").strip()
    if not is_plain_name(version) or not (folder / version / MANIFEST).is_file():
        raise BundleError(
            f"Expected {pointer} to name a version next to it, found {version[:100]!r}; write the name of a complete version into it."
        )
    return (folder / version).resolve()


def move_current(models: str, version: str) -> str | None:
    """Let `current` in a folder of versions name one of them; a reader sees the old line or the new one.

    Returns:
        The version it named before; None if there was none.
    Raises:
        BundleError: no such version, or one that does not verify.
    """
    pointer = Path(models) / CURRENT
    if not is_plain_name(version) or not (pointer.parent / version / MANIFEST).is_file():
        there = ", ".join(sorted(path.parent.name for path in pointer.parent.glob(f"*/{MANIFEST}"))) or "none"
        raise BundleError(f"Expected a version of {models}, found {version[:100]!r}; name one that exists ({there}).")
    load_bundle(str(pointer.parent / version))
    if pointer.is_dir():
        raise BundleError(f"Expected {pointer} to be a file that names a version, found a folder; remove it.")
    before = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else None
    fresh = pointer.with_name(f".{CURRENT}-{os.getpid()}")
    fresh.write_text(version + "\n", encoding="utf-8")
    os.replace(fresh, pointer)
    return before


def load_bundle(path: str) -> Bundle:
    """Read a bundle from disk and verify it whole.

    Args:
        path: a version's folder, or a folder of versions with a `current`.
    Raises:
        BundleError: anything about it does not fit.
    """
    folder = resolve_bundle(path)
    try:
        return _loaded(folder)
    # Errors from valid JSON that this code does not expect: another type somewhere inside, or endlessly nested brackets.
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BundleError(
            f"Expected a consistent bundle at {folder}, found a part of {MANIFEST} or {TOKENIZER} of another kind "
            f"({type(error).__name__}: {str(error)[:200]}); restore or retrain it."
        ) from None


def read_evidence(path: str, name: str) -> bytes | None:
    """A file of a bundle that scoring does not need, such as evaluation/learning_curves.json; None if the bundle has none of that name.

    Args:
        path: as in `load_bundle`, which has verified it.
    Raises:
        BundleError: it is not the file that the manifest lists.
    """
    folder = resolve_bundle(path)
    digest = _parsed((folder / MANIFEST).read_bytes(), MANIFEST, folder)["files"].get(name)
    return None if digest is None else _verified_file(folder, name, digest)


def versions_beside(path: str) -> tuple[list[dict[str, Any]], str | None]:
    """The manifests of all versions of a bundle's model in its folder, newest first, and the one that `current` names.

    Only the bundle itself has been verified.
    """
    folder = resolve_bundle(path)
    own = _parsed((folder / MANIFEST).read_bytes(), MANIFEST, folder)
    found = [own]
    for other in folder.parent.glob(f"*/{MANIFEST}"):
        if other.parent != folder:
            with suppress(BundleError, OSError):
                found.append(_parsed(other.read_bytes(), MANIFEST, other.parent))
    named = [
        one for one in found if one.get("name") == own["name"] and one.get("version") and isinstance(one.get("labels"), list)
    ]
    pointer = folder.parent / CURRENT
    current = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else None
    return sorted(named, key=lambda one: str(one.get("created_at", "")), reverse=True), current


def _loaded(folder: Path) -> Bundle:
    raw = (folder / MANIFEST).read_bytes()
    manifest = _parsed(raw, MANIFEST, folder)
    _check_manifest(manifest, folder)
    packed = manifest.get("packed", [])
    contents = {}
    for name, digest in manifest["files"].items():
        content = _verified_file(folder, name, digest, name in packed)
        # All others are verified, one at a time, and not kept: they may be large.
        if name in REQUIRED_FILES:
            contents[name] = content
    bundle = Bundle(manifest, sha256_of(raw), contents)
    _check_parts(bundle, folder)
    _check_seal(raw, folder)
    return bundle


def _check_seal(raw: bytes, folder: Path) -> None:
    seal = folder / SEAL
    if seal.is_file() and (found := seal.read_text(encoding="utf-8", errors="replace").strip()) != sha256_of(raw):
        raise BundleError(
            f"Expected {folder / MANIFEST} as training wrote it (SHA-256 {found[:12]}…), found it changed ({sha256_of(raw)[:12]}…); "
            f"restore it, or train a version with other settings."
        )


def _parsed(raw: bytes, name: str, folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"Expected JSON in {folder / name}, found something else ({error}); restore or retrain the bundle."
        ) from None
    if not isinstance(content, dict):
        raise BundleError(
            f"Expected a JSON object in {folder / name}, found {type(content).__name__}; restore or retrain the bundle."
        )
    return content


MANIFEST_TYPES: Mapping[str, type] = {
    "name": str,
    "version": str,
    "files": dict,
    "labels": list,
    "text": dict,
    "vocabulary_size": int,
    "thresholds": dict,
    "golden": list,
}


def _check_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    found = manifest.get("format_version")
    if found not in READABLE_VERSIONS:
        raise BundleError(
            f"Expected a bundle of format {', '.join(map(str, READABLE_VERSIONS))} at {folder}, found format {found!r}; "
            "update catalog-categorizer, or train the bundle with this version."
        )
    wrong = [name for name, kind in MANIFEST_TYPES.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise BundleError(
            f"Expected {', '.join(wrong)} in {folder / MANIFEST}, found none or another type; restore or retrain it."
        )
    missing = [name for name in REQUIRED_FILES if name not in manifest["files"]]
    if missing:
        raise BundleError(
            f"Expected {', '.join(missing)} among the files of {folder / MANIFEST}, found none; retrain the bundle."
        )
    labels = manifest["labels"]
    if not all(map(_is_label, labels)) or len(labels) < 2 or len(set(labels)) != len(labels):
        raise BundleError(
            f"Expected at least two different labels of text in {folder / MANIFEST}, found {labels!r:.200}; retrain the bundle."
        )
    by_label = manifest["thresholds"].get("by_label", {})
    numbers = [manifest["thresholds"].get("review_below"), *(by_label.values() if isinstance(by_label, dict) else [None])]
    if not all(_is_probability(number) for number in numbers) or not set(by_label) <= set(labels):
        raise BundleError(
            f"Expected the threshold review_below, and by_label for labels of the bundle at most, from 0 to 1, in {folder / MANIFEST}, "
            f"found {manifest['thresholds']!r:.200}; retrain the bundle."
        )
    _check_levels(manifest, folder)
    _check_outputs(manifest, folder)
    if not manifest["golden"]:
        raise BundleError(f"Expected golden rows in {folder / MANIFEST}, found none; retrain the bundle.")
    for row in manifest["golden"]:
        # NaN passes here: comparing it with what the engine returns shows better what is wrong.
        if not (
            isinstance(row, dict) and isinstance(row.get("text"), str) and isinstance(row.get("probabilities"), list)
        ) or not all(isinstance(number, (int, float)) for number in row["probabilities"]):
            raise BundleError(
                f"Expected golden rows of a text and its probabilities in {folder / MANIFEST}, found {row!r:.200}; retrain the bundle."
            )


def _check_outputs(manifest: Mapping[str, Any], folder: Path) -> None:
    outputs = manifest.get("outputs")
    if outputs is None:
        return
    places = all(isinstance(place, int) and not isinstance(place, bool) for place in outputs)
    if not places or set(outputs) != set(range(len(manifest["labels"]))):
        raise BundleError(
            f"Expected a label of the bundle for each output of the network, and an output for each label, in {folder / MANIFEST}, found "
            f"{outputs!r:.200}; relabel it again."
        )


def _check_levels(manifest: Mapping[str, Any], folder: Path) -> None:
    separator = manifest.get("label_separator")
    if separator is None:
        return
    tree = Tree(tuple(manifest["labels"]), separator) if isinstance(separator, str) and separator else None
    if tree is None or not all(tree.paths) or not tree.is_ordered:
        raise BundleError(
            f"Expected labels that are paths, those below one level next to each other, with the label_separator of {folder / MANIFEST}, found "
            f"{separator!r:.50} and others; retrain the bundle."
        )
    found = manifest["thresholds"].get("by_level")
    rising = isinstance(found, list) and all(map(_is_probability, found)) and found == sorted(found)
    if not rising or len(found) != tree.levels:
        raise BundleError(
            f"Expected a threshold from 0 to 1 for each of {tree.levels} levels, none below the one before, in {folder / MANIFEST}, found "
            f"{found!r:.200}; retrain the bundle."
        )


def _is_label(label: object) -> bool:
    # JSON may spell half of a character, which no table can store.
    return isinstance(label, str) and bool(label.strip()) and label == without_halves(label)


def _is_probability(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= 1


def is_plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def _verified_file(folder: Path, name: str, digest: str, packed: bool = False) -> bytes:
    parts = PurePosixPath(name + PACKED_SUFFIX if packed else name).parts
    path = folder.joinpath(*parts)
    is_spelt_once = name == str(PurePosixPath(name))
    if not is_spelt_once or not all(map(is_plain_name, parts)) or not path.resolve().is_relative_to(folder):
        raise BundleError(f"Expected file names inside {folder} in its {MANIFEST}, found {name!r}; do not use this bundle.")
    if not path.is_file():
        raise BundleError(
            f"Expected the file {'/'.join(parts)} in the bundle {folder}, found none; copy the bundle again, or retrain it."
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BundleError(
            f"Expected at most {MAX_FILE_BYTES} bytes in {path}, found {path.stat().st_size}; do not use this bundle."
        )
    content = _unpacked(path) if packed else path.read_bytes()
    if sha256_of(content) != digest:
        raise BundleError(
            f"Expected SHA-256 {str(digest)[:12]}… of {path}, found {sha256_of(content)[:12]}…; copy the bundle again, or retrain it."
        )
    return content


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise BundleError(
            f"Expected a file compressed by gzip at {path}, found another or a damaged one ({error}); copy the bundle again, or retrain it."
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise BundleError(f"Expected at most {MAX_FILE_BYTES} bytes in {path}, unpacked, found more; do not use this bundle.")
    return content


def _check_parts(bundle: Bundle, folder: Path) -> None:
    words = _parsed(bundle.files[TOKENIZER], TOKENIZER, folder).get("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BundleError(
            f"Expected a list of words in {folder / TOKENIZER}, found {type(words).__name__}; retrain the bundle."
        )
    expected = bundle.manifest["vocabulary_size"]
    if bundle.tokenizer.vocabulary_size != expected:
        raise BundleError(
            f"Expected a vocabulary of {expected} ids in {folder / TOKENIZER} as {MANIFEST} says, "
            f"found {bundle.tokenizer.vocabulary_size}; retrain the bundle."
        )
    # Read here, so that what does not fit is refused before any row is read.
    known = bundle.unfamiliarity
    for row in bundle.golden:
        if known and not isinstance(row.evidence, float):
            raise BundleError(
                f"Expected the evidence of each golden row in {folder / MANIFEST}, found {row.evidence!r:.100}; retrain the bundle."
            )
        if len(row.probabilities) != len(bundle.labels):
            raise BundleError(
                f"Expected {len(bundle.labels)} probabilities in each golden row of {folder / MANIFEST}, one for each label, "
                f"found {len(row.probabilities)}; retrain the bundle."
            )
