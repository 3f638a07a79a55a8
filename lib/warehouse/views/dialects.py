"""The SQL that differs between Spark SQL, DuckDB and Trino."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from lib.identifiers import quoted

# By this property in Spark's catalogue a later run recognizes a view as ours.
MARK = "catalog_categorizer.target"


@dataclass(frozen=True)
class Place:
    """Where an engine finds a table: by its name there, or by the URI of its folder."""

    name: str | None
    uri: str


class Dialect(ABC):
    """SQL of one engine. Takes plain names and texts, and returns them quoted."""

    def quoted(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def named(self, name: str) -> str:
        """A name with the schema before it."""
        return ".".join(self.quoted(part) for part in name.split("."))

    def text(self, value: str) -> str:
        return "'" + value.replace("'", "''") + "'"

    @abstractmethod
    def table(self, place: Place, version: int | None = None) -> str:
        """A Delta table, at its newest version or at an older one."""

    @abstractmethod
    def time(self, moment: datetime) -> str: ...

    @abstractmethod
    def null(self, kind: str) -> str:
        """A null of a type, given as Spark SQL writes it: string, float, timestamp or array<string>."""

    @abstractmethod
    def levels(self, label: str, separator: str) -> str:
        """The parts of a label as an array. label: a column."""

    @abstractmethod
    def value(self, column: str, key: str) -> str:
        """A value of a map; null if it has no such key."""

    @abstractmethod
    def entries(self, table: str, column: str, key: str, value: str) -> str:
        """The part after FROM for one row per entry of a map, with the entry's columns."""

    @abstractmethod
    def view(self, name: str, comment: str, columns: Mapping[str, str], query: str, target: str) -> str:
        """The statement that creates or replaces a view. columns: with their comments. target: the table under the view."""


class Spark(Dialect):
    def quoted(self, name: str) -> str:
        return quoted(name)

    def text(self, value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def table(self, place: Place, version: int | None = None) -> str:
        there = self.named(place.name) if place.name else f"delta.{self.quoted(place.uri)}"
        return there if version is None else f"{there} VERSION AS OF {version}"

    def time(self, moment: datetime) -> str:
        return f"TIMESTAMP '{_utc(moment)} UTC'"

    def null(self, kind: str) -> str:
        return f"CAST(NULL AS {kind})"

    def levels(self, label: str, separator: str) -> str:
        # The second argument of split is a pattern; this character has no other meaning, and is in no label.
        return f"split(replace({label}, {self.text(separator)}, chr(1)), chr(1))"

    def value(self, column: str, key: str) -> str:
        return f"try_element_at({column}, {self.text(key)})"

    def entries(self, table: str, column: str, key: str, value: str) -> str:
        return f"{table} LATERAL VIEW explode({column}) AS {key}, {value}"

    def view(self, name: str, comment: str, columns: Mapping[str, str], query: str, target: str) -> str:
        told = ",\n".join(
            f"  {self.quoted(column)}{f' COMMENT {self.text(said)}' if said else ''}" for column, said in columns.items()
        )
        mark = f"TBLPROPERTIES ({self.text(MARK)} = {self.text(target)})"
        return f"CREATE OR REPLACE VIEW {self.named(name)} (\n{told}\n)\nCOMMENT {self.text(comment)}\n{mark}\nAS {query}"


class DuckDB(Dialect):
    def table(self, place: Place, version: int | None = None) -> str:
        return f"delta_scan({self.text(_slashes(place.uri))}{'' if version is None else f', version => {version}'})"

    def time(self, moment: datetime) -> str:
        return f"TIMESTAMPTZ '{_utc(moment)}+00'"

    def null(self, kind: str) -> str:
        return f"CAST(NULL AS {_KINDS[kind].get('duckdb', kind)})"

    def levels(self, label: str, separator: str) -> str:
        return f"string_split({label}, {self.text(separator)})"

    def value(self, column: str, key: str) -> str:
        return f"map_extract({column}, {self.text(key)})[1]"

    def entries(self, table: str, column: str, key: str, value: str) -> str:
        return (
            f"(SELECT *, unnest(map_keys({column})) AS {key}, unnest(map_values({column})) AS {value} FROM {table}) AS entries"
        )

    def view(self, name: str, comment: str, columns: Mapping[str, str], query: str, target: str) -> str:
        told = [f"COMMENT ON VIEW {self.named(name)} IS {self.text(comment)}"]
        told += [
            f"COMMENT ON COLUMN {self.named(name)}.{self.quoted(c)} IS {self.text(said)}" for c, said in columns.items() if said
        ]
        return ";\n".join([f"CREATE OR REPLACE VIEW {self.named(name)} AS {query}", *told])


class Trino(Dialect):
    def table(self, place: Place, version: int | None = None) -> str:
        assert place.name, "Trino reads tables by name"
        return self.named(place.name) + ("" if version is None else f" FOR VERSION AS OF {version}")

    def time(self, moment: datetime) -> str:
        return f"TIMESTAMP '{_utc(moment)} UTC'"

    def null(self, kind: str) -> str:
        return f"CAST(NULL AS {_KINDS[kind].get('trino', kind)})"

    def levels(self, label: str, separator: str) -> str:
        return f"split({label}, {self.text(separator)})"

    def value(self, column: str, key: str) -> str:
        return f"element_at({column}, {self.text(key)})"

    def entries(self, table: str, column: str, key: str, value: str) -> str:
        return f"{table} CROSS JOIN UNNEST({column}) AS entries ({key}, {value})"

    def view(self, name: str, comment: str, columns: Mapping[str, str], query: str, target: str) -> str:
        return f"CREATE OR REPLACE VIEW {self.named(name)} COMMENT {self.text(comment)} AS {query}"


_KINDS: Mapping[str, Mapping[str, str]] = {
    "string": {"duckdb": "varchar", "trino": "varchar"},
    "float": {"trino": "real"},
    "timestamp": {"duckdb": "timestamptz", "trino": "timestamp(3) with time zone"},
    "array<string>": {"duckdb": "varchar[]", "trino": "array(varchar)"},
    "array<float>": {"duckdb": "float[]", "trino": "array(real)"},
}
DIALECTS: Mapping[str, Dialect] = {"spark": Spark(), "duckdb": DuckDB(), "trino": Trino()}


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def _slashes(uri: str) -> str:
    """Hadoop writes file:/path, others file:///path."""
    return "file://" + uri.removeprefix("file:") if uri.startswith("file:/") and not uri.startswith("file://") else uri
