"""Studies whose trials build a module."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path

import optuna
import pytest
import torch
from plain_modules import Failing, Stages, Tokens
from torch import nn

from gennas_optuna import GenNASError, get_space, score, with_score
from gennas_optuna.constraints import constraints_of, feasible
from gennas_optuna.memory import peak_memory


def build(trial: optuna.Trial) -> nn.Module:
    return Stages(trial.suggest_int("width", 1, 6))


@pytest.mark.usefixtures("global_random_state_untouched")
def test_with_score_turns_a_builder_into_an_objective() -> None:
    objective = pickle.loads(pickle.dumps(with_score(build, steps=2)))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    for trial in study.trials:
        assert trial.user_attrs["gennas:taps"][2].startswith("c: ")
        assert sorted(trial.intermediate_values) == [1, 2]
    value = objective(optuna.trial.FixedTrial({"width": 4}))
    assert value == with_score(build, steps=2)(optuna.trial.FixedTrial({"width": 4}))


def test_with_score_gives_the_loss_of_score() -> None:
    state = torch.get_rng_state()
    expected = score(Stages(4), steps=2, verbose=False).loss
    torch.set_rng_state(state)
    assert with_score(build, steps=2)(optuna.trial.FixedTrial({"width": 4})) == expected


def test_kept_parameters_are_the_same_in_every_process_of_a_study() -> None:
    def random_positions(trial: optuna.Trial) -> nn.Module:
        net = Tokens(depth=3)
        nn.init.normal_(net.position)
        return net

    fixed = optuna.trial.FixedTrial({})
    state = torch.get_rng_state()
    losses = [with_score(random_positions, steps=2)(fixed) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert losses[0] == losses[1]


def test_a_module_that_fails_fails_its_trial_with_the_reason() -> None:
    def sometimes(trial: optuna.Trial) -> nn.Module:
        return Failing() if trial.suggest_categorical("fails", [True, False]) else Stages()

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"fails": [True, False]}))
    study.optimize(with_score(sometimes, steps=2), n_trials=2, catch=GenNASError)
    states = {trial.params["fails"]: trial for trial in study.trials}
    assert states[True].state == optuna.trial.TrialState.FAIL
    assert "no such thing" in states[True].user_attrs["gennas:error"]
    assert states[False].state == optuna.trial.TrialState.COMPLETE


def test_memory_that_runs_out_prunes_the_trial() -> None:
    class Huge(Stages):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise MemoryError("too much")

    with pytest.raises(optuna.TrialPruned, match="out of memory"):
        with_score(lambda trial: Huge(), steps=2)(optuna.trial.FixedTrial({}))


def test_several_objectives() -> None:
    objective = with_score(build, steps=2, extra_objectives=["params", "flops"])
    study = optuna.create_study(directions=["minimize"] * 3)
    study.optimize(objective, n_trials=1)
    trial = study.trials[0]
    net = Stages(trial.params["width"])
    assert trial.values[1] == sum(p.numel() for p in net.parameters())
    assert trial.values[2] == trial.user_attrs["gennas:cost"]["flops"]


def test_latency_of_a_network_that_views_its_maps() -> None:
    class Viewing(Stages):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x))).view(len(x), -1)

    objective = with_score(lambda trial: Viewing(), steps=1, extra_objectives=["latency"])
    study = optuna.create_study(directions=objective.directions)
    study.optimize(objective, n_trials=1)
    assert study.trials[0].values[1] > 0


def test_latency_and_memory() -> None:
    """Memory: what the space's own count gives for the same network."""
    space = get_space("nasbench201")
    arch = space.parse("421211")
    objective = with_score(
        lambda trial: space.build(arch, generator=torch.Generator()),
        steps=1,
        extra_objectives=["latency", "memory"],
    )
    study = optuna.create_study(directions=objective.directions)
    study.optimize(objective, n_trials=1)
    _, latency, memory = study.trials[0].values
    assert 0.1 < latency < 10_000
    assert memory == peak_memory(space.skeleton(arch), space.input_shape)


@pytest.mark.parametrize("extra", [[], ["flops"]])
def test_a_module_beyond_a_limit_is_not_trained(extra: list[str]) -> None:
    sizes = {w: sum(p.numel() for p in Stages(w).parameters()) for w in (1, 6)}
    objective = with_score(
        build, steps=2, constraints={"params": (sizes[1] + sizes[6]) / 2}, extra_objectives=extra
    )
    study = optuna.create_study(directions=objective.directions)
    study.enqueue_trial({"width": 1})
    study.enqueue_trial({"width": 6})
    study.optimize(objective, n_trials=2)
    small, large = study.trials
    assert [feasible(trial) for trial in study.trials] == [True, False]
    assert small.values[0] < math.inf == large.values[0]
    assert "gennas:seconds" not in large.user_attrs
    excess = sizes[6] / ((sizes[1] + sizes[6]) / 2) - 1
    assert constraints_of(large) == {"params": pytest.approx(excess)}


@pytest.mark.parametrize(
    "settings",
    [
        {"extra_objectives": ["speed"]},
        {"constraints": {"flops": 0}},
        {"task": "none"},
        {"steps": 0},
        {"inputs": 3},
    ],
)
def test_bad_settings_of_a_study(settings: dict) -> None:
    with pytest.raises(GenNASError):
        with_score(build, **settings)(optuna.trial.FixedTrial({"width": 4}))
    with pytest.raises(GenNASError):
        with_score(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("block", [0, 1])
def test_the_code_of_the_documentation_runs(block: int) -> None:
    page = Path(__file__).parents[1] / "docs" / "any_module.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    exec(compile(blocks[block], page.name, "exec"), names)
    found = names["result"].loss if block == 0 else names["study"].best_value
    assert 0 < found < 10
