"""Faults of Python workers, chosen by CATALOG_FAULT: a worker that hangs or dies, which no input of ours causes.

hold:FOLDER writes FOLDER/scoring with the process id and waits for FOLDER/scoring.go; hang:FOLDER the same, once, for good;
crash:WORD dies of SIGSEGV at a text that contains the word, as a bug in compiled code would.
"""

import os
import signal
import sys
import time
from pathlib import Path

if os.environ.get("CATALOG_FAULT") and any("pyspark" in word or word == "-m" for word in getattr(sys, "orig_argv", sys.argv)):
    kind, _, value = os.environ["CATALOG_FAULT"].partition(":")
    from lib.scoring.udf import Scorer

    scores_of = Scorer.scores_of

    def faulty(self, texts, kept=None):
        if kind == "crash" and any(value in (text or "") for text in texts.to_pylist()):
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind in ("hold", "hang"):
            marker, go = Path(value, "scoring"), Path(value, "scoring.go")
            try:
                with marker.open("x") as file:
                    file.write(str(os.getpid()))
                first = True
            except FileExistsError:
                first = False
            while (first and kind == "hang") or (kind == "hold" and not go.exists()):
                time.sleep(0.02)
        return scores_of(self, texts, kept)

    Scorer.scores_of = faulty
