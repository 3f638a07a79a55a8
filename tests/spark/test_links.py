"""Links and dots in paths lead where the operating system says, and a table has one name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.fault(
    "runs into a target by its path and by a symbolic link to it, and a source whose path goes up (`..`) after a link",
    "one table with one ledger; the file that the operating system means is read",
    "one ledger, the right file read",
)
def test_a_table_behind_a_link_is_the_same_table(spark, tmp_path: Path) -> None:
    lake, link = tmp_path / "real" / "lake", tmp_path / "link"
    assert run(write_source(tmp_path / "first.parquet", FIRST), lake) == 0
    link.symlink_to(lake)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "shortcut").symlink_to(tmp_path / "elsewhere" / "deep")
    write_source(tmp_path / "night.parquet", {"9": "not this one"})
    write_source(tmp_path / "elsewhere" / "night.parquet", SECOND)
    for path in (f"{tmp_path}/shortcut/../night.parquet", f"file://{tmp_path}/shortcut/../night.parquet"):
        assert run(path, link, "--missing", "delete") == 0
        assert hashes_in(spark, lake) == titles_hash(SECOND)
    assert [status for _, status in ledger(spark, lake)] == ["published", "published"]
    assert sorted(path.name for path in tmp_path.glob("link*")) == ["link"]


def test_a_file_is_known_by_the_name_of_its_link(spark, tmp_path: Path) -> None:
    """The layout of content-addressed stores."""
    stored = write_source(tmp_path / "store" / "sha256-abcdef", FIRST)
    (tmp_path / "night.parquet").symlink_to(stored)
    assert run(tmp_path / "night.parquet", tmp_path / "lake") == 0
    assert hashes_in(spark, tmp_path / "lake") == titles_hash(FIRST)


def test_tables_that_an_older_version_has_put_beside_a_link_are_not_left_behind(spark, tmp_path: Path, capsys) -> None:
    source, lake, link = write_source(tmp_path / "in.parquet", FIRST), tmp_path / "real" / "lake", tmp_path / "link"
    assert run(source, lake) == 0
    link.symlink_to(lake)
    (tmp_path / "real" / "lake_runs").rename(tmp_path / "link_runs")
    assert run(source, link) == 2
    assert f"move {link}_runs, _rejected and _held there" in capsys.readouterr().err
    (tmp_path / "link_runs").rename(tmp_path / "real" / "lake_runs")
    assert run(source, link) == 0
