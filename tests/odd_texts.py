"""Texts that reveal whether two ways to read a text are the same."""

from __future__ import annotations

ODD_TEXTS: tuple[str | None, ...] = (
    "stainless steel kettle, 1.7 litres",
    None,
    "",
    " ",
    "\u00a0\u2003\u3000",
    "\t\n steel kettle \r\n",
    "  steel  kettle  ",
    "\u00a0 steel kettle \u00a0",
    "\u200b",
    "?!",
    "a\0b \0",
    "\0",
    "🦄 steel 🫖 kettle 👩‍👩‍👧",
    "😀" * 5000,
    "x" * 5000,
    "kettle " * 3000,
    " " * 5000 + "kettle",
    "café cafe\u0301 ﬁne ™ K",
    "電気ケトル 1.7リットル",
    "чайник из стали",
    "غلاية كهربائية",
    "स्टील केतली",
    "٣ ½ ²",
    "xxfield1 steel",
    "detective novel, paperback",
    "thing for the thing",
)
