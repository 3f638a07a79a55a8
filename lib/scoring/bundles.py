"""A bundle from wherever Spark reads: a local folder, or one on a file system that Hadoop knows (hdfs://, s3a://).

The driver reads it once and verifies it here; executors get what was verified (lib.scoring.udf).
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from lib.errors import BundleError, CategorizerError
from lib.model.bundle import CURRENT, MANIFEST, Bundle, load_bundle
from lib.redaction import redacted
from lib.tables.stores import check_answers

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


def bundle_at(place: str) -> Bundle:
    """Read a bundle and verify it whole.

    Args:
        place: a version's folder, or a folder of versions with a `current`; a path, or an address with its scheme.
    Raises:
        BundleError: anything about it does not fit, or the file system does not answer.
    """
    if not SCHEME.match(place):
        return load_bundle(place)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "bundle"
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
            return load_bundle(str(copy))
        except BundleError as error:
            raise BundleError(redacted(str(error).replace(str(copy.resolve()), place).replace(str(copy), place))) from None


def is_there(place: str) -> bool:
    """Whether there is a folder of that name."""
    if not SCHEME.match(place):
        return Path(place).is_dir()
    system, path = _file_system(place)
    return bool(system.exists(path))


def _fetch(place: str, copy: Path) -> None:
    """Copy a folder; of a folder of versions, only `current` and the version that it names."""
    system, path = _file_system(place)
    if path.getName() == CURRENT and not system.isDirectory(path):
        place, path = place.rpartition("/")[0], path.getParent()
    if not system.exists(_below(place, MANIFEST)) and system.exists(_below(place, CURRENT)):
        copy.mkdir()
        _copy(system, _below(place, CURRENT), copy / CURRENT)
        version = (copy / CURRENT).read_text(encoding="utf-8", errors="replace").strip()
        # `load_bundle` refuses a name that is not plain.
        if re.fullmatch(r"\w[\w.-]*", version) and system.exists(_below(place, version)):
            _copy(system, _below(place, version), copy / version)
    elif system.exists(path):
        _copy(system, path, copy)


def _file_system(place: str) -> tuple[Any, Any]:
    """Hadoop's FileSystem and Path, under the settings given to spark-submit; no session is needed."""
    SparkContext._ensure_initialized()
    jvm: Any = SparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(place)
    settings = jvm.org.apache.spark.deploy.SparkHadoopUtil.get().newConfiguration(jvm.org.apache.spark.SparkConf())
    check_answers(place, settings)
    return path.getFileSystem(settings), path


def _below(place: str, name: str) -> Any:
    jvm: Any = SparkContext._jvm
    return jvm.org.apache.hadoop.fs.Path(f"{place}/{name}")


def _copy(system: Any, source: Any, copy: Path) -> None:
    """A file or a folder, without the checksum files next to it."""
    jvm: Any = SparkContext._jvm
    system.copyToLocalFile(False, source, jvm.org.apache.hadoop.fs.Path(f"file://{copy}"), True)
