"""Secrets out of what is printed or kept: keys in the address of a store, and signatures behind it."""

from __future__ import annotations

import re

HIDDEN = "***"
# USER:PASSWORD@ in front of a host. A key of S3 may hold slashes; elsewhere a slash ends the host.
_LOGIN = re.compile(r"\b(s3[an]?://)[^/:@\s]+:[^@\s]*@|\b([a-z][a-z0-9+.-]*://)[^/:@\s]*:[^/@\s]*@", re.IGNORECASE)
# In an address of PostgreSQL a password may be typed as it is, with slashes and other signs of an address: all up to the last @ goes.
_POSTGRESQL = re.compile(r"\b(postgres(?:ql)?://)([^:@\s/?]*):\S*@", re.IGNORECASE)
# In libpq's other form.
_KEYWORD = re.compile(r"\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&;\s'\"]+)", re.IGNORECASE)
_SIGNED = re.compile(
    r"([?&;](?:sig|signature|token|password|passwd|secret|accountkey|sharedaccesssignature|x-amz-[a-z-]+)=)[^&;\s'\"]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text with passwords, keys and signatures in its addresses hidden."""
    text = _POSTGRESQL.sub(rf"\1{HIDDEN}@", text)
    text = _LOGIN.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}@", text)
    return _KEYWORD.sub(rf"\1{HIDDEN}", _SIGNED.sub(rf"\1{HIDDEN}", text))
