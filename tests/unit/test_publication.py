"""Staging folders of trainings: each has its own, and what a killed one left is removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.model.bundle import CURRENT, MANIFEST
from tests.conftest import SHIPPED
from training.publication import OWNER, Staging
from training.upload import check_may_write


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


def test_a_version_that_is_there_already_stays(tmp_path: Path) -> None:
    version = (SHIPPED / CURRENT).read_text().strip()
    for made_at in ("2026-11-01", "2026-11-02"):
        with Staging(str(tmp_path), "shop") as staging:
            shutil.copytree(SHIPPED / version, staging.folder, dirs_exist_ok=True)
            (staging.folder / "note").write_text(made_at)
            assert staging.publish(version) == str(tmp_path / "shop" / version)
    assert [path.name for path in (tmp_path / "shop").iterdir()] == [version]
    assert (tmp_path / "shop" / version / MANIFEST).is_file()
    assert (tmp_path / "shop" / version / "note").read_text() == "2026-11-01"


def test_a_place_that_cannot_be_written_is_told_before_the_fits(tmp_path: Path) -> None:
    check_may_write(str(tmp_path / "new" / "models"), "shop")
    assert not (tmp_path / "new").exists()
    (tmp_path / "models").write_text("a file")
    with pytest.raises(
        InputError,
        match=r"Expected a folder to write bundles into at .*/models/shop, found a file at .*/models; correct --models",
    ):
        check_may_write(str(tmp_path / "models"), "shop")
