from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.evaluate import EvaluateSettings
from jobs.train import TrainSettings
from lib.errors import InputError
from lib.settings import JobSettings, Names, as_record, describe, option, parse_settings
from lib.tables.formats import ReadOptions


@dataclass(frozen=True)
class ExampleSettings(JobSettings):
    source: str = option("where from")
    text_columns: Names = option("text columns", default=("title",))
    mode: str = option("how", default="full", choices=("full", "half"))
    rows: int = option("how many", default=3)
    share: float = option("of 100 %", default=0.5)
    order_by: str | None = option("column", default=None)


def parse(*arguments: str) -> ExampleSettings:
    return parse_settings(ExampleSettings, "example", "An example.", arguments)


@dataclass(frozen=True)
class OverATable(JobSettings):
    target: str | None = option("the table", default=None)


@pytest.mark.parametrize(
    "root", ["/", "//", "file:/", "file:///", "s3a://lake", "s3a://lake/", "hdfs://node:8020/", "S3A://lake//"]
)
def test_a_root_is_no_target(root) -> None:
    with pytest.raises(InputError, match="below the root of a file system or bucket in --target"):
        OverATable(target=root)


def test_what_lies_below_a_root_may_be_one() -> None:
    for place in ("lake", "./lake", "/lake", "s3a://bucket/lake/", "catalog.schema.table", "file:/lake", "../", "."):
        assert OverATable(target=place).target == place
    assert OverATable().target is None


@pytest.fixture
def config(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return str(path)

    return write


def test_defaults_command_line_and_file(config) -> None:
    file = config('source = "file"\ntext-columns = ["a", "b"]\nrows = 7\nshare = 1\n')
    settings = parse("--config", file, "--source", "line", "--debug")
    assert settings == ExampleSettings(source="line", text_columns=("a", "b"), rows=7, share=1.0, debug=True)


def test_a_list_is_parted_by_commas() -> None:
    assert parse("--source", "x", "--text-columns", "title, description").text_columns == ("title", "description")


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        ([], "Expected --source for the job example, found none"),
        (["--source", "x", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["--source", "x", "--rows", "many"], "argument --rows: invalid int value: 'many'"),
        (["--source", "x", "--mode", "third"], "invalid choice: 'third'"),
        (["--sour", "x"], "unrecognized arguments: --sour x"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: list[str], because: str) -> None:
    with pytest.raises(InputError) as raised:
        parse(*arguments)
    assert because in str(raised.value)
    assert "--help" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("colour = 1", "found colour; correct the file"),
        ('source = "x"\nrows = "many"', "Expected int for rows"),
        ('source = "x"\nrows = true', "Expected int for rows"),
        ('source = "x"\nmode = "third"', "Expected one of full, half for mode"),
        ("source = [1]", "Expected str for source"),
        ("source =", "Expected TOML in"),
    ],
)
def test_wrong_files_are_one_sentence(config, text: str, because: str) -> None:
    with pytest.raises(InputError) as raised:
        parse("--config", config(text))
    assert because in str(raised.value)


def test_missing_file() -> None:
    with pytest.raises(InputError, match=r"Expected a readable settings file at nowhere\.toml"):
        parse("--config", "nowhere.toml")


def test_settings_are_shown_and_recorded() -> None:
    settings = parse("--source", "x")
    assert "source        x" in describe(settings)
    assert as_record(settings)["text_columns"] == ["title"]


@pytest.mark.parametrize("text", ["nan", "NaN"])
def test_what_is_no_number_is_refused(config, text: str) -> None:
    with pytest.raises(InputError, match="invalid number value"):
        parse("--source", "x", "--share", text)
    with pytest.raises(InputError, match="Expected number for share"):
        parse("--config", config(f'source = "x"\nshare = {text.lower()}\n'))


def test_keys_are_neither_shown_nor_recorded() -> None:
    signed = "https://host/x?sv=1&sig=SECRET&x-amz-signature=SECRET"
    secrets = ("s3a://KEY:SEC/RET@bucket/a@b", "hdfs://user:SECRET@host:8020/x", signed)
    settings = ExampleSettings(source=" ".join(secrets), text_columns=secrets)
    for told in (describe(settings), str(as_record(settings))):
        assert "SEC" not in told
        assert "s3a://***@" in told
    plain = "hdfs://host:8020/a@b abfss://container@account.dfs.core.windows.net/x s3a://bucket/a:b@c user@shop.com 5:3@2"
    assert as_record(ExampleSettings(source=plain))["source"] == plain


def test_a_job_reads_its_files_as_its_options_say_and_a_run_s_as_its_record_says() -> None:
    given = ("--labels", "x.csv", "--model", "m", "--format", "csv", "--columns", "id,text", "--delimiter", ";")
    settings = parse_settings(EvaluateSettings, "evaluate", "", (*given, "--encoding", "latin-1"))
    expected = ReadOptions("csv", ("id", "text"), ";", "latin-1", ("id",))
    assert ReadOptions.of(settings, ("id",)) == ReadOptions.of(as_record(settings), ("id",)) == expected
    # A record of an older version, and a job without --columns, lack some of them.
    assert ReadOptions.of({"format": "json"}, ("id",), ("id",)) == ReadOptions("json", wanted=("id",), carried=("id",))
    assert ReadOptions.of(OverATable(), ()) == ReadOptions()


@pytest.mark.parametrize(
    ("given", "for_all", "by_label"),
    [
        ("0.7", 0.7, {}),
        ("0.5,Books=0.8", 0.5, {"Books": 0.8}),
        # A list is split at its commas.
        ("0.5,Food, Beverages & Tobacco > Tea=0.8", 0.5, {"Food, Beverages & Tobacco > Tea": 0.8}),
        ("Toys=0.9,Arts, Crafts, 3 D=0.25,0.6", 0.6, {"Toys": 0.9, "Arts, Crafts, 3 D": 0.25}),
        ("a=b, 7, c=0.5", 0.5, {"a=b, 7, c": 0.5}),
    ],
)
def test_thresholds_of_labels_with_commas(given: str, for_all: float, by_label: dict[str, float]) -> None:
    settings = parse_settings(TrainSettings, "train", "", ["--labels", "x", "--review-below", given])
    assert settings.review() == (for_all, by_label)


def test_thresholds_of_labels_with_commas_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text('labels = "x"\nreview_below = ["0.25", "Arts,Crafts=0.8"]\n')
    settings = parse_settings(TrainSettings, "train", "", ["--config", str(tmp_path / "train.toml")])
    assert settings.review() == (0.25, {"Arts,Crafts": 0.8})
