"""The code in the documentation, run as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from contracts.space_contract import SpaceContract, check_parameters
from gennas_optuna import GenNASObjective, Scale, get_space
from gennas_optuna.settings import Preset
from gennas_optuna.spaces import _registry
from gennas_optuna.spaces.nds import CELL_SPACES

DOCS = Path(__file__).parents[1] / "docs"
TINY = Preset("tiny", steps=2, scale=Scale(width=4))

CODE, ROW = re.findall(r"```python\n(.*?)```", (DOCS / "add_a_space.md").read_text(), re.DOTALL)
module = types.ModuleType("toy_space")
sys.modules["toy_space"] = module
exec(compile(CODE, "toy_space", "exec"), module.__dict__)


class TestToySpace(SpaceContract):
    space = get_space("toy")
    small = Scale(width=4)


def test_the_toy_space_is_short() -> None:
    assert len(CODE.splitlines()) < 60


def test_the_toy_space_can_be_searched() -> None:
    objective = GenNASObjective("toy", preset=TINY)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=2)
    assert study.best_value > 0


@pytest.mark.parametrize(
    ("scale", "channels", "convolutions"),
    [
        (Scale(), [16, 32, 64], [1, 2, 3]),
        (Scale(width=4), [4, 8, 16], [1, 2, 3]),
        (Scale(width_factor=0.5), [8, 16, 32], [1, 2, 3]),
        (Scale(depth=2), [16, 32, 64], [1, 2, 2]),
        (Scale(depth_factor=0.5), [16, 32, 64], [1, 1, 2]),
    ],
)
def test_the_toy_space_is_scaled(
    scale: Scale, channels: list[int], convolutions: list[int]
) -> None:
    space = get_space("toy")
    net = space.skeleton(space.parse("313233"), scale=scale)
    assert [tap.channels for tap in net.taps] == channels
    found = [
        sum(isinstance(layer, torch.nn.Conv2d) for layer in stage)
        for stage in net.stages  # type: ignore[union-attr]
    ]
    assert found == convolutions


def test_a_new_cell_space_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_FACTORIES", dict(_registry._FACTORIES))
    before = set(CELL_SPACES)
    try:
        exec(compile(ROW, "cell_space", "exec"), {})
        space, rng = get_space("plain-cells"), np.random.default_rng(0)
        operations = set()
        for _ in range(50):
            params = space.params(space.sample(rng))
            check_parameters(space, params)
            operations |= {value for name, value in params.items() if name.endswith("_op")}
        assert operations == {"skip_connect", "max_pool_3x3", "conv_1x1", "conv_3x3"}
        assert len([name for name in params if name.endswith("_op")]) == 2 * 3 * 2
        objective = GenNASObjective(
            space, preset=Preset("tiny", steps=2, scale=Scale(width=4, depth=3))
        )
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=2)
        assert study.best_value > 0
    finally:
        for name in set(CELL_SPACES) - before:
            del CELL_SPACES[name]
