"""A bundle from wherever Spark reads: a local folder, or one on a file system that Hadoop knows (hdfs://, s3a://).

The driver reads it once and verifies it here; executors get what was verified (lib.scoring.udf).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import BundleError, CategorizerError
from lib.model.bundle import CURRENT, MANIFEST, Bundle, is_plain_name, load_bundle, move_current, resolve_bundle
from lib.redaction import redacted
from lib.tables.locations import local_path
from lib.tables.remote import SCHEME, RemoteFolder, explained, file_system, hadoop_path, is_remote


@dataclass(frozen=True)
class Version:
    """A verified bundle, its folder on this machine's disk, and the folder of versions that it belongs to: a path or an address."""

    bundle: Bundle
    folder: Path
    versions: str


def bundle_at(place: str) -> Bundle:
    """Read a bundle and verify it whole.

    Args:
        place: a version's folder, or a folder of versions with a `current`; a path, or an address with its scheme.
    Raises:
        BundleError: anything about it does not fit, or the file system does not answer.
    """
    with version_at(place) as version:
        return version.bundle


@contextmanager
def version_at(place: str) -> Iterator[Version]:
    """As `bundle_at`, with all of its files on this machine's disk inside the block."""
    if not SCHEME.match(place):
        bundle, folder = load_bundle(place), resolve_bundle(place)
        yield Version(bundle, folder, str(folder.parent))
        return
    with tempfile.TemporaryDirectory() as folder_of_copy:
        copy = Path(folder_of_copy) / "bundle"
        try:
            _fetch(place.rstrip("/"), copy)
        except CategorizerError as error:
            raise BundleError(str(error)) from None
        except Exception as error:  # py4j wraps every Java exception in one type
            reason = str(getattr(error, "java_exception", error)).splitlines()[0]
            raise BundleError(
                redacted(
                    f"Expected a bundle at {place}, found one that cannot be read ({reason}); correct --model, or the access to it."
                )
            ) from None
        try:
            bundle, folder = load_bundle(str(copy)), resolve_bundle(str(copy))
        except BundleError as error:
            raise BundleError(redacted(str(error).replace(str(copy.resolve()), place).replace(str(copy), place))) from None
        yield Version(bundle, folder, _versions_of(place.rstrip("/"), is_version=folder == copy.resolve()))


def _versions_of(place: str, is_version: bool) -> str:
    """The folder of versions. is_version: whether `place` is a version's folder."""
    above, _, name = place.rpartition("/")
    return above if is_version or name == CURRENT else place


def move_current_at(place: str, version: str) -> str | None:
    """Let `current` in a folder of versions name one of them, as `move_current`, on any file system.

    Returns:
        The version it named before; None if there was none.
    Raises:
        BundleError: no such version, or one that does not verify; `current` is as it was.
        InputError: it cannot be written.
    """
    if not is_remote(place):
        return move_current(local_path(place), version)
    versions = RemoteFolder(place.rstrip("/"))
    with explained(place):
        file_system(versions.place)
        if not is_plain_name(version) or not versions.exists(f"{version}/{MANIFEST}"):
            there = ", ".join(name for name in versions.names() if versions.exists(f"{name}/{MANIFEST}")) or "none"
            raise BundleError(f"Expected a version of {place}, found {version[:100]!r}; name one that exists ({there}).")
        bundle_at(f"{versions.place}/{version}")
        if versions.is_folder(CURRENT):
            raise BundleError(f"Expected {place}/{CURRENT} to be a file that names a version, found a folder; remove it.")
        before = versions.text(CURRENT)
        versions.replace(CURRENT, f"{version}\n")
    return before and before.strip()


def gap_said(place: str) -> str | None:
    """One sentence if a reader may find no `current` for a moment while it is moved; None if it sees the old line or the new one."""
    if not is_remote(place) or RemoteFolder(place).replaces_in_one_step:
        return None
    return (
        f"{redacted(place)}/{CURRENT} may be missing for a moment while it is moved, since {place.partition(':')[0]} is not known to replace a "
        f"file in one step: a run that starts then ends with 3"
    )


def is_there(place: str) -> bool:
    """Whether there is a folder of that name."""
    if not SCHEME.match(place):
        return Path(place).is_dir()
    system, path = file_system(place)
    return bool(system.exists(path))


def _fetch(place: str, copy: Path) -> None:
    """Copy a folder; of a folder of versions, only `current` and the version that it names."""
    system, path = file_system(place)
    if path.getName() == CURRENT and not system.isDirectory(path):
        place, path = place.rpartition("/")[0], path.getParent()
    if not system.exists(hadoop_path(f"{place}/{MANIFEST}")) and system.exists(hadoop_path(f"{place}/{CURRENT}")):
        copy.mkdir()
        _copy(system, hadoop_path(f"{place}/{CURRENT}"), copy / CURRENT)
        version = (copy / CURRENT).read_text(encoding="utf-8", errors="replace").strip()
        # `load_bundle` refuses a name that is not plain.
        if re.fullmatch(r"\w[\w.-]*", version) and system.exists(hadoop_path(f"{place}/{version}")):
            _copy(system, hadoop_path(f"{place}/{version}"), copy / version)
    elif system.exists(path):
        _copy(system, path, copy)


def _copy(system: Any, source: Any, copy: Path) -> None:
    """A file or a folder, without the checksum files next to it."""
    system.copyToLocalFile(False, source, hadoop_path(f"file://{copy}"), True)
