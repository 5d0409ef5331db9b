"""The proxy tasks that are searched, against the published ranges."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from gennas_optuna import ProxyTask, get_space, get_task, list_spaces
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.inputs import load_images
from gennas_optuna.samplers import make_sampler
from gennas_optuna.seeding import numpy_generator, torch_generator
from gennas_optuna.signals import Sin1D
from gennas_optuna.taps import TapInfo
from gennas_optuna.task_parts import Noise
from gennas_optuna.task_space import FORMS, ProxyTaskSpace
from parity import shared

IMAGES, SEQUENCES = get_space("nasbench201"), get_space("nasbench-nlp")
SPACES = {
    f"{form}-{layout}": ProxyTaskSpace.of(space, form)
    for form in FORMS
    for layout, space in (("images", IMAGES), ("sequences", SEQUENCES))
}
each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def values(distribution: BaseDistribution) -> st.SearchStrategy[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return st.sampled_from(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None:
        return st.floats(low, high)
    count = round((high - low) / step)
    return st.integers(0, count).map(lambda i: min(low + step * i, high))


def signals(task: ProxyTask) -> dict[str, Any]:
    found = {f"stage{i}": stage.signals for i, stage in enumerate(task.stages)}
    if task.sequence is not None:
        found["input"] = task.sequence.signals
    return {f"{side}_{s.kind}": s for side, some in found.items() for s in some}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", list_spaces())
def test_every_default_task_is_in_its_space(name: str, form: str) -> None:
    architectures = get_space(name)
    space = ProxyTaskSpace.of(architectures, form)
    task = get_task("default", architectures)
    assert space.decode(space.params(task)) == task


@each_space
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_parameter_set_is_a_task_and_comes_back(space: ProxyTaskSpace, data: Any) -> None:
    params = {k: data.draw(values(d), label=k) for k, d in space.distributions().items()}
    task = space.decode(params)
    again = space.params(task)
    assert space.decode(again) == task
    assert ProxyTask.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    for name, value in again.items():
        assert space.distributions()[name]._contains(
            space.distributions()[name].to_internal_repr(value)
        )
    on = {
        name.removesuffix("_weight").removesuffix("_on")
        for name, value in params.items()
        if (name.endswith("_weight") and round(value, 4) > 0) or (name.endswith("_on") and value)
    }
    assert set(signals(task)) == on
    for name, signal in signals(task).items():
        level = params.get(f"{name}_weight", params.get(f"{name}_level"))
        assert signal.level == pytest.approx(level, abs=5.1e-5)
        if isinstance(signal, Sin1D):
            ends = sorted((params[f"{name}_low"], params[f"{name}_high"]))
            assert [signal.frequencies[0], signal.frequencies[-1]] == pytest.approx(ends, abs=1e-4)
            assert np.ptp(np.diff(signal.frequencies)) < 1e-5
            assert len(signal.frequencies) == 10


def test_the_conditional_form_has_the_published_choices() -> None:
    """GenNAS section 3.3 and its code: noise 0..0.9, widths 16..96, levels 0.5..2.9."""
    space = SPACES["conditional-images"]
    found: dict[str, set[Any]] = {"noise": set(), "channels": set(), "level": set()}
    kinds: set[str] = set()
    rng = np.random.default_rng(0)
    for _ in range(300):
        task = space.sample(rng)
        found["noise"].add(task.noise.level)
        found["channels"] |= {stage.head_channels for stage in task.stages}
        found["level"] |= {signal.level for signal in signals(task).values()}
        kinds |= set(signals(task))
        for signal in signals(task).values():
            assert all(0 <= f <= 0.5 for f in getattr(signal, "frequencies", ()))
            assert 0 <= getattr(signal, "fraction", 0) <= 1
    assert found["noise"] == {round(0.1 * i, 1) for i in range(10)}
    assert found["channels"] == {16, 32, 48, 64, 80, 96}
    assert found["level"] == {round(0.1 * i, 1) for i in range(5, 30)}
    bases = ("sin1d", "sin2d", "dot", "dot_gaussian", "resize")
    assert kinds == {f"stage{i}_{basis}" for i in range(3) for basis in bases}


@pytest.mark.parametrize("form", FORMS)
def test_sequences_have_a_dimension_and_draw_for_each_sample(form: str) -> None:
    space, rng = SPACES[f"{form}-sequences"], np.random.default_rng(0)
    tasks = [space.sample(rng) for _ in range(100)]
    assert {t.sequence.dimension for t in tasks if t.sequence} == {16, 32, 48, 64, 80, 96}
    found = {name for task in tasks for name in signals(task)}
    bases = ("sin1d", "sin2d", "dot", "dot_gaussian")
    assert found == {f"{side}_{b}" for side in ("input", "stage0") for b in bases}
    assert all(signal.local for task in tasks for signal in signals(task).values())
    assert all(task.optimizer == get_task("generic-sequence").optimizer for task in tasks)


@each_space
def test_a_basis_is_on_half_of_the_time(space: ProxyTaskSpace) -> None:
    rng, n = np.random.default_rng(1), 400
    counts = dict.fromkeys((u for u in space.units() if u.startswith(("stage", "input"))), 0)
    counts = {name: 0 for name in counts if not name.endswith("channels")}
    for _ in range(n):
        for name in signals(space.sample(rng)):
            counts[name] += 1
    assert all(abs(count - n / 2) < 4.5 * np.sqrt(n) / 2 for count in counts.values())


@each_space
def test_mutation_keeps_units_with_the_published_chance(space: ProxyTaskSpace) -> None:
    rng = np.random.default_rng(2)
    parent = space.sample(rng)
    assert replace(space, keep=1.0).mutate(parent, rng) == parent
    n, same = 300, {0.8: 0, 0.0: 0}
    for keep in same:
        for _ in range(n):
            child = replace(space, keep=keep).mutate(parent, rng)
            same[keep] += child.noise == parent.noise
    by_chance = 1 / 20 if space.form == "conditional" else 0  # 2 kinds times 10 levels
    for keep, count in same.items():
        chance = keep + (1 - keep) * by_chance
        assert abs(count - n * chance) <= 4.5 * np.sqrt(n * chance * (1 - chance)) + 1e-9


@each_space
def test_what_is_not_searched_stays_the_templates(space: ProxyTaskSpace) -> None:
    template = replace(space.template, batch_size=5)
    task = replace(space, template=template).sample(np.random.default_rng(0))
    assert task.batch_size == 5
    assert task.optimizer == template.optimizer
    assert [s.weight for s in task.stages] == [s.weight for s in template.stages]


@each_space
def test_tasks_can_be_drawn(space: ProxyTaskSpace) -> None:
    rng = np.random.default_rng(3)
    images = load_images("noise", count=16, generator=torch_generator(0))
    layout = "NCHW" if space.template.sequence is None else "LND"
    taps = [TapInfo("tap", 4, (4, 4), layout) for _ in space.template.stages]
    for _ in range(20):
        batch = space.sample(rng).materialize(images, taps, torch_generator(1))
        assert all(bool(target.isfinite().all()) for target in batch.targets)


@pytest.mark.parametrize("layout", ["images", "sequences"])
def test_the_conditional_form_asks_only_for_what_is_on(layout: str) -> None:
    space = SPACES[f"conditional-{layout}"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        trial = study.ask()
        task = space.suggest(trial)
        levels = [n for n in trial.params if n.endswith("_level") and n != "noise_level"]
        asked = {name.removesuffix("_level") for name in levels}
        assert asked == set(signals(task))
        assert space.decode(trial.params) == task


def test_the_flat_form_is_the_same_in_every_trial() -> None:
    space = SPACES["flat-images"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        trial = study.ask()
        space.suggest(trial)
        assert list(trial.params) == list(space.distributions())
    assert len(space.distributions()) == 2 + 3 + 3 * (4 + 4 + 3 + 3 + 1)


@pytest.mark.parametrize("name", ["tpe", "random", "evolution"])
@each_space
def test_samplers_search_it(space: ProxyTaskSpace, name: str) -> None:
    if name == "evolution" and space.form == "conditional":
        with pytest.raises(InvalidValueError, match="flat form"):
            make_sampler(name, space, seed=0)
        return
    study = optuna.create_study(sampler=make_sampler(name, space, seed=0, population=4))
    study.optimize(lambda trial: len(signals(space.suggest(trial))), n_trials=15)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 15
    if name == "evolution":  # parents are good ones, so few signals remain
        assert np.mean(study.trials_dataframe()["value"][-5:]) < np.mean(
            study.trials_dataframe()["value"][:4]
        )


def test_cmaes_is_used_if_it_is_there() -> None:
    try:
        import cmaes  # noqa: F401
    except ImportError:
        with pytest.raises(GenNASError, match="pip install cmaes"):
            make_sampler("cmaes", SPACES["flat-images"], seed=0)
    else:
        assert isinstance(
            make_sampler("cmaes", SPACES["flat-images"], seed=0), optuna.samplers.CmaEsSampler
        )


# The published tasks --------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["CONF_NB101", "CONF_DARTS", "CONF_RESNET", "CONF_NLP"])
def test_the_published_tasks_are_within_the_space(name: str, form: str) -> None:
    task = ProxyTask.load(f"{shared('parity/task_configs.json')}#{name}")
    space = SPACES[f"{form}-{'images' if task.sequence is None else 'sequences'}"]
    near = space.decode(space.params(task))
    assert near.noise == task.noise
    assert [s.head_channels for s in near.stages] == [s.head_channels for s in task.stages]
    assert set(signals(near)) == set(signals(task))
    for key, signal in signals(task).items():
        other = signals(near)[key]
        assert other.level == pytest.approx(signal.level)
        if "frequencies" in signal.to_dict():
            for end in (min, max):
                assert end(other.frequencies) == pytest.approx(end(signal.frequencies), abs=1e-4)


# Bad input ------------------------------------------------------------------------------------


@each_space
def test_bad_parameters_are_explained(space: ProxyTaskSpace) -> None:
    params = space.params(space.template)
    for bad in ({"noise_level": 1.5}, {"noise_level": None}, {"noise_kind": "pink"}):
        with pytest.raises(InvalidValueError, match=rf"parameter {next(iter(bad))}="):
            space.decode({**params, **bad})
    del params["noise_kind"]
    with pytest.raises(InvalidValueError, match="'noise_kind' is missing"):
        space.decode(params)


def test_tasks_of_another_kind_are_explained() -> None:
    images, sequences = get_task("generic"), get_task("generic-sequence")
    with pytest.raises(InvalidValueError, match="3 stages and images"):
        SPACES["flat-images"].params(sequences)
    with pytest.raises(InvalidValueError, match="1 stages and sequences"):
        SPACES["flat-sequences"].params(images)
    with pytest.raises(InvalidValueError, match="3 stages"):
        SPACES["flat-images"].params(replace(images, stages=images.stages[:2]))


def test_values_out_of_range_become_the_nearest() -> None:
    space = SPACES["flat-images"]
    loud = replace(space.template, noise=Noise("uniform", 7.0))
    assert space.decode(space.params(loud)).noise == Noise("uniform", 0.9)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"form": "round"}, "form='round'"),
        ({"keep": 2}, "keep=2"),
        ({"template": 3}, "template=3"),
    ],
)
def test_bad_spaces_are_explained(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        replace(SPACES["flat-images"], **options)


def test_draws_are_the_same_again() -> None:
    space = SPACES["flat-images"]
    assert space.sample(numpy_generator(0, "a")) == space.sample(numpy_generator(0, "a"))
    assert space.sample(numpy_generator(0, "a")) != space.sample(numpy_generator(0, "b"))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ProxyTaskSpace.of("nasbench201"), r"space='nasbench201': .*get_space\('nasbench"),
        (lambda: ProxyTaskSpace.of(None), "space=None: give a SearchSpace"),
        (lambda: ProxyTaskSpace(get_task("generic")).decode(5), "params=5: give a mapping"),
        (lambda: ProxyTaskSpace(get_task("generic")).params(5), "task=5: give a ProxyTask"),
        (lambda: ProxyTaskSpace(get_task("generic")).suggest(5), "trial=5: give an Optuna trial"),
    ],
)
def test_values_of_another_kind_are_explained(call: Any, named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        call()
