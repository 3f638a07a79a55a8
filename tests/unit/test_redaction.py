"""No password in what is printed or kept."""

from __future__ import annotations

import pytest

from lib.redaction import redacted


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:s3cret@host:5432/db?sslmode=require",
        "postgres://user:s3cret@host/db",
        "postgresql://user:p/s3cret@host/db",
        "postgresql://user:p@s3cret@host/db",
        "postgresql://user:p:s3cret?x@host/db",
        "POSTGRESQL://:s3cret@host/db",
        "postgresql://user@host/db?password=s3cret",
        "postgresql://user@host/db?sslkey=k&sslpassword=s3cret&x=1",
        "host=there user=me password=s3cret dbname=db",
        "host=there password = 's3cret with blanks' dbname=db",
        "s3a://key:s3cret/with@bucket/path",
        "https://host/path?sig=s3cret",
    ],
)
def test_a_secret_is_hidden(address) -> None:
    assert "s3cret" not in redacted(f"found {address}, which cannot be read")


@pytest.mark.parametrize("address", ["postgresql://user@host:5432/db", "postgresql:///db?host=/run", "lake/c@1"])
def test_what_is_none_stays(address) -> None:
    assert redacted(address) == address
