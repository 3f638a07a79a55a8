from __future__ import annotations

import os

import pytest

from lib.command import run_command
from lib.errors import BundleError, CategorizerError, GuardrailError, InputError
from lib.reports.files import check_writable, write_whole
from lib.settings import JobSettings
from lib.spark_errors import table_fault


def ends(error: BaseException | None, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    def main(settings: JobSettings) -> int:
        if error:
            raise error
        return 0

    code = run_command(JobSettings, main, "example", arguments)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("x."), 2), (BundleError("x."), 3), (GuardrailError("x."), 4), (CategorizerError("x."), 1)],
)
def test_our_errors_are_one_sentence_and_a_code(error: Exception, code: int, capsys) -> None:
    assert ends(error, capsys) == (code, "error: x.\n")


def test_success(capsys) -> None:
    assert ends(None, capsys) == (0, "")


def test_other_errors_show_no_stack_trace_unless_asked(capsys) -> None:
    code, text = ends(ValueError("first\nsecond"), capsys)
    assert (code, text) == (1, "error: ValueError: first (run again with --debug for the stack trace).\n")
    assert "Traceback" in ends(ValueError("first"), capsys, "--debug")[1]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("java.io.IOException: No space left on device", "found the disk full"),
        ("java.io.FileNotFoundException: /lake/x (Read-only file system)", "found its file system read-only"),
        ("java.io.FileNotFoundException: /lake/x y (Permission denied)\n\tat z", "found permission denied for /lake/x y; "),
        (
            'AccessControlException: Permission denied: user=me, access=READ, inode="/lake/x":root:hdfs:drwx------',
            "found permission denied for /lake/x; ",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/lake/x'", "found permission denied for /lake/x; "),
        ("x: Permission denied", "found permission denied; "),
    ],
)
def test_a_place_that_cannot_be_written_is_not_the_inputs_fault(capsys, said: str, sentence: str) -> None:
    code, error = ends(RuntimeError(f"Job aborted. {said}"), capsys)
    assert code == 1
    assert sentence in error


@pytest.mark.parametrize(
    "said",
    [
        "java.io.IOException: Mkdirs failed to create file:/proc/a b/data/x (exists=false, cwd=file:/work)\n\tat y",
        "org.apache.hadoop.fs.ParentNotDirectoryException: Parent path is not a directory: file:/dev/null",
    ],
)
def test_a_place_where_no_folder_can_be_made_is_told(capsys, said: str) -> None:
    code, error = ends(RuntimeError(f"Job aborted due to stage failure. {said}"), capsys)
    place = "file:/proc/a b/data/x" if "Mkdirs" in said else "file:/dev/null"
    assert (code, error) == (
        2,
        f"error: Expected a place where folders can be created, found none at {place}; let this user write there, or choose another.\n",
    )


def test_a_pipe_stays_one_and_gets_what_is_written(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert check_writable(str(pipe)) == pipe
        write_whole(pipe, "{}")
        assert os.read(reader, 10) == b"{}"
    finally:
        os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]
    assert pipe.is_fifo()


def test_java_errors_show_what_java_said(capsys) -> None:
    error = RuntimeError("An error occurred while calling o1.save.\n: java.io.IOException: Input/output error\n\tat x")
    assert "java.io.IOException: Input/output error" in ends(error, capsys)[1]


def test_errors_in_a_worker_show_what_python_said(capsys) -> None:
    error = RuntimeError(
        "An exception was thrown from the Python worker. Please see the stack trace below.\n"
        "Traceback (most recent call last):\n  File \"x.py\", line 9\nModuleNotFoundError: No module named 'numpy'\n"
    )
    assert "ModuleNotFoundError: No module named 'numpy'" in ends(error, capsys)[1]


def test_faults_of_the_input_are_told_as_such(capsys) -> None:
    error = RuntimeError(
        "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///x/a.csv.  SQLSTATE: KD001\n"
        "[MALFORMED_CSV_RECORD] Malformed CSV record: 1,a,b"
    )
    code, text = ends(error, capsys)
    assert code == 2
    assert "as many fields in each row" in text
    assert "file:///x/a.csv" in text


def test_spark_that_is_gone_is_told(capsys) -> None:
    from py4j.protocol import Py4JError, Py4JNetworkError

    for error in (
        Py4JNetworkError("Error while sending or receiving"),
        Py4JError("An error occurred while calling o1.collect"),
        Exception("org.apache.spark.SparkException: Job 3 cancelled because SparkContext was shut down"),
        Exception("org.apache.spark.SparkException: [INTERNAL_ERROR] No active or default Spark session found SQLSTATE: XX000"),
    ):
        code, text = ends(error, capsys)
        assert code == 1
        assert "found it stopped" in text


def test_a_fault_of_a_source_is_told_whatever_its_rows_and_folders_say(capsys) -> None:
    code, error = ends(RuntimeError("[MALFORMED_CSV_RECORD] Malformed CSV record: 1,Poster: Permission denied,x"), capsys)
    assert (code, "Expected CSV with as many fields" in error) == (2, True)
    checksum = "x.ChecksumException: Checksum error: file:/in/part-0.csv at 0 exp: 1 got: 2"
    code, error = ends(RuntimeError(checksum), capsys)
    assert (code, "found one that is damaged, or whose disk is in file:/in/part-0.csv" in error) == (2, True)
    code, error = ends(RuntimeError(checksum.replace("/in/", "/in/_delta_log/")), capsys)
    assert (code, "log of each Delta table whole" in error) == (1, True)
    elsewhere = RuntimeError(
        "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:/backup/lake/a.parquet. "
    )
    assert table_fault(elsewhere, "/lake") is None


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "An error occurred while calling o1.load.\n: java.lang.IllegalStateException: [DELTA_VERSIONS_NOT_CONTIGUOUS] Versions (0, 2) are "
            "not contiguous.\n\tat x",
            "log of each Delta table whole, found one with a commit missing or damaged; restore its folder from a copy (Delta says: Versions (0, 2) are not contiguous).",
        ),
        (
            "x: [DELTA_CANNOT_MODIFY_APPEND_ONLY] This table is so. If you would, use 'ALTER TABLE null'.",
            "unset its property delta.appendOnly (Delta says: This table is so. If you would); the table",
        ),
    ],
)
def test_what_delta_refuses(capsys, said: str, sentence: str) -> None:
    code, error = ends(RuntimeError(said), capsys)
    assert code == 1
    assert sentence in error


def test_ctrl_c(capsys) -> None:
    assert ends(KeyboardInterrupt(), capsys)[0] == 130


def test_a_fault_of_the_target_is_told_from_one_of_a_source_beside_it() -> None:
    error = RuntimeError(
        "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:///data/lake_in/a.parquet. "
    )
    assert table_fault(error, "/data/lake") is None
    assert "Expected the files of the table /data/lake_in/, and" in str(table_fault(error, "/data/lake_in/"))
    for target in (
        "file:/data/lake_in",
        "file:///data/x/../lake_in",
        "hdfs://name:8020/data/lake_in",
        "/data/../data/lake_in",
    ):
        assert table_fault(error, target), target
    beside = RuntimeError(
        "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file hdfs://name:8020/data/a%20lake_runs/a.parquet. "
    )
    assert table_fault(beside, "hdfs://name:8020/data/a lake")
    assert table_fault(beside, "hdfs://name:8020/data/lake") is None
