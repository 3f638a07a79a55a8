"""The page of a training shows what the manifest holds, for old and new bundles, and requests nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.report import ReportSettings
from jobs.report import main as report_main
from lib.command import run_command
from lib.model.bundle import Bundle
from lib.reports.training import MOST_LABELS, training_page
from tests.conftest import SHIPPED
from tests.pages import Page


def report(*arguments: object) -> int:
    return run_command(ReportSettings, report_main, "report", list(map(str, arguments)))


@pytest.fixture
def shipped_page(tmp_path: Path) -> Page:
    assert report("--model", SHIPPED, "--output", tmp_path) == 0
    version = (SHIPPED / "current").read_text().strip()
    return Page(tmp_path / f"ecommerce-{version}.html")


def page_of(folder: Path, manifest: dict) -> Page:
    bundle = SimpleNamespace(manifest=manifest, model_version=f"{manifest['name']}/{manifest['version']}")
    path = folder / "page.html"
    path.write_text(training_page(bundle, {}), encoding="utf-8")
    return Page(path)


def test_what_it_tells(shipped_page: Page, shipped: Bundle) -> None:
    metrics = shipped.manifest["metrics"]
    beside = shipped_page.tables["On test side, the same texts for all"]
    models = sorted(metrics["comparison"].items(), key=lambda item: -item[1]["f1_weighted"])
    assert [(row[0], row[1]) for row in beside[1:]] == [(name, f"{row['f1_weighted']:.4f}") for name, row in models]
    labels = shipped_page.tables["The weakest first"]
    weakest_first = sorted(metrics["per_class"].items(), key=lambda item: item[1]["f1"])
    assert [(row[0], row[-1]) for row in labels[1:]] == [(label, str(row["support"])) for label, row in weakest_first]
    texts = {row[0]: row[1] for row in shipped_page.tables["Labelled texts"][1:]}
    assert texts["train side"] == f"{shipped.manifest['data']['split']['train']:,}"
    assert len(shipped_page.tables["Accuracy by confidence"]) == len(metrics["calibration"]) + 1
    assert "Loss of the LSTM over" in shipped_page.source


def test_nothing_is_asked_of_a_network(shipped_page: Page) -> None:
    assert re.findall(r"""(?:src|href)=["'](?!ecommerce)[^"']*""", shipped_page.source) == []
    assert len(shipped_page.source) < 2_000_000


def test_all_versions(tmp_path: Path, capsys) -> None:
    models = tmp_path / "models"
    shutil.copytree(SHIPPED, models)
    version = (models / "current").read_text().strip()
    newer = json.loads((models / version / "manifest.json").read_text())
    newer |= {"version": "newer", "created_at": "2999-01-01T00:00:00+00:00"}
    (models / "newer").mkdir()
    (models / "newer" / "manifest.json").write_text(json.dumps(newer))
    # A file that is not a manifest, and one of another model, are skipped.
    for name, content in (("broken", "{"), ("another", json.dumps({**newer, "name": "another"}))):
        (models / name).mkdir()
        (models / name / "manifest.json").write_text(content)
    assert report("--model", models, "--output", tmp_path / "pages") == 0
    assert "its 2 versions" in capsys.readouterr().out
    index = Page(tmp_path / "pages" / "ecommerce.html")
    assert [row[0] for row in index.tables["Newest first"][1:]] == ["newer", f"{version} current"]
    assert index.source.count(f'href="ecommerce-{version}.html"') == 1
    assert 'href="ecommerce-newer.html"' not in index.source


def test_paths_and_odd_labels(tmp_path: Path, shipped: Bundle) -> None:
    manifest = json.loads(json.dumps(shipped.manifest))
    manifest["labels"] = ["<b>A</b> > x", "B"]
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    manifest["metrics"]["per_class"] = dict.fromkeys(manifest["labels"], row)
    manifest["thresholds"]["by_level"] = [0.5, 0.75]
    levels = [
        {
            "level": i,
            "labels": 2,
            "rows": 4,
            "accuracy": 0.9,
            "f1_weighted": 0.8,
            "f1_macro": 0.7,
            "published": 0.6,
            "precision": p,
        }
        for i, p in ((1, 0.99), (2, None))
    ]
    whole = {"hierarchical_precision": 0.91, "hierarchical_recall": 0.92, "hierarchical_f1": 0.93}
    manifest["metrics"]["hierarchy"] = {**whole, "levels": levels}
    found = page_of(tmp_path, manifest)
    caption = "Hierarchical precision 0.9100, recall 0.9200, F1 0.9300"
    assert [(row[0], row[5], row[-1]) for row in found.tables[caption][1:]] == [("1", "0.500", "99.0%"), ("2", "0.750", "")]
    assert [row[0] for row in found.tables["The weakest first"][1:]] == ["<b>A</b> > x", "B"]
    assert "<b>A" not in found.source


def test_thousands_of_labels(tmp_path: Path, shipped: Bundle) -> None:
    labels = [f"label {i}" for i in range(3000)]
    rows = {label: {"precision": 1.0, "recall": 1.0, "f1": i / 3000, "support": i % 2} for i, label in enumerate(labels)}
    metrics = {**shipped.manifest["metrics"], "per_class": rows}
    found = page_of(tmp_path, {**shipped.manifest, "labels": labels, "metrics": metrics})
    assert len(found.tables[f"The {MOST_LABELS} weakest of 1,500"]) == MOST_LABELS + 1
    assert "1,500 more labels have no text" in found.source


def test_a_bundle_that_tells_little(tmp_path: Path) -> None:
    """As those of the first format do."""
    manifest = {"name": "old", "version": "1", "labels": ["a", "b"], "thresholds": {"review_below": 0.5}}
    assert page_of(tmp_path, manifest).source.startswith("<!DOCTYPE html>")


def test_a_name_that_leads_elsewhere(tmp_path: Path, monkeypatch, shipped: Bundle) -> None:
    odd = Bundle({**shipped.manifest, "name": "../../odd"}, shipped.digest, shipped.files)
    monkeypatch.setattr("lib.model.bundle.load_bundle", lambda path: odd)
    assert report("--model", SHIPPED, "--output", tmp_path / "pages") == 0
    version = shipped.manifest["version"]
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == [f".._.._odd-{version}.html", ".._.._odd.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of --target, for a run, and --model, for a training, found none; give one."),
        (["--target", "a", "--model", "b"], "found both; give one."),
        (["--model", "b", "--run", "c"], "Expected --run with --target, found it with --model; leave it out."),
    ],
)
def test_wrong_use(capsys, arguments: list[str], message: str) -> None:
    assert report(*arguments) == 2
    assert message in capsys.readouterr().err


def test_curves_that_were_changed(tmp_path: Path, capsys) -> None:
    models = tmp_path / "models"
    shutil.copytree(SHIPPED, models)
    curves = models / (models / "current").read_text().strip() / "evaluation" / "learning_curves.json"
    curves.write_text("{}")
    assert report("--model", models, "--output", tmp_path / "pages") == 3
    assert "learning_curves.json" in capsys.readouterr().err
    assert list((tmp_path / "pages").iterdir()) == []
