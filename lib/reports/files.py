"""Files for people, put in place whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from lib.errors import InputError


def write_whole(path: Path, content: str) -> None:
    """Put a text in place of a file, or where nothing is yet. A device or a pipe, such as /dev/stdout, receives it directly.

    Raises:
        InputError: there is a folder at the path, or none that could hold the file.
    """
    if _flows(path):
        with path.open("a", encoding="utf-8") as stream:
            stream.write(content)
        return
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        fresh.write_text(content, encoding="utf-8")
        os.replace(fresh, path)
    except IsADirectoryError:
        raise _in_the_way(path) from None
    except (FileNotFoundError, NotADirectoryError):
        raise _nowhere(path) from None
    finally:
        if fresh.parent.is_dir():
            fresh.unlink(missing_ok=True)


def check_writable(given: str) -> Path:
    """The path in --output of a file that is to be written at the end of a job, before the job begins.

    Raises:
        InputError: there is a folder at the path, or none that could hold the file; or a hyphen, which no job takes to mean the screen.
    """
    path = Path(given)
    if given == "-":
        raise InputError(
            "Expected a file in --output, found '-'; write /dev/stdout for the screen, or ./- for a file of that name."
        )
    if path.is_dir():
        raise _in_the_way(path)
    if not path.parent.is_dir():
        raise _nowhere(path)
    if not _flows(path) and not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"Expected a folder that this user may write to for --output {path}, found {path.parent}; correct it.")
    return path


def _in_the_way(path: Path) -> InputError:
    return InputError(f"Expected a file or nothing yet at {path}, found a folder; remove it, or give another --output.")


def _nowhere(path: Path) -> InputError:
    return InputError(f"Expected a folder {path.parent} to write {path.name} to, found none; create it, or correct --output.")


def _flows(path: Path) -> bool:
    """A path in /dev may lead to a file, which stays in its place."""
    return path.is_relative_to("/dev") or (path.exists() and not path.is_file() and not path.is_dir())
