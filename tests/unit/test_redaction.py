"""No password in what is printed or stored."""

from __future__ import annotations

import pytest

from lib.errors import InputError
from lib.redaction import redacted
from lib.warehouse.server import connect


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
        "postgresql://host/db?user=x&password=Se@s3cret&sslmode=bogus",
        "postgresql://user:s3cret@host/db?password=p@s3cret",
        "postgresql://host/db?password=p's3cret&sslmode=bogus",
        "postgresql://host/db?password=p&q@s3cret",
        "https://user:p@s3cret@host/path",
        "s3a://key:p@s3cret@bucket/path",
    ],
)
def test_a_secret_is_hidden(address) -> None:
    said = redacted(f"found {address}, which cannot be read")
    assert "s3cret" not in said
    assert redacted(said) == said


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://user:p@s3cret@host:1/db", "postgresql://***@host:1/db"),
        ("postgresql://host/db?user=me@there", "postgresql://***@there"),
        ("postgresql://host/db?password=s3cret&sslmode=x", "postgresql://host/db?password=***&sslmode=x"),
    ],
)
def test_the_rest_of_an_address_is_told(address, told) -> None:
    assert redacted(repr(redacted(address))) == repr(told)


@pytest.mark.parametrize(
    "login", ["loader:my@s3cret@", "loader:my/s3cret@", "loader:s?s3cret@t@", "s:s3cret?user=x/y@", "lo@s3cret:x@"]
)
def test_an_address_of_which_libpq_would_say_a_part_of_the_password_is_not_given_to_it(login) -> None:
    with pytest.raises(InputError, match="@ as %40") as told:
        connect(f"postgresql://{login}127.0.0.1:1/shop")
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("address", ["postgresql://user@host:5432/db", "postgresql:///db?host=/run", "lake/c@1"])
def test_what_is_none_stays(address) -> None:
    assert redacted(address) == address
