"""Pages for people: what a run did and how near each guardrail came, or how good a model is; and all runs, or all versions.

./spark-submit.sh report --target lake/categorized [--run RUN] --output reports
./spark-submit.sh report --model models/ecommerce --output reports
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.command import run_command
from lib.errors import InputError
from lib.reports.files import write_whole
from lib.settings import BUNDLE, TARGET, JobSettings, option


@dataclass(frozen=True)
class ReportSettings(JobSettings):
    target: str | None = option(
        f"{TARGET}; _rejected, _runs and _held are next to it (default: none)",
        default=None,
    )
    run: str | None = option("the run to report: published, held back or rolled back (default: the newest)", default=None)
    model: str | None = option(f"{BUNDLE}; to be reported instead", default=None)
    output: str = option(
        "local folder to write the pages to: RUN.html and index.html, NAME-VERSION.html and NAME.html", default="reports"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.target is None) == (self.model is None):
            both = "none" if self.target is None else "both"
            raise InputError(f"Expected one of --target, for a run, and --model, for a training, found {both}; give one.")
        if self.model is not None and self.run is not None:
            raise InputError("Expected --run with --target, found it with --model; leave it out.")


def main(settings: ReportSettings) -> int:
    if not settings.output.strip() or re.match(r"[a-z][a-z0-9]+:", settings.output):
        raise InputError(
            f"Expected a local folder in --output, found {settings.output!r}; give one, and copy the pages from there."
        )
    folder = Path(settings.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Expected a folder to write to in --output, found {folder} ({error.strerror}); correct it.") from None
    if settings.model is not None:
        return _of_model(settings.model, folder)
    assert settings.target is not None
    return _of_run(settings.target, settings, folder)


def _of_run(target: str, settings: ReportSettings, folder: Path) -> int:
    # A model's page needs no Spark.
    from lib.reports.night import night_of
    from lib.reports.pages import index_page, night_page
    from lib.session import spark_session
    from lib.tables.locations import locate
    from lib.tables.target import tables_of

    with spark_session("report", settings.debug) as spark:
        night = night_of(spark, tables_of(locate(spark, target)), settings.run)
    page = folder / f"{night.run.run_id}.html"
    write_whole(page, night_page(night))
    write_whole(folder / "index.html", index_page(night.target, night.runs, _pages_in(folder)))
    print(f"{page}: the run {night.run.run_id}, {night.run.status}; {folder / 'index.html'}: all {len(night.runs):,} runs")
    return 0


def _of_model(model: str, folder: Path) -> int:
    from lib.model.bundle import load_bundle, read_evidence, versions_beside
    from lib.reports.training import training_page, versions_page

    bundle = load_bundle(model)
    # They become names of files.
    name, version = (re.sub(r"[^\w.-]", "_", str(bundle.manifest[key])) for key in ("name", "version"))
    page, index = folder / f"{name}-{version}.html", folder / f"{name}.html"
    curves = json.loads(read_evidence(model, "evaluation/learning_curves.json") or "{}")
    manifests, current = versions_beside(model)
    write_whole(page, training_page(bundle, curves))
    write_whole(index, versions_page(name, manifests, current, _pages_in(folder)))
    print(f"{page}: the model {bundle.model_version}; {index}: its {len(manifests):,} version{'s' * (len(manifests) > 1)}")
    return 0


def _pages_in(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("*.html")]


if __name__ == "__main__":
    sys.exit(run_command(ReportSettings, main, "report"))
