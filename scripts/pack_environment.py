"""Pack a Python with the packages that the jobs import into an archive that runs wherever it is unpacked; print its name.

python scripts/pack_environment.py LOCK.lock FOLDER

FOLDER/environment-KEY.tar.gz is made once for each lock file, Python and state of this file. It contains bin/python (a script that
sets the paths and runs the interpreter next to it), the standard library, packages/, and the shared libraries of the packing
machine other than those of glibc and C++. A node needs the same architecture and a glibc as new, but no Python. Spark's own
Python code is left out: it comes with Spark. See docs/decisions/0031-the-environment-that-travels.md.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

BASE = Path(sys.base_prefix)
STDLIB = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(BASE), "base": str(BASE)}))
# Spark ships the first two; the others belong to the set-up, or to parts of ONNX Runtime that scoring does not use.
OTHERS = {"pyspark", "py4j", "setuptools", "sympy", "mpmath", "coloredlogs", "humanfriendly"}
# By path below packages/ or the standard library; * also matches slashes.
LEFT_OUT = (
    *("*.opt-?.pyc", "*.a", "*.pyi", "*.pxd", "*.h", "*/tests/*", "*/testing/tests/*", "../*"),
    *("numpy/distutils/*", "numpy/f2py/*", "onnxruntime/tools/*", "onnxruntime/quantization/*", "onnxruntime/transformers/*"),
    *("onnxruntime/datasets/*", "onnxruntime/capi/libonnxruntime.so*", "onnxruntime/ThirdPartyNotices.txt"),
    *("pyarrow/include/*", "pyarrow/src/*", "pyarrow/*flight*", "pyarrow/*gandiva*", "pyarrow/*s3*"),
    # The same libraries under other names; the loaded one ends in a single number.
    *("pyarrow/libarrow*.so", "pyarrow/lib*.so.*.*"),
)
LEFT_OUT_OF_STDLIB = (
    *("test/*", "idlelib/*", "tkinter/*", "turtledemo/*", "lib2to3/*", "ensurepip/*", "pydoc_data/*", "sqlite3/*", "config-*"),
    *("site-packages/*", "dist-packages/*", "lib-dynload/_test*", "lib-dynload/_tkinter*", "lib-dynload/_curses*"),
    *(
        "lib-dynload/_crypt.*",
        "lib-dynload/nis.*",
        "lib-dynload/readline*",
        "lib-dynload/_sqlite3*",
        "lib-dynload/_dbm*",
        "lib-dynload/_gdbm*",
        "lib-dynload/_ctypes_test*",
    ),
)
# glibc's own libraries, and the two that every wheel for Linux may rely on.
OF_THE_NODE = re.compile(
    r"(ld-linux.*|linux-vdso|lib(c|m|mvec|pthread|dl|rt|util|resolv|anl|nss_.*|stdc\+\+|gcc_s))\.so(\.\d+)*$"
)
START = """#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
export LD_LIBRARY_PATH="$here/../shared${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$here/../packages"
# Keep the node's own Python out.
export PYTHONNOUSERSITE=1
unset PYTHONHOME PYTHONSTARTUP
exec "$here/INTERPRETER" "$@"
"""
IMPORTED = "import ctypes, hashlib, json, numpy, pandas, psycopg, pyarrow, pyarrow.compute, onnxruntime, rich.progress, google.protobuf.message"


def main(lock: str, folder: str) -> int:
    if sys.platform != "linux":
        print("error: Expected Linux to pack a Python for a cluster, found another system; give --no-pack.", file=sys.stderr)
        return 2
    archive = Path(folder).resolve() / f"environment-{_key(lock)}.tar.gz"
    if not archive.is_file():
        _pack(lock, archive)
    print(archive)
    return 0


def _key(lock: str) -> str:
    parts = [Path(lock).read_bytes(), Path(__file__).read_bytes(), f"{sys.version} {platform.machine()} {BASE}".encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _pack(lock: str, archive: Path) -> None:
    print(f"packing {Path(lock).name} with Python {platform.python_version()} for the cluster (once)", file=sys.stderr)
    versions = {name: importlib.metadata.version(name) for name in _packages(lock)}
    files = dict(_files(versions))
    for old in archive.parent.glob("environment-*.tar.gz*"):
        old.unlink()
    # Moved into place complete and tested, or not at all.
    fresh = archive.with_name(f"{archive.name}.{os.getpid()}")
    about = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "glibc": _glibc(files.values()),
        "packages": versions,
    }
    texts = {
        "environment.json": (json.dumps(about, indent=1), 0o644),
        "bin/python": (START.replace("INTERPRETER", _interpreter().name), 0o755),
    }
    try:
        _write(fresh, files, texts)
        _try(fresh)
        os.replace(fresh, archive)
    finally:
        fresh.unlink(missing_ok=True)
    size = archive.stat().st_size >> 20
    print(f"packed: {size} MB, for nodes of {about['machine']} with glibc {about['glibc']} or newer", file=sys.stderr)


def _packages(lock: str) -> Iterator[str]:
    for name in re.findall(r"^([a-z0-9._-]+)==", Path(lock).read_text(), re.MULTILINE):
        if name not in OTHERS and any(importlib.metadata.distributions(name=name)):
            yield name


def _interpreter() -> Path:
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _files(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each file's place in the archive and on this machine."""
    files = {f"bin/{_interpreter().name}": _interpreter()}
    for path in STDLIB.rglob("*"):
        name = path.relative_to(STDLIB).as_posix()
        if path.is_file() and not _left_out(name, LEFT_OUT + LEFT_OUT_OF_STDLIB):
            files[f"{sys.platlibdir}/{STDLIB.name}/{name}"] = path.resolve()
    for package in names:
        for file in importlib.metadata.files(package) or ():
            if not _left_out(file.as_posix(), LEFT_OUT) and Path(file.locate()).is_file():
                files[f"packages/{file.as_posix()}"] = Path(file.locate())
    yield from files.items()
    for path in _further_libraries(files.values()):
        yield f"shared/{path.name}", path.resolve()


def _left_out(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _compiled(files: Iterable[Path]) -> list[Path]:
    return [path for path in files if ".so" in path.name or path == _interpreter()]


def _further_libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that the compiled files load, that are not among them, and that a node may lack."""
    compiled = _compiled(files)
    inside = {path.name for path in compiled}
    said = subprocess.run(
        ["ldd", *map(str, compiled)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    ).stdout
    loaded = {Path(path) for path in re.findall(r"=> (/\S+) \(", said)}
    return {path for path in loaded if path.name not in inside and not OF_THE_NODE.match(path.name)}


def _glibc(files: Iterable[Path]) -> str:
    """The newest version of glibc that the compiled files need."""
    found = {
        tuple(map(int, version.split(b".")))
        for path in _compiled(files)
        for version in re.findall(rb"\0GLIBC_(\d+\.\d+)(?=\0|\.\d+\0)", path.read_bytes())
    }
    return ".".join(map(str, max(found, default=(0, 0))))


def _write(archive: Path, files: Mapping[str, Path], texts: Mapping[str, tuple[str, int]]) -> None:
    """texts: content and mode of further files."""
    # Times in whole seconds, as Python's compiled files record those of their sources.
    with tarfile.open(archive, "w:gz", format=tarfile.GNU_FORMAT, compresslevel=4) as tar:
        for name, (text, mode) in texts.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), mode
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, path in sorted(files.items()):
            tar.add(path, name, recursive=False)


def _try(archive: Path) -> None:
    """Unpack it elsewhere and import what scoring and publishing import."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        subprocess.run(["tar", "-xzf", str(archive), "-C", folder], check=True)
        subprocess.run([f"{folder}/bin/python", "-c", IMPORTED], check=True, env={"PATH": "/usr/bin:/bin"}, cwd="/")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
