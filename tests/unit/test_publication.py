"""Staging folders of trainings: each has its own, and what a killed one left is removed."""

from __future__ import annotations

import os
from pathlib import Path

from training.publication import OWNER, Staging


def test_two_trainings_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    with Staging(str(tmp_path), "shop") as one, Staging(str(tmp_path), "shop") as other:
        assert one.folder != other.folder
        assert one.folder.is_dir()
        assert other.folder.is_dir()
    assert list((tmp_path / "shop").iterdir()) == []


def test_what_killed_trainings_left_goes(tmp_path: Path) -> None:
    left, older, fresh = (tmp_path / "shop" / f".staging-{name}" for name in ("left", "older", "fresh"))
    for folder in (left, older, fresh):
        folder.mkdir(parents=True)
    (left / OWNER).touch()
    os.utime(older, (0, 0))
    with Staging(str(tmp_path), "shop"):
        # One without a lock may be about to be locked.
        assert (left.exists(), older.exists(), fresh.exists()) == (False, False, True)
