"""Malformed input, bundles and places."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.model.bundle import MANIFEST, SEAL, sha256_of
from lib.tables.run_record import RunRecord
from schemas.tables import FATAL_TEXT, ID_OF_BYTES, OLDER_COPY
from tests.fault_table import Fault
from tests.faults.nights import (
    FIRST,
    SECOND,
    Night,
    arguments,
    at,
    copy_of_first_night,
    hashes_in,
    ledger,
    of_a_cold_jvm,
    run,
    titles_hash,
    vacuum_all,
    write_source,
)


@pytest.fixture
def lake(first_night: Path, tmp_path: Path) -> Path:
    write_source(tmp_path / "in" / "a.parquet", FIRST)
    return copy_of_first_night(first_night, tmp_path)


def refused(spark, lake: Path, source: Path, capsys, because: str, code: int = 2) -> None:
    assert run(source, lake) == code
    error = capsys.readouterr().err
    assert because in error, error
    assert len(error.strip().splitlines()) == 1
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert len(ledger(spark, lake)) == 1


def test_a_truncated_file(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault("a truncated Parquet file in the source", "exit 2, the file named; the table as it was")
    whole = write_source(tmp_path / "in" / "b.parquet", SECOND)
    whole.write_bytes(whole.read_bytes()[:-20])
    refused(spark, lake, tmp_path / "in", capsys, "found one that is damaged or is none in")
    told.saw("exit 2, file named, table as it was")


def test_an_empty_file(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault("a Parquet file of zero bytes in the source", "exit 2, the file named; the table as it was")
    (tmp_path / "in" / "b.parquet").touch()
    refused(spark, lake, tmp_path / "in", capsys, "found b.parquet with zero bytes")
    told.saw("exit 2, file named, table as it was")


def test_a_damaged_page(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault(
        "a Parquet file whose footer is whole and whose pages are not", "an error and one sentence; the table as it was"
    )
    whole = write_source(tmp_path / "in" / "b.parquet", {f"x{i}": f"product {i}" for i in range(2000)})
    content = bytearray(whole.read_bytes())
    content[200:2000] = bytes(1800)
    whole.write_bytes(content)
    code = run(tmp_path / "in", lake)
    assert code in (1, 2)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    told.saw("one sentence, table as it was")


def test_mixed_schemas(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault("files of different column types in one source", "exit 2, the file named; the table as it was")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"product_id": ["9"], "title": [5]}), tmp_path / "in" / "b.parquet")
    refused(spark, lake, tmp_path / "in", capsys, "Expected")
    told.saw("exit 2, table as it was")


@pytest.mark.parametrize("phase", ["planned", "scored"])
def test_a_file_that_vanishes(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys, phase: str
) -> None:
    outcome = (
        "exit 2, the file named; the table as it was" if phase == "planned" else "scores are kept by then: the run is published"
    )
    told = fault(f"a source file that vanishes at the phase `{phase}`", outcome)
    write_source(tmp_path / "in" / "b.parquet", SECOND)
    with at(phase, lambda: (tmp_path / "in" / "b.parquet").unlink()):
        code = run(tmp_path / "in" / "b.parquet", lake)
    error = capsys.readouterr().err
    if phase == "planned":
        assert code == 2, error
        assert "stay in place during the run" in error
        assert hashes_in(spark, lake) == titles_hash(FIRST)
        told.saw("exit 2, table as it was")
    else:
        assert code == 0, error
        assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
        told.saw("run published")


def test_a_source_vacuumed_under_the_run(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault("a Delta source overwritten and vacuumed under the run", "exit 2; the table as it was")
    source = tmp_path / "catalogue"
    rows = spark.createDataFrame(list(SECOND.items()), "product_id string, title string")
    rows.write.format("delta").save(str(source))

    def vacuum() -> None:
        rows.limit(1).write.format("delta").mode("overwrite").save(str(source))
        vacuum_all(spark, source)

    with at("planned", vacuum):
        refused(spark, lake, source, capsys, "stay in place during the run")
    told.saw("exit 2, table as it was")


ODD = {
    "nul": "kettle\x00steel",
    "marks": "\u202ekettle\u200f \u2066steel",
    '=HYPERLINK("http://x","y")': '=HYPERLINK("http://x","steel kettle")',
    "'; DROP TABLE categorized; --": "Robert'); DROP TABLE students;--",
    "<script>alert(1)</script>": "<img src=x onerror=alert(1)> kettle",
    "a/b.c d`e": "cotton shirt",
    "\U0001f600": "\U0001f600 \ufffd kettle",
    " padded ": "steel kettle",
}


def test_odd_texts_and_ids(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault(
        "NUL, right-to-left marks, formulas, SQL and HTML in texts and ids, ids of 10 MB",
        "each id once as it is, shown escaped; the long id rejected with its reason",
    )
    source = write_source(tmp_path / "odd.parquet", ODD, ("x" * 10_000_000, "steel kettle"))
    whole = ("--carry", "title", "--mode", "full", "--missing", "delete")
    # None of the table's products is in this source: their removal is intended here.
    assert run(source, lake, "--preview", "20", *whole, "--guard-removed", "1") == 0
    shown = capsys.readouterr().out
    assert not any(character in shown for character in "\x00\u202e\u200f\u2066")
    assert hashes_in(spark, lake).keys() == ODD.keys()
    (rejected,) = spark.read.format("delta").load(f"{lake}_rejected").collect()
    assert (rejected["reason"], len(rejected["product_id"])) == ("id too long", 512)
    # The row's JSON is cut as well.
    assert len(rejected["row"]) < 10_000
    assert run(source, lake, *whole) == 0
    told.saw("each id once, shown escaped, the long id rejected")


def test_lone_surrogates(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("a lone surrogate in a JSON source", "read as a replacement character; the row is categorized")
    source = tmp_path / "odd.json"
    source.write_text('{"product_id": "9", "title": "steel kettle \\ud83d"}\n')
    assert run(source, lake) == 0
    assert "9" in hashes_in(spark, lake)
    told.saw("the row is categorized")


def of_bytes(*texts: bytes) -> pa.Array:
    """Arrow strings whose bytes nothing has checked."""
    return pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_bytes_that_are_no_text(spark, tmp_path: Path, fault: Callable[[str, str], Fault], kind: str) -> None:
    told = fault(
        f"a source of {kind.capitalize()} with texts that were cut in the middle of a character, and with ids of such bytes",
        "U+FFFD for what is no character; these ids rejected with their reason",
    )
    source, lake = tmp_path / "night.parquet", tmp_path / "lake"
    ids, titles = (b"1", b"id \xfe", b"id \xff", b"4"), (b"steel kettle \xc3", b"novel", b"novel", b"cotton \xe6\x97 shirt")
    pq.write_table(pa.table({"product_id": of_bytes(*ids), "title": of_bytes(*titles)}), source)
    if kind == "delta":
        rows, source = spark.read.parquet(str(source)), tmp_path / "catalogue"
        rows.filter("product_id IN ('1', '4')").write.format("delta").option("delta.enableChangeDataFeed", True).save(
            str(source)
        )
        assert run(source, lake, "--carry", "title", "--verify") == 0
        rows.filter("product_id NOT IN ('1', '4')").write.format("delta").mode("append").save(str(source))
    assert run(source, lake, "--carry", "title", "--verify") == 0
    found = spark.read.format("delta").load(str(lake)).orderBy("product_id").collect()
    assert [(row["product_id"], row["title"]) for row in found] == [
        ("1", "steel kettle \ufffd"),
        ("4", "cotton \ufffd shirt"),
    ]
    rejected = spark.read.format("delta").load(f"{lake}_rejected").select("product_id", "reason").collect()
    assert [tuple(row) for row in rejected] == [("id \ufffd", ID_OF_BYTES)] * 2
    # Compared with the carried texts in the table, nothing is new.
    os.utime(source) if kind == "parquet" else spark.sql(f"UPDATE delta.`{source}` SET title = title WHERE product_id = '1'")
    assert run(source, lake, "--carry", "title", "--verify") == 0
    assert RunRecord.of(last_row(spark, lake)).rows_scored == 0
    told.saw("U+FFFD, ids rejected")


def last_row(spark, lake: Path) -> dict:
    return spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at", ascending=False).head().asDict(recursive=True)


def changed_bundle(tiny: Path, folder: Path, change: Callable[[dict], None]) -> Path:
    import json

    version = (tiny / (tiny / "current").read_text().strip()).resolve()
    copy = folder / "bundle"
    shutil.copytree(version, copy)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["_folder"] = copy
    change(manifest)
    del manifest["_folder"]
    content = json.dumps(manifest).encode()
    (copy / MANIFEST).write_bytes(content)
    (copy / SEAL).write_text(sha256_of(content))
    return copy


def test_a_model_of_no_numbers(
    lake: Path, tmp_path: Path, tiny: Path, fault: Callable[[str, str], Fault], capsys, spark
) -> None:
    told = fault("a bundle whose weights are NaN, checksums made to fit", "exit 3 before a row is read")
    import hashlib

    import onnx
    from onnx import numpy_helper

    def poison(manifest: dict) -> None:
        path = manifest["_folder"] / "model.onnx"
        model = onnx.load(str(path))
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
        onnx.save(model, str(path))
        manifest["files"]["model.onnx"] = hashlib.sha256(path.read_bytes()).hexdigest()

    bundle = changed_bundle(tiny, tmp_path, poison)
    assert run(write_source(tmp_path / "b.parquet", SECOND), lake, model=bundle) == 3
    assert "not finite" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    told.saw("exit 3")


def test_a_manifest_that_points_outside(
    lake: Path, tmp_path: Path, tiny: Path, fault: Callable[[str, str], Fault], capsys
) -> None:
    told = fault("a manifest with a path that leaves the bundle", "exit 3; the file outside is not read")

    def escape(manifest: dict) -> None:
        manifest["files"]["../../etc/passwd"] = "0" * 64

    assert run(write_source(tmp_path / "b.parquet", SECOND), lake, model=changed_bundle(tiny, tmp_path, escape)) == 3
    assert "Expected" in capsys.readouterr().err
    told.saw("exit 3")


def test_a_bomb(lake: Path, tmp_path: Path, tiny: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault("a bundle with a Keras file that unpacks to 4 GB", "exit 3 before it is unpacked")
    import hashlib
    import zipfile

    def swell(manifest: dict) -> None:
        path = manifest["_folder"] / "model.keras"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("model.weights.h5", "w", force_zip64=True) as member,
        ):
            block = bytes(1 << 24)
            for _ in range(256):
                member.write(block)
        manifest["files"]["model.keras"] = hashlib.sha256(path.read_bytes()).hexdigest()

    bundle = changed_bundle(tiny, tmp_path, swell)
    assert run(write_source(tmp_path / "b.parquet", SECOND), lake, "--engine", "keras", model=bundle) == 3
    assert "Expected" in capsys.readouterr().err
    told.saw("exit 3")


def test_a_file_swapped_under_the_run(
    spark, lake: Path, tmp_path: Path, tiny: Path, fault: Callable[[str, str], Fault], capsys
) -> None:
    told = fault(
        "a file of the bundle swapped while a run is at work", "the run ends with what it had verified; the next one, exit 3"
    )
    bundle = changed_bundle(tiny, tmp_path, lambda manifest: None)

    def swap() -> None:
        for file in bundle.iterdir():
            if file.is_file() and file.name != "manifest.json":
                file.write_bytes(b"something else")

    source = write_source(tmp_path / "b.parquet", SECOND)
    assert run(source, tmp_path / "verified", model=bundle) == 0
    with at("planned", swap):
        assert run(source, lake, "--missing", "delete", model=bundle) == 0
    scores = [
        spark.read.format("delta")
        .load(str(place))
        .select("product_id", "category", "confidence")
        .orderBy("product_id")
        .collect()
        for place in (tmp_path / "verified", lake)
    ]
    assert scores[0] == scores[1]
    capsys.readouterr()
    assert run(write_source(tmp_path / "c.parquet", FIRST), lake, model=bundle) == 3
    assert "Expected" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash(SECOND)
    told.saw("ended with the verified files, the next one exit 3")


ODD_LABELS = ("Home/Kitchen & Dining", "../../etc.d", "a.b`c", "=1+1|'x'\n<b>")


def test_odd_labels(spark, lake: Path, tmp_path: Path, sample_data, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault(
        "labels with slashes, dots, quotes, backticks and line ends",
        "kept as they are in every column, map and matrix; no file is named after them",
    )
    from lib.scoring.plan import Outcome
    from lib.scoring.report import outcome_text
    from lib.tables.locations import locate
    from lib.tables.target import tables_of
    from tests.recipes import tiny_place, tiny_recipe
    from training.training import train

    models = tmp_path / "models"
    train(replace(sample_data, labels=ODD_LABELS), tiny_recipe(), tiny_place(models), say=lambda line: None)
    capsys.readouterr()
    source = write_source(tmp_path / "b.parquet", FIRST)
    # The shipped model's run is in the table already: this one scores it again, and reports which labels moved.
    assert run(source, lake, "--preview", "5", model=models / "tiny") == 0
    shown = capsys.readouterr().out
    assert "labels of the model before" in shown
    assert "=1+1|'x'\n" not in shown
    rows = spark.read.format("delta").load(str(lake)).collect()
    assert {row["category"] for row in rows} <= set(ODD_LABELS)
    assert all(set(row["scores"]) == set(ODD_LABELS) for row in rows)
    last = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]
    assert set(last["category_shares"]) == {row["category"] for row in rows}
    assert {new for row in last["label_changes"].values() for new in row} == {row["category"] for row in rows}
    # Whichever labels this model has found: each is shown on one line.
    record = replace(RunRecord.of(last.asDict(recursive=True)), category_shares=dict.fromkeys(ODD_LABELS, 0.25))
    told_of = outcome_text(Outcome(record), tables_of(locate(spark, str(lake))))
    assert "=1+1|'x'\\n<b> 25.0%" in told_of
    assert run(source, lake, model=models / "tiny") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert not [path for path in tmp_path.rglob("*") if "Kitchen" in str(path) or "etc.d" in str(path)]
    told.saw("kept as they are everywhere")


def test_a_text_that_crashes_the_engine(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        "a text that makes the native engine die of SIGSEGV",
        "rejected with its reason, all copies of it; the rest is published",
    )
    poison = "a text with poison inside"
    source = write_source(
        tmp_path / "b.parquet", {**SECOND, "bad one": poison}, ("bad one", f"{poison}, again"), ("1", "a copy")
    )
    night = Night(tmp_path / "night", "", arguments(source, lake, "--verify"), master="local[2,2]", fault="crash:poison")
    assert night.end() == 0, night.said()
    assert "died at the product 'bad one' (SIGSEGV): rejected" in night.said()
    assert "in 8 = categorized 5 + rejected 3" in night.said()
    assert set(hashes_in(spark, lake)) == {*FIRST, *SECOND}
    rejected = spark.read.format("delta").load(f"{lake}_rejected").groupBy("product_id", "reason").count().collect()
    assert sorted(map(tuple, rejected)) == [("1", OLDER_COPY, 1), ("bad one", FATAL_TEXT, 2)]
    # An engine that survives it has something to do, though the source is the same.
    assert run(source, lake) == 0
    assert set(hashes_in(spark, lake)) == {*FIRST, *SECOND, "bad one"}
    assert run(source, lake) == 0
    assert len(ledger(spark, lake)) == 3
    told.saw("rejected with its reason, the rest published")


@pytest.mark.parametrize("missing", ["keep", "delete"])
def test_a_full_run_keeps_the_row_of_such_a_text(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], missing: str
) -> None:
    told = fault(
        f"such a text of a product that is in the table, `--mode full --missing {missing}`",
        "rejected with its reason; the product's row stays as it was",
    )
    source = write_source(tmp_path / "b.parquet", {**SECOND, "1": "a text with poison inside"})
    options = arguments(source, lake, "--mode", "full", "--missing", missing, "--verify")
    night = Night(tmp_path / "night", "", options, master="local[2,2]", fault="crash:poison")
    assert night.end() == 0, night.said()
    kept = {"4": FIRST["4"]} if missing == "keep" else {}
    assert hashes_in(spark, lake) == titles_hash({**kept, **SECOND, "1": FIRST["1"]})
    told.saw("rejected, its row as it was")


def test_more_fatal_texts_than_are_rejected(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("more such texts than `--fatal-texts` allows", "exit 1, ids named; the table as it was")
    source = write_source(tmp_path / "b.parquet", {**SECOND, "bad": "a text with poison", "worse": "poison in a text"})
    more = arguments(source, lake, "--fatal-texts", "1")
    night = Night(tmp_path / "night", "", more, master="local[2,2]", fault="crash:poison")
    assert night.end() == 1
    assert "'bad' (SIGSEGV)" in night.said(), night.said()
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    told.saw("exit 1, ids named, table as it was")


def can_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting a small disk needs a user namespace")
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_the_target_s_disk(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], kind: str) -> None:
    told = fault(
        {"full": "the target's disk is full", "read-only": "the target's disk is read-only"}[kind],
        "exit 1 and a sentence; nothing half written",
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    many = write_source(tmp_path / "b.parquet", {f"x{i}": f"{os.urandom(8).hex()} kettle {i}" for i in range(20_000)})
    job = " ".join(arguments(many, disk / "lake"))
    after = f"mount -o remount,ro {disk} && " if kind == "read-only" else ""
    script = (
        f"mount -t tmpfs -o size=300k tmpfs {disk} && cp -r {lake} {lake}_runs {lake}_rejected {disk}/ && {after}"
        f"{{ {os.sys.executable} {Path(__file__).parent / 'driver.py'} {tmp_path} '' categorize {job}; code=$?; "
        f"mkdir {tmp_path}/after && cp -r {disk}/* {tmp_path}/after/; exit $code; }}"
    )
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        capture_output=True,
        text=True,
        env=of_a_cold_jvm(),
    )
    assert done.returncode == 1, done.stderr
    assert {"full": "found the disk full", "read-only": "found its file system read-only"}[kind] in done.stderr, done.stderr
    assert hashes_in(spark, tmp_path / "after" / "lake") == titles_hash(FIRST)
    assert len(ledger(spark, tmp_path / "after" / "lake")) == 1
    told.saw("exit 1 and a sentence, table as it was")
