"""The code in the documentation, run as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import optuna

from contracts.space_contract import SpaceContract
from gennas_optuna import GenNASObjective, Scale, get_space
from gennas_optuna.settings import Preset

DOCS = Path(__file__).parents[1] / "docs"


def _code(page: str) -> str:
    block = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert block is not None
    return block[1]


CODE = _code("add_a_space.md")
module = types.ModuleType("toy_space")
sys.modules["toy_space"] = module
exec(compile(CODE, "toy_space", "exec"), module.__dict__)


class TestToySpace(SpaceContract):
    space = get_space("toy")
    small = Scale(width=4)


def test_the_toy_space_is_short() -> None:
    assert len(CODE.splitlines()) < 70
    assert sum(bool(line.strip()) for line in CODE.splitlines()) < 60


def test_the_toy_space_can_be_searched() -> None:
    objective = GenNASObjective("toy", preset=Preset("tiny", steps=2, scale=Scale(width=4)))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=2)
    assert study.best_value > 0
