"""Links in all pages lead somewhere, and generated texts match the options."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.reference import COMPLETION, INDEX, PAGE, completion, decisions, jobs, page
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"^(    .*|```.*?^```)$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of the headings, as the forge makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        there = (path.parent / place).resolve() if place else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_lost_as_a_tag(path: Path) -> None:
    """For example the string of a map<string, float>."""
    assert re.findall(r"<[a-z/][^>\n]*>", CODE.sub("", path.read_text(encoding="utf-8"))) == []


def test_what_is_generated_is_up_to_date() -> None:
    known = jobs()
    assert INDEX.read_text(encoding="utf-8") == decisions(), "run scripts/reference.py"
    assert PAGE.read_text(encoding="utf-8") == page(known), "run scripts/reference.py"
    assert COMPLETION.read_text(encoding="utf-8") == completion(known), "run scripts/reference.py"


def completed(*words: str, shell: str = "bash") -> list[str]:
    """The shell's completions for the last of these words."""
    script = f"""source '{COMPLETION}'
COMP_WORDS=(./spark-submit.sh "$@"); COMP_CWORD=$#; COMPREPLY=(); _catalog_categorizer; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run([shell, "-c", script, shell, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("categ",), ["categorize"]),
        (("--master", "yarn", "--conf=a=b", "--no-pack", "mainta"), ["maintain"]),
        (("categorize", "--mis"), ["--missing"]),
        (("--master", "yarn", "categorize", "--missing", ""), ["keep", "mark", "delete"]),
        (("categorize", "--missing", "m"), ["mark"]),
        (("train", "--no-bid"), ["--no-bidirectional"]),
        # File names, which the shell itself offers.
        (("categorize", "--source", ""), []),
        (("--properties-file", ""), []),
        (("train", "--missing"), []),
    ],
)
def test_the_shell_completes(words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(*words) == offered


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_completes_too() -> None:
    """It selects the matches for the started word itself."""
    script = f"""source '{COMPLETION}'; print -r -- $_comps[spark-submit.sh]
offered() {{ emulate -L ksh; COMP_WORDS=(./spark-submit.sh "$@"); COMP_CWORD=$#; _catalog_categorizer; print -r -- "${{COMPREPLY[@]}}" }}
offered categorize --missing ''"""
    done = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        ["_bash_complete -o default -F _catalog_categorizer", "keep mark delete"],
    )


def test_the_shell_offers_every_job_and_every_option() -> None:
    assert {job.name for job in jobs()} <= set(completed(""))
    help_of = subprocess.run(
        ["bash", "-c", f"cd {ROOT} && PYTHONPATH=. .venv/bin/python jobs/views.py --help"], capture_output=True, text=True
    )
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", help_of.stdout.partition("options:")[2])) <= set(completed("views", "--"))
