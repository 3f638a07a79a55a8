"""The substitute for an Arrow UDF on a Spark that has none. A separate module, since pandas takes a while to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import StructType


def batches_udf_by_pandas(
    score: Callable[[Iterator[pa.Array]], Iterator[pa.Array]], returns: StructType
) -> Callable[[Column], Column]:
    """As lib.pairs.offered.batches_udf."""

    def through_pandas(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        return map(_to_pandas, score(map(_texts_of, batches)))

    functions: Any = F
    # As text the type declares no column as not nullable, and neither does a pandas column.
    by_pandas = functions.pandas_udf(through_pandas, returns.simpleString())
    # As bytes: a text need not be decoded for pandas and encoded again, and need not be one that Python can decode.
    return lambda texts: by_pandas(texts.cast("binary"))


def _texts_of(values: pd.Series) -> pa.Array:
    """The texts of a column of bytes."""
    return pa.array(values, pa.binary()).view(pa.string())


def _to_pandas(structs: pa.StructArray) -> pd.DataFrame:
    """The columns of structs. Numbers stay in Arrow: in pandas missing ones would become NaN."""
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(structs)]).to_pandas(
        types_mapper=lambda kind: None if pa.types.is_list(kind) else pd.ArrowDtype(kind)
    )
