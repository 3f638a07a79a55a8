"""TensorFlow's import, without what its C++ side prints before it can be told not to."""

from __future__ import annotations

import os

from lib.model.engines.keras import before_tensorflow


def import_tensorflow() -> None:
    """Import TensorFlow with the standard error of the process, not only Python's, set aside.

    Its processor's features and a note on oneDNN are printed before logging is configured, as warnings, whatever
    TF_CPP_MIN_LOG_LEVEL says. A failing import still raises.

    Raises:
        InputError: TensorFlow does not run on this processor.
    """
    before_tensorflow()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            os.dup2(kept, 2)
            os.close(kept)
