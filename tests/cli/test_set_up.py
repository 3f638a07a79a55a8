"""The set-up's functions (scripts/environment.sh), in a copy of the project: what is made from sources is made again when they change."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

COPIED = ("jobs", "jvm", "lib", "native", "requirements", "schemas", "scripts", "setup.py", "training")


def copy_project(clone: Path, *more: str) -> None:
    """The project's code and `more` of its files and folders, with the same environment, in which nothing is made yet."""
    for name in (*COPIED, *more):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy2(ROOT / name, clone / name)
    (clone / ".venv").symlink_to(ROOT / ".venv")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    copy_project(clone)
    (clone / "build").mkdir()
    return clone


def asked(clone: Path, call: str, **environment: str) -> subprocess.Popen[str]:
    script = f"set -euo pipefail; source {shlex.quote(str(clone / 'scripts' / 'environment.sh'))}; {call}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    return subprocess.Popen(
        ["bash", "-c", script],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**inherited, **environment},
    )


def replace(path: Path, text: str) -> None:
    """Other content with the file's time, as `rsync -a` and `git archive | tar -x` leave it."""
    time = path.stat().st_mtime
    path.write_text(text)
    os.utime(path, (time, time))


def done(clone: Path, call: str, **environment: str) -> str:
    process = asked(clone, call, **environment)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


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


# Makes whatever file it is asked for, and notes each call; with FAILS among its words not.
COMPILER = """#!/bin/sh
echo "$*" >>"$CALLS"
for word; do case $word in $FAILS) exit 1 ;; esac; done
for word; do [ "$before" = -o ] && echo made >"$word"; before=$word; done
"""


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with `c++`; the file `calls` in it has its calls."""
    folder = tmp_path / "compiler"
    folder.mkdir()
    (folder / "c++").write_text(COMPILER)
    (folder / "c++").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(folder / "calls"))
    monkeypatch.delenv("CXX", raising=False)
    return folder


def test_what_did_not_compile_is_not_compiled_at_every_start(clone: Path, compiler: Path) -> None:
    for calls in ("compiling native/ (once)\nit did not compile", "native/ did not compile with c++"):
        assert done(clone, "prepare_native", FAILS="-c").startswith(calls)
    (clone / "build" / "native.log").unlink()
    assert done(clone, "prepare_native", FAILS="-c").startswith("compiling")
    (compiler / "c++").write_text(COMPILER.replace("\n", "\n[ $1 = --version ] && echo 2.0\n", 1))
    assert done(clone, "prepare_native", FAILS="nothing") == "compiling native/ (once)\n"
    assert (clone / "lib" / f"_native.{os.uname().machine}.so").read_text() == "made\n"


@pytest.mark.parametrize("named", ["", "env c++"])
def test_without_the_static_library_of_c_plus_plus_the_shared_one_is_linked(clone: Path, compiler: Path, named: str) -> None:
    assert done(clone, "prepare_native", FAILS="-static-libstdc++", CXX=named) == "compiling native/ (once)\n"
    assert "made" in (clone / "lib" / f"_native.{os.uname().machine}.so").read_text()
    linked = [line for line in (compiler / "calls").read_text().splitlines() if "-shared" in line]
    assert ["-static-libstdc++" in line for line in linked] == [True, False]


def test_jars_that_are_there_are_used_by_whoever_may_not_write(clone: Path, tmp_path: Path) -> None:
    """As in an image, whose files have other times than when the jar was compiled, on a root file system that is read-only."""
    shutil.copytree(ROOT / "build" / "s3", clone / "build" / "s3")
    done(clone, 'record "$(contents jvm)" "$S3_JARS/catalog-categorizer-s3.jar"')
    os.utime(clone / "jvm" / "ConditionalPutLogStore.scala")
    assert done(clone, "prepare_s3", CATALOG_VENV=str(tmp_path / "nowhere")) == ""
    shutil.rmtree(clone / "build" / "s3")
    process = asked(clone, "prepare_s3", CATALOG_VENV=str(tmp_path / "nowhere"))
    said, _ = process.communicate()
    assert process.returncode == 2, said
    assert f"error: Expected to write to {tmp_path}/nowhere, found the error above; run this command once" in said


def test_two_jobs_that_need_an_environment_at_the_same_time_make_it_once(clone: Path) -> None:
    (clone / "requirements" / "small.lock").write_text("# No package.\n")
    processes = [asked(clone, 'separate_environment small "nothing"') for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "".join(said).count("installing nothing") == 1
    assert (clone / "build" / "small" / "bin" / "python").exists()


@pytest.mark.parametrize("python", ["/usr/bin/python3.that-was-removed", sys.executable])
def test_after_an_upgrade_of_python_the_environment_is_made_again(clone: Path, python: str) -> None:
    """Its Python is a link, here to one that is gone, and to one that is not of the version whose packages are there."""
    small, environment = clone / "requirements" / "small.lock", clone / ".venv"
    small.write_text("# No package.\n")
    environment.unlink()
    for folder in (environment, clone / "build" / "small"):
        (folder / "bin").mkdir(parents=True)
        (folder / "lib" / "python3.9" / "site-packages").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(python)
        (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.9.2\n")
    for record in ("installed-small.lock", "installed-bench.lock"):
        shutil.copy(clone / "requirements" / record.removeprefix("installed-"), environment / record)
    shutil.copy(small, clone / "build" / "small" / "installed.lock")
    make = 'prepare_packages small; separate_environment small "nothing"'
    said = done(clone, make, PYTHON3=sys.executable)
    assert f"creating {environment}" in said
    assert "installing nothing" in said
    assert [path.name for path in environment.glob("installed-*")] == ["installed-small.lock"]
    assert done(clone, f'{make}; "$PYTHON" -m pip --version; build/small/bin/python -m pip --version').count("pip") == 4


def test_tensorflow_on_a_python_that_it_has_no_wheel_for_is_refused_before_anything_is_installed(
    clone: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "python3.14"
    code = "import sys; sys.version_info = (3, 14, 0); exec(sys.argv[1])"
    newer.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo Python 3.14.0 || exec {sys.executable} -c "{code}" "$3"\n')
    newer.chmod(0o755)
    (clone / ".venv").unlink()
    process = asked(clone, "prepare_packages training", PYTHON3=str(newer))
    said, _ = process.communicate()
    assert process.returncode == 2, said
    assert said.startswith(
        "error: Expected Python 3.10 to 3.13 for TensorFlow, found Python 3.14.0; install one, name it in PYTHON3"
    )
    assert not (clone / ".venv").exists()


def test_libraries_are_loaded_from_a_folder_whose_file_system_executes_files(clone: Path, tmp_path: Path) -> None:
    nothing, folder = tmp_path / "noexec", tmp_path / "plain"
    nothing.mkdir()
    folder.mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(nothing)]
    if shutil.which("unshare") is None or subprocess.run([*alone, *mount], capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    script = f"set -euo pipefail; source {shlex.quote(str(clone / 'scripts' / 'environment.sh'))}; {shlex.join(mount)}; "
    script += 'prepare_temporary; echo "$TMPDIR ${SPARK_SUBMIT_OPTS:-}"'

    def said(temporary: Path) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "SPARK_SUBMIT_OPTS"}
        environment["TMPDIR"] = str(temporary)
        return subprocess.run([*alone, "bash", "-c", script], capture_output=True, text=True, env=environment).stdout.strip()

    assert said(folder) == str(folder)
    assert said(nothing) == f'{clone}/build/tmp "-Djava.io.tmpdir={clone}/build/tmp"'


def test_a_user_without_a_name_is_told_before_hadoop_fails(clone: Path) -> None:
    assert done(clone, "check_user") == ""
    process = asked(clone, "id() { [ $1 = -u ] && echo 4711; }; check_user")
    said, _ = process.communicate()
    assert process.returncode == 2
    assert said.startswith(
        "error: Expected a user with an entry in /etc/passwd, as Hadoop's login needs, found the number 4711 without one"
    )


PROXIES = ("https_proxy", "all_proxy", "no_proxy", "JAVA_TOOL_OPTIONS")


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, []),
        ({"HTTPS_PROXY": "http://proxy.here:3128/"}, ["https.proxyHost=proxy.here", "https.proxyPort=3128"]),
        ({"https_proxy": "proxy.here"}, ["https.proxyHost=proxy.here", "https.proxyPort=80"]),
        ({"https_proxy": "http://me%40here:p%25w@10.0.0.1:80"}, ["https.proxyHost=10.0.0.1", "http.proxyUser=me@here", "http.proxyPassword=p%w"]),
        ({"https_proxy": "http://p:1", "no_proxy": "a.org, .b.org,*.c.org"}, ["nonProxyHosts=localhost|127.*|[::1]|a.org|*.a.org|b.org|*.b.org|c.org|*.c.org"]),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, ["nonProxyHosts=localhost|127.*|[::1]|*"]),
        ({"https_proxy": "http://p:1", "JAVA_TOOL_OPTIONS": "-Dhttps.proxyHost=other"}, []),
    ],
)  # fmt: skip
def test_java_fetches_through_the_proxy_that_pip_uses(clone: Path, variables: dict[str, str], options: list[str]) -> None:
    none = {name: "" for lower in PROXIES for name in (lower, lower.upper())}
    said = done(clone, "proxy_options", **{**none, **variables}).splitlines()
    assert bool(said) == bool(options)
    for option in options:
        assert any(line.endswith(option) for line in said), said


def java_of(folder: Path, version: str, modules: str = "jdk.incubator.vector") -> None:
    folder.mkdir(parents=True)
    java = folder / "java"
    java.write_text(f"#!/bin/sh\n[ $1 = -version ] && echo 'openjdk version \"{version}\"' >&2 || echo '{modules}@{version}'\n")
    java.chmod(0o755)


def test_a_fitting_java_of_the_system_is_used_where_the_one_on_the_path_is_too_new(clone: Path, tmp_path: Path) -> None:
    java_of(tmp_path / "path", "25.0.1")
    for name, version, modules in (
        ("a", "24", "jdk.incubator.vector"),
        ("b-17", "17.0.9", "java.base"),
        ("c-21", "21.0.2", "jdk.incubator.vector"),
    ):
        java_of(tmp_path / "jvm" / name / "bin", version, modules)
    with_it = {"PATH": f"{tmp_path}/path:{os.environ['PATH']}", "JAVA_HOME": ""}
    call = f'JVMS={tmp_path}/jvm; on_debian_as_root() {{ false; }}; prepare_java; echo "$JAVA_HOME"'
    assert done(clone, call, **with_it) == f"{tmp_path}/jvm/c-21\n"
    shutil.rmtree(tmp_path / "jvm" / "c-21")
    process = asked(clone, call, **with_it)
    said, _ = process.communicate()
    assert process.returncode == 2
    assert "error: Expected Java 17 or 21, found 25; install it" in said
    java_of(tmp_path / "package" / "bin", "17.0.9")
    install = f"apt_update() {{ :; }}; apt-cache() {{ :; }}; apt_install() {{ mv {tmp_path}/package {tmp_path}/jvm/$1; }}; "
    assert done(clone, install + call.replace("false", "true"), **with_it) == f"{tmp_path}/jvm/openjdk-17-jre-headless\n"


def refused(clone: Path, call: str, **environment: str) -> str:
    process = asked(clone, call, **environment)
    said, _ = process.communicate()
    assert process.returncode == 2, said
    return said


def test_packages_that_pip_installed_elsewhere_are_not_recorded_as_installed(clone: Path, tmp_path: Path) -> None:
    pip = tmp_path / "python"
    pip.write_text(
        f'#!/bin/sh\ncase "$*" in *"-m pip"*) echo "into ${{PIP_TARGET:-its own}}" ;; *) exec {sys.executable} "$@" ;; esac\n'
    )
    pip.chmod(0o755)
    lock = clone / "requirements" / "small.lock"
    lock.write_text("absent-package==1.0 ; python_full_version < '3' \\\n    --hash=sha256:0\n")
    assert done(clone, f"pip_install {pip} small", PIP_TARGET="/elsewhere") == "into its own\n"
    lock.write_text("absent-package==1.0 \\\n    --hash=sha256:0\n")
    call = f"pip_install {pip} small || echo failed"
    assert done(clone, call) == "into its own\nabsent-package 1.0 is not there, but none\nfailed\n"


def test_what_a_user_may_not_bring_up_to_date_is_named(clone: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(clone / "build")]
    if shutil.which("unshare") is None or subprocess.run([*alone, *mount], capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    script = f"set -euo pipefail; source {shlex.quote(str(clone / 'scripts' / 'environment.sh'))}; {shlex.join(mount)}; "
    for call in ("prepare_code", "may_write $ROOT/build/not/there"):
        said = subprocess.run([*alone, "bash", "-c", script + call], capture_output=True, text=True)
        assert said.returncode == 2
        assert said.stderr.startswith(f"error: Expected to write to {clone}/build, where the set-up has something to make")


def test_a_file_system_without_locks_and_another_set_up(clone: Path, tmp_path: Path) -> None:
    flock = tmp_path / "bin" / "flock"
    flock.parent.mkdir()
    flock.write_text("#!/bin/sh\n[ $1 = 9 ] || exit $CODE\n")
    flock.chmod(0o755)
    path = f"{flock.parent}:{os.environ['PATH']}"
    assert done(clone, "lock; echo on", PATH=path, CODE="71") == "on\n"
    assert done(clone, "lock; echo on", PATH=path, CODE="1") == f"waiting for another set-up in {clone}\non\n"


def test_where_the_project_lies(clone: Path, tmp_path: Path) -> None:
    for name in ("a#b", "a,b", "a:b"):
        (tmp_path / name).symlink_to(clone)
        assert f"without #, comma and colon in its path, which Spark and Java cannot read, found {tmp_path / name};" in refused(
            tmp_path / name, "true"
        )
    process = subprocess.run(
        ["bash", "-c", 'source clone/scripts/environment.sh; echo "$ROOT $VENV"'],
        cwd=tmp_path,
        env={**os.environ, "CDPATH": str(tmp_path), "CATALOG_VENV": "own"},
        capture_output=True,
        text=True,
    )
    assert process.stdout == f"{clone} {tmp_path}/own\n"


def test_what_a_machine_lacks_is_named(clone: Path, tmp_path: Path) -> None:
    for name in ("bash", "cksum", "dirname", "find", "locale", "sed", "sha256sum", "sort", "xargs"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    assert refused(clone, "true", PATH=str(tmp_path)).startswith("error: Expected the command cmp, found none; install it")
    assert "Expected a limit of 512 or more open files" in refused(clone, "ulimit -n 256; check_open_files")
