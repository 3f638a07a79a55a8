"""Writes a bundle to a folder of versions on a file system that Hadoop knows (hdfs://, s3a://).

Not every one of them can rename a folder, so the files are put at their final place, and the manifest last: without it there is no bundle.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from lib.errors import CategorizerError
from lib.failpoints import reached
from lib.model.bundle import MANIFEST, SEAL, sha256_of
from lib.tables.remote import RemoteFolder, explained, file_system, is_remote
from training.publication import Staging, check_as_written, check_may_write_locally

# Written before a training starts, to see whether it may write; one file, since it may not be allowed to remove it.
PROBE = ".may-write"
# An upload takes minutes at most.
OLD_SECONDS = 3_600


class Upload:
    """A local folder that is copied to a version's place, from where no reader takes it before it is whole."""

    def __init__(self, models: str, name: str) -> None:
        self.versions = RemoteFolder(f"{models.rstrip('/')}/{name}")
        self.folder = Path(tempfile.mkdtemp(prefix="catalog-categorizer-bundle-"))
        self._keeps = False

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._keeps:
            shutil.rmtree(self.folder, ignore_errors=True)

    def has(self, version: str) -> bool:
        with explained(self.versions.place):
            return self._is_whole(version)

    def publish(self, version: str) -> str:
        """Copy the folder, read it back, and complete it by its manifest; return its address.

        Of several jobs that make the same version one goes on: the one whose seal is there first.

        Raises:
            BundleError: the bundle as written does not verify, in any engine.
            CategorizerError: it could not be copied. Its files stay in the local folder, which the message names.
        """
        check_as_written(self.folder)
        try:
            with explained(self.versions.place):
                self._remove_left()
                self._upload(version)
        except CategorizerError as error:
            self._keeps = True
            raise type(error)(
                f"{str(error).removesuffix('.')}; the new bundle is kept in {self.folder}, from where its files may be copied to "
                f"{self.versions.place}/{version}/, {MANIFEST} last."
            ) from None
        return f"{self.versions.place}/{version}"

    def _upload(self, version: str) -> None:
        if self._is_whole(version):
            # A version's name says how it decides: an earlier training has made this one.
            return
        target = RemoteFolder(f"{self.versions.place}/{version}")
        if not target.claim(SEAL, (self.folder / SEAL).read_text(encoding="utf-8")):
            if self._is_whole(version):
                return
            raise CategorizerError(
                f"Expected {target.place} to be free, found the same version begun there by another job and not complete; wait for that job, or, "
                f"if it was killed, remove that folder and run again (what is older than an hour goes by itself)."
            )
        try:
            reached("claimed")
            self._fill(target)
        except BaseException:
            # The next job finds the place free; this one may have lost access to it.
            with suppress(Exception):
                if not self._is_whole(version):
                    self.versions.remove(version)
            raise

    def _fill(self, target: RemoteFolder) -> None:
        names = [str(file.relative_to(self.folder)) for file in sorted(self.folder.rglob("*")) if file.is_file()]
        for name in names:
            if name not in (SEAL, MANIFEST):
                target.put(name, self.folder / name)
        reached("uploaded")
        for name in names:
            if name != MANIFEST and target.digest(name) != sha256_of((self.folder / name).read_bytes()):
                raise CategorizerError(f"Expected {target.place}/{name} as it was written, found other bytes; run again.")
        target.replace(MANIFEST, (self.folder / MANIFEST).read_text(encoding="utf-8"))
        reached("completed")

    def _is_whole(self, version: str) -> bool:
        return self.versions.exists(f"{version}/{MANIFEST}")

    def _remove_left(self) -> None:
        """Remove what killed trainings have left, once it is so old that none can still be writing it."""
        for name in self.versions.names():
            begun = not self._is_whole(name) and self.versions.exists(f"{name}/{SEAL}")
            if begun and time.time() - self.versions.modified(f"{name}/{SEAL}") > OLD_SECONDS:
                # It may write and not remove; then only this version cannot be written.
                with suppress(Exception):
                    self.versions.remove(name)


def staging_in(models: str, name: str) -> Staging | Upload:
    """A folder to write a bundle into, which becomes a version of a model. models: a path or an address."""
    return Upload(models, name) if is_remote(models) else Staging(models, name)


def check_may_write(models: str, name: str) -> None:
    """Before an hour of training: may this job write to the folder of versions?

    Raises:
        InputError: it may not. CategorizerError: the file system does not answer.
    """
    if not is_remote(models):
        check_may_write_locally(models, name)
        return
    folder = RemoteFolder(f"{models.rstrip('/')}/{name}")
    with explained(folder.place):
        file_system(folder.place)
        folder.replace(PROBE, "")
    # It may write and not remove, which is enough.
    with suppress(Exception):
        folder.remove(PROBE)
