"""Settings of a job: one frozen dataclass defines the command line, the TOML file and what is printed and recorded.

Every field made by `option` is `--its-name` on the command line and `its_name` in the file; the command line wins.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

from lib.errors import InputError
from lib.redaction import redacted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

S = TypeVar("S", bound="JobSettings")
Names = tuple[str, ...]
UTF_8 = "utf-8"
# Formats that sources are read in.
FORMATS = ("delta", "parquet", "csv", "json")
# The help of options that several jobs take.
BUNDLE = "bundle: the folder of a model, whose `current` names the version, or of one version"
TARGET = "the table of categorized products: path or name"
ENGINE = "engine that runs the model; auto: native where possible"
ID_COLUMN = "column with the product's id"
SOURCE_FORMAT = "the source's format, if its file names do not show it"
LABELS_FORMAT = "the labels' format, if file names do not show it"
HEADERLESS = "names of the columns of CSV without a header"
DELIMITER = "separator of the fields of CSV; of .tsv a tab"
ENCODING = "encoding of CSV or JSON"


@dataclass(frozen=True)
class Range:
    """Numbers that an option accepts. text: follows "Expected --its-name"."""

    text: str
    holds: Callable[[float], bool]


def at_least(least: int) -> Range:
    return Range(f"of at least {least}", lambda value: value >= least)


ABOVE_0 = Range("above 0 and finite", lambda value: 0 < value < math.inf)
FROM_0_TO_1 = Range("from 0 to 1", lambda value: 0 <= value <= 1)
FROM_0_TO_BELOW_1 = Range("from 0 to below 1", lambda value: 0 <= value < 1)
BETWEEN_0_AND_1 = Range("between 0 and 1", lambda value: 0 < value < 1)


def option(help: str, *, default: Any = MISSING, choices: Sequence[str] | None = None, within: Range | None = None) -> Any:
    """A field of a settings dataclass; it is required if it has no default."""
    return field(default=default, metadata={"help": help, "choices": choices, "within": within}, kw_only=True)


# A file system or a bucket alone, with its scheme or without.
_ROOT = re.compile(r"(?=.*/)(?:[a-z][a-z0-9+.-]*:)?(?://[^/]*)?/*", re.IGNORECASE)


def check_below_root(flag: str, place: str) -> None:
    """Refuse the root of a file system or bucket before any access to it: the tables next to the target would be outside of it.

    Raises:
        InputError: it is one.
    """
    if _ROOT.fullmatch(place.strip()):
        raise InputError(
            f"Expected a folder below the root of a file system or bucket in {flag}, found {redacted(place)}; choose another."
        )


@dataclass(frozen=True)
class JobSettings:
    """What every job takes besides its own settings."""

    debug: bool = option("show stack traces and Spark's own log", default=False)

    def __post_init__(self) -> None:
        """Check the ranges that options declare; a job that has more to check calls this first.

        Raises:
            InputError: a number outside its range, or a target that cannot be one.
        """
        if target := getattr(self, "target", None):
            check_below_root("--target", target)
        for f in fields(self):
            value, within = getattr(self, f.name), f.metadata["within"]
            if within and value is not None and not within.holds(value):
                raise InputError(f"Expected {_flag(f.name)} {within.text}, found {value}; correct it.")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"Wrong use of {self.prog}: {message}; see {self.prog} --help.")


def parse_settings(kind: type[S], job: str, description: str, arguments: Sequence[str]) -> S:
    """Settings from the command line and, below it, the file of --config.

    Raises:
        InputError: an unknown, missing or ill-typed setting.
    """
    given = vars(_parser(kind, job, description).parse_args(list(arguments)))
    config = given.pop("config", None)
    values = {**(_read_config(config, kind) if config else {}), **given}
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.name not in values]
    if missing:
        options = ", ".join(_flag(name) for name in missing)
        raise InputError(f"Expected {options} for the job {job}, found none; see ./spark-submit.sh {job} --help.")
    return kind(**values)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parser(kind: type[JobSettings], job: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"./spark-submit.sh {job}",
        usage="%(prog)s [OPTIONS]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE.toml", help="settings under the same names; the command line wins")
    hints = get_type_hints(kind)
    for f in fields(kind):
        _add_option(parser, f, hints[f.name])
    return parser


def _add_option(parser: argparse.ArgumentParser, f: Field[Any], hint: Any) -> None:
    note = f" (default: {_shown(f.default)})" if has_shown_default(f) else ""
    if f.default is MISSING:
        note = " (required)"
    help_text = (f.metadata["help"] + note).replace("%", "%%")
    if hint is bool:
        parser.add_argument(_flag(f.name), action=argparse.BooleanOptionalAction, help=help_text)
    else:
        parser.add_argument(_flag(f.name), type=_converter(hint), choices=f.metadata["choices"], help=help_text)


def has_shown_default(f: Field[Any]) -> bool:
    """Whether an option has a default that says something; a switch that is off, or an empty text, does not."""
    return f.default is not MISSING and f.default is not None and f.default is not False and f.default not in ((), "")


def _converter(hint: Any) -> Any:
    text = str(hint)
    if "tuple" in text:
        return _names
    for kind in (int, float):
        if hint is kind or kind.__name__ in text:
            return kind if kind is int else number
    return str


def number(text: str) -> float:
    """A number, but not NaN: every comparison with NaN is false, so it would switch off what it limits."""
    value = float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


def _names(text: str) -> Names:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _read_config(path: str, kind: type[JobSettings]) -> dict[str, Any]:
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"Expected a readable settings file at {path}, found none ({error.strerror}); correct --config."
        ) from None
    except ValueError as error:
        raise InputError(f"Expected TOML in {path}, found a mistake in it ({error}); correct the file.") from None
    hints = get_type_hints(kind)
    values = {name.replace("-", "_"): value for name, value in content.items()}
    unknown = sorted(set(values) - {f.name for f in fields(kind)})
    if unknown:
        known = ", ".join(f.name for f in fields(kind))
        raise InputError(f"Expected settings of {known} in {path}, found {', '.join(unknown)}; correct the file.")
    choices = {f.name: f.metadata["choices"] for f in fields(kind)}
    return {name: _checked(name, value, hints[name], choices[name], path) for name, value in values.items()}


def _checked(name: str, value: Any, hint: Any, choices: Sequence[str] | None, path: str) -> Any:
    convert = bool if hint is bool else _converter(hint)
    if convert is _names and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    if convert is _names and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return _names(str(value))
    fits = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
        if convert is number
        else type(value) is convert
    )
    if not fits or (choices and value not in choices):
        expected = (
            f"one of {', '.join(choices)}"
            if choices
            else getattr(convert, "__name__", "names").replace("_names", "a list of names")
        )
        raise InputError(f"Expected {expected} for {name} in {path}, found {value!r}; correct the file.")
    return convert(value)


def _shown(value: Any) -> str:
    return redacted(",".join(value) if isinstance(value, tuple) else str(value))


def as_record(settings: JobSettings) -> Mapping[str, Any]:
    """The settings as plain values, for the run's ledger and the bundle's manifest."""
    return {f.name: _plain(getattr(settings, f.name)) for f in fields(settings)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [redacted(one) for one in value]
    if isinstance(value, str):
        return redacted(value)
    # JSON has no infinity.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def describe(settings: JobSettings) -> str:
    """The settings in force, a line each."""
    width = max(len(f.name) for f in fields(settings))
    return "\n".join(f"  {f.name:{width}}  {_shown(getattr(settings, f.name))}" for f in fields(settings))
