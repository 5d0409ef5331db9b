"""Several objectives and constraints: what is measured, and what samplers make of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FixedTrial, TrialState, create_trial
from torch import nn
from worker_helpers import Scripted, join, scripted

from gennas_optuna import GenNASObjective, Scale, get_space, search
from gennas_optuna.constraints import constraints_func, constraints_of, feasible, set_constraints
from gennas_optuna.cost import count_cost
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.latency import latency
from gennas_optuna.memory import peak_memory
from gennas_optuna.plots_pareto import pareto_front, plot_pareto
from gennas_optuna.samplers import make_sampler
from gennas_optuna.settings import Preset
from gennas_optuna.taps import StagedModel, TapInfo
from gennas_optuna.workers import work

SPACE = get_space("nasbench201")
TINY = Preset("tiny", steps=2, scale=Scale(width=4, depth=1))
SMALL, LARGE = "111111", "333333"


def params(code: str) -> dict:
    return SPACE.params(SPACE.parse(code))


class Chain(StagedModel):
    """Layers one after another; ``keep`` also returns what is in between."""

    def __init__(self, *layers: nn.Module, keep: bool = False) -> None:
        super().__init__()
        self.taps = (TapInfo("end", 1, (1, 1)),)
        self.layers, self.keep = nn.ModuleList(layers), keep

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        taps = []
        for layer in self.layers:
            x = layer(x)
            taps.append(x)
            if not self.keep:
                taps = [x]
        return tuple(taps)


def conv(before: int, after: int) -> nn.Module:
    return nn.Conv2d(before, after, 1, bias=False, device="meta")


class TestMemory:
    """Facts worked out by hand: single precision is four bytes a number; 8 x 8 is 64 pixels."""

    def test_a_chain_frees_what_is_behind_it(self) -> None:
        net = Chain(conv(3, 10), conv(10, 20), conv(20, 5))
        weights, x = 30 + 200 + 100, 3 * 64
        # The worst moment is the second layer's: its input and its output are alive.
        assert peak_memory(net, (3, 8, 8)) == 4 * (weights + x + 10 * 64 + 20 * 64)

    def test_what_is_kept_stays(self) -> None:
        net = Chain(conv(3, 10), conv(10, 20), conv(20, 5), keep=True)
        weights, x = 30 + 200 + 100, 3 * 64
        assert peak_memory(net, (3, 8, 8)) == 4 * (weights + x + (10 + 20 + 5) * 64)

    def test_in_place_operations_and_views_need_nothing(self) -> None:
        net = Chain(conv(3, 10), nn.ReLU(inplace=True), nn.Flatten(), nn.Unflatten(1, (10, 8, 8)))
        assert peak_memory(net, (3, 8, 8)) == 4 * (30 + 3 * 64 + 10 * 64)
        assert net.training

    def test_a_real_network_fits_its_weights(self) -> None:
        """The cell's own arithmetic: more than the weights, less than every result kept."""
        skeleton = SPACE.skeleton(SPACE.parse(LARGE))
        weights = 4 * sum(p.numel() for p in skeleton.parameters())
        found = peak_memory(skeleton, SPACE.input_shape)
        assert weights < found < weights + 4 * 64 * 32 * 32 * 40
        assert found == peak_memory(SPACE.skeleton(SPACE.parse(LARGE)), SPACE.input_shape)

    def test_sequences(self) -> None:
        space = get_space("nasbench-nlp")
        import numpy as np

        arch = space.sample(np.random.default_rng(0))
        skeleton = space.skeleton(arch)
        assert peak_memory(skeleton, space.input_shape) > 4 * sum(
            p.numel() for p in skeleton.parameters()
        )


def test_latency_grows_with_the_work() -> None:
    """A network of a hundred times the arithmetic takes longer; mode and threads are put back."""
    small = Chain(nn.Conv2d(3, 4, 3))
    large = Chain(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    times = [latency(net, (3, 64, 64), min_seconds=0.02) for net in (small, large)]
    assert 0 < times[0] < times[1] < 60_000
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert small.training
    assert all(p.grad is None for p in small.parameters())


class TestObjectives:
    def test_all_values_are_there(self) -> None:
        objective = GenNASObjective(
            SPACE, preset=TINY, extra_objectives=("flops", "params", "latency", "memory")
        )
        assert objective.metric_names == ["loss", "flops", "params", "latency", "memory"]
        study = optuna.create_study(directions=objective.directions)
        study.enqueue_trial(params(SMALL))
        study.optimize(objective, n_trials=1)
        trial = study.trials[0]
        loss, flops, count, milliseconds, memory = trial.values
        assert (flops, count) == (7_782_400, 72_528)  # at the paper's size, whatever the preset
        assert loss > 0
        assert milliseconds > 0
        assert memory == peak_memory(SPACE.skeleton(SPACE.parse(SMALL)), SPACE.input_shape)
        cost = trial.user_attrs["gennas:cost"]
        assert (cost["flops"], cost["latency"], cost["memory"]) == (flops, milliseconds, memory)

    def test_a_duplicate_has_the_values_measured_before(self) -> None:
        first, second = (scripted(extra_objectives=("latency",)) for _ in range(2))
        study = join(None, first)
        for _ in range(2):
            study.enqueue_trial(params(SMALL))
        work(first, study, n_trials=1)
        work(second, study, n_trials=2)
        assert study.trials[1].user_attrs["gennas:duplicate_of"] == 0
        assert study.trials[0].values == study.trials[1].values

    @pytest.mark.parametrize(
        ("constraints", "named"),
        [
            ({"flop": 1e6}, "did you mean 'flops'"),
            ({"params": -1}, "above 0"),
            ({"params": math.nan}, "finite"),
            ({"params": math.inf}, "finite"),
            ({"params": "1e6"}, "finite"),
            ([("params", 1)], "mapping"),
        ],
    )
    def test_bad_constraints_are_named(self, constraints: object, named: str) -> None:
        with pytest.raises(InvalidValueError, match=named):
            scripted(constraints=constraints)


class TestConstraints:
    def test_what_is_beyond_a_limit_is_not_trained(self) -> None:
        objective = scripted(constraints={"params": 1e6})
        study = join(None, objective)
        for code in (SMALL, LARGE):
            study.enqueue_trial(params(code))
        work(objective, study, n_trials=2)
        small, large = study.trials
        assert objective.evaluator.seen == [SPACE.parse(SMALL).key]
        assert small.state == large.state == TrialState.COMPLETE
        assert (small.value, large.value) == (-72_528, math.inf)
        assert constraints_of(small) == {"params": 72_528 / 1e6 - 1}
        skeleton = SPACE.skeleton(SPACE.parse(LARGE))
        count = sum(p.numel() for p in skeleton.parameters())
        assert constraints_of(large) == {"params": count / 1e6 - 1}
        assert feasible(small)
        assert not feasible(large)
        assert study.best_trial.number == 0
        assert study.best_trials == [small]

    def test_the_same_with_each_way_to_run(self) -> None:
        values = []
        for run in ("optimize", "search", "work", "fixed"):
            objective = scripted(constraints={"flops": 5e7}, extra_objectives=("flops",))
            study = optuna.create_study(directions=objective.directions)
            for code in (SMALL, LARGE):
                study.enqueue_trial(params(code))
            if run == "optimize":
                study.optimize(objective, n_trials=2)
            elif run == "search":
                assert len(search(objective, study, n_trials=2)) == 1
            elif run == "work":
                work(objective, study, n_trials=2)
            else:
                trials = [FixedTrial(params(code)) for code in (SMALL, LARGE)]
                values.append([list(objective(trial)) for trial in trials])
                assert [constraints_of(t)["flops"] > 0 for t in trials] == [False, True]
                continue
            values.append([trial.values for trial in study.trials])
            assert [feasible(trial) for trial in study.trials] == [True, False]
        assert all(v == values[0] for v in values)
        assert math.isinf(values[0][1][0])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "several"), [("nsga2", True), ("tpe", False), ("evolution", False)]
    )
    def test_samplers_learn_to_stay_within_limits(self, name: str, several: bool) -> None:
        """The second half of a search has a larger part within them than random architectures do."""
        extra = ("flops",) if several else ()
        objective = scripted(constraints={"params": 3e5}, extra_objectives=extra)
        sampler = (
            optuna.samplers.NSGAIISampler(population_size=10, seed=0)
            if name == "nsga2"
            else make_sampler(name, SPACE, seed=0, population=10)
        )
        study = optuna.create_study(directions=objective.directions, sampler=sampler)
        search(objective, study, n_trials=50)
        learnt = sum(feasible(trial) for trial in study.trials[25:])
        rng = np.random.default_rng(0)
        sizes = [
            count_cost(SPACE.skeleton(SPACE.sample(rng)), SPACE.input_shape).params
            for _ in range(100)
        ]
        assert learnt / 25 > sum(size <= 3e5 for size in sizes) / 100

    def test_a_retried_trial_can_have_them_again(self) -> None:
        """Optuna warns about a constraint that is set twice; warnings are errors here."""
        study = optuna.create_study()
        trial = study.ask()
        set_constraints(trial, {"params": 1.0})
        set_constraints(trial, {"params": 1.0})
        assert constraints_of(trial) == {"params": 1.0}

    def test_optuna_before_5(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There a sampler asks a function, which reads what the trial noted."""

        class Old:
            """What a trial of Optuna 4 has."""

            def __init__(self) -> None:
                self.user_attrs: dict = {}

            def set_user_attr(self, name: str, value: object) -> None:
                self.user_attrs[name] = value

        trial = Old()
        set_constraints(trial, {"flops": -1.0, "params": 2.0})  # type: ignore[arg-type]
        assert constraints_func(trial) == (-1.0, 2.0)  # type: ignore[arg-type]
        frozen = create_trial(value=1.0, user_attrs=trial.user_attrs)
        assert not feasible(frozen)


class TestFront:
    def study(self, points: list[tuple[float, float]]) -> optuna.Study:
        study = optuna.create_study(directions=["minimize"] * 2)
        for number, point in enumerate(points):
            trial = create_trial(values=point, user_attrs={"gennas:key": str(number % 7)})
            study.add_trial(trial)
        return study

    def test_it_is_what_nothing_dominates(self) -> None:
        points = [(3.0, 1.0), (1.0, 4.0), (2.0, 2.0), (2.5, 2.5), (3.0, 3.0), (math.inf, 0.5)]
        study = self.study(points)
        better = [
            p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
        ]
        assert [tuple(t.values) for t in pareto_front(study)] == sorted(better)

    def test_the_figure_shows_it(self) -> None:
        pytest.importorskip("matplotlib")
        points = [(3.0, 1.0), (1.0, 4.0), (2.0, 2.0), (2.5, 2.5)]
        figure = plot_pareto(self.study(points), ["loss", "flops"], {"flops": 5.0})
        (panel,) = figure.axes
        drawn, front, limit = panel.lines
        shown = sorted(zip(drawn.get_ydata(), drawn.get_xdata(), strict=True))
        assert shown == sorted(points)
        assert sorted(zip(front.get_ydata(), front.get_xdata(), strict=True)) == sorted(points[:3])
        assert limit.get_xdata() == [5.0, 5.0]
        assert (panel.get_xlabel(), panel.get_ylabel()) == ("multiply-accumulates", "loss")

    def test_nothing_to_draw(self) -> None:
        pytest.importorskip("matplotlib")
        with pytest.raises(InvalidValueError, match="nothing to draw"):
            plot_pareto(self.study([(math.inf, 1.0)]), ["loss", "flops"])
        with pytest.raises(InvalidValueError, match="two or more"):
            plot_pareto(optuna.create_study(), ["loss"])


REACHING = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
PLAINER = REACHING.replace("nor_conv_3x3~0", "none~0")
"""Two encodings of one network; in one of them a convolution reaches no output."""

DEARER, CHEAPER = 43_171_840, 7_782_400
"""Their multiply-accumulates as encoded: a 3x3 convolution per cell, five cells a stage (16 to 64
channels), makes the difference of 3 * 5 * 9 * 16**2 * 32**2."""


@pytest.mark.parametrize("codes", [(REACHING, PLAINER), (PLAINER, REACHING)])
class TestEncodingsOfOneNetwork:
    """Trained once, and each of its own cost."""

    def run(self, codes: tuple[str, str], **options: Any) -> list[optuna.trial.FrozenTrial]:
        objective = GenNASObjective(SPACE, preset=TINY, **options)
        study = optuna.create_study(directions=objective.directions)
        for code in codes:
            study.enqueue_trial(SPACE.params(SPACE.parse(code)))
        study.optimize(objective, n_trials=len(codes))
        return study.trials

    def test_costs_are_of_each_encoding(self, codes: tuple[str, str]) -> None:
        first, second = self.run(codes, extra_objectives=("flops",))
        assert second.user_attrs["gennas:duplicate_of"] == 0
        assert first.values[0] == second.values[0]
        flops = {REACHING: DEARER, PLAINER: CHEAPER}
        assert [t.values[1] for t in (first, second)] == [flops[code] for code in codes]

    def test_limits_are_on_each_encoding(self, codes: tuple[str, str]) -> None:
        trials = self.run(codes, constraints={"flops": 20e6})
        within = {code: trial.value < math.inf for code, trial in zip(codes, trials, strict=True)}
        assert within == {REACHING: False, PLAINER: True}


def test_a_study_of_one_direction_is_refused_before_training() -> None:
    objective = GenNASObjective(SPACE, preset=TINY, extra_objectives=("flops",))
    with pytest.raises(GenNASError, match=r"directions minimize; .* loss, flops: make"):
        optuna.create_study().optimize(objective, n_trials=1)
    assert objective.evaluator.cached(SPACE.parse(PLAINER)) is None


def test_an_objective_that_stands_twice_is_refused() -> None:
    with pytest.raises(GenNASError, match="give each once"):
        GenNASObjective(SPACE, extra_objectives=("flops", "flops"))


class TestCommand:
    def test_search(self, run, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        figure = tmp_path / "front.svg"
        args = ["search", "nasbench201", "--trials", "12", "--steps", "1", "--max-params", "8e5"]
        args += ["--objectives", "loss,flops", "--population", "4", "--figure", str(figure)]
        status, out, err = run(*args, "--json")
        assert status == 0, err
        report = json.loads(out)
        assert report["sampler"] == "nsga2"
        assert report["objectives"] == ["loss", "flops"]
        assert report["constraints"] == {"params": 8e5}
        front = [(row["values"]["loss"], row["values"]["flops"]) for row in report["front"]]
        assert front == sorted(front)
        assert [flops for _, flops in front] == sorted((f for _, f in front), reverse=True)
        for row in report["front"]:
            skeleton = SPACE.skeleton(SPACE.parse(row["arch"]))
            assert sum(p.numel() for p in skeleton.parameters()) <= 8e5
        losses = [row["loss"] for row in report["best"]]
        assert losses == sorted(losses)
        assert losses[0] == report["front"][0]["values"]["loss"]
        assert report["cpu_seconds"] >= sum(row["cpu_seconds"] for row in report["best"])
        assert figure.read_text().startswith("<?xml")
        status, out, _ = run(*args)
        assert "on the Pareto front" in out
        assert report["front"][0]["arch"] in out

    def test_one_objective_within_limits(self, run) -> None:
        args = ["search", "nasbench201", "--trials", "8", "--steps", "1", "--max-flops", "6e7"]
        status, out, err = run(*args, "--json")
        assert status == 0, err
        report = json.loads(out)
        assert report["sampler"] == "evolution"
        assert report["best"]
        assert all(record["flops"] <= 6e7 for record in report["best"])

    @pytest.mark.parametrize(
        ("args", "named"),
        [
            (["--objectives", "flops"], "loss first"),
            (["--objectives", "loss,loss"], "each once"),
            (["--objectives", "loss,accuracy"], "accuracy"),
            (["--objectives", "loss,flops", "--sampler", "evolution"], "nsga2"),
            (["--max-params", "0"], "max-params"),
            (["--max-params", "1", "--trials", "2"], "limits"),
            (["--figure", "x.png"], "--objectives"),
        ],
    )
    def test_bad_calls(self, run, args: list[str], named: str) -> None:
        status, out, err = run("search", "nasbench201", *args)
        assert (status, out) == (2, "")
        assert named in err
        assert len(err.strip().splitlines()) == 1


def test_the_objective_can_be_pickled() -> None:
    import pickle

    objective = scripted(constraints={"params": 1e6}, extra_objectives=("memory",))
    again = pickle.loads(pickle.dumps(objective))
    assert again.identity() == objective.identity()
    assert isinstance(again.evaluator, Scripted)
    with pytest.raises(GenNASError):
        scripted(extra_objectives=("speed",))
