"""What spark-submit.sh reads from the options before a job's name (scripts/cluster.sh)."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from lib.spark_errors import store_fault
from tests.conftest import ROOT


def asked(folder: Path, options: list[str], call: str) -> str:
    script = f"source {shlex.quote(str(ROOT / 'scripts' / 'cluster.sh'))}; spark_options=({shlex.join(options)}); {call}"
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, env={"SPARK_CONF_DIR": str(folder), "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("options", "master"),
    [
        ([], "spark://of-the-file:7077"),
        (["--master", "yarn"], "yarn"),
        (["--master=yarn", "--name", "x"], "yarn"),
        (["--conf", "spark.master=local[2]"], "local[2]"),
        (["--conf=spark.master=local[2]"], "local[2]"),
        (["-c", "spark.master=local[2]", "--master", "yarn"], "yarn"),
        (["--properties-file", "/nowhere"], ""),
    ],
)
def test_the_master_is_found_as_spark_submit_finds_it(tmp_path: Path, options: list[str], master: str) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# spark.master yarn\nspark.master.x no\nspark.master   spark://of-the-file:7077  \n"
    )
    assert asked(tmp_path, options, "setting --master spark.master") == master


def test_who_asks_how_a_job_ended_is_who_submitted_it(tmp_path: Path) -> None:
    of_the_user = ["--principal=me@HERE", "--keytab", "me.keytab", "--conf", "spark.hadoop.fs.defaultFS=hdfs://host"]
    of_the_job = ["--archives", "a.zip", "--conf", "spark.executor.memory=2g", "--num-executors", "8"]
    assert asked(tmp_path, [*of_the_job, *of_the_user], 'who_asks; echo "${asking[@]}"') == " ".join(of_the_user)


def test_who_asks_how_a_job_ended_has_the_classes_of_its_file_system(tmp_path: Path) -> None:
    """The folder of a site's applications may be on S3 or Azure."""
    classes = [
        "--jars",
        "one.jar,other.jar",
        "--packages=org.apache.hadoop:hadoop-azure:3.4.2",
        "--repositories",
        "https://here",
    ]
    settings = ["spark.jars=more.jar", "spark.jars.ivySettings=ivy.xml", "spark.driver.extraClassPath=/opt/*"]
    # What keep_one_collector has left of ours, and the options that it was for.
    settings += ["spark.driver.defaultJavaOptions=", "spark.driver.extraJavaOptions=-XX:+UseG1GC"]
    conf = [word for setting in settings for word in ("--conf", setting)]
    call = "who_asks; echo ${#asking[@]} ${asking[@]}"
    given = [
        "--conf=spark.driver.memory=1g",
        "--driver-class-path",
        "/opt/site",
        *classes,
        *conf,
        "--driver-java-options=-Dx=y",
    ]
    wanted = given[1:]
    assert asked(tmp_path, given, call) == f"{len(wanted)} {' '.join(wanted)}"


def test_what_travels_comes_behind_what_the_user_gave(tmp_path: Path) -> None:
    call = 'add_to --archives spark.archives ours#environment; printf "%s " "${spark_options[@]}"'
    assert asked(tmp_path, ["--archives", "models.zip#models"], call) == (
        "--archives models.zip#models --archives models.zip#models,ours#environment"
    )
    assert asked(tmp_path, [], call) == "--archives ours#environment"


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ([], "ours.zip"),
        (["--py-files", "theirs.py"], "theirs.py,ours.zip"),
        (["--py-files=theirs.py"], "theirs.py,ours.zip"),
        (["--conf", "spark.submit.pyFiles=theirs.py,more.zip"], "theirs.py,more.zip,ours.zip"),
    ],
)
def test_our_code_travels_behind_the_users(tmp_path: Path, options: list[str], sent: str) -> None:
    call = 'CODE_ZIP=ours.zip given=${#spark_options[@]}; ship_code; echo "${spark_options[@]:given}"'
    assert asked(tmp_path, options, call) == f"--py-files {sent}"


SPARK_OF_THE_CLUSTER = ["--conf", "spark.yarn.jars=hdfs:///spark"]
# What environment.sh provides, without fetching anything.
WITHOUT_FETCHING = "prepare_s3() { S3_JARS=$SPARK_CONF_DIR; touch $S3_JARS/one.jar $S3_JARS/other.jar; }; LOG_STORE=ours; SPARK_HOME=$SPARK_CONF_DIR; "


@pytest.mark.parametrize(
    ("options", "job", "what"),
    [
        ([], "--source /share/catalog.csv", "nothing"),
        ([], "--source s3a://lake/catalog.csv", "jars and stores"),
        ([], "--target=s3a://lake/categorized", "jars and stores"),
        ([], "--config s3.toml", "jars and stores"),
        ([], "--config=s3.toml", "jars and stores"),
        ([], "--config local.toml", "nothing"),
        (["--jars", "own.jar"], "--source s3a://lake/catalog.csv", "own.jar, jars and stores"),
        (["--conf", "spark.delta.logStore.s3a.impl=theirs"], "--source s3a://lake/catalog.csv", "jars and the other stores"),
        (["--conf", "spark.delta.logStore.class=theirs"], "--source s3a://lake/catalog.csv", "jars"),
        (["--packages", "org.apache.hadoop:hadoop-aws:3.4.2"], "--source s3a://lake/catalog.csv", "nothing"),
        (["--master", "k8s://host"], "--source s3a://lake/catalog.csv", "jars and stores"),
        (["--master", "yarn"], "--source s3a://lake/catalog.csv", "jars and stores"),
        (["--master", "yarn", *SPARK_OF_THE_CLUSTER], "--source s3a://lake/catalog.csv", "jars and stores"),
        (["--master", "yarn", "--deploy-mode=cluster", *SPARK_OF_THE_CLUSTER], "--source s3a://lake/catalog.csv", "nothing"),
    ],
)
def test_the_client_of_s3_travels_where_it_is_needed(tmp_path: Path, options: list[str], job: str, what: str) -> None:
    (tmp_path / "s3.toml").write_text('source = "s3a://lake/catalog.csv"\n')
    (tmp_path / "local.toml").write_text('source = "catalog.csv"\n')
    call = f'cd "$SPARK_CONF_DIR"; {WITHOUT_FETCHING} given=${{#spark_options[@]}}; ship_s3 {job}; echo "${{spark_options[@]:given}}"'
    jars = f"--jars {tmp_path}/one.jar,{tmp_path}/other.jar"
    own, *other = (f"--conf spark.delta.logStore.{scheme}.impl=ours" for scheme in ("s3a", "s3", "s3n"))
    told = {"nothing": [], "jars": [jars], "jars and stores": [jars, own, *other], "jars and the other stores": [jars, *other]}
    assert asked(tmp_path, options, call) == " ".join(told.get(what, [f"--jars own.jar,{jars.split()[1]}", own, *other]))


def test_the_advice_for_an_address_that_only_a_ledger_has_makes_the_client_travel(tmp_path: Path) -> None:
    fault = store_fault("java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found")
    assert fault
    (option,) = re.findall(r"--conf \S+", fault.advice)
    call = f'{WITHOUT_FETCHING} given=${{#spark_options[@]}}; ship_s3 --target lake; echo "${{spark_options[@]:given}}"'
    assert "--jars" in asked(tmp_path, option.split(), call)


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ([], ""),
        (["--proxy-user", "nightly"], "--conf spark.submit.callSystemExitOnMainExit=true"),
        (["--master=yarn", "--proxy-user=nightly"], "--conf spark.submit.callSystemExitOnMainExit=true"),
        (["--proxy-user=nightly", "--conf", "spark.submit.callSystemExitOnMainExit=false"], ""),
        (["--proxy-user=nightly", "--master=yarn", "--deploy-mode", "cluster"], ""),
    ],
)
def test_another_user_gets_the_jobs_exit_code(tmp_path: Path, options: list[str], added: str) -> None:
    assert asked(tmp_path, options, 'given=${#spark_options[@]}; keep_exit_code; echo "${spark_options[@]:given}"') == added


# What spark-submit.sh and environment.sh bring; packing takes half a minute.
ON_YARN = """fail() { echo "$1"; exit "$2"; }; packed() { echo packed.tar.gz; }; lock() { :; }
ROOT=$SPARK_CONF_DIR RUN_LOCK=run VENV=ours PYTHON=packed no_pack= python_chosen= driver_python_chosen= PYSPARK_PYTHON=ours PYSPARK_DRIVER_PYTHON=ours
"""
SHIPPED = "./environment/bin/python {} --archives packed.tar.gz#environment"


@pytest.mark.parametrize("job", sorted({path.stem for path in (ROOT / "jobs").glob("[!_]*.py")} - {"predict", "register"}))
def test_python_travels_with_each_job_that_may_run_it_on_executors(tmp_path: Path, job: str) -> None:
    def told(*options: str) -> str:
        call = f'{ON_YARN} job={job} given=${{#spark_options[@]}}; ship_environment; echo $PYSPARK_PYTHON $PYSPARK_DRIVER_PYTHON "${{spark_options[@]:given}}"'
        return asked(tmp_path, ["--master", "yarn", *options], call)

    on_the_driver_alone = job in ("maintain", "relabel", "report", "rollback", "views")
    assert told() == ("ours ours" if on_the_driver_alone else SHIPPED.format("ours"))
    if job in ("maintain", "publish"):
        assert told("--deploy-mode", "cluster").startswith(SHIPPED.format("./environment/bin/python").split(" --")[0])


@pytest.mark.parametrize(
    ("options", "python"),
    [
        ([], "./environment/bin/python"),
        (["--conf", "spark.yarn.appMasterEnv.PYSPARK_PYTHON=/theirs"], "/theirs"),
        (["--conf=spark.yarn.appMasterEnv.PYSPARK_PYTHON=/theirs"], "/theirs"),
    ],
)
def test_the_python_that_travels_is_the_drivers_whatever_the_site_sets_for_drivers(
    tmp_path: Path, options: list[str], python: str
) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON /opt/python\nspark.yarn.appMasterEnv.PYSPARK_DRIVER_PYTHON /opt/python\n"
    )
    asks = 'for name in PYTHON DRIVER_PYTHON; do setting "" "spark.yarn.appMasterEnv.PYSPARK_$name"; done'
    call = f"{ON_YARN} job=categorize; ship_environment; {asks}"
    in_cluster_mode = ["--master", "yarn", "--deploy-mode", "cluster", *options]
    assert asked(tmp_path, in_cluster_mode, call).split() == [python, "./environment/bin/python"]
    # In client mode the driver is here.
    assert asked(tmp_path, ["--master", "yarn"], call).split() == ["/opt/python", "/opt/python"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--archives", "theirs.zip"], "theirs.zip,packed.tar.gz#environment"),
        (["--conf", "spark.archives=theirs.zip"], "theirs.zip,packed.tar.gz#environment"),
        # Spark puts these before those of --archives.
        (["--conf", "spark.yarn.dist.archives=theirs.zip"], "packed.tar.gz#environment"),
    ],
)
def test_an_archive_of_the_user_reaches_yarn_once(tmp_path: Path, options: list[str], sent: str) -> None:
    call = f'{ON_YARN} job=categorize given=${{#spark_options[@]}}; ship_environment; echo "${{spark_options[@]:given}}"'
    assert asked(tmp_path, ["--master", "yarn", *options], call) == f"--archives {sent}"


@pytest.mark.parametrize(
    ("job", "refused"),
    [
        ("train --labels labels.csv", True),
        ("report --target lake", True),
        ("review --target lake --source catalog.csv", True),
        ("evaluate --model m --labels l", False),
        ("evaluate --model m --labels l --output metrics.json", True),
        ("evaluate --model m --labels l --output=metrics.json", True),
        ("evaluate --config evaluate.toml", True),
        ("evaluate --config=evaluate.toml", True),
        ("views --target lake", False),
        ("views --target lake --dialect duckdb --output views.sql", True),
        ("categorize --source catalog.csv", False),
    ],
)
def test_what_a_container_would_take_with_it_is_refused(tmp_path: Path, job: str, refused: bool) -> None:
    (tmp_path / "evaluate.toml").write_text('model = "m"\noutput = "metrics.json"\n')
    name, _, given = job.partition(" ")
    call = f'cd "$SPARK_CONF_DIR"; ({ON_YARN} job={name}; ship_environment {given}) || echo exit $?'
    said = asked(tmp_path, ["--master", "yarn", "--deploy-mode", "cluster"], call)
    assert said.startswith(f"Expected the job {name}") is refused
    assert said.endswith("exit 2") is refused
    # Elsewhere the file is where the command was typed.
    assert asked(tmp_path, ["--master", "yarn"], call) == ""


@pytest.mark.parametrize(
    ("options", "chosen", "pythons"),
    [
        ([], "python_chosen=theirs", "theirs ours"),
        ([], "python_chosen=theirs driver_python_chosen=jupyter", "theirs ours"),
        (["--deploy-mode", "cluster"], "python_chosen=theirs", "theirs theirs"),
        (["--deploy-mode", "cluster"], "python_chosen=theirs driver_python_chosen=another", "theirs another"),
        (["--deploy-mode", "cluster"], "no_pack=yes", "ours ours"),
    ],
)
def test_in_cluster_mode_the_driver_runs_the_python_of_the_nodes(
    tmp_path: Path, options: list[str], chosen: str, pythons: str
) -> None:
    call = f"{ON_YARN} job=categorize {chosen}; ship_environment; echo $PYSPARK_PYTHON $PYSPARK_DRIVER_PYTHON"
    assert asked(tmp_path, ["--master", "yarn", *options], call) == pythons


ON_KUBERNETES = """fail() { echo "$1"; exit "$2"; }; job=categorize no_pack=$NO_PACK python_chosen= driver_python_chosen= PYSPARK_PYTHON=ours PYSPARK_DRIVER_PYTHON=ours
given=${#spark_options[@]}; ship_environment; echo $PYSPARK_PYTHON $PYSPARK_DRIVER_PYTHON "${spark_options[@]:given}" """
IMAGE = ["--conf", "spark.kubernetes.container.image=registry.example.com/ours:1"]
OF_THE_IMAGE = "/opt/catalog-categorizer/.venv/bin/python"


@pytest.mark.parametrize(
    ("options", "no_pack", "pythons"),
    [
        (IMAGE, "", f"{OF_THE_IMAGE} ours"),
        (["--conf=spark.kubernetes.executor.container.image=theirs:1"], "", f"{OF_THE_IMAGE} ours"),
        (IMAGE, "yes", "ours ours"),
        ([*IMAGE, "--conf", "spark.pyspark.python=/theirs"], "", "ours ours --conf spark.pyspark.driver.python=ours"),
    ],
)
def test_on_kubernetes_executors_run_the_python_of_the_image(
    tmp_path: Path, options: list[str], no_pack: str, pythons: str
) -> None:
    call = ON_KUBERNETES.replace("$NO_PACK", no_pack)
    assert asked(tmp_path, ["--master", "k8s://https://host:6443", *options], call) == pythons


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "Expected the executors' image in --conf spark.kubernetes.container.image=…, found none;"),
        ([*IMAGE, "--deploy-mode", "cluster"], "Expected --deploy-mode client on Kubernetes, found cluster;"),
        ([*IMAGE, "--conf=spark.submit.deployMode=cluster"], "Expected --deploy-mode client on Kubernetes, found cluster;"),
    ],
)
def test_what_kubernetes_cannot_start_is_refused(tmp_path: Path, options: list[str], told: str) -> None:
    call = f"({ON_KUBERNETES.replace('$NO_PACK', '')}) || echo exit $?"
    said = asked(tmp_path, ["--master", "k8s://https://host:6443", *options], call).splitlines()
    assert said[0].startswith(told)
    assert said[1:] == ["exit 2"]
