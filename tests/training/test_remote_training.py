"""A training whose bundle is written to S3, and the nightly run that reads it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.train import TrainSettings, main
from lib.command import run_command
from lib.scoring.bundles import bundle_at
from lib.tables.remote import RemoteFolder
from tests.conftest import SAMPLES
from tests.faults.models import given_to_spark_submit
from tests.faults.nights import FIRST, hashes_in, run, titles_hash, write_source
from tests.s3 import S3

SMALL = (
    "--epochs",
    "1",
    "--embedding",
    "4",
    "--units",
    "4",
    "--dense",
    "4",
    "--max-tokens",
    "20",
    "--no-baselines",
    "--no-bag",
)


def train(models: str, *more: str) -> int:
    return run_command(
        TrainSettings, main, "train", ["--labels", str(SAMPLES / "labels.csv"), "--models", models, *SMALL, *more]
    )


@pytest.fixture
def models(spark, s3: S3, tmp_path: Path):
    with given_to_spark_submit(spark, s3.spark_settings()):
        yield f"{s3.uri}/{tmp_path.name}/models"


def test_trained_there_and_read_there(spark, models: str, tmp_path: Path, capsys) -> None:
    assert train(models) == 0
    shop = RemoteFolder(f"{models}/labels")
    version = bundle_at(shop.place).manifest["version"]
    shown = capsys.readouterr().out
    assert f"bundle {shop.place}/{version}\n" in shown
    assert f"current of {shop.place} names it: there was none before." in shown
    assert shop.names() == [version, "current"]
    # The present bundle is read from there to be compared with.
    assert train(models, "--epochs", "2", "--name", "labels", "--promote-margin", "-1") == 0
    assert f"current of {shop.place} stays where it is" in capsys.readouterr().out
    assert bundle_at(shop.place).manifest["version"] == version
    lake = tmp_path / "lake"
    assert run(write_source(tmp_path / "first.parquet", FIRST), lake, model=shop.place) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)


def test_what_may_not_be_written_to_is_told_before_the_training(models: str, s3: S3, capsys) -> None:
    with s3.keys_checked():
        assert train(models) == 2
    told = capsys.readouterr()
    assert f"Expected S3 to let this job work at {models}/labels, found access denied" in told.err
    assert "evaluating" not in told.out
    assert train("nowhere://models") == 2
    assert "Expected a folder to write bundles into at nowhere://models/labels, found" in capsys.readouterr().err
