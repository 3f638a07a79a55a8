"""The columns of the lake in PostgreSQL, and what PostgreSQL cannot store."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from lib.warehouse.columns import TEXT, Column
from lib.warehouse.digests import _as_jsonb
from lib.warehouse.lines import Stream, clean, lines
from tests.warehouse import TABLE, ask, publish

pytestmark = pytest.mark.usefixtures("spark")
# Name, type in the lake, type in PostgreSQL, a value as Spark SQL writes it, the same value as psycopg reads it.
COLUMNS = (
    ("price", "double", "double precision", "1.0e-300D", 1e-300),
    ("Size in cm", "float", "real", "float('-Infinity')", -math.inf),
    ('the "best"%', "string", "text", r"""'a "quoted", \\ text\n\\.\nend\t'""", 'a "quoted", \\ text\n\\.\nend\t'),
    ("rate", "decimal(38,18)", "numeric(38,18)", "cast('-1.000000000000000001' as decimal(38,18))", Decimal("-1.000000000000000001")),
    ("tiny", "tinyint", "smallint", "-128Y", -128),
    ("big", "bigint", "bigint", "-9223372036854775807L - 1", -(2**63)),
    ("sold", "boolean", "boolean", "true", True),
    ("since", "date", "date", "date'0001-01-01'", dt.date(1, 1, 1)),
    ("at", "timestamp", "timestamp with time zone", "timestamp'2024-02-29 23:59:59.123456Z'", dt.datetime(2024, 2, 29, 23, 59, 59, 123456, dt.timezone.utc)),
    ("wall", "timestamp_ntz", "timestamp without time zone", "timestamp_ntz'1969-12-31 23:59:59.000001'", dt.datetime(1969, 12, 31, 23, 59, 59, 1)),
    ("raw", "binary", "bytea", "X'00ff5c'", b"\x00\xff\\"),
    ("tags", "array<string>", "jsonb", r'''array('a"b\\', null, '')''', ['a"b\\', None, ""]),
    ("box", "struct<w: double, `é`: array<int>>", "jsonb", "named_struct('w', 1.0e-7D, 'é', array(1))", {"w": 1e-7, "é": [1]}),
    ("by_size", "map<string, double>", "jsonb", "map('10', 2.5D, '9', double('1e22'), 'ä', null)", {"10": 2.5, "9": 1e22, "ä": None}),
    ("empty", "string", "text", "''", ""),
)  # fmt: skip


@pytest.fixture
def typed(spark, lake) -> object:
    """A run's table to which another writer has added columns: filled in product 1, null in the others."""
    properties = "'delta.columnMapping.mode' = 'name', 'delta.feature.timestampNtz' = 'supported'"
    spark.sql(f"ALTER TABLE delta.`{lake}` SET TBLPROPERTIES ({properties})")
    added = ", ".join(f"`{name}` {kind}" for name, kind, *_ in COLUMNS)
    spark.sql(f"ALTER TABLE delta.`{lake}` ADD COLUMNS ({added})")
    values = ", ".join(f"`{name}` = {value}" for name, _, _, value, _ in COLUMNS)
    spark.sql(f"UPDATE delta.`{lake}` SET {values} WHERE product_id = '1'")
    return lake


def test_every_type(spark, typed, database, capsys) -> None:
    assert publish(typed, database, "--verify") == 0
    assert "verified: 4 rows" in capsys.readouterr().out
    told = dict(
        ask(
            database,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'catalog.products'::regclass AND attnum > 0",
        )
    )
    assert {name: told[name] for name, *_ in COLUMNS} == {name: kind for name, _, kind, *_ in COLUMNS}
    names = ", ".join('"{}"'.format(name.replace('"', '""')) for name, *_ in COLUMNS)
    expected = tuple(value for *_, value in COLUMNS)
    assert ask(database, f"SELECT {names} FROM {TABLE} WHERE product_id = '1'") == [expected]
    assert ask(database, f"SELECT {names} FROM {TABLE} WHERE product_id = '2'") == [(None,) * len(COLUMNS)]
    # The same values as changes.
    spark.sql(
        f"UPDATE delta.`{typed}` SET tiny = 7, price = double('NaN'), `Size in cm` = float('-0.0') WHERE product_id = '1'"
    )
    spark.sql(f"UPDATE delta.`{typed}` SET price = 4.9e-324D, since = date'9999-12-31' WHERE product_id = '2'")
    assert publish(typed, database, "--verify") == 0
    assert "0 inserted, 2 updated, 0 deleted" in capsys.readouterr().out
    (price, size, *rest), (smallest,) = (
        ask(database, f"SELECT {names} FROM {TABLE} WHERE product_id = '1'")[0],
        ask(database, f"SELECT price FROM {TABLE} WHERE product_id = '2'")[0],
    )
    assert math.isnan(price)
    assert math.copysign(1, size) == -1
    assert (rest[2], smallest) == (7, 5e-324)
    assert [rest[i] for i in (0, 1, *range(3, len(rest)))] == [expected[i + 2] for i in (0, 1, *range(3, len(rest)))]
    comments = dict(ask(database, "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'catalog.products'::regclass AND attnum > 0"))  # fmt: skip
    assert comments["confidence"] == "probability of the category, 0 to 1"


def test_what_postgresql_cannot_hold(spark, typed, database, capsys) -> None:
    odd = "concat('a', chr(0), 'b')"
    spark.sql(f"UPDATE delta.`{typed}` SET empty = {odd}, tags = array({odd}, 'x\\\\u0000', '\\\\') WHERE product_id = '2'")
    spark.sql(f"UPDATE delta.`{typed}` SET empty = cast(X'61ff' AS string) WHERE product_id = '3'")
    assert publish(typed, database, "--verify") == 0
    assert "2 rows had U+0000, or bytes that are not UTF-8" in capsys.readouterr().out
    assert ask(database, f"SELECT empty, tags FROM {TABLE} WHERE product_id IN ('2', '3') ORDER BY product_id") == [
        ("a\ufffdb", ["a\ufffdb", "x\\u0000", "\\"]),
        ("a\ufffd", None),
    ]
    for column, value in (("since", "date'-0001-01-01'"), ("at", "timestamp'0000-12-31 23:59:59Z'")):
        spark.sql(f"UPDATE delta.`{typed}` SET `{column}` = {value} WHERE product_id = '4'")
        capsys.readouterr()
        assert publish(typed, database) == 2
        said = capsys.readouterr().err
        assert f"the product 4 has {value.split(chr(39))[1][:5]}" in said
        assert f"in the column {column}" in said
        spark.sql(f"UPDATE delta.`{typed}` SET `{column}` = null WHERE product_id = '4'")
    spark.sql(f"ALTER TABLE delta.`{typed}` ADD COLUMNS (`{'é' * 32}` int)")
    assert publish(typed, database) == 2
    assert "of 64 in" in capsys.readouterr().err
    spark.sql(f"ALTER TABLE delta.`{typed}` DROP COLUMN `{'é' * 32}`")
    spark.sql(f"ALTER TABLE delta.`{typed}` ADD COLUMNS (xmin int)")
    assert publish(typed, database) == 2
    assert "found the column 'xmin'" in capsys.readouterr().err


def test_few_lines_and_many_are_cleaned_alike(spark) -> None:
    """By Spark and by Python: sequences of bytes that are cut off, too long, or of no character."""
    chosen, starts = random.Random(0), bytes.fromhex("0022417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")
    texts = [bytes(chosen.choice(starts) for _ in range(chosen.randint(1, 6))) for _ in range(3000)]
    table = spark.createDataFrame([(str(i), text) for i, text in enumerate(texts)], "product_id string, raw binary")
    rows = table.select("product_id", F.col("raw").cast("string").alias("text"))
    made = lines(rows, [Column("product_id", TEXT), Column("text", TEXT)])
    stream = Stream(made, many=True)
    found = b"".join(stream.pieces()).decode()
    expected = clean(made).collect()
    assert found == "".join(row["line"] for row in expected)
    assert stream.altered == sum(row["altered"] for row in expected) > 1000


def test_a_table_without_a_run_holds_nothing_to_publish(spark, tmp_path, database, capsys) -> None:
    from lib.tables.locations import locate
    from lib.tables.target import create_tables, tables_of

    create_tables(spark, tables_of(locate(spark, str(tmp_path / "lake"))), ())
    assert publish(tmp_path / "lake", database) == 2
    assert "Expected a table into which a run has published" in capsys.readouterr().err


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
nested = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=4), max_leaves=6
)


def test_json_is_told_as_postgresql_tells_it(database) -> None:
    with psycopg.connect(database, autocommit=True) as connection:

        @given(nested)
        def told_alike(value) -> None:
            for written in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
                assert connection.execute("SELECT %s::jsonb::text", (written,)).fetchone() == (_as_jsonb(written),)

        told_alike()
