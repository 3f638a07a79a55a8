"""The folder that `publish` writes, as a warehouse reads it: by its manifest, with DuckDB."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.publish import PublishSettings
from lib.errors import InputError
from lib.tables.locations import locate
from lib.warehouse.files.folder import Folder
from schemas.tables import PUBLISHED_CORRECTIONS
from tests.corrections import correct
from tests.faults.nights import FIRST, SECOND, ledger, run, vacuum_all, write_source
from tests.spark.conftest import rollback
from tests.spark.test_maintain import maintain
from tests.spark.test_warehouse_types import typed  # noqa: F401
from tests.warehouse import manifest_in, publish_to_files, rows_in_files, texts_in_files

pytestmark = pytest.mark.usefixtures("spark")
ALL = ("product_id", "text_hash", "confidence", "run_id", "status", "scored_at")


def rows_of(spark, lake: Path) -> dict[str, tuple[Any, ...]]:
    rows = spark.read.format("delta").load(str(lake)).select(*ALL).collect()
    return {row[0]: tuple(row[1:]) for row in rows}


def rows_in(folder: Path) -> dict[str, tuple[Any, ...]]:
    rows = rows_in_files(folder, manifest_in(folder)["entries"], ", ".join(ALL))
    return {row[0]: (*row[1:-1], row[-1].replace(tzinfo=None)) for row in rows}


class Warehouse:
    """A DuckDB table that is loaded as docs/warehouse.md describes: the changes if it has the previous manifest, else all rows."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._rows, self.number, self.merged = folder, duckdb.connect(), None, []

    def load(self) -> dict[str, tuple[Any, ...]]:
        manifest = manifest_in(self._folder)
        changes = manifest["changes"]
        self.merged.append(changes is not None and changes["since"] == self.number)
        if self.merged[-1]:
            self._merge([str(self._folder / one["path"]) for one in changes["entries"]])
        else:
            files = [str(self._folder / one["path"]) for one in manifest["entries"]]
            self._rows.execute("CREATE OR REPLACE TABLE products AS SELECT * FROM read_parquet($files)", {"files": files})
        self.number = manifest["number"]
        rows = self._rows.execute(f"SELECT {', '.join(ALL)} FROM products").fetchall()
        assert len(rows) == manifest["rows"]
        return {row[0]: (*row[1:-1], row[-1].replace(tzinfo=None)) for row in rows}

    def _merge(self, files: list[str]) -> None:
        if not files:
            return
        self._rows.execute("CREATE OR REPLACE TABLE changes AS SELECT * FROM read_parquet($files)", {"files": files})
        ids = self._rows.execute("SELECT count(*), count(DISTINCT product_id) FROM changes").fetchone()
        assert ids[0] == ids[1]
        self._rows.execute("DELETE FROM products WHERE product_id IN (SELECT product_id FROM changes)")
        put = "SELECT * EXCLUDE _operation FROM changes WHERE _operation = 'upsert'"
        self._rows.execute(f"INSERT INTO products BY NAME {put}")


@pytest.mark.parametrize("feed", [(), ("--change-data-feed",)])
def test_a_warehouse_that_loads_files_comes_to_the_rows_of_the_lake(spark, tmp_path, capsys, feed) -> None:
    lake, folder = tmp_path / "lake", tmp_path / "files"
    warehouse = Warehouse(folder)
    assert run(write_source(tmp_path / "in.parquet", FIRST), lake, *feed) == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    said = capsys.readouterr().out
    assert "4 rows in" in said
    assert "verified:" in said
    assert warehouse.load() == rows_of(spark, lake)
    # Again: nothing is written.
    before = sorted(folder.rglob("*"))
    assert publish_to_files(lake, folder) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert sorted(folder.rglob("*")) == before
    # Two runs, published together.
    assert run(write_source(tmp_path / "in.parquet", {**FIRST, "9": "desk lamp"}), lake, *feed) == 0
    assert run(write_source(tmp_path / "in.parquet", SECOND), lake, "--missing", "delete", *feed) == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    said = capsys.readouterr().out
    assert "to upsert" in said
    assert ("its change feed" if feed else "a comparison of both versions") in said
    assert warehouse.load() == rows_of(spark, lake)
    manifest = manifest_in(folder)
    assert manifest["run_id"] == ledger(spark, lake)[-1][0]
    assert (manifest["number"], manifest["rows"], manifest["changes"]["since"]) == (2, 5, 1)
    assert warehouse.merged == [False, True]


def test_what_no_night_has_changed_stands_in_the_same_files(spark, lake, tmp_path) -> None:
    """A run that changes no row, and maintenance; then a rollback."""
    folder = tmp_path / "files"
    warehouse = Warehouse(folder)
    assert publish_to_files(lake, folder) == 0
    assert warehouse.load() == rows_of(spark, lake)
    first = manifest_in(folder)
    assert run(tmp_path / "first.parquet", lake, "--missing", "mark") == 0
    assert maintain("--target", lake) == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    same = manifest_in(folder)
    assert same["entries"] == first["entries"]
    assert same["changes"]["entries"] == []
    assert same["delta_version"] > first["delta_version"]
    assert warehouse.load() == rows_of(spark, lake)
    assert run(tmp_path / "second.parquet", lake) == 0
    assert publish_to_files(lake, folder) == 0
    assert warehouse.load() == rows_of(spark, lake)
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    assert warehouse.load() == rows_of(spark, lake)
    assert rows_in(folder).keys() == FIRST.keys()
    assert warehouse.merged == [False, True, True, True]


def test_what_a_manifest_names_stays_until_there_are_two_newer_ones(lake, tmp_path) -> None:
    folder, texts = tmp_path / "files", [FIRST, SECOND, {**SECOND, "6": "garden hose"}, {**SECOND, "6": "cotton shirt"}]
    manifests = []
    for number, rows in enumerate(texts):
        assert run(write_source(tmp_path / "in.parquet", rows), lake, "--missing", "delete") == 0
        assert publish_to_files(lake, folder) == 0
        manifests.append(manifest_in(folder))
        there = {str(path.relative_to(folder)) for path in folder.rglob("*.parquet")}
        kept = manifests[-2:]
        changed = [one["changes"]["entries"] for one in kept if one["changes"]]
        named = {file["path"] for files in (*(one["entries"] for one in kept), *changed) for file in files}
        assert there == named
        assert sorted(path.name for path in (folder / "manifests").iterdir()) == [f"{one['number']:020d}.json" for one in kept]
        assert texts_in_files(folder, manifests[max(0, number - 1)]["entries"]) == texts_of(texts[max(0, number - 1)])


def texts_of(rows: dict[str, str]) -> dict[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in rows.items()}


def test_the_manifest_tells_the_files_as_they_are(spark, lake, tmp_path) -> None:
    folder = tmp_path / "files"
    assert publish_to_files(lake, folder) == 0
    manifest = manifest_in(folder)
    assert (folder / "manifest.json").read_text() == (folder / "manifests" / f"{1:020d}.json").read_text()
    for one in manifest["entries"]:
        file = folder / one["path"]
        assert one["url"] == f"file:{file}"
        assert one["mandatory"] is True
        assert one["meta"] == {
            "content_length": file.stat().st_size,
            "record_count": pq.read_metadata(file).num_rows,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    schema = {column["name"]: column["type"] for column in manifest["columns"]}
    assert list(schema) == spark.read.format("delta").load(str(lake)).columns
    assert (schema["scores"], schema["scored_at"], schema["confidence"]) == ("json", "timestamp", "float")
    scores = rows_in_files(folder, manifest["entries"], "product_id, scores")
    lakes = {row["product_id"]: row["scores"] for row in spark.read.format("delta").load(str(lake)).collect()}
    assert {name: json.loads(text) for name, text in scores} == {name: pytest.approx(value) for name, value in lakes.items()}
    # In a type that every reader supports.
    kinds = {field.name: str(field.type) for field in pq.read_schema(folder / manifest["entries"][0]["path"])}
    assert kinds["scored_at"] == "timestamp[us, tz=UTC]"
    assert pq.read_metadata(folder / manifest["entries"][0]["path"]).row_group(0).column(0).compression == "SNAPPY"


def test_every_type_comes_back(spark, typed, tmp_path) -> None:  # noqa: F811
    folder = tmp_path / "files"
    assert publish_to_files(typed, folder, "--verify") == 0
    spark.sql(f"UPDATE delta.`{typed}` SET tiny = 7, price = double('NaN') WHERE product_id = '1'")
    assert publish_to_files(typed, folder, "--verify") == 0
    files = [str(folder / one["path"]) for one in manifest_in(folder)["entries"]]
    there = spark.read.parquet(*files).filter("product_id = '1'").drop("tags", "box", "by_size", "scores").collect()
    names = list(there[0].asDict())
    assert repr(there) == repr(
        spark.read.format("delta")
        .load(str(typed))
        .filter("product_id = '1'")
        .select(*[f"`{name}`" for name in names])
        .collect()
    )


def test_verify_finds_what_another_hand_has_changed(spark, lake, tmp_path, capsys) -> None:
    folder = tmp_path / "files"
    assert publish_to_files(lake, folder) == 0
    first = manifest_in(folder)["entries"][0]
    content = bytearray((folder / first["path"]).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / first["path"]).write_bytes(content)
    assert publish_to_files(lake, folder, "--verify") == 4
    assert f"{first['path']} has other bytes than those that were written" in capsys.readouterr().err
    assert publish_to_files(lake, folder, "--verify", "--reload") == 0
    assert "to be loaded in full: all rows, since --reload asks for it" in capsys.readouterr().out
    # Other rows, under a manifest that matches its files.
    other = tmp_path / "other"
    assert run(tmp_path / "second.parquet", other) == 0
    assert publish_to_files(other, tmp_path / "strange") == 0
    theirs, ours = manifest_in(tmp_path / "strange"), manifest_in(folder)
    shutil.copytree(tmp_path / "strange" / "data", folder / "data", dirs_exist_ok=True)
    written = json.dumps({**ours, "entries": theirs["entries"], "rows": 5}).replace("/strange/", "/files/")
    for path in (folder / "manifest.json", folder / "manifests" / f"{ours['number']:020d}.json"):
        path.write_text(written)
    capsys.readouterr()
    assert publish_to_files(lake, folder, "--verify") == 4
    said = capsys.readouterr().err
    assert "it lacks 1 row (such as '4')" in said
    assert "it also has 2 rows (such as '5')" in said
    assert "it differs in 3 rows (such as '1')" in said


def test_files_that_are_gone_are_written_again(spark, lake, tmp_path, capsys) -> None:
    """Also where no row has changed since, and after maintenance; a warehouse is told to load all rows."""
    folder = tmp_path / "files"
    warehouse = Warehouse(folder)
    assert publish_to_files(lake, folder) == 0
    assert warehouse.load() == rows_of(spark, lake)
    for number, prepare in enumerate((lambda: None, lambda: maintain("--target", lake))):
        prepare()
        first = manifest_in(folder)["entries"][0]
        path = folder / first["path"]
        path.write_bytes(path.read_bytes()[:-1]) if number else path.unlink()
        capsys.readouterr()
        assert publish_to_files(lake, folder, "--verify") == 0
        assert (
            f"all rows, since 1 of the files that its newest manifest names are gone, or have another size, such as {first['path']}"
            in capsys.readouterr().out
        )
        assert warehouse.load() == rows_of(spark, lake)
    assert warehouse.merged == [False, False, False]
    correct(lake, {"1": "Books"})
    assert publish_to_files(lake, folder) == 0
    (said,) = manifest_in(folder)["corrections"]["entries"]
    (folder / said["path"]).unlink()
    assert publish_to_files(lake, folder, "--verify") == 0
    assert said_in(folder) == {"1": ("Books", "ann")}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda told: told["changes"].update(entries=[]), "its changes leave out 4 rows"),
        (lambda told: told["changes"].update(upserts=7), "its manifest reports 7 rows upserted and 1 deleted, found 3 and 1"),
        (lambda told: told.update(run_id="another"), "its manifest names another run, another"),
    ],
)
def test_verify_finds_what_a_hand_has_written_into_the_manifest(lake, tmp_path, capsys, edit, said) -> None:
    folder = tmp_path / "files"
    assert publish_to_files(lake, folder) == 0
    assert run(tmp_path / "second.parquet", lake, "--missing", "delete") == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    told = manifest_in(folder)
    edit(told)
    for path in (folder / "manifest.json", folder / "manifests" / f"{told['number']:020d}.json"):
        path.write_text(json.dumps(told))
    capsys.readouterr()
    assert publish_to_files(lake, folder, "--verify") == 4
    assert said in capsys.readouterr().err


def test_a_folder_that_was_moved_names_its_own_files(lake, tmp_path) -> None:
    assert publish_to_files(lake, tmp_path / "files") == 0
    (tmp_path / "files").rename(tmp_path / "moved")
    assert publish_to_files(lake, tmp_path / "moved", "--verify") == 0
    told = manifest_in(tmp_path / "moved")
    assert told["changes"]["entries"] == []
    assert all(Path(entry["url"].removeprefix("file:")).is_file() for entry in told["entries"])


def said_in(folder: Path) -> dict[str, tuple[str, str]]:
    said = manifest_in(folder)["corrections"]
    assert said["rows"] == sum(one["meta"]["record_count"] for one in said["entries"])
    if not said["entries"]:
        return {}
    rows = rows_in_files(folder, said["entries"], "product_id, category, corrected_by")
    assert len(rows) == said["rows"]
    return {row[0]: row[1:] for row in rows}


def test_what_people_say_is_published_beside_the_rows(spark, lake, tmp_path, capsys) -> None:
    folder = tmp_path / "files"
    warehouse = Warehouse(folder)
    assert publish_to_files(lake, folder) == 0
    warehouse.load()
    assert said_in(folder) == {}
    first = manifest_in(folder)
    assert {column["name"] for column in first["corrections"]["columns"]} == set(PUBLISHED_CORRECTIONS.names)
    # No row has changed: they are in the same files.
    correct(lake, {"1": "Books", "3": "Books"})
    capsys.readouterr()
    assert publish_to_files(lake, folder, "--verify") == 0
    out = capsys.readouterr().out
    assert "since only corrections have changed" in out
    assert "and the 2 corrections in force" in out
    assert "and 2 corrections as people gave them" in out
    assert said_in(folder) == {"1": ("Books", "ann"), "3": ("Books", "ann")}
    assert manifest_in(folder)["entries"] == first["entries"]
    assert warehouse.load() == rows_of(spark, lake)
    assert publish_to_files(lake, folder) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_corrections_come_and_go_beside_nights(lake, tmp_path) -> None:
    folder = tmp_path / "files"
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish_to_files(lake, folder) == 0
    # Withdrawn in part, along with a run that changes rows; then only a run, whose manifest names the same files of corrections.
    correct(lake, {"3": None})
    assert run(tmp_path / "second.parquet", lake) == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    assert said_in(folder) == {"1": ("Books", "ann")}
    held = manifest_in(folder)["corrections"]
    assert run(write_source(tmp_path / "in.parquet", {**SECOND, "8": "tent"}), lake) == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    assert manifest_in(folder)["corrections"] == held
    # All withdrawn: no file is left to be read.
    correct(lake, {"1": None})
    assert publish_to_files(lake, folder, "--verify") == 0
    assert manifest_in(folder)["corrections"]["entries"] == []


def test_corrections_that_the_lake_has_lost_stay_published(lake, tmp_path, capsys) -> None:
    folder = tmp_path / "files"
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish_to_files(lake, folder) == 0
    lake.with_name(f"{lake.name}_corrections").rename(lake.with_name("elsewhere"))
    held = manifest_in(folder)
    capsys.readouterr()
    assert publish_to_files(lake, folder) == 2
    assert "which were published before, found no table there" in capsys.readouterr().err
    assert manifest_in(folder) == held
    assert publish_to_files(lake, folder, "--reload") == 0
    assert manifest_in(folder)["corrections"]["version"] == "none"


def test_verify_looks_at_what_people_say(lake, tmp_path, capsys) -> None:
    folder = tmp_path / "files"
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish_to_files(lake, folder, "--verify") == 0
    manifest = manifest_in(folder)
    file = folder / manifest["corrections"]["entries"][0]["path"]
    rows, schema, content = pq.read_table(file).to_pylist(), pq.read_schema(file), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    capsys.readouterr()
    assert publish_to_files(lake, folder, "--verify") == 4
    assert f"{manifest['corrections']['entries'][0]['path']} has other bytes" in capsys.readouterr().err
    # Another writer has put its own table into the files, and adapted the manifest.
    changed = [{**row, "category": "Toys"} if row["product_id"] == "1" else {**row, "product_id": "4"} for row in rows]
    pq.write_table(pa.Table.from_pylist(changed, schema), file)
    told = manifest["corrections"]["entries"][0]["meta"]
    told |= {"content_length": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    for path in (folder / "manifest.json", folder / "manifests" / f"{1:020d}.json"):
        path.write_text(json.dumps(manifest))
    assert publish_to_files(lake, folder, "--verify") == 4
    assert "it differs in 1 correction (such as '1')" in capsys.readouterr().err
    assert publish_to_files(lake, folder, "--verify", "--reload") == 0
    assert said_in(folder) == {"1": ("Books", "ann"), "3": ("Books", "ann")}


def test_a_manifest_of_an_older_version_is_followed(lake, tmp_path, capsys) -> None:
    """It names no corrections; the next one does, and the rows are in the same files."""
    folder = tmp_path / "files"
    assert publish_to_files(lake, folder) == 0
    older = manifest_in(folder)
    del older["corrections"]
    for path in (folder / "manifest.json", folder / "manifests" / f"{1:020d}.json"):
        path.write_text(json.dumps(older, ensure_ascii=False, indent=1) + "\n")
    assert publish_to_files(lake, folder, "--verify") == 0
    assert "and the 0 corrections in force" in capsys.readouterr().out
    assert manifest_in(folder)["entries"] == older["entries"]
    assert manifest_in(folder)["corrections"]["version"] == "none"


def test_all_rows_come_anew_where_what_changed_cannot_be_told(spark, lake, tmp_path, capsys) -> None:
    folder = tmp_path / "files"
    assert publish_to_files(lake, folder) == 0
    assert run(tmp_path / "second.parquet", lake, "--mode", "full", "--missing", "delete") == 0
    vacuum_all(spark, lake)
    assert publish_to_files(lake, folder) == 0
    assert "can no longer be read (vacuumed)" in capsys.readouterr().out
    assert rows_in(folder) == rows_of(spark, lake)
    assert manifest_in(folder)["changes"] is None
    assert run(tmp_path / "second.parquet", lake, "--mode", "full", "--carry", "title") == 0
    assert publish_to_files(lake, folder, "--verify") == 0
    assert "since its columns have changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("to", "more", "because"),
    [
        ("{folder}", ("--table", "catalog.products"), "Expected --table only with a database, found catalog.products"),
        ("{lake}", (), "where the files of a Delta table are"),
        ("{lake}/export", (), "where the files of a Delta table are"),
        ("{lake}_runs", (), "where the files of a Delta table are"),
        ("mysql://me:s3cret@host/db", (), "which cannot be looked up"),
        ("{folder}/taken", (), "found those of file:"),
        ("{folder}/damaged", (), "Expected a manifest of format 1"),
    ],
)
def test_a_folder_that_is_none(lake, tmp_path, capsys, to, more, because) -> None:
    folder = tmp_path / "files"
    if to.endswith("taken"):
        assert run(tmp_path / "second.parquet", tmp_path / "other") == 0
        assert publish_to_files(tmp_path / "other", folder / "taken") == 0
    if to.endswith("damaged"):
        assert publish_to_files(lake, folder / "damaged") == 0
        (folder / "damaged" / "manifests" / f"{1:020d}.json").write_text('{"format": 2}')
    capsys.readouterr()
    assert publish_to_files(lake, to.format(folder=folder, lake=lake), *more) == 2
    said = capsys.readouterr()
    assert because in said.err
    assert "s3cret" not in said.err + said.out


@pytest.mark.parametrize("name", ["files[1]", "files{a,b}", "fi\\les", "fi*les"])
def test_a_folder_of_any_name(lake, tmp_path, name) -> None:
    assert publish_to_files(lake, tmp_path / name) == 0
    assert run(tmp_path / "second.parquet", lake, "--missing", "delete") == 0
    assert publish_to_files(lake, tmp_path / name, "--verify") == 0
    assert rows_in(tmp_path / name).keys() == SECOND.keys()


@pytest.mark.parametrize("root", ["/", "file:///", "s3a://lake", "s3a://lake/"])
def test_a_root_is_no_folder_for_files(root) -> None:
    """Without a publication, which would write there if it could."""
    with pytest.raises(InputError, match=f"below the root of a file system or bucket in --to, found {root}; choose another"):
        PublishSettings(target="lake/categorized", to=root)


def test_a_database_without_a_name_is_no_root() -> None:
    assert not PublishSettings(target="lake/categorized", to="postgresql:///").to_files


@pytest.mark.parametrize(
    ("to", "because"),
    [
        ("FOLDER/in.parquet", "at FOLDER/in.parquet, found a file; correct --to."),
        ("FOLDER/in.parquet/x/y/", "found the file file:FOLDER/in.parquet on the way there; correct --to."),
        ("/dev/null/x", "found the file file:/dev/null on the way there; correct --to."),
        ("http://127.0.0.1:9/x/", "at http://127.0.0.1:9/x/, found a file; correct --to."),
        ("/proc/x/", "Expected a place where folders can be created, found"),
    ],
)
def test_a_place_that_can_be_no_folder(lake, tmp_path, capsys, to, because) -> None:
    write_source(tmp_path / "in.parquet", FIRST)
    capsys.readouterr()
    assert publish_to_files(lake, to.replace("FOLDER", str(tmp_path))) == 2
    said = capsys.readouterr().err
    assert because.replace("FOLDER", str(tmp_path)) in said
    assert said.count("\n") == 1


def test_an_id_that_stands_twice_is_not_published(spark, lake, tmp_path, capsys) -> None:
    folder = tmp_path / "files"
    assert publish_to_files(lake, folder) == 0
    before = (folder / "manifest.json").read_text()
    spark.sql(f"INSERT INTO delta.`{lake}` SELECT * FROM delta.`{lake}` WHERE product_id = '1'")
    assert publish_to_files(lake, folder) == 2
    assert "Expected each product_id once" in capsys.readouterr().err
    assert (folder / "manifest.json").read_text() == before


def test_a_manifest_goes_into_place_whole_on_other_file_systems_too(spark, lake, tmp_path) -> None:
    """Hadoop and Delta give viewfs the same guarantees as HDFS."""
    jsc = spark.sparkContext._jsc.hadoopConfiguration()
    jsc.set("fs.viewfs.mounttable.test.link./files", f"file:{tmp_path}")
    place = locate(spark, "viewfs://test/files/there")
    folder = Folder(spark, place, locate(spark, str(lake)))
    assert folder.put_manifest(1, '{\n "number": 1\n}')
    assert not folder.put_manifest(1, "another")
    assert folder.put_manifest(2, '{\n "number": 2\n}')
    assert folder.numbers() == [1, 2]
    for number in (1, 2):
        folder.point_to(number)
        assert json.loads((tmp_path / "there" / "manifest.json").read_text()) == {"number": number}
    left = [path.name for path in (tmp_path / "there").iterdir() if not path.name.endswith(".crc")]
    assert sorted(left) == ["manifest.json", "manifests"]
    # All of it.
    assert publish_to_files(lake, "viewfs://test/files/all", "--verify") == 0
    assert publish_to_files(lake, "viewfs://test/files/all", "--verify", "--reload") == 0
    assert texts_in_files(tmp_path / "all", manifest_in(tmp_path / "all")["entries"]) == texts_of(FIRST)
