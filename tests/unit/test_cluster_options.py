"""What spark-submit.sh reads from the options that stand before a job's name (scripts/cluster.sh)."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


def asked(folder: Path, options: list[str], call: str) -> str:
    script = f"source {shlex.quote(str(ROOT / 'scripts' / 'cluster.sh'))}; spark_options=({shlex.join(options)}); {call}"
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, env={"SPARK_CONF_DIR": str(folder), "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("options", "master"),
    [
        ([], "spark://of-the-file:7077"),
        (["--master", "yarn"], "yarn"),
        (["--master=yarn", "--name", "x"], "yarn"),
        (["--conf", "spark.master=local[2]"], "local[2]"),
        (["--conf=spark.master=local[2]"], "local[2]"),
        (["-c", "spark.master=local[2]", "--master", "yarn"], "yarn"),
        (["--properties-file", "/nowhere"], ""),
    ],
)
def test_the_master_is_found_as_spark_submit_finds_it(tmp_path: Path, options: list[str], master: str) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# spark.master yarn\nspark.master.x no\nspark.master   spark://of-the-file:7077  \n"
    )
    assert asked(tmp_path, options, "setting --master spark.master") == master


def test_what_travels_comes_behind_what_the_user_gave(tmp_path: Path) -> None:
    call = 'add_to --archives spark.archives ours#environment; printf "%s " "${spark_options[@]}"'
    assert asked(tmp_path, ["--archives", "models.zip#models"], call) == (
        "--archives models.zip#models --archives models.zip#models,ours#environment"
    )
    assert asked(tmp_path, [], call) == "--archives ours#environment"
