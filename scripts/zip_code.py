"""Write folders of Python code, with the compiled library in them, into a zip, with entries for the folders themselves, which zipimport needs.

python scripts/zip_code.py TARGET.zip FOLDER [FOLDER ...]
"""

import os
import sys
import zipfile
from pathlib import Path


def main(target: str, folders: list[str]) -> None:
    fresh = f"{target}.{os.getpid()}"
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            paths = [Path(folder), *Path(folder).rglob("*")]
            for path in sorted(p for p in paths if "__pycache__" not in p.parts and (p.is_dir() or p.suffix in (".py", ".so"))):
                archive.write(path)
    # A job that starts just now finds either the old zip or the new one.
    os.replace(fresh, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
