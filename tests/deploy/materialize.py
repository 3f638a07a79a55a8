"""One materialization of the asset by Dagster itself, reported as JSON: run by the Python of build/schedulers, not by ours.

python materialize.py DEFINITIONS_FILE RESOURCE     {"success": …, "metadata": …, "checks": …, "failure": …, "tries": …}
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import dagster as dg


def module_in(path: str) -> Any:
    specification = importlib.util.spec_from_file_location("catalog_categorizer_assets", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def main(path: str, resource: str) -> None:
    module = module_in(path)
    with dg.DagsterInstance.ephemeral() as instance:
        catalogue = module.Catalogue(**json.loads(resource))
        result = dg.materialize(
            [module.categorized], resources={"catalogue": catalogue}, instance=instance, raise_on_error=False
        )
    made = [one for event in result.get_asset_materialization_events() for one in [event.materialization]]
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    told = {
        "success": result.success,
        "metadata": {name: value.value for one in made for name, value in one.metadata.items()},
        "checks": {
            one.check_name: [one.passed, {n: v.value for n, v in one.metadata.items()}]
            for one in result.get_asset_check_evaluations()
        },
        "failure": [str(one.user_failure_data.description) for one in failed if one.user_failure_data],
        "tries": sum(event.is_step_start for event in result.all_events)
        + sum(event.is_step_restarted for event in result.all_events),
    }
    print(json.dumps(told, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
