"""Categorize the catalogue each night: a DAG for Airflow 3 (docs/deploy.md#airflow).

Link this file into Airflow's folder of DAGs, or set CATALOG_CATEGORIZER to the clone whose ./spark-submit.sh is to run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

CLONE = Path(os.environ.get("CATALOG_CATEGORIZER") or Path(__file__).resolve().parents[2])
sys.path.append(str(CLONE / "deploy"))

from scheduled_job import Job, night_options, report_options  # noqa: E402


class SparkSubmit(BaseOperator):
    """A job of the project. Its exit code decides: what a person has to look at fails at once, everything else is retried.

    Args:
        options: returns the job's options for the parameters of a DAG run.
    """

    def __init__(self, *, job: str, options: Callable[[Mapping[str, Any]], list[str]], **rest: Any) -> None:
        super().__init__(**rest)
        self.job, self.options = job, options
        self._running: Job | None = None

    def execute(self, context: Any) -> dict[str, Any] | None:
        """The run's row in the ledger, or what the job reported instead (`nothing to do`). It becomes the task's XCom."""
        params = context["params"]
        self._running = Job(self.job, self.options(params), params["spark_options"], CLONE)
        ended = self._running.run(self.log.info)
        if ended.exit_code == 0:
            told = ended.run or ended.events.get("nothing to do")
            return dict(told) if told else None
        if ended.held_run:
            # For whoever is alerted, and --publish-anyway.
            context["ti"].xcom_push(key="held_run", value=ended.held_run)
        raise (AirflowException if ended.may_be_retried else AirflowFailException)(ended.sentence(params["target"]))

    def on_kill(self) -> None:
        """Airflow ends the task, so the driver and Spark must end too."""
        if self._running:
            self._running.terminate()


def night(params: Mapping[str, Any]) -> list[str]:
    return night_options(params["source"], params["target"], params["model"], params["options"])


def page(params: Mapping[str, Any]) -> list[str]:
    return report_options(params["target"], params["reports"])


with DAG(
    dag_id="catalog_categorizer",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    # A run scores what is in the source now, so missed runs need not be caught up on.
    catchup=False,
    # Two at once are safe, but one of them is wasted.
    max_active_runs=1,
    # These defaults run the samples; relative paths are relative to the clone.
    params={
        "source": Param("samples/catalog.csv", type="string", description="the catalogue: path or table"),
        "target": Param("lake/categorized", type="string", description="the table to keep: path or name"),
        "model": Param("models/ecommerce", type="string", description="the bundle"),
        "options": Param(
            ["--carry", "title,price", "--order-by", "updated_at"],
            type="array",
            items={"type": "string"},
            description="more options of categorize; for a night held back that is right: --publish-anyway RUN",
        ),
        "spark_options": Param(
            [], type="array", items={"type": "string"}, description="options of spark-submit, such as --master yarn"
        ),
        "reports": Param("lake/reports", type="string", description="folder for the pages of the runs"),
    },
    doc_md=__doc__,
) as dag:
    categorize = SparkSubmit(
        task_id="categorize", job="categorize", options=night, retries=2, retry_delay=timedelta(minutes=10)
    )
    # As a teardown it runs whatever the result of the run, and does not turn a failure into a success.
    report = SparkSubmit(task_id="report", job="report", options=page).as_teardown()
    categorize >> report
