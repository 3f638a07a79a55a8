"""The manifest of a folder: which version of the table it has, in which files, and what changed since the previous manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.errors import InputError
from lib.tables.pinned import PinnedVersion

FORMAT = 1


@dataclass(frozen=True)
class DataFile:
    """path: below the folder. sha256: in hexadecimal digits."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ColumnTold:
    """type: as Spark SQL writes it; `json` is a text with JSON."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True)
class Changes:
    """The changes from the rows of an older manifest to those of this one, each product once. delta_version, run_id: of the older one."""

    since: int
    delta_version: int
    run_id: str
    upserts: int
    deletes: int
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Said:
    """People's corrections: all that were in force at a version of their table; no `files` if there were none.

    version: the PinnedVersion as a text, or lib.warehouse.corrections.NONE.
    """

    version: str
    rows: int
    columns: tuple[ColumnTold, ...]
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Manifest:
    """number: counts the manifests of a folder. published_at: ISO 8601.

    changes: None if a warehouse has to load all rows. corrections: None in manifests of an older release.
    """

    number: int
    source: str
    version: PinnedVersion
    run_id: str
    rows: int
    columns: tuple[ColumnTold, ...]
    files: tuple[DataFile, ...]
    changes: Changes | None
    published_at: str
    corrections: Said | None = None

    @property
    def every_file(self) -> tuple[DataFile, ...]:
        others = [part.files for part in (self.changes, self.corrections) if part]
        return (*self.files, *(file for files in others for file in files))

    def text(self, folder: str) -> str:
        """The manifest as JSON. folder: its URI, for readers that need the full address of files."""
        told = {
            "format": FORMAT,
            "number": self.number,
            "source": self.source,
            "delta_table": self.version.table_id,
            "delta_version": self.version.number,
            "delta_commit": self.version.commit,
            "run_id": self.run_id,
            "published_at": self.published_at,
            "rows": self.rows,
            "columns": [asdict(column) for column in self.columns],
            "entries": _entries(self.files, folder),
            "changes": self.changes and _told(self.changes, folder),
            "corrections": self.corrections and _told(self.corrections, folder),
        }
        return json.dumps(told, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def read(cls, text: str, where: str) -> Manifest:
        """The manifest that `text` has written.

        Raises:
            InputError: it is not ours, or damaged.
        """
        try:
            told = json.loads(text)
            if told["format"] != FORMAT:
                raise ValueError(f"the format {told['format']!r}")
            changes, said = told["changes"], told.get("corrections")
            return cls(
                number=told["number"],
                source=told["source"],
                version=PinnedVersion(int(told["delta_version"]), told["delta_table"], told["delta_commit"]),
                run_id=told["run_id"],
                rows=told["rows"],
                columns=_columns(told),
                files=_files(told["entries"]),
                changes=changes and Changes(**{**_without(changes, "entries"), "files": _files(changes["entries"])}),
                published_at=told["published_at"],
                corrections=said and Said(said["version"], said["rows"], _columns(said), _files(said["entries"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"Expected a manifest of format {FORMAT} that publish has written in {where}, found another text ({error}); give another folder in "
                "--to, or delete this one."
            ) from None


def _told(part: Changes | Said, folder: str) -> dict[str, Any]:
    return {**_without(asdict(part), "files"), "entries": _entries(part.files, folder)}


def _columns(told: Mapping[str, Any]) -> tuple[ColumnTold, ...]:
    return tuple(ColumnTold(**column) for column in told["columns"])


def _entries(files: Sequence[DataFile], folder: str) -> list[dict[str, Any]]:
    """In the form of Redshift's manifests, whose readers ignore keys that they do not know."""
    return [
        {
            "url": _address(f"{folder.rstrip('/')}/{file.path}"),
            "mandatory": True,
            "path": file.path,
            "meta": {"content_length": file.bytes, "record_count": file.rows, "sha256": file.sha256},
        }
        for file in files
    ]


def _address(uri: str) -> str:
    """The address with the usual scheme: Hadoop uses the names of its own connectors for S3."""
    return re.sub(r"^s3[an]://", "s3://", uri)


def _files(entries: Sequence[Mapping[str, Any]]) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(one["path"], one["meta"]["record_count"], one["meta"]["content_length"], one["meta"]["sha256"])
        for one in entries
    )


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
