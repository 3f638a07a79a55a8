"""Texts without the HTML that they were copied with: its tags separate words, and its entities are the characters that they stand for.

Otherwise the names of tags and of their attributes are words, and of a description of a few sentences hardly any others are read. native/tokens.cpp
does the same for most texts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from html.entities import html5

import pyarrow as pa
import pyarrow.compute as pc

# Only these: what a shop puts in angle brackets itself, such as <NEW>, stays.
TAGS = (
    *(
        "a",
        "abbr",
        "b",
        "big",
        "blockquote",
        "body",
        "br",
        "center",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "em",
        "font",
        "footer",
    ),
    *(
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "header",
        "hr",
        "html",
        "i",
        "iframe",
        "img",
        "input",
        "ins",
        "label",
        "li",
        "link",
        "main",
    ),
    *(
        "meta",
        "nav",
        "o:p",
        "ol",
        "option",
        "p",
        "pre",
        "s",
        "script",
        "section",
        "select",
        "small",
        "source",
        "span",
        "strike",
        "strong",
        "style",
    ),
    *("sub", "sup", "svg", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "u", "ul", "video"),
)


def _in_any_case(names: Sequence[str]) -> str:
    """An RE2 pattern of names. Its own flag for that takes more letters for an s or a k than ASCII has."""
    return "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in name) for name in names)


_INSIDE = r"(?:[ \t\n\f\r/][^<>]*)?>"
# In RE2's syntax.
TAG = rf"</?(?:{_in_any_case(TAGS)}){_INSIDE}|<![^<>]*>"
# What these elements contain is no text, to the end of one that is cut.
_HIDES = f"(?:{_in_any_case(['style', 'script'])})"
HIDDEN = rf"(?s)<{_HIDES}{_INSIDE}.*?(?:</{_HIDES}{_INSIDE}|\z)"
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][0-9A-Za-z]{1,31});")

# For Java too: what is no word in a text that holds one of these signs.
SIGNS = ("<", "&")
NO_WORD = rf"{TAG}|&#?[0-9A-Za-z]+;"


def without_markup(texts: pa.Array) -> pa.Array:
    """The texts without markup, strings [rows].

    Args:
        texts: strings [rows], no null.
    """
    texts = _replaced(texts, "&", lambda some: pa.array([ENTITY.sub(_character, text) for text in some.to_pylist()], some.type))
    return _replaced(texts, "<", _without_tags)


def _replaced(texts: pa.Array, sign: str, replace: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Those of the texts that contain a sign, which are few as a rule, replaced."""
    there = pc.match_substring(texts, sign)
    if not pc.any(there).as_py():
        return texts
    return pc.replace_with_mask(texts, there, replace(texts.filter(there)))


def _without_tags(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(pc.replace_substring_regex(texts, HIDDEN, " "), TAG, " ")


def _character(entity: re.Match[str]) -> str:
    written = entity.group()
    # `html.unescape` would also take the beginning of a word for a name.
    return html.unescape(written) if written[1] == "#" else html5.get(written[1:], written)
