"""Move and merge a model's labels after the taxonomy has changed: makes a new version of the model, without training.

./spark-submit.sh relabel --model models/shop --changes changes.csv
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.command import run_command
from lib.errors import BundleError
from lib.model.bundle import Bundle
from lib.model.changes import Relabelling, read_changes
from lib.scoring.bundles import Version, gap_said, move_current_at, version_at
from lib.settings import BUNDLE, JobSettings, option
from training.publication import write_bundle
from training.relabelling import (
    check_is_new,
    labels_not_learned,
    look_alike_remarks,
    relabelled_files,
    relabelling,
    unused_remarks,
)
from training.upload import staging_in


@dataclass(frozen=True)
class RelabelSettings(JobSettings):
    model: str = option(f"{BUNDLE}; the new version is put next to it")
    changes: str = option(
        "CSV file with the header old,new: labels, or the beginnings of paths; an old one in several lines is split"
    )
    promote: bool = option("make `current` name the new version", default=True)


def main(settings: RelabelSettings) -> int:
    with version_at(settings.model) as version:
        return _relabelled(version, settings)


def _relabelled(version: Version, settings: RelabelSettings) -> int:
    bundle, versions = version.bundle, version.versions
    changes = read_changes(settings.changes)
    check_is_new(bundle, changes)
    made = relabelling(bundle.labels, bundle.manifest.get("label_separator"), changes, labels_not_learned(bundle))
    manifest, files = relabelled_files(bundle, str(version.folder), made)
    models, _, name = versions.rpartition("/")
    with staging_in(models, name) as staging:
        if staging.has(manifest["version"]):
            raise BundleError(
                f"Expected a new version in {versions}, found {manifest['version']}, which has these labels already; use it."
            )
        write_bundle(staging.folder, manifest, files)
        made_at = staging.publish(manifest["version"])
    _tell(bundle, made, manifest)
    print(f"{made_at}: {len(made.moved):,} of {len(bundle.labels):,} labels moved, {len(manifest['labels']):,} now")
    if settings.promote:
        if gap := gap_said(versions):
            print(gap)
        version_before = move_current_at(versions, manifest["version"])
        print(
            f"{versions}/current names {manifest['version']} (before: {version_before}); the next run gives every row its label, in one commit"
        )
    return 0


def _tell(bundle: Bundle, made: Relabelling, manifest: Mapping[str, Any]) -> None:
    """Print what moved nothing, what was merged, what looks alike now, what is still to be split, and thresholds of levels that have changed."""
    for line in [*unused_remarks(made, bundle), *look_alike_remarks(made, bundle.manifest.get("label_separator"))]:
        print(line)
    for new, olds in made.merged.items():
        print(f"merged into {new!r}: {', '.join(map(repr, olds))}")
    for label, news in made.split.items():
        print(f"{label!r} becomes several ({', '.join(map(repr, news))}): it stays until a model is trained with them")
    before, now = (
        list(thresholds.get("by_level", [])) for thresholds in (bundle.manifest["thresholds"], manifest["thresholds"])
    )
    if now[: len(before)] != before[: len(now)]:
        print(f"levels are published from {_listed(now)} on (before: {_listed(before)}), since nodes have moved up")


def _listed(thresholds: Sequence[float]) -> str:
    return ", ".join(f"{threshold:.3g}" for threshold in thresholds)


if __name__ == "__main__":
    sys.exit(run_command(RelabelSettings, main, "relabel"))
