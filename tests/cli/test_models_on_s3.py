"""`relabel` and `rollback --model` by the command line, for a model on S3: spark-submit.sh starts Spark's JVM for them, with its client."""

from __future__ import annotations

from pathlib import Path

from lib.model.bundle import CURRENT
from tests.cli.test_spark_submit import submit
from tests.conftest import SHIPPED
from tests.s3 import S3, SECRET, put

OLD = (SHIPPED / CURRENT).read_text().strip()


def test_a_model_is_relabelled_and_chosen_by_the_command(spark, s3: S3, tmp_path: Path) -> None:
    models = put(spark, SHIPPED, f"{s3.uri}/{tmp_path.name}/models/shop")
    (tmp_path / "changes.csv").write_text("old,new\nBooks,Media\n")
    (tmp_path / "relabel.toml").write_text(f'model = "{models}"\nchanges = "changes.csv"\n')
    settings = [word for setting in s3.spark_settings() for word in ("--conf", setting)]
    done = submit(*settings, "relabel", "--config", "relabel.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{models}/current names " in done.stdout
    assert f"(before: {OLD})" in done.stdout
    done = submit(*settings, "rollback", "--model", models, "--to", OLD, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{models}/current names {OLD} (before: " in done.stdout
    assert SECRET not in done.stdout + done.stderr
