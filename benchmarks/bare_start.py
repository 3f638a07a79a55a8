"""What start.py compares with: the least that a nightly script does with a Delta table. Run by spark-submit.

bare_start.py TABLE OUT
"""

from __future__ import annotations

import sys

from delta.tables import DeltaTable
from pyspark.sql import SparkSession

table, out = sys.argv[1:]
spark = SparkSession.builder.getOrCreate()
rows = spark.read.format("delta").load(table).count()
versions = len(DeltaTable.forPath(spark, table).history().collect())
spark.range(10).write.format("delta").mode("append").save(out)
print(rows, versions)
