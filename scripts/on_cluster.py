"""In cluster mode, where the driver is a container: run a job, and leave its output and its exit code for whoever submitted it.

on_cluster.py OUTCOME JOB [JOB OPTIONS]       on the cluster: runs jobs.JOB, writes OUTCOME to the cluster's file system
on_cluster.py --fetch OUTCOME CODE            where spark-submit was typed, and ended with CODE: prints OUTCOME as its last line
on_cluster.py < OUTCOME                       then: prints the output, ends with the exit code
"""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

MOST_BYTES = 1 << 20
# As in lib/scoring/preflight.py, which need not be importable here.
REMEDY = "leave out --no-pack and PYSPARK_PYTHON, so that Python and the packages travel with the job, or install them there"


def main(outcome: str, job: str, *arguments: str) -> int:
    # YARN restarts a driver that ended with an exit code as if it had died; the job would only end the same way again.
    before = _found(outcome)
    if before:
        return tell(before)
    with overheard() as words:
        code = _code_of(job, arguments)
    text = _as_text(code, b"".join(words)[-MOST_BYTES:].decode(errors="replace"))
    try:
        _leave(outcome, text)
    except Exception as error:
        # The caller gets the exit code alone; that must not change how the job ended.
        print(f"the job's output cannot be stored at {outcome} ({error})", file=sys.stderr)
    return code


def fetch(outcome: str, code: int) -> int:
    try:
        found = _found(outcome)
    except Exception as error:  # py4j wraps every Java exception in one type
        said = str(getattr(error, "java_exception", error)).splitlines()[0]
        found = _unknown(f"to read how the job ended in {outcome} on the cluster's file system, found {said}", code)
    else:
        # A file that stays does no harm.
        with suppress(Exception):
            _remove(outcome)
    if not found and code:
        found = _unknown(
            "the driver on the cluster to report how it ended, found no report (killed, or it never started, as under a Java before 17)",
            code,
        )
    print(found or _as_text(code, ""))
    return 0


def _unknown(what: str, code: int) -> str:
    return _as_text(code, f"error: Expected {what}; see yarn logs -applicationId with the id above.\n")


def _as_text(code: int, words: str) -> str:
    return json.dumps({"exit_code": code, "words": words})


def _code_of(job: str, arguments: tuple[str, ...]) -> int:
    sys.argv = [job, *arguments]
    try:
        runpy.run_module(f"jobs.{job}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ImportError as error:
        said = str(error).splitlines()[0]
        print(
            f"error: Expected Python in the driver's container ({sys.executable}) with what the job imports, found {said}; {REMEDY}.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:  # a job turns its own errors into an exit code; this one could not start
        traceback.print_exc()
        print(f"error: Expected the job {job} to start, found {type(error).__name__}; see the trace above.", file=sys.stderr)
        return 1
    return 0


@contextmanager
def overheard() -> Iterator[list[bytes]]:
    """Collects what is written to both standard streams inside the block, and passes it on to them."""
    words: list[bytes] = []
    kept = [os.dup(stream) for stream in (1, 2)]
    ear, mouth = os.pipe()

    def listen() -> None:
        while heard := os.read(ear, 1 << 16):
            words.append(heard)
            os.write(kept[0], heard)

    listener = threading.Thread(target=listen)
    listener.start()
    for stream in (1, 2):
        os.dup2(mouth, stream)
    os.close(mouth)
    # The streams that Python has opened may be seekable files.
    sys.stdout, sys.stderr = (_written_to(stream) for stream in (1, 2))
    try:
        yield words
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, before in zip((1, 2), kept, strict=True):
            os.dup2(before, stream)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        listener.join()


def _written_to(stream: int) -> io.TextIOWrapper:
    binary = io.FileIO(stream, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(binary), encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _leave(outcome: str, text: str) -> None:
    system, path = _on_file_system(outcome)
    # Others who may read the parent folder must not read a run's output.
    system.mkdirs(path.getParent(), _jvm().org.apache.hadoop.fs.permission.FsPermission("700"))
    file = system.create(path, True)
    file.write(bytearray(text, "utf-8"))
    file.close()


def _found(outcome: str) -> str | None:
    system, path = _on_file_system(outcome)
    if not system.exists(path):
        return None
    file = system.open(path)
    return str(_jvm().org.apache.commons.io.IOUtils.toString(file, "UTF-8"))


def _remove(outcome: str) -> None:
    system, path = _on_file_system(outcome)
    system.delete(path, False)


def _on_file_system(outcome: str) -> tuple[Any, Any]:
    """Hadoop's FileSystem and Path; without a scheme a path is in this user's home on the cluster's own file system."""
    jvm = _jvm()
    path = jvm.org.apache.hadoop.fs.Path(outcome)
    settings = jvm.org.apache.spark.deploy.SparkHadoopUtil.get().newConfiguration(jvm.org.apache.spark.SparkConf())
    return path.getFileSystem(settings), path


def _jvm() -> Any:
    from pyspark import SparkContext

    SparkContext._ensure_initialized()
    return SparkContext._jvm


def tell(outcome: str) -> int:
    found = json.loads(outcome)
    sys.stdout.write(found["words"])
    return int(found["exit_code"])


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(tell(sys.stdin.read()))
    sys.exit(fetch(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == "--fetch" else main(*sys.argv[1:]))
