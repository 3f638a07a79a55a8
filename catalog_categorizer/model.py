"""A bundle that is ready to score in this process."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath

from catalog_categorizer.arguments import speaking_python
from lib.errors import InputError
from lib.model.bundle import Bundle
from lib.model.bundle import load_bundle as verified_bundle
from lib.model.engines import AUTO, ENGINE_CHOICES, Engine, checked_engine, usable_cores


@dataclass(frozen=True, repr=False)
class Model:
    """A verified bundle with its engine. `load_bundle` creates one."""

    bundle: Bundle
    engine: Engine

    @property
    def version(self) -> str:
        """NAME/VERSION, as in the column `model_version` of the table."""
        return self.bundle.model_version

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.labels

    @property
    def fields(self) -> tuple[str, ...]:
        """The text columns that the bundle was trained on, where it distinguishes them; empty for a bundle of one text."""
        return self.bundle.tokenizer.settings.fields

    def __repr__(self) -> str:
        shown = ", ".join(self.labels[:8]) + (", …" if len(self.labels) > 8 else "")
        fields = f", fields {', '.join(self.fields)}" if self.fields else ""
        return f"<Model {self.version}: {len(self.labels)} labels ({shown}){fields}, engine {self.engine.name}>"


@speaking_python
def load_bundle(path: str | PathLike[str], engine: str = AUTO, threads: int | None = None) -> Model:
    """Read a bundle from disk, verify it whole, and check that it reproduces the scores it was written with.

    Args:
        path: a version's folder, or a folder of versions with a `current`, such as `models/ecommerce`.
        engine: `native` (compiled) or `onnx` (ONNX Runtime); `auto` uses the first where it is installed.
        threads: how many score at once in this process; all its cores if None. They change no score.
    Raises:
        BundleError: there is no bundle, or an inconsistent one.
        InputError: another argument that does not fit, or an engine that is not installed.
    """
    if not isinstance(path, (str, PathLike)):
        raise InputError(f"Expected the path of a bundle, found {type(path).__name__}; give the folder's name.")
    if engine not in ENGINE_CHOICES:
        raise InputError(f"Expected engine to be one of {', '.join(ENGINE_CHOICES)}, found {engine!r}; correct it.")
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise InputError(f"Expected threads as a whole number above 0, found {threads!r}; correct it.")
    bundle = verified_bundle(fspath(path))
    return Model(bundle, checked_engine(engine, bundle, threads or usable_cores()))
