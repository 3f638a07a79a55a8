"""The tables of one target, through one Spark session, which starts in the background and lives as long as the page."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from pyspark.sql import SparkSession

from lib.errors import CategorizerError, InputError
from lib.session import spark_session
from lib.spark_errors import sentence_of
from lib.tables.locations import locate
from lib.tables.target import Tables, tables_of

T = TypeVar("T")


class Lake:
    """Many sessions of the page ask it; it answers one question after another."""

    def __init__(self, target: str, debug: bool = False) -> None:
        self.target = target
        self._thread = ThreadPoolExecutor(1, "spark")
        self._open = ExitStack()
        self._started = self._thread.submit(self._start, debug)

    def _start(self, debug: bool) -> tuple[SparkSession, Tables]:
        spark = self._open.enter_context(spark_session("app", debug))
        return spark, tables_of(locate(spark, self.target))

    @property
    def is_starting(self) -> bool:
        return not self._started.done()

    def ask(self, question: Callable[[SparkSession, Tables], T]) -> Future[T]:
        """The future answer. If anything fails it raises a CategorizerError of one sentence."""
        return self._thread.submit(self._answered, question)

    def _answered(self, question: Callable[[SparkSession, Tables], T]) -> T:
        try:
            return question(*self._started.result())
        except CategorizerError:
            raise
        except Exception as error:  # Spark's own errors, which a page must not show as they are
            sentence, code = sentence_of(error, self.target)
            raise (InputError if code == InputError.exit_code else CategorizerError)(sentence) from error

    def close(self) -> None:
        """Answer what has been asked, then stop Spark."""
        self._thread.submit(self._open.close)
        self._thread.shutdown(wait=True)
