"""What deploy/ gives schedulers: every option exists in its job, every file is valid for its tool; with --deploy the tools run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.databricks import categorize_table
from deploy.scheduled_job import HELD, Ended, Job, night_options, report_options
from jobs.categorize import CategorizeSettings
from jobs.report import ReportSettings
from lib.settings import parse_settings
from tests.conftest import ROOT, SAMPLES, SHIPPED
from tests.faults.nights import FIRST, ledger, processes, write_source
from tests.s3 import PYTHON as MOTO
from tests.s3 import S3
from tests.unit.test_cluster_options import asked
from tests.waiting import until

DEPLOY, HERE = ROOT / "deploy", Path(__file__).parent
TOOLS = ROOT / "build" / "schedulers" / "bin"
# Options of spark-submit, before the job's name.
SPARK_OPTIONS = {"--master", "--num-executors", "--executor-memory", "--conf", "--deploy-mode"}
DAG, ASSETS = DEPLOY / "airflow" / "catalog_categorizer_dag.py", DEPLOY / "dagster" / "catalog_categorizer_assets.py"
BUNDLE, STEPS = DEPLOY / "databricks" / "databricks.yml", DEPLOY / "emr" / "steps.json"


# Tests that need no scheduler.


def flags(kind: type[Any]) -> set[str]:
    return {"--" + field.name.replace("_", "-") for field in fields(kind)}


def test_a_night_and_its_page_are_given_options_that_their_jobs_have() -> None:
    night = night_options("catalog.csv", "lake/categorized", "models/ecommerce", ["--carry", "title,price"])
    settings = parse_settings(CategorizeSettings, "categorize", "", night)
    assert (settings.source, settings.target, settings.model) == ("catalog.csv", "lake/categorized", "models/ecommerce")
    assert (settings.carry, settings.log_format) == (("title", "price"), "json")
    page = parse_settings(ReportSettings, "report", "", report_options("lake/categorized", "reports"))
    assert (page.target, page.output, page.run) == ("lake/categorized", "reports", None)


@pytest.mark.parametrize("file", [DAG, ASSETS, DEPLOY / "scheduled_job.py"], ids=lambda file: file.name)
def test_every_option_that_is_named_is_one(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    compile(text, file.name, "exec")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named
    assert named <= flags(CategorizeSettings) | flags(ReportSettings) | SPARK_OPTIONS


@pytest.mark.parametrize(
    ("code", "retried"), [(0, False), (1, True), (2, False), (3, False), (4, False), (137, True), (143, True)]
)
def test_what_is_tried_again(code: int, retried: bool) -> None:
    assert Ended("categorize", code, {}).may_be_retried is retried


def test_a_night_held_back_is_told_from_rows_that_do_not_add_up() -> None:
    run = {"run_id": "2026-11-27T09Z-3a", "status": HELD}
    held = Ended("categorize", 4, {"run": run}, "Expected this, found that; correct the source.")
    assert (held.held_run, held.run) == (run["run_id"], None)
    assert held.sentence("lake").endswith(" See `report --target lake --run 2026-11-27T09Z-3a`.")
    other = Ended("categorize", 4, {}, "Expected each id once, found one twice.")
    assert (other.held_run, other.sentence("lake")) == (None, f"categorize ended with exit code 4: {other.error}")


def test_a_job_that_speaks_to_people_before_it_knows_its_options() -> None:
    """The real command, as far as it works without Spark."""
    said: list[str] = []
    ended = Job("predict", ["--nowhere"]).run(said.append)
    assert (ended.exit_code, ended.run, ended.may_be_retried) == (2, None, False)
    assert ended.error.startswith("Wrong use of ./spark-submit.sh predict: ")
    assert f"error: {ended.error}" in said
    assert ended.sentence("lake") == f"predict ended with exit code 2: {ended.error}"


@pytest.mark.parametrize(
    "given",
    [
        ["--master", "yarn", "--deploy-mode", "cluster"],
        ["--master=yarn", "--deploy-mode=cluster"],
        ["--master", "yarn", "--conf", "spark.submit.deployMode=cluster"],
        ["--master", "yarn"],
    ],
)
def test_a_page_is_written_where_the_scheduler_is(tmp_path: Path, given: list[str]) -> None:
    """As spark-submit.sh finds the mode, also where a site has configured the other one."""
    (tmp_path / "spark-defaults.conf").write_text("spark.submit.deployMode cluster\n")
    modes = {}
    for name in ("categorize", "report"):
        command = Job(name, ["--target", "lake"], given).command
        modes[name] = asked(tmp_path, command[1 : command.index(name)], "setting --deploy-mode spark.submit.deployMode")
    assert modes == {"categorize": "cluster", "report": "client"}
    # On one machine there is nothing to choose.
    assert Job("report", []).command[1:] == ["report"]


def test_the_bundle_for_databricks_needs_a_command_line_that_takes_its_wheel() -> None:
    bundle = yaml.safe_load(BUNDLE.read_text(encoding="utf-8"))
    (task,) = bundle["resources"]["jobs"]["categorize"]["tasks"]
    assert [library["whl"] for library in task["libraries"]] == ["../../dist/*.whl"]
    # databricks/cli#2842: before, a library had to lie in the bundle's folder.
    oldest = re.fullmatch(r">= 0\.(\d+)\.0", bundle["bundle"]["databricks_cli_version"])
    assert oldest
    assert int(oldest[1]) >= 267


def test_the_bundle_for_databricks_gives_its_script_what_it_takes() -> None:
    bundle = yaml.safe_load(BUNDLE.read_text(encoding="utf-8"))
    defaults = {f"${{var.{name}}}": variable["default"] for name, variable in bundle["variables"].items()}
    (task,) = bundle["resources"]["jobs"]["categorize"]["tasks"]
    script = task["spark_python_task"]
    assert (BUNDLE.parent / script["python_file"]).is_file()
    given = categorize_table._given([defaults.get(word, word) for word in script["parameters"]])
    assert (given.source, given.text_columns) == ("main.shop.products", ["title", "description"])
    assert set(re.findall(r"\$\{var\.\w+\}", BUNDLE.read_text(encoding="utf-8"))) == set(defaults)


class Watched:
    """Spark's JVM (py4j), which records calls from our modules."""

    def __init__(self, jvm: object, seen: list[str]) -> None:
        self._jvm, self._seen = jvm, seen

    def __getattr__(self, name: str) -> object:
        file = sys._getframe(1).f_code.co_filename
        if any(file.startswith(str(ROOT / folder)) for folder in ("lib", "catalog_categorizer", "schemas", "deploy")):
            self._seen.append(f"{file}: {name}")
        return getattr(self._jvm, name)


def test_a_table_is_scored_into_another_without_a_word_to_the_jvm(spark, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As Databricks Runtime requires, where Delta's classes differ."""
    from pyspark import SparkContext

    seen: list[str] = []
    watched = Watched(SparkContext._jvm, seen)
    for holder in (SparkContext, spark):
        monkeypatch.setattr(holder, "_jvm", watched)
    # The watch works.
    eval(compile("spark._jvm.java", str(ROOT / "lib" / "asking.py"), "eval"), {"spark": spark})
    assert len(seen) == 1
    seen.clear()
    rows = spark.read.csv(str(SAMPLES / "catalog.csv"), header=True, multiLine=True, escape='"')
    rows.createOrReplaceTempView("products_of_the_shop")
    night = ["--source", "products_of_the_shop", "--target", "products_scored", "--model", str(SHIPPED)]
    categorize_table.main(night)
    categorize_table.main(night)
    monkeypatch.undo()
    found = spark.read.table("products_scored")
    assert f"products_scored: {rows.count():,} rows" in capsys.readouterr().out
    assert found.where("status = 'categorized' and category = 'Books'").count() > 10
    assert {"title", "category", "confidence", "model_version", "scored_at"} <= set(found.columns)
    assert seen == []
    with pytest.raises(categorize_table.cc.InputError, match="Expected two tables"):
        categorize_table.main(["--source", "a.b.c", "--target", "A.b.C", "--model", str(SHIPPED)])
    spark.sql("DROP TABLE products_scored")
    spark.catalog.dropTempView("products_of_the_shop")


def test_every_text_column_is_read_where_one_has_another_name(spark, with_fields: Path) -> None:
    rows = spark.createDataFrame([("?", "cotton shirt for men")], "product_name string, description string")
    rows.createOrReplaceTempView("named_otherwise")
    columns = ["--text-columns", "title=product_name,description"]
    categorize_table.main(
        ["--source", "named_otherwise", "--target", "scored_otherwise", "--model", str(with_fields), *columns]
    )
    assert [row.category for row in spark.read.table("scored_otherwise").collect()] == ["Clothing & Accessories"]
    spark.sql("DROP TABLE scored_otherwise")
    spark.catalog.dropTempView("named_otherwise")


def emr_step() -> tuple[Mapping[str, Any], list[str], list[str]]:
    """The step, the words before the name of its job, and the job's options."""
    (step,) = json.loads(STEPS.read_text(encoding="utf-8"))
    place = step["Args"].index("categorize")
    return step, step["Args"][:place], step["Args"][place + 1 :]


def test_the_step_for_emr_runs_a_job_with_options_that_it_has() -> None:
    step, before, options = emr_step()
    settings = parse_settings(CategorizeSettings, "categorize", "", options)
    assert (settings.target, settings.log_format) == ("s3a://BUCKET/lake/categorized", "json")
    command = next(index for index, word in enumerate(before) if word.endswith("/spark-submit.sh"))
    assert before[0] == "env"
    assert all("=" in word for word in before[1:command])
    assert {word for word in before[command + 1 :] if word.startswith("--")} <= SPARK_OPTIONS
    assert step["ActionOnFailure"] == "CONTINUE"


# Builds the API's step as the AWS CLI does.
VALIDATED = """
import json, sys
from botocore.session import Session
from botocore.validate import ParamValidator
shape = Session().get_service_model("emr").operation_model("AddJobFlowSteps").input_shape
steps = [{"Name": one["Name"], "ActionOnFailure": one["ActionOnFailure"], "HadoopJarStep": {"Jar": one["Jar"], "Args": one["Args"]}}
         for one in json.load(open(sys.argv[1]))]
actions = shape.members["Steps"].member.members["ActionOnFailure"].enum
print(ParamValidator().validate({"JobFlowId": "j-1", "Steps": steps}, shape).generate_report() or
      [one["ActionOnFailure"] for one in steps if one["ActionOnFailure"] not in actions] or "fits")
"""


def test_the_step_is_one_of_emrs_interface() -> None:
    said = subprocess.run([MOTO, "-I", "-c", VALIDATED, STEPS], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "fits"


def test_the_bootstrap_action_is_a_script() -> None:
    script = DEPLOY / "emr" / "bootstrap.sh"
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-c", f"bash -n {script} && {script}"], capture_output=True, text=True)
    assert (done.returncode, "Expected the address of the archive" in done.stderr) == (2, True)


# With --deploy: Airflow, Dagster, the AWS CLI and Databricks' own classes, from build/schedulers.


@pytest.fixture(scope="module")
def tools(pytestconfig: pytest.Config) -> Path:
    if not pytestconfig.getoption("--deploy"):
        pytest.skip("Airflow and Dagster are 500 MB, and their nights take minutes: give --deploy")
    assert TOOLS.is_dir(), f"Expected the schedulers in {TOOLS.parent}, found none; ./run-tests.sh --deploy installs them."
    return TOOLS


def last_json(output: str) -> Any:
    return json.loads(output.strip().splitlines()[-1])


# Without what the tests have set for Spark in this process: a scheduler would not have it.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYSPARK", "SPARK"))}


@pytest.fixture(scope="module")
def airflow(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a new Airflow on SQLite, with a link to the DAG."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    (home / "dags" / DAG.name).symlink_to(DAG)
    environment = {**PLAIN, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    subprocess.run([tools / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


class DagRun:
    """A run of the DAG by Airflow, in a separate process."""

    def __init__(self, environment: Mapping[str, str], **parameters: Any) -> None:
        link = Path(environment["AIRFLOW_HOME"], "dags", DAG.name)
        command = [TOOLS / "python", HERE / "run_dag.py", link, json.dumps(parameters)]
        self.target = str(parameters["target"])
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout or ()), daemon=True)
        self._reader.start()

    def of_night(self) -> list[int]:
        """The process ids of the driver and of the JVM that started it."""
        return processes(lambda command, _: "jobs/categorize.py" in command and self.target in command)

    def wait_for_step(self, step: str) -> None:
        told = f'"step": "{step}"'
        until(
            lambda: any(told in line.replace('\\"', '"') for line in self.lines) or self.process.poll() is not None,
            f"the step {step}",
            600,
        )
        assert self.process.poll() is None, "".join(self.lines)

    def end(self) -> dict[str, Any]:
        self.process.wait(1200)
        self._reader.join(60)
        said = "".join(self.lines)
        assert self.process.returncode == 0, said
        found: dict[str, Any] = last_json(said)
        return {**found, "said": said}


def source_of(folder: Path, name: str, rows: Mapping[str, str | None]) -> str:
    return str(write_source(folder / name, rows))


TITLE = ["--text-columns", "title", "--guard-from-rows", "1"]


def test_airflow_runs_the_samples(airflow: dict[str, str], spark, tmp_path: Path) -> None:
    ended = DagRun(airflow, target=str(tmp_path / "lake"), reports=str(tmp_path / "reports")).end()
    assert ended["run"] == "success", ended["said"]
    state, tried, told = ended["tasks"]["categorize"]
    row = told["return_value"]
    assert (state, tried, row["rows_in"], row["rows_rejected"]) == ("success", 1, 209, 4)
    assert ledger(spark, tmp_path / "lake") == [(row["run_id"], "published")]
    assert spark.read.format("delta").load(str(tmp_path / "lake")).count() == 205
    assert ended["tasks"]["report"][0] == "success"
    assert (tmp_path / "reports" / f"{row['run_id']}.html").is_file()


def test_airflow_does_not_try_wrong_input_again(airflow: dict[str, str], spark, tmp_path: Path) -> None:
    ended = DagRun(
        airflow, target=str(tmp_path / "lake"), reports=str(tmp_path / "reports"), options=["--text-columns", "nowhere"]
    ).end()
    # The report after it has nothing to show, and does not hide the result of the run.
    assert (ended["run"], ended["tasks"]["categorize"][:2]) == ("failed", ["failed", 1]), ended["said"]
    assert "categorize ended with exit code 2: Expected the column nowhere in" in ended["said"]
    assert not (tmp_path / "lake").exists()


def test_airflow_tells_of_a_night_held_back(airflow: dict[str, str], spark, first_lake: Path) -> None:
    folder = first_lake.parent
    parameters = {
        "source": source_of(folder, "half.parquet", {"1": FIRST["1"]}),
        "target": str(first_lake),
        "reports": str(folder / "r"),
    }
    ended = DagRun(airflow, **parameters, options=TITLE).end()
    assert (ended["run"], ended["tasks"]["categorize"][:2]) == ("failed", ["failed", 1]), ended["said"]
    held = ended["tasks"]["categorize"][2]["held_run"]
    assert f"See `report --target {first_lake} --run {held}`" in ended["said"]
    assert f"give --publish-anyway {held}" in ended["said"]
    assert ended["tasks"]["report"][0] == "success"
    assert (folder / "r" / f"{held}.html").is_file()
    assert ledger(spark, first_lake)[1:] == [(held, "held")]


def test_airflow_tries_again_when_spark_was_killed(airflow: dict[str, str], spark, first_lake: Path) -> None:
    folder = first_lake.parent
    rows = {**FIRST, "1": "wooden chair"}
    night = DagRun(
        airflow,
        source=source_of(folder, "next.parquet", rows),
        target=str(first_lake),
        reports=str(folder / "r"),
        options=TITLE,
    )
    night.wait_for_step("starting")
    until(lambda: len(night.of_night()) > 1, "the driver and its JVM")
    for pid in night.of_night():
        os.kill(pid, signal.SIGKILL)
    ended = night.end()
    assert (ended["run"], ended["tasks"]["categorize"][:2]) == ("success", ["success", 2]), ended["said"]
    assert "categorize ended with exit code 137" in ended["said"]
    assert [status for _, status in ledger(spark, first_lake)] == ["published"] * 2


def test_a_task_that_airflow_ends_takes_the_driver_with_it(airflow: dict[str, str], first_lake: Path) -> None:
    night = DagRun(airflow, target=str(first_lake), reports=str(first_lake.parent / "r"))
    night.wait_for_step("starting")
    until(lambda: len(night.of_night()) > 1, "the driver and its JVM")
    night.process.send_signal(signal.SIGTERM)
    until(lambda: not night.of_night(), "the end of the driver and its JVM")
    night.process.kill()
    night.process.wait()


@pytest.fixture
def first_lake(first_night: Path, tmp_path: Path) -> Path:
    """A table with one run in it."""
    from tests.faults.nights import copy_of_first_night

    return copy_of_first_night(first_night, tmp_path)


def materialized(**catalogue: Any) -> dict[str, Any]:
    command = [TOOLS / "python", HERE / "materialize.py", ASSETS, json.dumps(catalogue)]
    done = subprocess.run(command, env=PLAIN, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = last_json(done.stdout)
    return found


def test_dagster_reads_the_definitions(tools: Path, tmp_path: Path) -> None:
    environment = {**PLAIN, "DAGSTER_HOME": str(tmp_path), "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    done = subprocess.run(
        [tools / "dagster", "definitions", "validate", "-f", ASSETS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dagster_materializes_the_samples(tools: Path, spark, tmp_path: Path) -> None:
    told = materialized(target=str(tmp_path / "lake"))
    assert told["success"], told
    figures = told["metadata"]
    assert (figures["rows_in"], figures["rows_categorized"], figures["rows_rejected"]) == (209, 205, 4)
    assert sum(share for name, share in figures.items() if name.startswith("share/")) == pytest.approx(1)
    assert [passed for passed, _ in told["checks"].values()] == [True, True]
    assert ledger(spark, tmp_path / "lake") == [(figures["run_id"], "published")]
    again = materialized(target=str(tmp_path / "lake"))
    assert (again["success"], list(again["metadata"])) == (True, ["nothing to do"]), again


def test_dagster_fails_once_on_wrong_input(tools: Path, tmp_path: Path) -> None:
    told = materialized(target=str(tmp_path / "lake"), options=["--text-columns", "nowhere"])
    assert (told["success"], told["tries"], told["checks"]) == (False, 1, {})
    assert "categorize ended with exit code 2: Expected the column nowhere in" in told["failure"][0]


def test_dagster_fails_a_check_for_a_night_held_back(tools: Path, spark, first_lake: Path) -> None:
    half = source_of(first_lake.parent, "half.parquet", {"1": FIRST["1"]})
    told = materialized(source=half, target=str(first_lake), options=TITLE)
    passed, figures = told["checks"]["guardrails"]
    assert (told["success"], told["tries"], passed) == (False, 1, False), told
    assert f"give --publish-anyway {figures['run_id']}" in figures["held_because"]
    assert told["failure"][0].startswith("A night was held back. Expected ")
    assert ledger(spark, first_lake)[1:] == [(figures["run_id"], "held")]


PARSED = """
import json, sys
from databricks.bundles.jobs import Job
job = Job.from_dict(json.load(sys.stdin))
print(job.tasks[0].spark_python_task.python_file, job.job_clusters[0].new_cluster.data_security_mode.value)
"""


def test_databricks_own_classes_take_the_job(tools: Path) -> None:
    job = yaml.safe_load(BUNDLE.read_text(encoding="utf-8"))["resources"]["jobs"]["categorize"]
    done = subprocess.run([tools / "python", "-I", "-c", PARSED], input=json.dumps(job), capture_output=True, text=True)
    assert done.stdout.split() == ["categorize_table.py", "SINGLE_USER"], done.stderr
    wrong = {**job, "tasks": [{**job["tasks"][0], "python_task": {}}]}
    refused = subprocess.run([tools / "python", "-I", "-c", PARSED], input=json.dumps(wrong), capture_output=True, text=True)
    assert "Unexpected field 'python_task'" in refused.stderr


@pytest.fixture(scope="module")
def amazon(tools: Path) -> Iterator[Sequence[str]]:
    """The AWS CLI's command, for a server with EMR's API."""
    server = S3()
    yield (str(tools / "aws"), "--endpoint-url", server.endpoint, "--region", "us-east-1", "--output", "json", "emr")
    server.stop()


def test_the_aws_cli_adds_the_step(amazon: Sequence[str]) -> None:
    environment = {**PLAIN, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

    def aws(*words: str) -> Any:
        done = subprocess.run([*amazon, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (create,) = re.findall(r"^    aws emr (create-cluster (?:.*\\\n)*.*)$", page, re.MULTILINE)
    cluster = aws(*create.replace("\\\n", " ").split())["ClusterId"]
    aws("add-steps", "--cluster-id", cluster, "--steps", f"file://{STEPS}")
    (added,) = [one for one in aws("list-steps", "--cluster-id", cluster)["Steps"] if one["Name"] == "catalog-categorizer"]
    step, _, _ = emr_step()
    assert added["Config"]["Args"] == step["Args"]
