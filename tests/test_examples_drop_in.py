"""The drop-in examples run as they stand, and say what they found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        capture_output=True,
        text=True,
        check=False,
        # Ray's workers give way to all else: beside busy tests they would hardly start.
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_any_module() -> None:
    out = run("score_any_module.py")
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+) \(ok\)", out)]
    assert len(losses) == 5
    assert losses[1] < losses[0]  # the wider of two nets fits better
    assert re.findall(r"tap (\S+): ", out)[9:12] == ["blocks.0", "blocks.2", "blocks.5"]


@pytest.mark.slow
def test_a_plain_optuna_study() -> None:
    out = run("drop_in_optuna.py")
    assert re.search(r"best: \{'width': \d+, .*\} loss: \d", out)


@pytest.mark.slow
def test_ray_tune() -> None:
    pytest.importorskip("ray.tune")
    assert re.search(
        r"trials: 4 best: \{'width': \d+, 'kernel': \d\} loss: \d", run("drop_in_raytune.py")
    )


@pytest.mark.slow
def test_scikit_learns_grid_search_over_a_skorch_net() -> None:
    pytest.importorskip("skorch")
    out = run("drop_in_gridsearch.py")
    best = re.search(r"best: \{'module__kernel': \d, 'module__width': (\d+)\} loss: \d", out)
    assert best is not None
    accuracy = re.search(r"training images: (\d\.\d+)", out)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.8  # after the search, the best net is trained for real
