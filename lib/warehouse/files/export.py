"""Publishes a version of the table to a folder: writes its files, then the manifest that names them, then removes files that none names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession

from lib.errors import CategorizerError, GuardrailError, InputError
from lib.failpoints import reached
from lib.tables.locations import (
    Location,
    files_and_bytes,
    files_are_gone,
    is_delta,
    newest_snapshot,
    pinned,
    rows_at,
    rows_counted,
    storage_uri,
)
from lib.times import iso
from lib.warehouse.changes import changes
from lib.warehouse.corrections import NONE, check_not_lost, rows_said, version_said
from lib.warehouse.files.folder import MANIFESTS, Folder
from lib.warehouse.files.manifest import Changes, DataFile, Manifest, Said
from lib.warehouse.files.parquet import CHANGE, DELETE, as_told, columns_said, columns_told, net, write
from lib.warehouse.versions import check_ids_once, newest_run, only_maintenance, reason_for_all

MOST_TRIES = 3
# This many manifests stay, with their files, so that a load of the previous one can go on.
KEPT = 2


@dataclass(frozen=True)
class Exported:
    """The folder's content. how: where it came from; None if the folder had that version already. corrections: how many are in force, if they have
    changed; None if they have not."""

    manifest: Manifest
    how: str | None
    corrections: int | None = None


@dataclass(frozen=True)
class Export:
    """One publication: the table's newest version, into a folder."""

    spark: SparkSession
    table: Location
    folder: Folder
    reload: bool = False


def export(one: Export) -> Exported:
    """Bring the folder to the table's newest version.

    A manifest takes its number only if no other run has taken it, and another run's files are left alone unless a manifest with
    their number, or a greater one, exists: so concurrent runs do no harm to each other, on any file system.

    Raises:
        InputError: the table, or the content of the folder, is not as expected; nothing was written.
        GuardrailError: the rows do not add up; the previous content is kept. CategorizerError: other runs publish there again and again.
    """
    _check_place(one)
    for _ in range(MOST_TRIES):
        there = newest_manifest(one.folder)
        wanted = _wanted(one, there)
        reason = _reason_for_all(one, there, wanted)
        said_already = _holds_corrections(one, there, wanted)
        if there is not None and reason is None and said_already and _is_as_wanted(one, there, wanted):
            _tidy(one.folder)
            return Exported(there, None)
        try:
            written, how = _written(one, there, wanted, reason)
        except Exception:
            # Another run that has taken the number has removed what this one was writing under it.
            if one.folder.numbers()[-1:] < [wanted.number]:
                raise
            continue
        if one.folder.put_manifest(written.number, written.text(one.folder.place.uri)):
            reached("listed")
            _tidy(one.folder)
            reached("tidied")
            said = written.corrections
            return Exported(written, how, None if said_already or said is None else said.rows)
    raise CategorizerError(
        f"Expected to publish to {one.folder.place.given} alone, found other runs that have published there {MOST_TRIES} times meanwhile; run again."
    )


def newest_manifest(folder: Folder) -> Manifest | None:
    """The newest manifest; None if nothing was published yet.

    Raises:
        InputError: it is not one of ours.
    """
    numbers = folder.numbers()
    return _read(folder, numbers[-1]) if numbers else None


def _is_as_wanted(one: Export, there: Manifest, wanted: Manifest) -> bool:
    return there.version == wanted.version and is_of_folder(one.folder, there)


def is_of_folder(folder: Folder, manifest: Manifest) -> bool:
    """Whether a manifest is as publish writes it for this folder; if the folder was moved or copied, it names the files of the other."""
    return bool(json.loads(folder.manifest(manifest.number)) == json.loads(manifest.text(folder.place.uri)))


def _read(folder: Folder, number: int) -> Manifest:
    return Manifest.read(folder.manifest(number), f"{folder.place.given}/{MANIFESTS}")


def _check_place(one: Export) -> None:
    place, table = one.folder.place, storage_uri(one.spark, one.table)
    if f"{place.uri.rstrip('/')}/".startswith(f"{table}/") or is_delta(one.spark, place):
        raise InputError(
            f"Expected a separate folder in --to, found {place.given}, where the files of a Delta table are; choose another."
        )


def _wanted(one: Export, there: Manifest | None) -> Manifest:
    """The manifest of the newest version, without its files.

    Raises:
        InputError: the lake has lost corrections that were published.
    """
    version = pinned(one.spark, newest_snapshot(one.spark, one.table))
    columns = columns_told(rows_at(one.spark, one.table, version.number).schema, one.table.given)
    run = newest_run(one.spark, one.table, version.number)
    next_number = there.number + 1 if there else 1
    said = Said(version_said(one.spark, one.table), 0, columns_said(), ())
    check_not_lost(one.table, there.corrections.version if there and there.corrections else None, said.version, one.reload)
    return Manifest(next_number, one.table.uri, version, run, 0, columns, (), None, iso(time.time()), said)


def _holds_corrections(one: Export, there: Manifest | None, wanted: Manifest) -> bool:
    """Whether the folder's newest manifest names the corrections that are in force, and their files are there."""
    held, now = there and there.corrections, wanted.corrections
    if one.reload or held is None or now is None or held.version != now.version:
        return False
    return not _gone(one.folder, held.files)


def _gone(folder: Folder, files: Sequence[DataFile]) -> list[DataFile]:
    """Those of a manifest's files that do not exist, or have another size."""
    sizes: dict[str, int] = {}
    for path in {os.path.dirname(file.path) for file in files}:
        sizes |= folder.sizes(path)
    return [file for file in files if sizes.get(file.path) != file.bytes]


def _corrections(one: Export, there: Manifest | None, wanted: Manifest, path: str) -> Said | None:
    """The corrections in force, in files: the existing ones, or new ones; no file if there are none."""
    if there is not None and _holds_corrections(one, there, wanted):
        return there.corrections
    assert wanted.corrections
    if wanted.corrections.version == NONE:
        return wanted.corrections
    files = write(as_told(rows_said(one.spark, one.table, wanted.corrections.version)), one.folder, path, 0)
    count = sum(file.rows for file in files)
    if not count:
        one.folder.remove(path)
    return replace(wanted.corrections, rows=count, files=files if count else ())


def _reason_for_all(one: Export, there: Manifest | None, wanted: Manifest) -> str | None:
    """Why all rows have to be written; None if the changes may be enough.

    Raises:
        InputError: the folder has another table's rows.
    """
    if there is None:
        return "nothing was published there yet"
    if there.version.table_id != wanted.version.table_id and there.source != wanted.source and not one.reload:
        raise InputError(
            f"Expected the rows of {wanted.source} in {one.folder.place.given}, found those of {there.source}; give another folder in --to, or "
            "--reload to replace them."
        )
    reason = reason_for_all(one.spark, one.table, there.version, wanted.version, one.reload)
    if reason is None and {c.name: c.type for c in there.columns} != {c.name: c.type for c in wanted.columns}:
        return "its columns have changed"
    gone = _gone(one.folder, (*there.files, *(there.changes.files if there.changes else ()))) if reason is None else ()
    if gone:
        return (
            f"{len(gone):,} of the files that its newest manifest names are gone, or have another size, such as {gone[0].path}"
        )
    return reason


def _written(one: Export, there: Manifest | None, wanted: Manifest, reason: str | None) -> tuple[Manifest, str]:
    """The manifest of files that are written, and where they came from."""
    path, changed, how = one.folder.new_data(wanted.number), None, f"all rows, since {reason}"
    if there is not None and reason is None:
        changed, how = _changes(one, there, wanted, f"{path}/changes")
    reached("writing")
    wanted = replace(wanted, corrections=_corrections(one, there, wanted, f"{path}/corrections"))
    if there is not None and changed is not None and not changed.files:
        _check_rows(one, wanted, there.rows)
        return replace(wanted, files=there.files, rows=there.rows, changes=changed), how
    rows = rows_at(one.spark, one.table, wanted.version.number)
    files = write(as_told(rows), one.folder, f"{path}/rows", files_and_bytes(one.spark, one.table)[1])
    count = sum(file.rows for file in files)
    _check_rows(one, wanted, count)
    reached("written")
    return replace(wanted, files=files, rows=count, changes=changed), how


def _changes(one: Export, there: Manifest, wanted: Manifest, path: str) -> tuple[Changes | None, str]:
    """The changes since a manifest, in files; None if the older version can no longer be read."""
    since, version = there.version.number, wanted.version.number
    told = Changes(there.number, since, there.run_id, 0, 0, ())
    if since == version:
        same = _holds_corrections(one, there, wanted)
        return (
            told,
            f"no row, since only {'the place of the folder has changed' if same else 'corrections have changed, or their files'}",
        )
    if only_maintenance(one.spark, one.table, since, version):
        return told, "no row, since only maintenance has changed the table"
    try:
        found, of = changes(one.spark, one.table, since, version)
        files = write(net(as_told(found)), one.folder, path, 0)
    except Exception as error:
        if not files_are_gone(error):
            raise
        one.folder.remove(path)
        return None, f"all rows, since version {since} can no longer be read (vacuumed)"
    how = f"what changed since version {since}, by {of}"
    count = sum(file.rows for file in files)
    if not count:
        one.folder.remove(path)
        return told, how
    removed = one.spark.read.parquet(one.folder.pattern(path)).filter(f"{CHANGE} = '{DELETE}'").count()
    return Changes(there.number, since, there.run_id, count - removed, removed, files), how


def _check_rows(one: Export, wanted: Manifest, count: int) -> None:
    check_ids_once(one.spark, one.table, wanted.version.number)
    expected = rows_counted(one.spark, one.table, wanted.version.number)
    if count != expected:
        raise GuardrailError(
            f"Expected the {expected:,} rows of version {wanted.version.number} of {one.table.given} in the files of {one.folder.place.given}, found "
            f"{count:,}; its newest manifest is as it was: publish with --reload, and report this."
        )


def _tidy(folder: Folder) -> None:
    """Make manifest.json the newest one, and remove older manifests than KEPT, and then the files that none names."""
    pointed = 0
    # Another run may have published and pointed to its own manifest meanwhile.
    while (newest := folder.numbers()[-1]) != pointed:
        if folder.pointed_to() != folder.manifest(newest):
            folder.point_to(newest)
        pointed = newest
    *old, _ = numbers = folder.numbers()
    for number in old[: -(KEPT - 1)]:
        folder.remove_manifest(number)
    named = {file.path.rsplit("/", 2)[0] for number in numbers[-KEPT:] for file in _read(folder, number).every_file}
    for number, path in folder.data():
        # Another run is just writing those with a greater number.
        if number <= newest and path not in named:
            folder.remove(path)
    for path in folder.leftovers(newest):
        folder.remove(path)
