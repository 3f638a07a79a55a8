"""Writes generated files: docs/jobs.md and scripts/completion.sh from the jobs' options, the index of decisions from their
titles. A test checks that they are up to date.

python scripts/reference.py
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lib.settings import JobSettings, has_shown_default  # noqa: E402

PAGE, COMPLETION = ROOT / "docs" / "jobs.md", ROOT / "scripts" / "completion.sh"
INDEX = ROOT / "docs" / "decisions" / "README.md"
HEAD = """# Jobs

`./spark-submit.sh [SPARK OPTIONS] JOB [JOB OPTIONS]`. Options before the job's name, such as `--master yarn`, go to spark-submit. Every option
of a job can also be set in a file, under the same name with underscores: `--config FILE.toml` (`text_columns = ["title"]`); the command line wins. Names are
separated by commas; `--no-NAME` turns a switch off. Exit codes: [operating](operating.md#exit-codes). `scripts/reference.py` generates this page from the options
themselves.
"""


@dataclass(frozen=True)
class Job:
    name: str
    told: str
    settings: type[JobSettings]


def jobs() -> list[Job]:
    """Every job, by its name."""
    found = []
    for path in sorted((ROOT / "jobs").glob("[!_]*.py")):
        module = importlib.import_module(f"jobs.{path.stem}")
        found.append(Job(path.stem, (module.__doc__ or "").strip(), get_type_hints(module.main)["settings"]))
    return found


def flag(field: Field[Any]) -> str:
    return "--" + field.name.replace("_", "-")


def page(every: list[Job]) -> str:
    return "\n".join([HEAD, *(_section(job) for job in every)]).rstrip() + "\n"


def _section(job: Job) -> str:
    told = "\n\n".join(_paragraph(one) for one in job.told.split("\n\n"))
    hints = get_type_hints(job.settings)
    options = [f for f in fields(job.settings) if f.name != "debug"]
    rows = "\n".join(_row(f, hints[f.name]) for f in sorted(options, key=lambda f: f.default is not MISSING))
    return f"## {job.name}\n\n{told}\n\n| option | takes | default | |\n|---|---|---|---|\n{rows}\n"


def _paragraph(text: str) -> str:
    """A paragraph of a job's description; commands are shown as code."""
    return "\n".join(f"    {line}" for line in text.splitlines()) if text.startswith("./") else " ".join(text.split())


def _row(field: Field[Any], hint: Any) -> str:
    choices = field.metadata["choices"]
    takes = ", ".join(f"`{one}`" for one in choices) if choices else _kind(hint)
    cells = (f"`{flag(field)}`", takes, _default(field), field.metadata["help"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(hint: Any) -> str:
    text = str(hint)
    kinds = {"bool": "a switch", "int": "a whole number", "float": "a number", "tuple": "names"}
    return next((told for kind, told in kinds.items() if kind in text), "a text")


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is MISSING:
        return "required"
    if not has_shown_default(field):
        return ""
    said = ",".join(value) if isinstance(value, tuple) else "yes" if value is True else str(value)
    # The path of the shipped bundle depends on where the clone is.
    return f"`{said.removeprefix(f'{ROOT}/')}`"


def decisions() -> str:
    """The index of docs/decisions, as Markdown."""
    pages = sorted(INDEX.parent.glob("0*.md"))
    titles = [page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(". ") for page in pages]
    rows = "\n".join(f"| {number} | [{title}]({page.name}) |" for page, (number, _, title) in zip(pages, titles, strict=True))
    return f"# Decisions\n\nHalf a page for each decision worth explaining, in the order in which they were made.\n\n| | |\n|---|---|\n{rows}\n"


SHELL = """# Completion of ./spark-submit.sh in bash and zsh: `source scripts/completion.sh`, there or in ~/.bashrc or ~/.zshrc.
# Written by scripts/reference.py from the jobs' options; the shell starts no Python for it.
if [ -n "${ZSH_VERSION:-}" ]; then
    autoload -U +X compinit bashcompinit
    whence compdef >/dev/null || compinit
    bashcompinit
fi

_catalog_categorizer_options() {
    case $1 in
%(options)s
    esac
}

_catalog_categorizer_values() {
    case "$1 $2" in
%(values)s
    esac
}

_catalog_categorizer() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} job="" i=1 words=""
    # The first word that is neither a Spark option nor its value, as spark-submit.sh reads it.
    while [ "$i" -lt "$COMP_CWORD" ] && [ -z "$job" ]; do
        case ${COMP_WORDS[i]} in
            -h | --help | --no-pack | -v | --verbose | --supervise | --load-spark-defaults | --*=*) i=$((i + 1)) ;;
            -*) i=$((i + 2)) ;;
            *) job=${COMP_WORDS[i]} ;;
        esac
    done
    if [ -z "$job" ]; then
        [ "$i" -gt "$COMP_CWORD" ] || words="%(jobs)s --help --no-pack --master --conf"
    else
        words=$(_catalog_categorizer_values "$job" "$before")
        case $current in -*) words=$(_catalog_categorizer_options "$job") ;; esac
    fi
    # No matches of ours: file names (-o default).
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _catalog_categorizer ./spark-submit.sh spark-submit.sh
"""


def completion(every: list[Job]) -> str:
    options, values = [], []
    for job in every:
        hints = get_type_hints(job.settings)
        flags = ["--help", "--config"]
        for field in fields(job.settings):
            flags.append(flag(field))
            if hints[field.name] is bool:
                flags.append(f"--no-{flag(field)[2:]}")
            if field.metadata["choices"]:
                values.append(f'        "{job.name} {flag(field)}") echo "{" ".join(field.metadata["choices"])}" ;;')
        options.append(f'        {job.name}) echo "{" ".join(flags)}" ;;')
    parts = {"options": "\n".join(options), "values": "\n".join(values), "jobs": " ".join(job.name for job in every)}
    return SHELL % parts


if __name__ == "__main__":
    known = jobs()
    INDEX.write_text(decisions(), encoding="utf-8")
    PAGE.write_text(page(known), encoding="utf-8")
    COMPLETION.write_text(completion(known), encoding="utf-8")
