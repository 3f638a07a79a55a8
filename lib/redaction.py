"""Removes secrets from everything that is printed or stored: keys in the address of a store, and signatures after it."""

from __future__ import annotations

import re

HIDDEN = "***"
# USER:PASSWORD@ in front of a host. A key of S3 may hold slashes; elsewhere a slash ends the host. A password may hold an @ as it is.
_LOGIN = re.compile(r"\b(s3[an]?://)[^/:@\s]+:[^@\s]*@(?:[^/@\s]*@)*|\b([a-z][a-z0-9+.-]*://)[^/:@\s]*:[^/\s]*@", re.IGNORECASE)
_POSTGRESQL = re.compile(r"\b(postgres(?:ql)?://)(\S*)", re.IGNORECASE)
# USER@ or USER:PASSWORD@, followed by no further @, which might belong to a password.
_PLAIN = re.compile(r"(?:[^:@/?]*(:[^@/?]*)?@)?[^@]*")
# Parameters of an address; libpq separates them by & alone. What is already hidden may be followed by a quote.
_PARAMETER = re.compile(r"((?:ssl)?password=)(?!\*\*\*(?:[^\w*]|$))[^&]+", re.IGNORECASE)
# In libpq's other form.
_KEYWORD = re.compile(r"\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&;\s'\"]+)", re.IGNORECASE)
_SIGNED = re.compile(
    r"([?&;](?:sig|signature|token|password|passwd|secret|accountkey|sharedaccesssignature|x-amz-[a-z-]+)=)[^&;\s'\"]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text with passwords, keys and signatures in its addresses hidden."""
    text = _POSTGRESQL.sub(lambda found: found[1] + _after_scheme(found[2]), text)
    text = _LOGIN.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}@", text)
    return _KEYWORD.sub(rf"\1{HIDDEN}", _SIGNED.sub(rf"\1{HIDDEN}", text))


def _after_scheme(rest: str) -> str:
    """The part of an address of PostgreSQL that may be shown. A password may be unescaped, with slashes and other signs of an address."""
    plain = _PLAIN.fullmatch(rest)
    if plain is None and "password" in rest.lower():
        # An @ of a password after the host, or of one before it: what follows the last @ may be part of the password.
        return HIDDEN
    if plain is None or plain[1] is not None:
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return _PARAMETER.sub(rf"\1{HIDDEN}", rest)
