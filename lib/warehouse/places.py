"""Checks of the place to which files are published."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.tables.locations import Location, file_system


def check_folder(spark: SparkSession, place: Location) -> None:
    """Refuse a place that cannot be a folder, before anything is read or written.

    Raises:
        InputError: the place, or one of its parents, is a file, or one to its file system.
    """
    system, path = file_system(spark, place.uri)
    while not system.exists(path) and path.getParent() is not None:
        path = path.getParent()
    if system.exists(path) and not system.getFileStatus(path).isDirectory():
        found = "a file" if str(path.toString()) == place.uri.rstrip("/") else f"the file {path.toString()} on the way there"
        raise InputError(f"Expected a folder, or nothing yet, at {place.given}, found {found}; correct --to.")
