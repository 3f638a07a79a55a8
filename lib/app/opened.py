"""What a page was started with. One process serves one page, whose sessions all find it here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from lib.app.corrections import Corrections
from lib.app.lake import Lake
from lib.app.model import Model, opened_model
from lib.app.rows import Browser
from lib.errors import InputError
from lib.model.bundle import MANIFEST, resolve_bundle
from lib.tables.corrections import user_here

THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@dataclass
class Opened:
    """lake, corrections: None where no table was given. person: who uses the page, as far as that is known."""

    model: Model
    bundles: dict[str, Path]
    lake: Lake | None = None
    person: str = ""
    browser: Browser = field(default_factory=Browser)
    corrections: Corrections | None = None
    _models: dict[str, Model] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def model_of(self, name: str) -> Model:
        """A bundle of `bundles`, read when it is asked for the first time.

        Raises:
            BundleError: it is inconsistent.
        """
        with self._lock:
            if name not in self._models:
                self._models[name] = opened_model(str(self.bundles[name]))
            return self._models[name]


def opened(model: str, other: str | None, target: str | None, host: str, debug: bool) -> Opened:
    """Read the bundles, and let Spark start where a table was given.

    Raises:
        BundleError: an inconsistent bundle.
        InputError: a folder of this machine without a table.
    """
    _check_folder(target)
    first = opened_model(model)
    bundles = _other_bundles(model) | ({str(resolve_bundle(other)): resolve_bundle(other)} if other else {})
    lake = Lake(target, debug) if target else None
    # Somebody at another machine is another person.
    person = (user_here() or "") if host in THIS_MACHINE else ""
    return Opened(first, bundles, lake, person, corrections=Corrections(lake, first.bundle.labels) if lake else None)


def _check_folder(target: str | None) -> None:
    """Check at once whether a plain path holds a table; Spark has to look up everything else."""
    if target is None or ":" in target or ("/" not in target and not Path(target).exists()):
        return
    if not (Path(target) / "_delta_log").is_dir():
        raise InputError(f"Expected a table at {target}, found none; correct --target.")


def _other_bundles(model: str) -> dict[str, Path]:
    """The other bundles in the folder of folders of versions, by NAME/VERSION."""
    here = resolve_bundle(model)
    found = {
        f"{path.parent.parent.name}/{path.parent.name}": path.parent for path in here.parent.parent.glob(f"*/*/{MANIFEST}")
    }
    return {name: path for name, path in sorted(found.items()) if path != here}


_OPENED: list[Opened] = []


def put(page: Opened) -> None:
    _OPENED[:] = [page]


def the_page() -> Opened:
    return _OPENED[0]
