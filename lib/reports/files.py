"""Files for people, put in place whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from lib.errors import InputError


def write_whole(path: Path, content: str) -> None:
    """Put a text where a file, or nothing yet, is.

    Raises:
        InputError: a folder is there, or none that could hold it.
    """
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        fresh.write_text(content, encoding="utf-8")
        os.replace(fresh, path)
    except IsADirectoryError:
        raise InputError(
            f"Expected a file or nothing yet at {path}, found a folder; remove it, or give another --output."
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"Expected a folder {path.parent} to write {path.name} to, found none; make it, or correct --output."
        ) from None
    finally:
        if fresh.parent.is_dir():
            fresh.unlink(missing_ok=True)
