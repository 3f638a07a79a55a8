"""Put the published nights of a table into PostgreSQL: all rows the first time, then what changed, each time in one transaction.

./spark-submit.sh publish --target lake/categorized --to postgresql://user@host/database --table catalog.products
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.errors import GuardrailError
from lib.session import spark_session
from lib.settings import JobSettings, option
from lib.tables.locations import locate
from lib.tables.target import check_categorized
from lib.warehouse.comparison import compare
from lib.warehouse.load import Load, Loaded, load
from lib.warehouse.server import connect, table_named, told


@dataclass(frozen=True)
class PublishSettings(JobSettings):
    target: str = option("the table categorized: path or name")
    to: str = option(
        "the database: postgresql://user@host:port/database?option=…; leave its password to PGPASSWORD or ~/.pgpass, as psql does"
    )
    table: str = option(
        "the table in the database: SCHEMA.TABLE, made the first time; TABLE_published beside it says what is in it",
        default="public.categorized",
    )
    reload: bool = option(
        "publish all rows, and change what differs, also where the warehouse says that it has them", default=False
    )
    verify: bool = option(
        "afterwards compare every row of the warehouse with the version that it says it holds, also where there was nothing to do; exit 4 "
        "where they part",
        default=False,
    )


def main(settings: PublishSettings) -> int:
    s = settings
    with connect(s.to) as connection:
        name = table_named(connection, s.table)
        with spark_session("publish", s.debug) as spark, told(name):
            table = locate(spark, s.target)
            check_categorized(spark, table)
            print(_text(load(Load(spark, table, connection, name, _say, s.reload)), s.target, name), flush=True)
            if s.verify:
                found = compare(spark, table, connection, name)
                if found.found:
                    raise GuardrailError(
                        f"Expected {name} to be version {found.state.number} of {s.target}, found that {found}; publish with --reload, and "
                        "find out who else writes there."
                    )
                print(found)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _text(done: Loaded, target: str, name: object) -> str:
    version = f"version {done.state.number} of {target} (run {done.state.run_id})"
    if done.counts is None:
        return f"nothing to do: {name} holds {version} already, {done.state.rows:,} rows"
    counts = f"{done.counts.inserted:,} inserted, {done.counts.updated:,} updated, {done.counts.deleted:,} deleted"
    lines = [f"{name} holds {version}: {done.state.rows:,} rows", f"  {counts}; {done.how}"]
    if done.altered:
        lines.append(f"  {done.altered:,} rows held U+0000, or bytes that are no UTF-8, for which PostgreSQL has U+FFFD")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(PublishSettings, main, "publish"))
