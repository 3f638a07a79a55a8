"""One way of pairs.py, in the environment of its pair: python pairs_run.py TEXTS PASSES own|pandas; prints JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from lib.model.bundle import load_bundle
from lib.model.engines import AUTO, checked_engine
from lib.pairs import offered
from lib.scoring.udf import with_scores
from lib.session import spark_session


def main(texts: str, passes: int, way: str) -> None:
    if way == "pandas":
        offered.ARROW_UDF = False
    bundle = load_bundle(str(Path(__file__).resolve().parent.parent / "models" / "ecommerce"))
    engine = checked_engine(AUTO, bundle).name
    seconds = []
    with spark_session("pairs") as spark, tempfile.TemporaryDirectory() as folder:
        rows = spark.read.parquet(texts)
        count = rows.count()
        # The first pass starts the workers and loads the model.
        for turn in range(passes + 1):
            began = time.monotonic()
            with_scores(rows, bundle, engine).write.format("delta").save(f"{folder}/{turn}")
            seconds.append(time.monotonic() - began)
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "delta-spark"))
    print(json.dumps({"rows": count, "seconds": seconds[1:], "versions": versions}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
