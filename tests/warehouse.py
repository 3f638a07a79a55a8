"""What the tests of the warehouse share."""

from __future__ import annotations

from typing import Any

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
    """product_id -> text_hash in the warehouse; empty where nothing was published."""
    if ask(to, f"SELECT to_regclass('{TABLE}') IS NULL")[0][0]:
        return {}
    return dict(ask(to, f"SELECT product_id, text_hash FROM {TABLE}"))


def state(to: str) -> tuple[Any, ...]:
    return ask(to, f"SELECT delta_version, run_id, rows, rows_inserted, rows_updated, rows_deleted FROM {TABLE}_published")[0]
