"""A folder of versions on a file system that Hadoop knows, and the job `relabel`, which writes a version of the shipped model into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.relabel import RelabelSettings
from jobs.relabel import main as relabel_main
from lib.command import run_command
from lib.model.bundle import CURRENT
from lib.scoring.bundles import bundle_at
from lib.tables.remote import RemoteFolder
from tests.conftest import SHIPPED

OLD = (SHIPPED / CURRENT).read_text().strip()


@contextmanager
def given_to_spark_submit(spark, settings: tuple[str, ...]) -> Iterator[None]:
    """Inside the block this process has settings as if they had been given to spark-submit: there may be no session."""
    system = spark._jvm.java.lang.System
    names = [setting.partition("=")[0] for setting in settings]
    for setting in settings:
        system.setProperty(*setting.split("=", 1))
    try:
        yield
    finally:
        for name in names:
            system.clearProperty(name)


def job(models: RemoteFolder, folder: Path, new: str) -> list[str]:
    """Arguments of `relabel`: Books get another name."""
    changes = folder / f"{new}.csv"
    changes.write_text(f"old,new\nBooks,{new}\n")
    return ["--model", models.place, "--changes", str(changes)]


def relabel(models: RemoteFolder, folder: Path, new: str = "Media") -> int:
    return run_command(RelabelSettings, relabel_main, "relabel", job(models, folder, new))


def chosen(models: RemoteFolder) -> str:
    """The version that a run would use now; it has been verified whole."""
    return bundle_at(models.place).manifest["version"]


def new_version(models: RemoteFolder) -> str:
    """The name of the only version besides the shipped one, complete or not."""
    (name,) = {*models.names()} - {OLD, CURRENT}
    return name
