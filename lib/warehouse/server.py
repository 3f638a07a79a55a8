"""The PostgreSQL server: connecting, the table's name, one publisher at a time, and its errors as sentences."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from lib.errors import CategorizerError, InputError
from lib.redaction import redacted

# PostgreSQL cuts longer names without an error. In bytes.
MOST_NAME_BYTES = 63
STATE_SUFFIX, CORRECTIONS_SUFFIX = "_published", "_corrections"
# From 14 on the seconds of a time are exact numbers.
OLDEST_SERVER = 140000
# Settings that a role or a database may have changed: limits for people's queries, and the format of values.
SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
}
# Whatever a role or a database has as default: a second publisher has to see what the first has done while it waited.
BEGINNING = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"
# A server's errors for a wrong address or login; any other error may go away in a minute.
WRONG_ADDRESS = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied|could not translate host name|"
    r"definition of service|invalid .*(mode|value|port)|permission denied|not permitted to log in",
    re.IGNORECASE,
)

ADDRESS = re.compile(r"postgres(ql)?://", re.IGNORECASE)

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Name:
    """A table of the warehouse; next to it are its state, `TABLE_published`, and people's corrections, `TABLE_corrections`."""

    schema: str
    table: str

    @property
    def sql(self) -> sql.Composable:
        return sql.Identifier(self.schema, self.table)

    @property
    def state(self) -> Name:
        return Name(self.schema, self.table + STATE_SUFFIX)

    @property
    def corrections(self) -> Name:
        return Name(self.schema, self.table + CORRECTIONS_SUFFIX)

    def quoted(self, connection: Connection) -> str:
        """As a text that PostgreSQL reads as exactly this name."""
        return self.sql.as_string(connection)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


def connect(to: str) -> Connection:
    """A connection in autocommit mode to the database in a libpq URI; libpq finds passwords as usual (PGPASSWORD, ~/.pgpass).

    Raises:
        InputError: no such address, or no access there; an old server, or a database that is not in UTF-8.
        CategorizerError: the server does not answer.
    """
    if not ADDRESS.match(to):
        raise InputError(
            f"Expected --to as postgresql://user@host/database, or a folder with a slash in it, found {redacted(to)!r}; correct it."
        )
    given = _parts(to)
    try:
        connection: Connection = psycopg.connect(
            to,
            autocommit=True,
            fallback_application_name="catalog-categorizer publish",
            client_encoding="utf8",
            connect_timeout=given.get("connect_timeout", 30),
        )
    except psycopg.Error as error:
        said = redacted(" ".join(str(error).split()))
        if WRONG_ADDRESS.search(said):
            raise InputError(
                f"Expected a PostgreSQL server to log in to at {redacted(to)}, found: {said}; correct --to."
            ) from None
        raise CategorizerError(
            f"Expected a PostgreSQL server at {redacted(to)}, found: {said}; start it or correct --to, and run again."
        ) from None
    _check_server(connection, to)
    return connection


def _parts(to: str) -> dict[str, Any]:
    """An address by libpq's names.

    Raises:
        InputError: libpq cannot read it, or would take part of a password for the host or its port, and print it.
    """
    try:
        given = conninfo_to_dict(to)
    except psycopg.ProgrammingError:
        # The text of libpq's error may contain the password.
        given = None
    # For libpq the user and the password end at the first @ without a slash before it.
    host = re.sub("^[^@/]*@", "", to.partition("://")[2]).partition("?")[0]
    if given is None or "@" in host or not re.fullmatch("[0-9,]*", str(given.get("port") or "")):
        raise InputError(
            f"Expected --to as postgresql://user@host/database, found {redacted(to)!r}, which cannot be read; escape special "
            "characters with percent signs (@ as %40), or leave the password to PGPASSWORD or ~/.pgpass."
        )
    return given


def _check_server(connection: Connection, to: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise InputError(
            f"Expected a database with the encoding UTF8 at {redacted(to)}, found {encoding}, which cannot store every text; give another."
        )
    if connection.info.server_version < OLDEST_SERVER:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise InputError(f"Expected PostgreSQL 14 or newer at {redacted(to)}, found {version}; update it, or give another.")


def table_named(connection: Connection, given: str) -> Name:
    """The table that an option names, by PostgreSQL's own rules: lower case unless it is in double quotes.

    Raises:
        InputError: no name, one too long, a schema that does not exist, or something other than a table under the name.
    """
    try:
        parts = _value(connection, "SELECT parse_ident(%s)", given)
    except psycopg.Error as error:
        raise InputError(f"Expected SCHEMA.TABLE in --table, found {given!r} ({said_by(error)}); correct it.") from None
    if len(parts) > 2:
        raise InputError(f"Expected SCHEMA.TABLE in --table, found {given!r} of {len(parts)} parts; correct it.")
    schema = parts[0] if len(parts) == 2 else _value(connection, "SELECT current_schema()::text")
    name = Name(schema or "public", parts[-1])
    if len(name.corrections.table.encode()) > MOST_NAME_BYTES:
        raise InputError(
            f"Expected a name of at most {MOST_NAME_BYTES - len(CORRECTIONS_SUFFIX)} bytes in --table, so that TABLE{CORRECTIONS_SUFFIX} fits too, "
            f"found {name.table!r} of {len(name.table.encode())}; choose a shorter one."
        )
    if not _value(connection, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", name.schema):
        schemas = f"CREATE SCHEMA {sql.Identifier(name.schema).as_string(connection)}"
        raise InputError(
            f"Expected the schema {name.schema} in the database {connection.info.dbname}, found none; create it ({schemas}), or correct "
            "--table."
        )
    for one in (name, name.state, name.corrections):
        kind = kind_of(connection, one)
        if kind not in (None, "r", "p"):
            raise InputError(
                f"Expected a table, or nothing yet, under the name {one}, found something else; choose another --table."
            )
    return name


def kind_of(connection: Connection, name: Name) -> str | None:
    """The kind in pg_class: r is a table; None if nothing has that name."""
    query = "SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) = (%s, %s)"
    return _value(connection, query, name.schema, name.table)


def rows_in(connection: Connection, name: Name) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name.sql)).fetchone()
    return int(found[0]) if found else 0


def _value(connection: Connection, query: str, *values: Any) -> Any:
    row = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    return row[0] if row else None


@contextmanager
def alone(connection: Connection, name: Name, say: Callable[[str], None]) -> Iterator[None]:
    """One transaction in which no other publisher of the table is at work; it waits for one that is, and reports it.

    The lock ends with the transaction, and so with the process.
    """
    with connection.transaction():
        connection.execute(BEGINNING)
        for setting, value in SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
        # Advisory locks hold for a whole database and are numbers, so the name is hashed to one.
        number = int.from_bytes(hashlib.sha256(f"catalog-categorizer {name!r}".encode()).digest()[:8], "big", signed=True)
        if not _value(connection, "SELECT pg_try_advisory_xact_lock(%s)", number):
            say(f"another run is publishing to {name}: waiting for its end")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
        yield


@contextmanager
def told(name: Name) -> Iterator[None]:
    """Turns the server's errors into one sentence.

    Raises:
        InputError: a person has to correct something. CategorizerError: another run may succeed.
    """
    try:
        yield
    except (errors.UniqueViolation, errors.CardinalityViolation) as error:
        raise InputError(
            f"Expected each product_id once in the table, found one twice ({said_by(error, detail=True)}): written by another writer, then run "
            "categorize with --mode full, which writes each once; or two that are one to PostgreSQL, which stores U+0000 as U+FFFD, then correct "
            "the source."
        ) from None
    except (errors.DuplicateColumn, errors.DuplicateObject, errors.DuplicateTable) as error:
        raise InputError(
            f"Expected no other object where {name} needs a column, a table or an index, found: {said_by(error)}; rename or drop that, and run again."
        ) from None
    except errors.DependentObjectsStillExist as error:
        raise InputError(
            f"Expected nothing else to depend on a column of {name} that the table no longer has, found: {said_by(error, detail=True)}; drop "
            "or change that, and run again."
        ) from None
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
        raise InputError(
            f"Expected a user who may create and change {name} and {name.state}, found: {said_by(error)}; grant it, or give "
            "another user in --to."
        ) from None
    except (
        errors.UndefinedColumn,
        errors.UndefinedFunction,
        # Without its primary key.
        errors.InvalidColumnReference,
        errors.CannotCoerce,
        errors.DatatypeMismatch,
        errors.NotNullViolation,
        errors.CheckViolation,
    ) as error:
        raise InputError(
            f"Expected {name} as publish created it, found it altered ({said_by(error)}); undo that, or drop it with {name.state} and "
            "run again."
        ) from None
    except psycopg.Error as error:
        raise CategorizerError(
            f"Expected the PostgreSQL server to accept the whole publication, found: {said_by(error)}; {name} holds the last complete one, run again."
        ) from None


def said_by(error: psycopg.Error, detail: bool = False) -> str:
    """The server's message, on one line; its detail may contain values of a row."""
    text = error.diag.message_primary or str(error)
    more = error.diag.message_detail if detail else None
    return redacted(" ".join(f"{text}{f': {more}' if more else ''}".split()))[:500]
