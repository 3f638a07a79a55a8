"""Copy the published rows of a table to PostgreSQL, all rows the first time, then only changes; or to a folder of Parquet files with a manifest.

./spark-submit.sh publish --target lake/categorized --to postgresql://user@host/database --table catalog.products
./spark-submit.sh publish --target lake/categorized --to s3a://exchange/categorized
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.errors import GuardrailError, InputError
from lib.scoring.preflight import check_executors
from lib.session import spark_session
from lib.settings import TARGET, JobSettings, check_below_root, option
from lib.tables.locations import locate, locate_to_write
from lib.tables.target import check_categorized
from lib.warehouse.comparison import compare
from lib.warehouse.files.export import Export, Exported, export
from lib.warehouse.files.folder import Folder
from lib.warehouse.files.verification import verify
from lib.warehouse.load import Load, Loaded, load
from lib.warehouse.places import check_folder
from lib.warehouse.server import ADDRESS, connect, table_named, told

DEFAULT_TABLE = "public.categorized"


@dataclass(frozen=True)
class PublishSettings(JobSettings):
    target: str = option(TARGET)
    to: str = option(
        "the database: postgresql://user@host:port/database?option=…; leave its password to PGPASSWORD or ~/.pgpass, as psql does. Or a folder "
        "for files, with a slash in it: Parquet and a manifest.json that names them"
    )
    table: str = option(
        "the table in the database: SCHEMA.TABLE, created the first time; next to it TABLE_published records what is in it, and TABLE_corrections "
        "what people have corrected",
        default=DEFAULT_TABLE,
    )
    reload: bool = option(
        "publish all rows, and change what differs, even if the warehouse reports that it has them", default=False
    )
    verify: bool = option(
        "afterwards compare every row of the warehouse, or of the files, with the version that it reports, even if there was nothing "
        "to do; exit 4 if they differ",
        default=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.to_files:
            check_below_root("--to", self.to)
        if self.to_files and self.table != DEFAULT_TABLE:
            raise InputError(
                f"Expected --table only with a database, found {self.table} with the folder {self.to}; leave it out, or correct --to."
            )

    @property
    def to_files(self) -> bool:
        return "/" in self.to and not ADDRESS.match(self.to)


def main(settings: PublishSettings) -> int:
    return _to_files(settings) if settings.to_files else _to_postgresql(settings)


def _to_files(s: PublishSettings) -> int:
    with spark_session("publish", s.debug) as spark:
        table = locate(spark, s.target)
        check_categorized(spark, table)
        place = locate_to_write(spark, s.to)
        check_folder(spark, place)
        folder = Folder(spark, place, table)
        one = Export(spark, table, folder, s.reload)
        print(_told_of_files(export(one), s.target, folder), flush=True)
        if s.verify:
            found = verify(one)
            if found.wrong:
                raise _differs(folder.place.given, found.manifest.version.number, s.target, found)
            print(found)
    return 0


def _to_postgresql(s: PublishSettings) -> int:
    with connect(s.to) as connection:
        name = table_named(connection, s.table)
        with spark_session("publish", s.debug) as spark, told(name):
            # Many rows are packed on the executors, and compared there; files are written without Python.
            check_executors(spark, None)
            table = locate(spark, s.target)
            check_categorized(spark, table)
            print(_text(load(Load(spark, table, connection, name, _say, s.reload)), s.target, name), flush=True)
            if s.verify:
                found = compare(spark, table, connection, name)
                if found.wrong:
                    raise _differs(name, found.state.version.number, s.target, found)
                print(found)
    return 0


def _differs(where: object, version: int, target: str, found: object) -> GuardrailError:
    return GuardrailError(
        f"Expected {where} to be version {version} of {target}, found that {found}; publish with --reload, and find out who else writes there."
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _text(done: Loaded, target: str, name: object) -> str:
    version = f"version {done.state.version.number} of {target} (run {done.state.run_id})"
    people = [] if done.corrections is None else [f"  {name}_corrections holds the {done.corrections:,} corrections in force"]
    if done.counts is None:
        nothing = "no other row" if people else "nothing to do"
        return "\n".join([f"{nothing}: {name} holds {version} already, {done.state.rows:,} rows", *people])
    counts = f"{done.counts.inserted:,} inserted, {done.counts.updated:,} updated, {done.counts.deleted:,} deleted"
    lines = [f"{name} holds {version}: {done.state.rows:,} rows", f"  {counts}; {done.how}", *people]
    if done.altered:
        lines.append(f"  {done.altered:,} rows had U+0000, or bytes that are not UTF-8, which are U+FFFD in PostgreSQL")
    return "\n".join(lines)


def _told_of_files(done: Exported, target: str, folder: Folder) -> str:
    manifest = done.manifest
    version = f"version {manifest.version.number} of {target} (run {manifest.run_id})"
    if done.how is None:
        return f"nothing to do: {folder.place.given} holds {version} already, {manifest.rows:,} rows"
    lines = [
        f"{folder.place.given} holds {version}: {manifest.rows:,} rows in {len(manifest.files):,} files, manifest {manifest.number}"
    ]
    people = [] if done.corrections is None else [f"  and the {done.corrections:,} corrections in force"]
    if manifest.changes is None:
        return "\n".join([*lines, f"  to be loaded in full: {done.how}", *people])
    counts = f"{manifest.changes.upserts:,} to upsert, {manifest.changes.deletes:,} to delete since manifest {manifest.changes.since}"
    return "\n".join([*lines, f"  {counts}; {done.how}", *people])


if __name__ == "__main__":
    sys.exit(run_command(PublishSettings, main, "publish"))
