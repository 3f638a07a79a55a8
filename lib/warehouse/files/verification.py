"""Compares folder and lake: every file by its digest, every row by a hash of its values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.tables.locations import files_are_gone, rows_at, stands
from lib.warehouse.changes import compared, hash_of
from lib.warehouse.columns import ID
from lib.warehouse.corrections import rows_said
from lib.warehouse.files.export import Export, is_of_folder, newest_manifest
from lib.warehouse.files.folder import MANIFEST
from lib.warehouse.files.manifest import Changes, DataFile, Manifest
from lib.warehouse.files.parquet import CHANGE, DELETE, UPSERT, as_told, columns_told, digested
from lib.warehouse.versions import newest_run


@dataclass
class Verified:
    """wrong: one text for each error."""

    manifest: Manifest
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.wrong:
            return ", ".join(self.wrong)
        files, said = len(self.manifest.every_file), self.manifest.corrections
        people = f", and {said.rows:,} corrections as people gave them" if said else ""
        return (
            f"verified: {files:,} files are as the manifest says, {self.manifest.rows:,} rows as in version {self.manifest.version.number} "
            f"(run {self.manifest.run_id}){people}"
        )


def verify(one: Export) -> Verified:
    """Compare the files of the folder's newest manifest with its entries, and with the version of the table.

    Raises:
        InputError: the table was not published there, or that version can no longer be read.
    """
    manifest = newest_manifest(one.folder)
    if manifest is None or not stands(one.spark, one.table, manifest.version):
        raise InputError(
            f"Expected files of {one.table.given} in {one.folder.place.given}, found {'none' if manifest is None else 'those of another table'}; "
            "publish first."
        )
    found = Verified(manifest)
    if one.folder.pointed_to() != one.folder.manifest(manifest.number):
        found.wrong.append(f"{MANIFEST} is not the newest manifest")
    found.wrong += _wrong_files(one, manifest.every_file)
    if not found.wrong:
        lake = rows_at(one.spark, one.table, manifest.version.number)
        found.wrong += _wrong_words(one, manifest, lake)
        found.wrong += _wrong_rows(one, as_told(lake), manifest.files, manifest.rows, "row")
        if said := manifest.corrections:
            people = as_told(rows_said(one.spark, one.table, said.version))
            found.wrong += _wrong_rows(one, people, said.files, said.rows, "correction")
        if changes := manifest.changes:
            found.wrong += _wrong_changes(one, changes, as_told(lake), manifest.version.number)
    return found


def _wrong_words(one: Export, manifest: Manifest, lake: DataFrame) -> list[str]:
    """Errors in a manifest's values other than its files."""
    wrong = []
    if not is_of_folder(one.folder, manifest):
        wrong.append("its manifest is not as publish writes it for this folder")
    if manifest.run_id != newest_run(one.spark, one.table, manifest.version.number):
        wrong.append(f"its manifest names another run, {manifest.run_id}")
    told = {column.name: column.type for column in columns_told(lake.schema, one.table.given)}
    if {column.name: column.type for column in manifest.columns} != told:
        wrong.append("its manifest names other columns")
    return wrong


def _wrong_changes(one: Export, told: Changes, lake: DataFrame, version: int) -> list[str]:
    """Errors in the files of changes: upserted rows that differ from the lake's, deleted ids that it has, changes left out."""
    paths = [one.folder.pattern(file.path) for file in told.files]
    shape = lake.withColumn(CHANGE, F.lit(UPSERT)).limit(0)
    there = one.spark.read.parquet(*paths) if paths else shape
    put = there.filter(F.col(CHANGE) == UPSERT).select(ID, hash_of(there, lake.columns).alias("put"))
    removed = there.filter(F.col(CHANGE) == DELETE).select(ID)
    own = _hashed(lake, "lake")
    counts = {
        "have other values in": put.join(own, ID, "left_outer").filter(~F.col("put").eqNullSafe(F.col("lake"))).count(),
        "wrongly delete": removed.join(own, ID, "left_semi").count(),
    }
    try:
        since = compared(one.spark, one.table, told.delta_version, version)
        counts["leave out"] = since.select(ID).distinct().join(there.select(ID), ID, "left_anti").count()
    except Exception as error:
        # If the older version is gone, nobody can find out any more what has changed.
        if not files_are_gone(error):
            raise
    wrong = [f"its changes {what} {count:,} rows" for what, count in counts.items() if count]
    found = (put.count(), removed.count())
    if found != (told.upserts, told.deletes):
        wrong.append(
            f"its manifest reports {told.upserts:,} rows upserted and {told.deletes:,} deleted, found {found[0]:,} and {found[1]:,}"
        )
    return wrong


def _wrong_files(one: Export, files: tuple[DataFile, ...]) -> list[str]:
    wrong = [f"{file.path} is gone" for file in files if one.folder.size(file.path) is None]
    if wrong or not files:
        return wrong
    found = one.spark.read.format("binaryFile").load([one.folder.pattern(file.path) for file in files])
    there = {os.path.basename(row["path"]): (row["length"], row["sha256"]) for row in digested(found).collect()}
    return [
        f"{file.path} has other bytes than those that were written"
        for file in files
        if there[os.path.basename(file.path)] != (file.bytes, file.sha256)
    ]


def _wrong_rows(one: Export, lake: DataFrame, files: tuple[DataFile, ...], rows: int, noun: str) -> list[str]:
    """Rows in which lake and files differ. rows: how many the manifest reports."""
    paths = [one.folder.pattern(file.path) for file in files]
    there = one.spark.read.parquet(*paths) if paths else lake.limit(0)
    try:
        both = _hashed(lake, "lake").join(_hashed(there, "files"), ID, "full_outer")
        lacks, beyond = F.col("files").isNull(), F.col("lake").isNull()
        counted = {
            "lacks": lacks,
            "also has": beyond,
            "differs in": ~lacks & ~beyond & (F.col("lake") != F.col("files")),
        }
        counts = both.agg(
            F.count("*").alias("rows"), *(F.count_if(wrong).alias(what) for what, wrong in counted.items()),
            *(F.min(F.when(wrong, F.col(ID))).alias(f"{what}, such as") for what, wrong in counted.items()),
        ).collect()[0]  # fmt: skip
    except Exception as error:
        if not files_are_gone(error):
            raise
        raise InputError(
            f"Expected the files of the version of {one.table.given} that was published, found some gone (vacuumed); publish first, then verify."
        ) from None
    wrong = [
        f"it {what} {counts[what]:,} {noun if counts[what] == 1 else f'{noun}s'} (such as {counts[f'{what}, such as']!r})"
        for what in counted
        if counts[what]
    ]
    if not wrong and counts["rows"] != rows:
        wrong.append(f"its manifest reports {rows:,} {noun}s, found {counts['rows']:,}")
    return wrong


def _hashed(rows: DataFrame, name: str) -> DataFrame:
    return rows.select(ID, hash_of(rows, rows.columns).alias(name))
