"""A run on a standalone cluster with source, target and bundle on S3, by the command that a user types."""

from __future__ import annotations

from pathlib import Path

from jobs.categorize import CategorizeSettings, main
from lib.command import run_command
from tests.cluster.samples import assert_same, night
from tests.cluster.standalone import Standalone
from tests.cluster.test_standalone import started
from tests.conftest import SAMPLES, SHIPPED
from tests.s3 import S3, SECRET, put


def test_source_target_and_bundle_on_s3(spark, takes_minutes, standalone: Standalone, s3: S3, tmp_path: Path) -> None:
    place = f"{s3.uri}/{tmp_path.name}"
    source = put(spark, SAMPLES / "catalog.csv", f"{place}/catalog.csv")
    model = put(spark, SHIPPED, f"{place}/models")
    job = night(f"{place}/table", source, model)
    settings = [word for setting in s3.spark_settings() for word in ("--conf", setting)]
    running = started(standalone, *settings, "categorize", *job, cwd=tmp_path)
    said, _ = running.communicate(timeout=500)
    assert running.returncode == 0, said
    assert "in 209 = categorized 205 + rejected 4" in said
    assert SECRET not in said
    assert "may be lost" not in said
    assert run_command(CategorizeSettings, main, "categorize", night(tmp_path / "local")) == 0
    assert_same(spark, f"{place}/table", tmp_path / "local")
