"""Move and merge a model's labels after the taxonomy has changed: makes a new version of the model, without training.

./spark-submit.sh relabel --model models/shop --changes changes.csv
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lib.command import run_command
from lib.errors import BundleError
from lib.model.bundle import load_bundle, move_current, resolve_bundle
from lib.model.changes import read_changes
from lib.settings import JobSettings, option
from training.publication import Staging, write_bundle
from training.relabelling import relabelled_files, relabelling


@dataclass(frozen=True)
class RelabelSettings(JobSettings):
    model: str = option("bundle: the folder of a version, or of versions with a `current`; the new version is put next to it")
    changes: str = option(
        "CSV file with the header old,new: labels, or the beginnings of paths; an old one in several lines is split"
    )
    promote: bool = option("make `current` name the new version", default=True)


def main(settings: RelabelSettings) -> int:
    bundle = load_bundle(settings.model)
    made = relabelling(bundle.labels, bundle.manifest.get("label_separator"), read_changes(settings.changes), settings.changes)
    manifest, files = relabelled_files(bundle, settings.model, made)
    folder = resolve_bundle(settings.model).parent
    if (folder / manifest["version"]).exists():
        raise BundleError(
            f"Expected a new version in {folder}, found {manifest['version']}, which has these labels already; use it."
        )
    with Staging(str(folder.parent), folder.name) as staging:
        write_bundle(staging.folder, manifest, files)
        made_at = staging.publish(manifest["version"])
    for new, olds in made.merged.items():
        print(f"merged into {new!r}: {', '.join(map(repr, olds))}")
    for label, news in made.split.items():
        print(f"{label!r} becomes several ({', '.join(map(repr, news))}): it stays until a model is trained with them")
    before, now = (
        list(thresholds.get("by_level", [])) for thresholds in (bundle.manifest["thresholds"], manifest["thresholds"])
    )
    if now[: len(before)] != before[: len(now)]:
        print(f"levels are published from {_listed(now)} on (before: {_listed(before)}), since nodes have moved up")
    print(f"{made_at}: {len(made.moved):,} of {len(bundle.labels):,} labels moved, {len(manifest['labels']):,} now")
    if settings.promote:
        version_before = move_current(str(folder), manifest["version"])
        print(
            f"{folder}/current names {manifest['version']} (before: {version_before}); the next run gives every row its label, in one commit"
        )
    return 0


def _listed(thresholds: Sequence[float]) -> str:
    return ", ".join(f"{threshold:.3g}" for threshold in thresholds)


if __name__ == "__main__":
    sys.exit(run_command(RelabelSettings, main, "relabel"))
