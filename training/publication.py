"""Writes a bundle to a folder of versions, whole or not at all: on this machine's disk; training.upload does elsewhere."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.errors import InputError
from lib.model.bundle import CURRENT, MANIFEST, ONNX_MODEL, PACKED_SUFFIX, PACKED_VERSION, SEAL, Bundle, load_bundle, sha256_of
from lib.model.engines import build_engine, check_golden_rows, usable_engines
from lib.scoring.bundles import bundle_at
from lib.tables.locations import local_path
from lib.tables.remote import RemoteFolder, explained, is_remote

STAGING_PREFIX = ".staging-"
# The file that a training keeps locked in its staging folder, and the age from which a folder without one belongs to nobody.
OWNER = ".owner"
OLD_SECONDS = 86_400
# A larger model.onnx is compressed: that of 400 labels to less than half. Smaller ones stay readable for older programs and for other tools.
MOST_UNPACKED = 16 << 20


def write_bundle(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes], unpacked: int = MOST_UNPACKED) -> None:
    """Write files and manifest into a folder; the manifest lists every file's digest, and the manifest's own digest is in a file next to it.

    Args:
        unpacked: the most bytes of a model.onnx that is not compressed.
    """
    packed = [name for name in (ONNX_MODEL,) if len(files[name]) > unpacked]
    for name, content in files.items():
        path = folder / (name + PACKED_SUFFIX if name in packed else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a time, so that the same model gives the same bytes.
        path.write_bytes(gzip.compress(content, 6, mtime=0) if name in packed else content)
    listed = {**manifest, "files": {name: sha256_of(content) for name, content in sorted(files.items())}}
    listed.pop("packed", None)
    if packed:
        listed |= {"format_version": PACKED_VERSION, "packed": packed}
    content = (json.dumps(listed, ensure_ascii=False, indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SEAL).write_text(sha256_of(content) + "\n", encoding="utf-8")


def _is_left(folder: Path) -> bool:
    """Whether a killed training left this staging folder: a running one holds its lock, whatever the machine's clock says."""
    try:
        with (folder / OWNER).open() as owned:
            fcntl.flock(owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        # Without a lock it is from an older version, or is being created at this moment.
        return time.time() - folder.stat().st_mtime > OLD_SECONDS if folder.exists() else False


def check_may_write_locally(models: str, name: str) -> None:
    """Whether the folder of versions on this machine's disk is there, or can be made, and may be written to.

    Raises:
        InputError: it is not.
    """
    place = Path(local_path(models)) / name
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        found = "permission denied" if there.is_dir() else "a file"
        raise InputError(f"Expected a folder to write bundles into at {place}, found {found} at {there}; correct --models.")


class Staging:
    """A folder next to the versions that becomes one by a single rename, or is removed."""

    def __init__(self, models: str, name: str) -> None:
        self.parent = Path(local_path(models)) / name
        try:
            self.parent.mkdir(parents=True, exist_ok=True)
            for left in self.parent.glob(STAGING_PREFIX + "*"):
                if _is_left(left):
                    shutil.rmtree(left, ignore_errors=True)
            self.folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self.parent))
            self._owned = (self.folder / OWNER).open("w")
            fcntl.flock(self._owned, fcntl.LOCK_EX)
        except OSError as error:
            raise InputError(
                f"Expected a folder to write bundles into at {self.parent}, found {error.strerror}; correct --models."
            ) from None

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._owned.close()

    def has(self, version: str) -> bool:
        """Whether there is a version of that name."""
        return (self.parent / version).exists()

    def publish(self, version: str) -> str:
        """Make the folder the version `version`, and return its path.

        Raises:
            BundleError: the bundle as written does not verify, in some engine that is installed.
        """
        check_as_written(self.folder)
        final = self.parent / version
        if (final / MANIFEST).is_file():
            # A version's name says how it decides: an earlier training has made this one.
            return str(final)
        (self.folder / OWNER).unlink()
        # mkdtemp made it readable for this user only; others read bundles too.
        self.folder.chmod(0o755)
        self.folder.rename(final)
        return str(final)


def check_as_written(folder: Path) -> None:
    """Load a bundle and compare its golden rows in each engine that is installed; `relabel` runs where TensorFlow is not.

    Raises:
        BundleError: it does not verify.
    """
    bundle = load_bundle(str(folder))
    for engine in usable_engines():
        check_golden_rows(build_engine(engine, bundle, threads=1), bundle)


def current_bundle(models: str, name: str) -> Bundle | None:
    """The bundle that `current` names; None if there is none yet.

    Raises:
        BundleError: there is one, and it does not verify.
    """
    if not is_remote(models):
        folder = Path(local_path(models)) / name
        return load_bundle(str(folder)) if (folder / CURRENT).is_file() else None
    versions = RemoteFolder(f"{models.rstrip('/')}/{name}")
    with explained(versions.place):
        there = versions.exists(CURRENT)
    return bundle_at(versions.place) if there else None
