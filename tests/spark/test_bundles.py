"""Bundles on Hadoop's file systems; tests/faults/test_cluster.py reads one from a real HDFS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lib.errors import BundleError
from lib.model.bundle import load_bundle
from lib.scoring.bundles import bundle_at, gap_said, is_there, move_current_at, version_at
from lib.tables.remote import is_remote
from tests.conftest import SHIPPED

VERSION = (SHIPPED / "current").read_text().strip()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "models of a shop"))


@pytest.mark.parametrize("below", ["", "/", "/current", f"/{VERSION}"])
def test_an_address_gives_the_bundle_that_the_path_gives(spark, models: Path, below: str) -> None:
    found, expected = bundle_at(f"file://{models}{below}"), load_bundle(str(models))
    assert (found.digest, found.files) == (expected.digest, expected.files)
    assert is_there(f"file://{models}/{VERSION}")
    assert not is_there(f"file://{models}/none")


def test_what_is_wrong_is_told_under_the_address_that_was_given(spark, models: Path) -> None:
    address = f"file://{models}"
    tokenizer = models / VERSION / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    with pytest.raises(BundleError, match=f"Expected SHA-256 .* of {address}/{VERSION}/tokenizer.json, found"):
        bundle_at(address)
    (models / "current").write_text("../elsewhere\n")
    with pytest.raises(BundleError, match=f"Expected {address}/current to name a version next to it, found '../elsewhere'"):
        bundle_at(address)
    with pytest.raises(BundleError, match=f"at {address}/none, found nothing"):
        bundle_at(f"{address}/none")
    with pytest.raises(BundleError, match="Expected a bundle at nowhere://x/y, found one that cannot be read"):
        bundle_at("nowhere://x/y")


@pytest.mark.parametrize("below", ["", "/", "/current", f"/{VERSION}", f"/{VERSION}/"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_folder_of_versions_that_a_bundle_is_in(spark, models: Path, scheme: str, below: str) -> None:
    with version_at(f"{scheme}{models}{below}") as version:
        assert version.versions == f"{scheme}{models}"
        assert (version.folder / "README.md").read_bytes() == (models / VERSION / "README.md").read_bytes()


def test_current_of_a_path_and_of_its_address(spark, models: Path) -> None:
    (models / "current").unlink()
    assert move_current_at(f"file://{models}", VERSION) is None
    assert move_current_at(str(models), VERSION) == VERSION
    assert sorted(path.name for path in models.iterdir()) == [VERSION, "current"]


@pytest.mark.parametrize(
    ("place", "remote", "gap"),
    [
        ("models/shop", False, False),
        ("/models/c:/shop", False, False),
        ("file:///models/shop", False, False),
        ("hdfs:///models/shop", True, False),
        ("s3a://lake/models/shop", True, False),
        ("gs://lake/models/shop", True, False),
        ("abfss://lake@account.dfs.core.windows.net/models/shop", True, True),
    ],
)
def test_where_current_is_moved_in_one_step(place: str, remote: bool, gap: bool) -> None:
    assert is_remote(place) == remote
    assert (f"{place}/current may be missing for a moment" in (gap_said(place) or "")) == gap
