"""From a command line to an exit code: the frame around every job."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable, Sequence

from lib.errors import CategorizerError, InputError, pointer
from lib.events import JSON, TEXT, json_line
from lib.redaction import redacted
from lib.settings import JobSettings, S, as_record, describe, parse_settings
from lib.spark_errors import sentence_of

# Jobs whose standard output is only the answer, for other programs to read.
ANSWERS_ONLY = ("explain", "predict")


def run_command(kind: type[S], main: Callable[[S], int], job: str, arguments: Sequence[str] | None = None) -> int:
    """Parse, print the settings in force, run `main`, and turn every failure into one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters that a terminal or a file cannot show are escaped: a title must not fail a run that has published.
            stream.reconfigure(errors="backslashreplace")
    settings: S | None = None
    debug = "--debug" in (arguments if arguments is not None else sys.argv)
    if not debug:
        # When the JVM is gone, py4j logs its own stack traces to the root logger.
        logging.getLogger().setLevel(logging.CRITICAL)
    try:
        if job in ANSWERS_ONLY and sys.stdout is None:
            raise InputError("Expected an open standard output for the answer, found it closed; leave it open.")
        description = (sys.modules[main.__module__].__doc__ or "").strip()
        settings = parse_settings(kind, job, description, sys.argv[1:] if arguments is None else arguments)
        if speaks_json(settings):
            print(json_line("settings", job=job, **as_record(settings)), flush=True)
        elif job not in ANSWERS_ONLY and not getattr(settings, "answers_only", False):
            print(f"{job}: settings in force\n{describe(settings)}", flush=True)
        return main(settings)
    except CategorizerError as error:
        more = pointer(error.see) if error.see else ""
        return _failed(f"{error}{more}", error.exit_code, debug, settings)
    except KeyboardInterrupt:
        return _failed("Stopped by the user; what the job has not finished is not in its target.", 130, debug, settings)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:  # the last frame before the user: anything else would be a stack trace
        return _failed(*sentence_of(error, getattr(settings, "target", None)), debug, settings)


def _failed(message: str, code: int, debug: bool, settings: JobSettings | None = None) -> int:
    if debug:
        print(redacted(traceback.format_exc()), file=sys.stderr)
    said = redacted(message)
    print(
        json_line("error", message=said, exit_code=code) if speaks_json(settings) else f"error: {said}",
        file=sys.stderr,
        flush=True,
    )
    return code


def speaks_json(settings: JobSettings | None) -> bool:
    """Whether a job was asked for lines of JSON."""
    return getattr(settings, "log_format", TEXT) == JSON
