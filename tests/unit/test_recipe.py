"""The recipe of a training, whose defaults are those of the job's options."""

from __future__ import annotations

import subprocess
import sys

from jobs.train import TrainSettings, recipe_of
from tests.conftest import ROOT
from training.recipe import Recipe


def test_the_options_defaults_are_the_recipe_s() -> None:
    assert recipe_of(TrainSettings(labels="")) == Recipe()


def test_a_recipe_and_the_job_s_options_need_no_keras() -> None:
    asked = "import sys, jobs.train, training.recipe; print(*sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
