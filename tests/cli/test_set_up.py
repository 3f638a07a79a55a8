"""The set-up's functions (scripts/environment.sh), in a copy of the project: what is made from sources is made again when they change."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

COPIED = ("jobs", "jvm", "lib", "native", "requirements", "schemas", "scripts", "setup.py", "training")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project's code with the same environment, in which nothing is made yet."""
    clone = tmp_path / "clone"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy2(ROOT / name, clone / name)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    (clone / "build").mkdir()
    return clone


def asked(clone: Path, call: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = f"set -euo pipefail; source {shlex.quote(str(clone / 'scripts' / 'environment.sh'))}; {call}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**inherited, **environment})


def replace(path: Path, text: str) -> None:
    """Other content with the file's time, as `rsync -a` and `git archive | tar -x` leave it."""
    time = path.stat().st_mtime
    path.write_text(text)
    os.utime(path, (time, time))


def done(clone: Path, call: str, **environment: str) -> str:
    answer = asked(clone, call, **environment)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout + answer.stderr


def test_code_that_changed_travels_whatever_its_time(clone: Path) -> None:
    archive = clone / "build" / "catalog_categorizer.zip"
    done(clone, "prepare_code")
    made = archive.stat().st_ino
    os.utime(clone / "lib" / "errors.py")
    done(clone, "prepare_code")
    assert archive.stat().st_ino == made
    replace(clone / "lib" / "errors.py", "changed = True\n")
    done(clone, "prepare_code")
    assert zipfile.ZipFile(archive).read("lib/errors.py") == b"changed = True\n"
    (clone / "lib" / "errors.py").unlink()
    done(clone, "prepare_code")
    assert "lib/errors.py" not in zipfile.ZipFile(archive).namelist()


def test_a_library_of_an_older_source_is_not_loaded(clone: Path) -> None:
    library = clone / "lib" / f"_native.{os.uname().machine}.so"
    library.touch()
    done(clone, f'record "$(contents native setup.py)" {shlex.quote(str(library))}')
    os.utime(clone / "native" / "lstm.cpp")
    assert done(clone, "prepare_native", CXX="/bin/false") == ""
    assert library.exists()
    replace(clone / "native" / "lstm.cpp", "// changed\n")
    assert "ONNX Runtime will score" in done(clone, "prepare_native", CXX="/bin/false")
    assert not library.exists()
