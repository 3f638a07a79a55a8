"""Secrets out of what is printed or kept: keys in the address of a store, and signatures behind it."""

from __future__ import annotations

import re

HIDDEN = "***"
# USER:PASSWORD@ in front of a host. A key of S3 may hold slashes; elsewhere a slash ends the host. A password may hold an @ as it is.
_LOGIN = re.compile(r"\b(s3[an]?://)[^/:@\s]+:[^@\s]*@(?:[^/@\s]*@)*|\b([a-z][a-z0-9+.-]*://)[^/:@\s]*:[^/\s]*@", re.IGNORECASE)
_POSTGRESQL = re.compile(r"\b(postgres(?:ql)?://)(\S*)", re.IGNORECASE)
# USER@ or USER:PASSWORD@, and behind it none of the signs that a part of a password may be.
_PLAIN = re.compile(r"(?:[^:@/?]*(:[^@/?]*)?@)?[^@]*")
# Of an address; libpq parts them by & alone. What is hidden already may be followed by a quote.
_PARAMETER = re.compile(r"((?:ssl)?password=)(?!\*\*\*(?:[^\w*]|$))[^&]+", re.IGNORECASE)
# In libpq's other form.
_KEYWORD = re.compile(r"\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&;\s'\"]+)", re.IGNORECASE)
_SIGNED = re.compile(
    r"([?&;](?:sig|signature|token|password|passwd|secret|accountkey|sharedaccesssignature|x-amz-[a-z-]+)=)[^&;\s'\"]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text with passwords, keys and signatures in its addresses hidden."""
    text = _POSTGRESQL.sub(lambda found: found[1] + _behind_scheme(found[2]), text)
    text = _LOGIN.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}@", text)
    return _KEYWORD.sub(rf"\1{HIDDEN}", _SIGNED.sub(rf"\1{HIDDEN}", text))


def _behind_scheme(rest: str) -> str:
    """Of an address of PostgreSQL, what may be told. A password may be typed as it is, with slashes and other signs of an address."""
    plain = _PLAIN.fullmatch(rest)
    if plain is None and "password" in rest.lower():
        # An @ of a password behind the host, or of one before it: what stands behind the last one may be part of it.
        return HIDDEN
    if plain is None or plain[1] is not None:
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return _PARAMETER.sub(rf"\1{HIDDEN}", rest)
