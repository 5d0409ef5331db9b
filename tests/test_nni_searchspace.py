"""Search spaces in NNI's form, checked against NNI's own reading of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

pytest.importorskip("nni")

from nni.algorithms.hpo.random_tuner import RandomTuner
from nni.common.hpo_utils import validate_search_space

from gennas_optuna import get_space, list_spaces
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._base import draw
from gennas_optuna.task_space import ProxyTaskSpace
from nni_strategy.searchspace import from_nni, read_parameters, to_nni


def through_node(value: Any) -> Any:
    """As NNI's manager hands JSON on: JavaScript writes 1.0 as 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: through_node(item) for key, item in value.items()}
    return [through_node(item) for item in value] if isinstance(value, (list, tuple)) else value


def nni_draws(search_space: Any, count: int) -> list[dict[str, Any]]:
    """What NNI's own random tuner makes of the search space."""
    drawn = []
    for seed in range(count):  # a tuner for each: one looks for ever for a draw it has not made
        tuner = RandomTuner(seed=seed)
        tuner.update_search_space(search_space)
        drawn.append(through_node(tuner.generate_parameters(0)))
    return drawn


SPACES = {name: get_space(name) for name in list_spaces()} | {
    f"task-{form}-{name}": ProxyTaskSpace.of(get_space(name), form)
    for form in ("flat", "conditional")
    for name in ("nasbench201", "nasbench-nlp")
}


@pytest.mark.parametrize("name", SPACES)
def test_nni_understands_every_space(name: str) -> None:
    space = SPACES[name]
    distributions = space.distributions()
    search_space = json.loads(json.dumps(to_nni(distributions)))
    assert list(search_space) == list(distributions)
    assert validate_search_space(search_space, raise_exception=True)
    # Whatever NNI draws is a member.
    for parameters in nni_draws(search_space, 20):
        values = read_parameters(parameters, distributions)
        space.decode(values)
    # And whatever is a member is in NNI's space: it can be read back.
    rng, back = np.random.default_rng(0), from_nni(through_node(search_space))
    for _ in range(20):
        values = {key: draw(rng, dist) for key, dist in distributions.items()}
        assert read_parameters(through_node(values), back) == pytest.approx(values)


@pytest.mark.parametrize(
    ("distribution", "kind", "value"),
    [
        (CategoricalDistribution([None, True, "a", 1.5]), "choice", [None, True, "a", 1.5]),
        (IntDistribution(-2, 5), "randint", [-2, 6]),
        (IntDistribution(16, 96, step=16), "quniform", [16, 96, 16]),
        (IntDistribution(6, 22, step=4), "choice", [6, 10, 14, 18, 22]),
        (IntDistribution(1, 64, log=True), "qloguniform", [1, 64, 1]),
        (FloatDistribution(-2.9, 2.9), "uniform", [-2.9, 2.9]),
        (FloatDistribution(0.5, 2.9, step=0.1), "quniform", [0.5, 2.9, 0.1]),
        (FloatDistribution(1e-4, 0.1, log=True), "loguniform", [1e-4, 0.1]),
        (FloatDistribution(0.05, 0.35, step=0.1), "choice", [0.05, 0.15, 0.25, 0.35]),
        (IntDistribution(3, 3), "choice", [3]),
    ],
)
def test_forms(distribution: BaseDistribution, kind: str, value: list[Any]) -> None:
    form = to_nni({"x": distribution})["x"]
    assert form["_type"] == kind
    assert form["_value"] == [pytest.approx(v) if type(v) is float else v for v in value]
    if kind != "choice":
        assert from_nni({"x": form}) == {"x": distribution}


numbers = st.integers(-50, 50).map(lambda i: i / 4)


@settings(max_examples=100, deadline=None)
@given(numbers, st.integers(1, 40), st.sampled_from([0.1, 0.25, 1.0, 3.0]), st.booleans())
def test_what_nni_draws_from_a_step_can_be_read(
    low: float, count: int, step: float, ours: bool
) -> None:
    high = round(low + count * step, 9)
    if ours:  # of a distribution of Optuna
        distribution: BaseDistribution = FloatDistribution(low, high, step=step)
        search_space = to_nni({"x": distribution})
    else:  # of a search space that someone wrote
        search_space = {"x": {"_type": "quniform", "_value": [low, high, step]}}
        try:
            distribution = from_nni(search_space)["x"]
        except InvalidValueError:  # no multiple of the step is within
            assert not any(low <= k * step <= high for k in range(-200, 200))
            return
    drawn = [p["x"] for p in nni_draws(search_space, 30)]
    for value in drawn:
        if not ours and any(value == pytest.approx(end) for end in (low, high)):
            continue  # NNI cuts off what it has rounded beyond the ends
        assert read_parameters({"x": value}, {"x": distribution})["x"] == pytest.approx(value)


@pytest.mark.parametrize(
    ("search_space", "message"),
    [
        ([], "give a mapping of parameters"),
        ({"x": 1}, "'x': 1: give"),
        ({"x": {"_type": "choise", "_value": [1]}}, "choose _type from choice, randint"),
        ({"x": {"_type": "normal", "_value": [0, 1]}}, "choose _type from choice, randint"),
        ({"x": {"_type": "choice", "_value": []}}, "give a list"),
        ({"x": {"_type": "choice", "_value": [{"_name": "a"}]}}, "nested choices"),
        ({"x": {"_type": "uniform", "_value": [1]}}, "give 2 numbers"),
        ({"x": {"_type": "uniform", "_value": [1, "2"]}}, "give 2 numbers"),
        ({"x": {"_type": "uniform", "_value": [2, 1]}}, "must be larger"),
        ({"x": {"_type": "loguniform", "_value": [0, 1]}}, "must be above 0"),
        ({"x": {"_type": "randint", "_value": [0, 1.5]}}, "give two whole numbers"),
        ({"x": {"_type": "quniform", "_value": [0.1, 0.9, 1]}}, "no multiple of the step"),
        ({"x": {"_type": "quniform", "_value": [0, 9, -1]}}, "no multiple of the step"),
        ({"x": {"_type": "qloguniform", "_value": [1, 9, 2]}}, "step 1"),
    ],
)
def test_wrong_search_spaces(search_space: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        from_nni(search_space)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (3, "give a mapping"),
        ({"a": 1}, "'b' is missing"),
        ({"a": 1, "b": "x", "c": 0}, "'c' is not part of"),
        ({"a": 1.5, "b": "x"}, "a=1.5 is not in"),
        ({"a": True, "b": "x"}, "a=True is not in"),
        ({"a": 9, "b": "x"}, "a=9 is not in"),
        ({"a": float("nan"), "b": "x"}, "a=nan is not in"),
        ({"a": float("inf"), "b": "x"}, "a=inf is not in"),
        ({"a": 1, "b": 1}, "b=1 is not in"),
    ],
)
def test_wrong_parameters(parameters: Any, message: str) -> None:
    distributions = {"a": IntDistribution(0, 3), "b": CategoricalDistribution(["x", True])}
    with pytest.raises(InvalidValueError, match=message):
        read_parameters(parameters, distributions)


def test_values_get_their_types_back() -> None:
    distributions = {
        "i": IntDistribution(16, 96, step=16),
        "f": FloatDistribution(0, 3),
        "q": FloatDistribution(0.0, 0.9, step=0.1),
        "b": CategoricalDistribution([False, True]),
        "c": CategoricalDistribution([1.0, 2.0]),
    }
    read = read_parameters(
        {"i": 32.0, "f": 2, "q": 0.30000000000000004, "b": True, "c": 2}, distributions
    )
    assert [(type(value), value) for value in read.values()] == [
        (int, 32),
        (float, 2.0),
        (float, pytest.approx(0.3)),
        (bool, True),
        (float, 2.0),
    ]
