"""Fits at the same time, each in its own process with one thread: TensorFlow leaves most of a second core idle."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from lib.errors import CategorizerError
from lib.model.engines import usable_cores
from training.progress import Counted, Step
from training.quiet import import_tensorflow

Say = Callable[[str], None]
Result = TypeVar("Result")

_lines: Any = None


def run_together(tasks: Sequence[Callable[[Say], Result]], say: Say, processes: int | None = None) -> list[Result]:
    """The results of `tasks`, in their order; their messages are passed on as they come.

    Args:
        tasks: functions of a module, or partial applications of them, to be called with a function that takes a line.
        processes: how many may run at once; 1 runs them one after another in this process. None: one for each core.
    Raises:
        CategorizerError: a process was killed. Otherwise whatever a task raises; tasks that have not begun are left out.
    """
    workers = workers_for(len(tasks), processes)
    if workers <= 1:
        return [task(say) for task in tasks]
    # A forked TensorFlow hangs.
    context = multiprocessing.get_context("spawn")
    lines = context.SimpleQueue()
    speaker = Thread(target=_speak, args=(lines, say), daemon=True)
    speaker.start()
    with ProcessPoolExecutor(workers, context, _start, (lines,)) as pool:
        waiting = [pool.submit(_called, task) for task in tasks]
        try:
            results = [one.result() for one in waiting]
        except BaseException as error:
            # An interrupt, or a fit that failed: the others would go on for minutes. The thread is left alone: a process that is
            # ended while it passes on a message keeps the queue locked.
            for process in multiprocessing.active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise CategorizerError(
                    "Expected each fit to end, found the process of one killed, most likely for want of memory; take a machine with more of it, a "
                    "sample of the texts (--max-rows says how many are read), or --no-bag-linear."
                ) from None
            raise
    lines.put(None)
    speaker.join()
    return results


def workers_for(tasks: int, processes: int | None = None) -> int:
    """How many of `tasks` run at once; processes: as in `run_together`."""
    return min(processes or usable_cores(), tasks)


def silent(line: str) -> None:
    """Receives lines that nobody is to see."""


def _speak(lines: Any, say: Say) -> None:
    for line in iter(lines.get, None):
        say(line)


def _start(lines: Any) -> None:
    global _lines
    _lines = lines
    # Ctrl-C reaches all of a terminal's processes; the parent decides what happens to them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    tensorflow_with_one_thread()


def tensorflow_with_one_thread() -> None:
    """To be called first in a process."""
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with_parent() -> None:
    """End this process with its parent: a parent that is killed cannot end its fits."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _called(task: Callable[[Say], Result]) -> Result:
    return task(_lines.put)


def prefixed(say: Say, prefix: str) -> Say:
    """`say` with `prefix` before each line."""
    return partial(_said, say, prefix)


def _said(say: Say, prefix: str, line: str) -> None:
    say(line.behind(prefix) if isinstance(line, (Step, Counted)) else prefix + line)
