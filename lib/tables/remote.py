"""A folder on a file system that Hadoop knows (hdfs://, s3a://), whose files are there whole or not at all.

The settings and credentials are those given to spark-submit, as for tables; no session is needed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from lib.errors import CategorizerError, InputError
from lib.redaction import redacted
from lib.spark_errors import store_fault
from lib.tables.stores import CONDITION, S3, check_answers

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
# A file appears here once it is whole, in place of an older one too.
OBJECT_STORES = (*S3, "gs:")
# A rename replaces a file in one step here.
RENAMES = ("hdfs:", "webhdfs:", "swebhdfs:", "viewfs:")
COPIED_AT_ONCE = 1 << 16
# Marks of errors, of HDFS above all, after which a later run may succeed although nobody corrects the command.
PASSES = ("QuotaExceededException", "No space left on device", "Name node is in safe mode", "java.net.ConnectException")


def is_remote(place: str) -> bool:
    """Whether a place is an address with its scheme, other than one of this machine's disk."""
    return bool(SCHEME.match(place)) and not place.startswith("file:/")


def file_system(place: str) -> tuple[Any, Any]:
    """Hadoop's FileSystem and Path (py4j objects).

    Raises:
        CategorizerError: it is on S3, which does not let this job work there.
    """
    SparkContext._ensure_initialized()
    path, settings = hadoop_path(place), _settings()
    check_answers(place, settings)
    return path.getFileSystem(settings), path


def hadoop_path(place: str) -> Any:
    """Hadoop's Path (a py4j object), once there is a JVM."""
    return _jvm().org.apache.hadoop.fs.Path(place)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn an error of a file system into one sentence.

    Raises:
        InputError: an error that somebody has to correct. CategorizerError: one that may pass.
    """
    try:
        yield
    except CategorizerError:
        raise
    except Exception as error:  # py4j wraps every Java exception in one type
        text = str(getattr(error, "java_exception", error))
        fault = store_fault(text)
        # Without the name of Java's class.
        found = fault.found if fault else re.sub(r"^[\w.$]+: ", "", text.splitlines()[0])[:300]
        advice = fault.advice if fault else "correct the address, or the access to it"
        passes = fault.passes if fault else any(mark in text for mark in PASSES)
        kind = CategorizerError if passes else InputError
        raise kind(redacted(f"Expected a folder to write bundles into at {place}, found {found}; {advice}.")) from None


@dataclass(frozen=True)
class RemoteFolder:
    """place: its address, without a slash at the end. Names may be paths below it."""

    place: str

    def exists(self, name: str) -> bool:
        system, path = self._at(name)
        return bool(system.exists(path))

    def is_folder(self, name: str) -> bool:
        system, path = self._at(name)
        return bool(system.exists(path) and system.getFileStatus(path).isDirectory())

    def names(self) -> list[str]:
        """Of the files and folders in it, sorted; none if it does not exist."""
        system, path = self._at("")
        if not system.exists(path):
            return []
        return sorted(str(status.getPath().getName()) for status in system.listStatus(path))

    def modified(self, name: str) -> float:
        """When a file was written, in seconds since 1970, by the file system's clock."""
        system, path = self._at(name)
        return int(system.getFileStatus(path).getModificationTime()) / 1000

    def text(self, name: str) -> str | None:
        """A small file in UTF-8; None if there is none."""
        if not self.exists(name) or self.is_folder(name):
            return None
        with self._opened(name) as stream:
            return str(_jvm().org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))

    def digest(self, name: str) -> str:
        """SHA-256 of a file as it is there now, in hexadecimal digits."""
        with self._opened(name) as stream:
            return str(_jvm().org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream))

    def claim(self, name: str, text: str) -> bool:
        """Create a small file; False if there is one already. Of several writers at the same time one succeeds.

        A server on S3 that ignores conditions may let two succeed; then the file has the text of the later one.
        """
        if self.exists(name):
            return False
        system, path = self._at(name)
        try:
            if self.place.startswith(S3):
                # `create` would replace a file that appears meanwhile.
                stream = system.createFile(path).overwrite(False).must(CONDITION, "true").build()
            else:
                stream = system.create(path, False)
            _write(stream, text)
        except Exception:
            # Our own put is refused as well if the answer to it was lost and it was sent again.
            if (found := self.text(name)) is None:
                raise
            return found == text
        return True

    def put(self, name: str, source: Path) -> None:
        """Copy a file of this machine there, in place of what is there."""
        system, path = self._at(name)
        content = _jvm().java.io.FileInputStream(str(source))
        _jvm().org.apache.hadoop.io.IOUtils.copyBytes(content, system.create(path, True), COPIED_AT_ONCE, True)

    def replace(self, name: str, text: str) -> None:
        """Put a small file there: a reader sees the old one or the new one, if `replaces_in_one_step`."""
        system, path = self._at(name)
        if self.place.startswith(OBJECT_STORES):
            _write(system.create(path, True), text)
            return
        fresh = self._at(f".{name}-{uuid.uuid4().hex}")[1]
        try:
            _write(system.create(fresh, False), text)
            options = getattr(_jvm(), "org.apache.hadoop.fs.Options$Rename")
            chosen = SparkContext._gateway.new_array(options, 1)  # type: ignore[union-attr]
            chosen[0] = options.OVERWRITE
            _jvm().org.apache.hadoop.fs.FileContext.getFileContext(path.toUri(), _settings()).rename(fresh, path, chosen)
        except Exception:
            # What failed first is what is told.
            with suppress(Exception):
                system.delete(fresh, False)
            raise

    @property
    def replaces_in_one_step(self) -> bool:
        return self.place.startswith((*OBJECT_STORES, *RENAMES))

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it."""
        system, path = self._at(name)
        system.delete(path, True)

    def _at(self, name: str) -> tuple[Any, Any]:
        path = hadoop_path(f"{self.place}/{name}" if name else self.place)
        return path.getFileSystem(_settings()), path

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        system, path = self._at(name)
        stream = system.open(path)
        try:
            yield stream
        finally:
            stream.close()


def _write(stream: Any, text: str) -> None:
    try:
        stream.write(bytearray(text.encode()))
    finally:
        stream.close()


def _jvm() -> Any:
    return SparkContext._jvm


def _settings() -> Any:
    """Hadoop's Configuration."""
    spark = _jvm().org.apache.spark
    return spark.deploy.SparkHadoopUtil.get().newConfiguration(spark.SparkConf())
