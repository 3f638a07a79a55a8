"""One way of categorizing texts in Spark, in its own process: read Parquet, score, write Delta.

    python benchmarks/peers.py NAME TEXTS.parquet STEP PASSES     every STEP-th row; prints one line of JSON

Called by throughput.py. Every peer returns product_id, category and confidence; it is warmed up by a pass that is not
counted, which loads the model and lets the JVM compile.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)
os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["SPARK_CONF_DIR"] = str(ROOT / "conf")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from pyspark.sql import DataFrame, SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402
from pyspark.sql.functions import pandas_udf  # noqa: E402

from benchmarks.data import data_folder, labelled_texts  # noqa: E402
from lib.model.bundle import KERAS_MODEL, load_bundle  # noqa: E402
from lib.scoring.udf import Clock, with_scores  # noqa: E402

BUNDLE = load_bundle(str(ROOT / "models" / "ecommerce"))
ANSWER = "label int, confidence float"
# The length to which a textbook pads every text: the one at which training cut them.
WIDTH = BUNDLE.tokenizer.settings.max_tokens

Peer = Callable[[SparkSession, Any], Callable[[DataFrame], DataFrame]]


@cache
def word_ids() -> dict[str, int]:
    return {word: i + 2 for i, word in enumerate(BUNDLE.tokenizer.words)}


@cache
def loaded_fasttext(path: str) -> Any:
    import fasttext

    return fasttext.load_model(path)


def padded(texts: Any) -> Any:
    """Ids as int32 [rows, WIDTH], by a plain loop over words, as in tutorials; the bag stays empty, which saves its work."""
    rows = np.zeros((len(texts), WIDTH), np.int32)
    ids = word_ids()
    for row, text in enumerate(texts):
        found = [ids.get(word, 1) for word in text.lower().split()[:WIDTH]]
        rows[row, : len(found)] = found
    empty = np.zeros((len(texts), 1))
    return {"ids": rows, "features": empty.astype(np.int32), "weights": empty.astype(np.float32)}


def keras_model(content: bytes) -> Any:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_MODEL
        path.write_bytes(content)
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def frame_of(probabilities: Any) -> pd.DataFrame:
    return pd.DataFrame({"label": probabilities.argmax(axis=1).astype(np.int32), "confidence": probabilities.max(axis=1)})


def textbook_keras(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
    """A pandas UDF from Series to DataFrame that loads the model in every call, as in tutorials."""
    content = spark.sparkContext.broadcast(BUNDLE.files[KERAS_MODEL])

    @pandas_udf(ANSWER)
    def score(texts: pd.Series) -> pd.DataFrame:
        # Imported, since functions that a script defines itself travel as a copy, without what the process has cached.
        from benchmarks.peers import padded

        loads.add(1)
        return frame_of(keras_model(content.value).predict(padded(texts), verbose=0))

    return lambda rows: rows.select("product_id", score("text").alias("answer"))


def predict_batch_keras(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
    """pyspark.ml's predict_batch_udf: a factory that loads once per worker, then batches."""
    from pyspark.ml.functions import predict_batch_udf

    content = spark.sparkContext.broadcast(BUNDLE.files[KERAS_MODEL])

    def factory() -> Any:
        from benchmarks.peers import padded

        loads.add(1)
        model = keras_model(content.value)

        def predict(texts: Any) -> Any:
            probabilities = model.predict_on_batch(padded(texts))
            return {"label": probabilities.argmax(axis=1).astype(np.int32), "confidence": probabilities.max(axis=1)}

        return predict

    from pyspark.sql.types import FloatType, IntegerType, StructType

    answer = StructType().add("label", IntegerType()).add("confidence", FloatType())
    score = predict_batch_udf(factory, return_type=answer, batch_size=256)
    return lambda rows: rows.select("product_id", score("text").alias("answer"))


def mlflow_keras(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
    """MLflow's spark_udf around a Python model that contains the Keras file."""
    import mlflow.pyfunc

    folder = Path(tempfile.mkdtemp())
    (folder / KERAS_MODEL).write_bytes(BUNDLE.files[KERAS_MODEL])
    # MLflow stores a model as the code that makes it.
    (folder / "code.py").write_text(
        "import pathlib, mlflow\n"
        "from benchmarks.peers import frame_of, keras_model, padded\n"
        "class Categorizer(mlflow.pyfunc.PythonModel):\n"
        "    def load_context(self, context):\n"
        "        self.model = keras_model(pathlib.Path(context.artifacts['keras']).read_bytes())\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return frame_of(self.model.predict(padded(model_input.iloc[:, 0]), batch_size=256, verbose=0))\n"
        "mlflow.models.set_model(Categorizer())\n"
    )
    saved = folder / "model"
    mlflow.pyfunc.save_model(
        str(saved), python_model=str(folder / "code.py"), artifacts={"keras": str(folder / KERAS_MODEL)}, pip_requirements=[]
    )
    score = mlflow.pyfunc.spark_udf(spark, str(saved), result_type=ANSWER, env_manager="local")
    return lambda rows: rows.select("product_id", score(F.col("text")).alias("answer"))


def spark_ml(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
    """Spark ML: words, TF-IDF over 2^18 hashed words, logistic regression, fitted on the labelled texts."""
    from pyspark.ml import Pipeline
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import IDF, HashingTF, RegexTokenizer
    from pyspark.ml.functions import vector_to_array

    labelled = labelled_texts(data_folder(), BUNDLE.tokenizer.settings)
    pairs = list(zip(labelled.texts.to_pylist(), map(float, labelled.label_ids), strict=True))
    stages = [
        RegexTokenizer(inputCol="text", outputCol="words", pattern=r"[^\p{L}\p{N}]+"),
        HashingTF(inputCol="words", outputCol="counts", numFeatures=1 << 18),
        IDF(inputCol="counts", outputCol="features"),
        LogisticRegression(maxIter=20, regParam=0.01),
    ]
    model = Pipeline(stages=stages).fit(spark.createDataFrame(pairs, "text string, label double"))

    def apply(rows: DataFrame) -> DataFrame:
        scored = model.transform(rows)
        confidence = F.array_max(vector_to_array("probability")).cast("float")
        answer = F.struct(F.col("prediction").cast("int").alias("label"), confidence.alias("confidence"))
        return scored.select("product_id", answer.alias("answer"))

    return apply


def linear_svc(characters: bool) -> Peer:
    """scikit-learn's TF-IDF and LinearSVC, as in the evaluation, in an iterator pandas UDF; the confidence is the margin."""

    def peer(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC

        from training.baselines import tfidf_pipeline, words_and_characters

        labelled = labelled_texts(data_folder(), BUNDLE.tokenizer.settings)
        texts, classifier = labelled.texts.to_pylist(), LinearSVC(C=0.5)
        pipeline = make_pipeline(words_and_characters(texts), classifier) if characters else tfidf_pipeline(classifier, texts)
        shared = spark.sparkContext.broadcast(pipeline.fit(texts, labelled.label_ids))

        @pandas_udf(ANSWER)
        def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
            model = shared.value
            loads.add(1)
            for texts in batches:
                yield frame_of(model.decision_function(texts).astype(np.float32))

        return lambda rows: rows.select("product_id", score("text").alias("answer"))

    return peer


def fast_text(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
    """fastText with the settings of the evaluation's baseline (training.baselines), in an iterator pandas UDF."""
    import fasttext

    from training.baselines import FASTTEXT

    labelled = labelled_texts(data_folder(), BUNDLE.tokenizer.settings)
    folder = Path(tempfile.mkdtemp())
    lines = [
        f"__label__{label} {' '.join(text.split())}"
        for text, label in zip(labelled.texts.to_pylist(), labelled.label_ids, strict=True)
    ]
    (folder / "train.txt").write_text("\n".join(lines))
    model = fasttext.train_supervised(str(folder / "train.txt"), **FASTTEXT)
    model.save_model(str(folder / "model.bin"))
    path = str(folder / "model.bin")

    @pandas_udf(ANSWER)
    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        from benchmarks.peers import loaded_fasttext

        loads.add(loaded_fasttext.cache_info().currsize == 0)
        model = loaded_fasttext(path)
        for texts in batches:
            labels, confidences = model.predict([text.replace("\n", " ") for text in texts])
            yield pd.DataFrame(
                {
                    "label": np.array([int(label[0][9:]) for label in labels], np.int32),
                    "confidence": np.array([confidence[0] for confidence in confidences], np.float32),
                }
            )

    return lambda rows: rows.select("product_id", score("text").alias("answer"))


def ours(engine: str) -> Peer:
    def peer(spark: SparkSession, loads: Any) -> Callable[[DataFrame], DataFrame]:
        clock = Clock(spark.sparkContext)
        # The clock counts loads in the same accumulator as the others.
        clock._loads = loads

        def apply(rows: DataFrame) -> DataFrame:
            scored = with_scores(rows, BUNDLE, engine, clock=clock, kept=0)
            answer = F.struct(F.col("score.label").alias("label"), F.col("score.confidence").alias("confidence"))
            return scored.select("product_id", answer.alias("answer"))

        return apply

    return peer


PEERS: dict[str, tuple[str, Peer]] = {
    "textbook": ("Keras, model loaded in a pandas UDF", textbook_keras),
    "mlflow": ("Keras in MLflow's spark_udf", mlflow_keras),
    "predict_batch": ("Keras in predict_batch_udf", predict_batch_keras),
    "spark_ml": ("Spark ML TF-IDF + logistic regression", spark_ml),
    "linear_svc": ("scikit-learn TF-IDF + LinearSVC, pandas UDF", linear_svc(characters=False)),
    "linear_svc_characters": (
        "scikit-learn TF-IDF of words and characters + LinearSVC, pandas UDF",
        linear_svc(characters=True),
    ),
    "fasttext": ("fastText, pandas UDF", fast_text),
    "keras": ("ours, engine keras", ours("keras")),
    "onnx": ("ours, engine onnx", ours("onnx")),
    "native": ("ours, engine native", ours("native")),
}


def descendants(pid: int) -> dict[int, str]:
    """Processes below `pid`, with their names."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, rest = (entry / "stat").read_text().rsplit(")", 1)
            except OSError:
                continue
            parents.setdefault(int(rest.split()[1]), []).append((int(entry.name), name.split("(", 1)[1]))
    found, open_ = {}, [pid]
    while open_:
        for child, name in parents.get(open_.pop(), []):
            found[child] = name
            open_.append(child)
    return found


def cpu_seconds(pid: int) -> float:
    """Of all processes below `pid`, including those that have ended."""
    ticks = 0
    for process in descendants(pid):
        try:
            ticks += sum(map(int, Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int, name: str) -> float:
    """The greatest resident set that any process of this name below `pid` ever had."""
    peaks = [0]
    for process in (p for p, n in descendants(pid).items() if n.startswith(name)):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        peaks += [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return max(peaks) / 1024


def session(cores: int) -> SparkSession:
    builder = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", False)
        .config("spark.ui.showConsoleProgress", False)
    )
    return (
        builder.config("spark.driver.memory", "2g").config("spark.driver.extraJavaOptions", "-XX:+UseParallelGC").getOrCreate()
    )


def main(name: str, texts: str, step: int, passes: int) -> None:
    from lib.session import configure

    spark = session(2)
    spark.sparkContext.setLogLevel("OFF")
    configure(spark)
    loads = spark.sparkContext.accumulator(0)
    began = time.monotonic()
    apply = PEERS[name][1](spark, loads)
    prepared = time.monotonic() - began
    source = spark.read.parquet(texts).filter(F.col("number") % step == 0).select("product_id", "text")
    labels = F.array(*[F.lit(label) for label in BUNDLE.labels])
    with tempfile.TemporaryDirectory() as folder:

        def one_pass() -> tuple[float, float]:
            cpu, start = cpu_seconds(os.getpid()), time.monotonic()
            scored = apply(source)
            chosen = scored.select("product_id", F.get(labels, F.col("answer.label")).alias("category"), "answer.confidence")
            chosen.write.format("delta").mode("overwrite").save(f"{folder}/table")
            return time.monotonic() - start, cpu_seconds(os.getpid()) - cpu

        first, _ = one_pass()
        measured = [one_pass() for _ in range(passes)]
        written = spark.read.format("delta").load(f"{folder}/table")
        result = {
            "name": name,
            "rows": written.count(),
            "prepared_seconds": prepared,
            "first_pass_seconds": first,
            "seconds": [seconds for seconds, _ in measured],
            "cpu_seconds": [cpu for _, cpu in measured],
            "worker_peak_mb": peak_megabytes(os.getpid(), "python"),
            "model_loads": loads.value,
            "shares": {row["category"]: row["count"] for row in written.groupBy("category").count().collect()},
        }
    print(json.dumps(result))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
