"""The one error root. A message is one sentence: what was expected, what was found, where, and what to do."""

PAGE = "docs/first-errors.md"
# In Spark's error where a row of CSV is a header (lib.tables.formats): one of several, or one although columns are named.
HEADER_AMONG_ROWS, HEADER_DESPITE_COLUMNS = "HEADER_AMONG_ROWS", "HEADER_DESPITE_COLUMNS"


class CategorizerError(Exception):
    """Anything that ends a job with a message instead of a stack trace.

    Args:
        see: the anchor of the section of PAGE with more details; a job prints it after the message.
    """

    exit_code = 1

    def __init__(self, message: str = "", see: str | None = None) -> None:
        super().__init__(message)
        self.see = see


def pointer(see: str) -> str:
    """The reference to a section of PAGE that follows a message."""
    return f" See {PAGE}#{see}."


class InputError(CategorizerError):
    """Wrong use or wrong input; no row of the table has changed."""

    exit_code = 2


class BundleError(CategorizerError):
    """A bundle that is missing, incomplete, damaged or too new; no row was read."""

    exit_code = 3


class GuardrailError(CategorizerError):
    """Rows do not add up, or differ too much from earlier runs: found before a commit, which then does not happen, or afterwards by --verify."""

    exit_code = 4
