"""The distribution: an application that travels to a cluster as a zip, described so that pip and lock tools know its needs.

The exact versions that run are in requirements/*.lock; the ranges here say what the code is written for.
"""

from setuptools import setup

SPARK = ["pyspark==4.1.4", "delta-spark==4.4.0"]
SCORING = [
    "numpy>=1.26",
    "onnxruntime>=1.20",
    # Spark declares pandas < 3 until 4.3.
    "pandas>=2.2,<3",
    "pyarrow>=18",
    "tomli>=2; python_version < '3.11'",
]
TRAINING = [
    "keras>=3.8",
    "matplotlib>=3.9",
    "onnx>=1.17",
    "scikit-learn>=1.5",
    "tensorboard>=2.18",
    # Wrong labels by confident learning: small, pure Python, on scikit-learn.
    "cleanlab>=2.7",
    # The baseline that users know; the fork that is kept up and has wheels for numpy 2.
    "fasttext-community>=0.11",
    # The CPU build is a third of the size; elsewhere than on x86-64 Linux the plain one is a CPU build already.
    "tensorflow-cpu>=2.18; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "tensorflow>=2.18; sys_platform != 'linux' or platform_machine != 'x86_64'",
]
TEST = [
    "deltalake>=1.0",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.13",
    "pandas-stubs>=2.2,<3",
    "pytest>=8.3",
    "ruff>=0.8",
]

setup(
    name="catalog-categorizer",
    version="0.1.0",
    description="Gives every row of a product catalogue a category with a confidence: an LSTM on Spark, kept in Delta",
    python_requires=">=3.10",
    packages=["jobs", "lib", "lib.engines", "schemas", "training"],
    install_requires=SPARK + SCORING,
    extras_require={"training": TRAINING, "test": TRAINING + TEST},
)
