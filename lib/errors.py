"""The one error root. A message is one sentence: what was expected, what was found, where, and what to do."""


class CategorizerError(Exception):
    """Anything that ends a job with a message instead of a stack trace."""

    exit_code = 1


class InputError(CategorizerError):
    """Wrong use or wrong input; nothing was written."""

    exit_code = 2


class BundleError(CategorizerError):
    """A bundle that is missing, incomplete, damaged or too new; no row was read."""

    exit_code = 3


class GuardrailError(CategorizerError):
    """A check before publication failed; the table is as it was."""

    exit_code = 4
