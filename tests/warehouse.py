"""Helpers that the tests of the warehouse share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from jobs.publish import PublishSettings
from jobs.publish import main as publish_main
from lib.command import run_command

TABLE = "catalog.products"


def arguments(target: object, to: str, *more: object) -> list[str]:
    return list(map(str, ["--target", target, "--to", to, "--table", TABLE, *more]))


def publish(target: object, to: str, *more: object) -> int:
    return run_command(PublishSettings, publish_main, "publish", arguments(target, to, *more))


def ask(to: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(to, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(query)
        return found.fetchall() if found.description else []


def hashes_there(to: str) -> dict[str, str]:
    """product_id -> text_hash in the warehouse; empty if nothing was published."""
    if ask(to, f"SELECT to_regclass('{TABLE}') IS NULL")[0][0]:
        return {}
    return dict(ask(to, f"SELECT product_id, text_hash FROM {TABLE}"))


def state(to: str) -> tuple[Any, ...]:
    return ask(to, f"SELECT delta_version, run_id, rows, rows_inserted, rows_updated, rows_deleted FROM {TABLE}_published")[0]


def publish_to_files(target: object, folder: object, *more: object) -> int:
    words = list(map(str, ["--target", target, "--to", folder, *more]))
    return run_command(PublishSettings, publish_main, "publish", words)


def manifest_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def rows_in_files(folder: Path, entries: list[dict[str, Any]], columns: str) -> list[tuple[Any, ...]]:
    """Columns of the files that a manifest names, as DuckDB reads them."""
    files = [str(folder / one["path"]) for one in entries]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {columns} FROM read_parquet($files)", {"files": files}).fetchall()


def texts_in_files(folder: Path, entries: list[dict[str, Any]]) -> dict[str, str]:
    """product_id -> text_hash; fails if an id is there twice."""
    rows = rows_in_files(folder, entries, "product_id, text_hash")
    assert len(dict(rows)) == len(rows)
    return dict(rows)
