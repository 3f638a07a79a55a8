"""One run of the DAG by Airflow itself, as JSON: run by the Python of build/schedulers, not by ours, with AIRFLOW_HOME in the environment.

python run_dag.py DAG_FILE PARAMETERS     {"run": state, "tasks": {id: [state, try, XComs by key]}}
"""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import timedelta
from typing import Any

from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.utils.session import create_session


def dag_in(path: str) -> DAG:
    specification = importlib.util.spec_from_file_location("catalog_categorizer_dag", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    found: DAG = module.dag
    return found


def main(path: str, parameters: str) -> None:
    dag = dag_in(path)
    for task in dag.tasks:
        # The tests ask whether there is another try, not when.
        task.retry_delay = timedelta(0)
    run = dag.test(run_conf=json.loads(parameters))
    with create_session() as session:
        tasks: dict[str, Any] = {}
        for task in run.get_task_instances(session=session):
            found = session.query(XComModel).filter_by(run_id=run.run_id, task_id=task.task_id).all()
            tasks[task.task_id] = [
                str(task.state),
                task.try_number,
                {one.key: XComModel.deserialize_value(one) for one in found},
            ]
    print(json.dumps({"run": str(run.state), "tasks": tasks}, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
