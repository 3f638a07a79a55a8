"""The folder that is published to: numbered manifests that never change, a copy of the newest, and the data files they name.

manifest.json                      the newest manifest
manifests/NUMBER.json              the two newest
data/NUMBER-XXXXXXXX/rows/         Parquet files of all rows
data/NUMBER-XXXXXXXX/changes/      Parquet files of the changes
data/NUMBER-XXXXXXXX/corrections/  Parquet files of people's corrections
"""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lib.tables.locations import PYTHON_UTILS, Location, delta_log, file_system, java_class, local_path

MANIFEST, MANIFESTS, DATA = "manifest.json", "manifests", "data"
_MANIFEST = re.compile(r"(\d{20})\.json")
# Written, but not yet moved into place.
_FRESH = re.compile(r"\.(?:manifest\.json\.)?(\d{20})\.\w.*")
_DATA = re.compile(r"(\d{20})-[0-9a-f]{8}")


@dataclass(frozen=True)
class Folder:
    """table: the Delta table whose log store is used here too, since it knows the guarantees of each file system."""

    spark: SparkSession
    place: Location
    table: Location

    def uri(self, path: str) -> str:
        return f"{self.place.uri.rstrip('/')}/{path}"

    def pattern(self, path: str) -> str:
        """The path, escaped for Spark, which would take it for a pattern."""
        return re.sub(r"[\\*?\[\]{}]", r"\\\g<0>", self.uri(path))

    def new_data(self, number: int) -> str:
        """The path of data files of a manifest that is still to be written; no other writer has the same."""
        return f"{DATA}/{number:020d}-{uuid.uuid4().hex[:8]}"

    def numbers(self) -> list[int]:
        """The numbers of the existing manifests, in their order."""
        return sorted(int(found[1]) for name in self._names(MANIFESTS) if (found := _MANIFEST.fullmatch(name)))

    def manifest(self, number: int) -> str:
        return self._read(_manifest_path(number))

    def put_manifest(self, number: int, text: str) -> bool:
        """Write it whole; False, with nothing done, if another run has written one with that number."""
        system, path = self._path(_manifest_path(number))
        system.mkdirs(path.getParent())
        if local := self._local(_manifest_path(number)):
            return _link(local, text)
        try:
            self._store().write(path, self._iterator(text), False, self._configuration())
        except Exception as error:
            if "FileAlreadyExists" not in str(error):
                raise
            return False
        return True

    def point_to(self, number: int) -> None:
        """Make manifest.json a copy of the manifest with that number."""
        text, fresh = self.manifest(number), f".{MANIFEST}.{number:020d}.{uuid.uuid4().hex}"
        if local := self._local(MANIFEST):
            os.replace(_complete(local_path(self.uri(fresh)), text), local)
            return
        path = self._path(MANIFEST)[1]
        if not self._store().isPartialWriteVisible(path, self._configuration()):
            # An object exists only once it is whole.
            self._store().write(path, self._iterator(text), True, self._configuration())
            return
        source = self._path(fresh)[1]
        self._store().write(source, self._iterator(text), False, self._configuration())
        options = java_class(self.spark, "org.apache.hadoop.fs.Options$Rename")
        chosen = self._gateway.new_array(options, 1)
        chosen[0] = options.OVERWRITE
        context = java_class(self.spark, "org.apache.hadoop.fs.FileContext").getFileContext(path.toUri(), self._configuration())
        context.rename(source, path, chosen)

    def pointed_to(self) -> str | None:
        """The text of manifest.json; None if there is none."""
        return None if self.size(MANIFEST) is None else self._read(MANIFEST)

    def data(self) -> list[tuple[int, str]]:
        """Numbers and paths of the folders of data files."""
        return [(int(found[1]), f"{DATA}/{name}") for name in self._names(DATA) if (found := _DATA.fullmatch(name))]

    def leftovers(self, newest: int) -> list[str]:
        """Paths of files that killed runs have left for manifests up to a number."""
        found = [*self._names(""), *(f"{MANIFESTS}/{name}" for name in self._names(MANIFESTS))]
        return [path for path in found if (fresh := _FRESH.fullmatch(os.path.basename(path))) and int(fresh[1]) <= newest]

    def remove(self, path: str) -> None:
        system, found = self._path(path)
        system.delete(found, True)

    def remove_manifest(self, number: int) -> None:
        self.remove(_manifest_path(number))

    def drop_sums(self, path: str) -> None:
        """Remove Hadoop's checksum files, which it writes next to files on a local disk; the manifest has better checksums."""
        if local := self._local(path):
            for name in os.listdir(local):
                if name.startswith(".") and name.endswith(".crc"):
                    os.unlink(os.path.join(local, name))

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if there is none."""
        system, found = self._path(path)
        return int(system.getFileStatus(found).getLen()) if system.exists(found) else None

    def sizes(self, path: str) -> dict[str, int]:
        """The path of each file in a folder, and its bytes."""
        return {f"{path}/{status.getPath().getName()}": int(status.getLen()) for status in self._listed(path)}

    def _names(self, path: str) -> list[str]:
        return [str(status.getPath().getName()) for status in self._listed(path)]

    def _listed(self, path: str) -> list[Any]:
        system, found = self._path(path) if path else file_system(self.spark, self.place.uri)
        return list(system.listStatus(found)) if system.exists(found) else []

    def _path(self, path: str) -> tuple[Any, Any]:
        return file_system(self.spark, self.uri(path))

    def _local(self, path: str) -> str | None:
        """The path if it is on this machine, where Java can neither link nor replace a file in one step; None elsewhere."""
        return local_path(self.uri(path)) if self.place.uri.startswith("file:/") else None

    def _store(self) -> Any:
        return delta_log(self.spark, self.table).store()

    def _configuration(self) -> Any:
        jsc: Any = self.spark.sparkContext._jsc
        return jsc.hadoopConfiguration()

    @property
    def _gateway(self) -> Any:
        return self.spark.sparkContext._gateway

    def _iterator(self, text: str) -> Any:
        lines = java_class(self.spark, "java.util.ArrayList")()
        for line in text.splitlines():
            lines.add(line)
        return java_class(self.spark, PYTHON_UTILS).toSeq(lines).iterator()

    def _read(self, path: str) -> str:
        system, found = self._path(path)
        stream = system.open(found)
        try:
            return str(java_class(self.spark, "org.apache.commons.io.IOUtils").toString(stream, "UTF-8"))
        finally:
            stream.close()


def _manifest_path(number: int) -> str:
    return f"{MANIFESTS}/{number:020d}.json"


def _complete(path: str, text: str) -> str:
    """Write a new file with the text, complete on the disk; returns its path."""
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path


def _link(path: str, text: str) -> bool:
    folder, name = os.path.split(path)
    fresh = _complete(os.path.join(folder, f".{name}.{uuid.uuid4().hex}"), text)
    try:
        os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(fresh)
    return True
