"""One version per bundle in MLflow, although a version cannot be created on the condition that there is none: of two jobs that register one bundle at
once, the one with the smaller version number keeps it.

MLflow counts versions up and never gives a number twice. A job looks once it has its own version, so the one with the larger number always sees the
smaller. Where versions need time to become ready, as in Unity Catalog, both may stay; the next `register` then names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from lib.model.bundle import Bundle
from lib.settings import Names

DIGEST, VERSION, COLUMNS = "bundle_digest", "bundle_version", "text_columns"
# As MLflow spells them.
READY, RUNNING, FINISHED, KILLED = "READY", "RUNNING", "FINISHED", "KILLED"


def marks_of(bundle: Bundle, text_columns: Names) -> dict[str, str]:
    """The tags of a run and of a version: the bundle, and the text columns of the frames that it is for."""
    return {VERSION: bundle.model_version, DIGEST: bundle.digest, COLUMNS: ",".join(text_columns)}


def versions_of(client: Any, name: str, marks: Mapping[str, str]) -> list[Any]:
    """The versions of the registered model that are this bundle for these columns and ready, the smallest number first."""
    # MLflow's filters have no escapes, but two kinds of quotes.
    quote = '"' if "'" in name else "'"
    listed = _all(partial(client.search_model_versions, f"name={quote}{name}{quote}"))
    versions = (one if one.tags else _with_tags(client, one) for one in listed)
    same = [one for one in versions if one and one.status == READY and _has(one.tags, marks)]
    return sorted(same, key=lambda one: int(one.version))


def _with_tags(client: Any, version: Any) -> Any | None:
    """A version again: Unity Catalog lists them without their tags. None if another job has withdrawn it meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(version.name, str(version.version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def close_runs(client: Any, experiment: str, marks: Mapping[str, str], registered: str | None) -> tuple[str, ...]:
    """End the runs of this bundle that a killed job, or a dead server, has left RUNNING; once the bundle has a version nobody will finish them.

    Args:
        experiment: its name.
        registered: the run of that version, whose log is complete.
    Returns:
        The ids of those that are KILLED now.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return ()
    closed = []
    for run in _all(partial(client.search_runs, [found.experiment_id], f"tags.{DIGEST} = '{marks[DIGEST]}'")):
        if run.info.status != RUNNING or not _has(run.data.tags, marks):
            continue
        status = FINISHED if run.info.run_id == registered else KILLED
        if _ended(client, run.info.run_id, status) and status == KILLED:
            closed.append(run.info.run_id)
    return tuple(closed)


def _ended(client: Any, run_id: str, status: str) -> bool:
    """End a run; False if another job has withdrawn it meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_terminated(run_id, status)
    except MlflowException:
        if client.get_run(run_id).info.lifecycle_stage != "deleted":
            raise
        return False
    return True


def withdraw(client: Any, version: Any, run_id: str, model_id: str) -> bool:
    """Delete the version of a job that was not the first, with its run and its model. False: MLflow does not let this user delete versions."""
    from mlflow.exceptions import MlflowException

    try:
        client.delete_model_version(version.name, str(version.version))
    except MlflowException:
        return False
    client.delete_logged_model(model_id)
    client.delete_run(run_id)
    return True


def _has(tags: Mapping[str, str], marks: Mapping[str, str]) -> bool:
    # Older releases of this job did not record the columns.
    return tags.get(DIGEST) == marks[DIGEST] and tags.get(COLUMNS, marks[COLUMNS]) == marks[COLUMNS]


def _all(search: Callable[..., Any]) -> Iterator[Any]:
    """What a search finds, page by page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return
