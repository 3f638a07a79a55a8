"""An S3 server for the tests (tests/s3_server.py in its own process), and the settings that Spark needs to reach it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from pyspark.sql import SparkSession

from tests.conftest import ROOT
from tests.waiting import until

PYTHON = ROOT / "build" / "moto" / "bin" / "python"
BUCKET = "lake"
KEY, SECRET = "testing", "secretsecret"
LOG_STORE = "spark.delta.logStore.s3a.impl"


class S3:
    """Started by the constructor, with the bucket `lake`; `stop` ends it."""

    def __init__(self) -> None:
        assert PYTHON.is_file(), f"Expected moto in {PYTHON.parent.parent}, found none; ./run-tests.sh installs it."
        command = [str(PYTHON), "-I", str(ROOT / "tests" / "s3_server.py"), BUCKET]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.uri = f"s3a://{BUCKET}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def settings(self) -> dict[str, str]:
        """The settings of S3A."""
        return {
            "fs.s3a.endpoint": self.endpoint,
            "fs.s3a.endpoint.region": "us-east-1",
            "fs.s3a.path.style.access": "true",
            "fs.s3a.access.key": KEY,
            "fs.s3a.secret.key": SECRET,
        }

    def spark_settings(self) -> tuple[str, ...]:
        return tuple(f"spark.hadoop.{name}={value}" for name, value in self.settings().items())

    def hold(self, key: str, nth: int = 1, when: str = "before") -> Held:
        """Hold the n-th PUT from now on of a key with this ending: before it is handled, or before it is answered (`after`)."""
        return Held(self, int(self.said("/-/hold", key=key, nth=nth, when=when)))

    def said(self, path: str, body: bytes | None = None, **query: Any) -> str:
        url = f"{self.endpoint}{path}?{urlencode(query)}"
        with urlopen(Request(url, data=body, headers={"Content-Type": "text/plain"}), timeout=60) as answer:
            return str(answer.read().decode())

    @contextmanager
    def heedless(self) -> Iterator[None]:
        """Inside the block it ignores conditions, as older servers do."""
        self.said("/-/heed", conditions="no")
        try:
            yield
        finally:
            self.said("/-/heed", conditions="yes")

    @contextmanager
    def without_deletes(self) -> Iterator[None]:
        """Inside the block a policy forbids every DELETE."""
        self.said("/-/delete", allowed="no")
        try:
            yield
        finally:
            self.said("/-/delete", allowed="yes")

    @contextmanager
    def keys_checked(self) -> Iterator[None]:
        """Inside the block it refuses everybody, since it knows no keys."""
        self.said("/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self.said("/moto-api/reset-auth", b"inf")


class Held:
    def __init__(self, server: S3, number: int) -> None:
        self._server, self._number = server, number

    def wait(self) -> None:
        until(lambda: self._server.said("/-/held", hold=self._number) == "yes", "the PUT that is to be held")

    def release(self) -> None:
        self._server.said("/-/release", hold=self._number)


def reach(spark: SparkSession, settings: Mapping[str, str]) -> None:
    """Give a session's S3A these settings, from its next access to a bucket on."""
    jsc: Any = spark.sparkContext._jsc
    for name, value in settings.items():
        jsc.hadoopConfiguration().set(name, value)


def put(spark: SparkSession, local: Path, uri: str) -> str:
    """Put a file there, or the files of a folder below it; the address.

    Not by S3A's copyFromLocalFile, whose other client takes moto's interim response (100 Continue) for the answer.
    """
    jvm: Any = spark._jvm
    jsc: Any = spark.sparkContext._jsc
    settings = jsc.hadoopConfiguration()
    for file in [file for file in local.rglob("*") if file.is_file()] or [local]:
        path = jvm.org.apache.hadoop.fs.Path(uri if file == local else f"{uri}/{file.relative_to(local)}")
        stream = path.getFileSystem(settings).create(path, True)
        jvm.org.apache.hadoop.io.IOUtils.copyBytes(jvm.java.io.FileInputStream(str(file)), stream, settings)
    return uri
