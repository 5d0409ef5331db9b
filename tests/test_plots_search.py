"""The figures of searches, against numbers counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from gennas_optuna import GenNASObjective
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.plots_search import convergence, plot_convergence
from gennas_optuna.plots_study import plot_study, title

pytest.importorskip("matplotlib")


def trial(
    value: float | None, cpu_seconds: float | None = None, **attributes: Any
) -> optuna.trial.FrozenTrial:
    if cpu_seconds is not None:
        cost = {"params": 1e5 * (1 + cpu_seconds), "flops": 1e7, "cpu_seconds": cpu_seconds}
        attributes["gennas:cost"] = cost
    state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
    return create_trial(
        value=value,
        state=attributes.pop("state", state),
        params=attributes.pop("params", {"x": 0.5}),
        distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
        user_attrs=attributes,
    )


def study_of(
    *trials: optuna.trial.FrozenTrial, name: str | None = None, direction: str = "minimize"
) -> optuna.Study:
    study = optuna.create_study(study_name=name, direction=direction)
    study.add_trials(trials)
    return study


def test_convergence_counts_trials_and_each_network_once() -> None:
    study = study_of(
        trial(math.inf, 0.0),  # beyond a limit
        trial(3.0, 1.5),
        trial(3.0, 1.5, **{"gennas:duplicate_of": 1}),  # its cost is that of the other
        trial(None),  # pruned
        trial(2.0, 0.5),
        trial(2.5, 1.0),
        trial(None, state=TrialState.FAIL, **{"gennas:error": "it failed"}),
    )
    curve = convergence(study)
    assert curve.trials.tolist() == [2, 3, 4, 5, 6, 7]
    assert curve.best.tolist() == [3.0, 3.0, 3.0, 2.0, 2.0, 2.0]
    assert curve.cpu_seconds is not None
    assert curve.cpu_seconds.tolist() == [1.5, 1.5, 1.5, 2.0, 3.0, 3.0]


def test_trials_that_came_to_nothing_do_not_count() -> None:
    study = study_of(trial(3.0), trial(2.0))
    waiting = create_trial(state=TrialState.WAITING)
    lost = trial(None, state=TrialState.FAIL)
    gave_way = create_trial(state=TrialState.PRUNED)
    study.add_trials([waiting, lost, gave_way])
    curve = convergence(study)
    assert curve.trials.tolist() == [1, 2]
    assert curve.cpu_seconds is None  # these trials do not keep it


def test_a_study_that_maximises_goes_up() -> None:
    curve = convergence(study_of(trial(0.2), trial(0.1), trial(0.7), direction="maximize"))
    assert curve.best.tolist() == [0.2, 0.2, 0.7]


def test_the_figure_shows_the_curves() -> None:
    fast = study_of(trial(3.0, 1.0), trial(1.0, 1.0))
    slow = study_of(trial(3.0, 2.0), trial(2.0, 2.0))
    other = study_of(trial(5.0, 2.0), trial(4.0, 2.0))
    figure = plot_convergence({"fast": fast}, {"slow": slow, "other": other})
    over_trials, over_seconds = figure.axes
    for axes, step in ((over_trials, 1.0), (over_seconds, None)):
        labels = [line.get_label() for line in axes.lines]
        assert labels[2:] == ["mean of 2 baselines", "fast"]
        np.testing.assert_array_equal(axes.lines[2].get_ydata(), [4.0, 3.0])
        np.testing.assert_array_equal(axes.lines[3].get_ydata(), [3.0, 1.0])
        if step is not None:
            np.testing.assert_array_equal(axes.lines[3].get_xdata(), [1.0, 2.0])
    assert over_seconds.get_xlabel().startswith("CPU-seconds")


def test_without_cpu_seconds_in_all_studies_there_is_one_panel() -> None:
    figure = plot_convergence({"a": study_of(trial(1.0, 1.0)), "b": study_of(trial(1.0))})
    assert len(figure.axes) == 1


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(InvalidValueError, match="no study to draw"):
        plot_convergence({})
    with pytest.raises(InvalidValueError, match="gennas plot tuning"):
        plot_convergence({"tuned": study_of(trial(0.5), direction="maximize")})
    for study in (study_of(), study_of(trial(math.inf, 0.0)), study_of(trial(None))):
        with pytest.raises(InvalidValueError, match="no completed trial"):
            plot_convergence({"empty": study})
        with pytest.raises(InvalidValueError, match="no completed trial"):
            plot_study(study)


def test_the_figure_of_a_study() -> None:
    trials = [trial(1.0 + (x - 0.3) ** 2, x, params={"x": x}) for x in np.linspace(0.1, 1, 12)]
    study = study_of(*trials, trial(None), name="mine")
    history, params, flops, importance = plot_study(study).axes
    dots, best = history.lines
    assert dots.get_ydata().tolist() == [t.value for t in trials]
    assert best.get_ydata()[-1] == study.best_value
    sizes = [t.user_attrs["gennas:cost"]["params"] for t in trials]
    assert params.lines[0].get_xdata().tolist() == sizes
    assert flops.get_xlabel() == "multiply-accumulates"
    assert [bar.get_width() for bar in importance.patches] == [1.0]  # there is one parameter
    assert title(study) == "mine: 13 trials (12 complete, 1 pruned)"


def test_few_trials_and_other_studies_have_fewer_panels() -> None:
    assert len(plot_study(study_of(trial(1.0, 1.0))).axes) == 3
    plain = optuna.create_study()
    plain.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=3)
    figure = plot_study(plain)
    assert [axes.get_ylabel() for axes in figure.axes] == ["value"]


def test_diverged_trials_leave_importances_possible() -> None:
    trials = [trial(math.inf, 0.0, params={"x": x}) for x in np.linspace(0.1, 1, 12)]
    figure = plot_study(study_of(*trials, trial(1.0, 1.0)))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [1.0]


@pytest.mark.slow
def test_the_trials_of_this_package_keep_what_the_figures_show() -> None:
    objective = GenNASObjective("nasbench201", steps=1, extra_objectives=("flops",))
    study = optuna.create_study(
        directions=objective.directions, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=3)
    curve = convergence(study)
    assert curve.cpu_seconds is not None
    assert curve.best[-1] == min(t.values[0] for t in study.trials)
    assert len(plot_study(study).axes) == 3
