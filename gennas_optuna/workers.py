"""One study, many processes: each runs trials until the study has as many as it should."""

from __future__ import annotations

import time
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from gennas_optuna import _check
from gennas_optuna._evaluator import Score
from gennas_optuna._lease import is_taken, leased_trial, put_back_lost, this_worker
from gennas_optuna.constraints import feasible
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.objective import GenNASObjective, marks_of
from gennas_optuna.search import ERROR, Found, fail
from gennas_optuna.seeding import derive_seed
from gennas_optuna.spaces import Architecture
from gennas_optuna.storage import explained

SEARCH = "gennas:search"
"""The attribute of a study that tells what is searched, and under which conditions."""

POLL = 0.5
"""Seconds between two looks at a study whose last trials are run by others."""


def work(
    objective: GenNASObjective,
    study: optuna.Study,
    *,
    n_trials: int,
    on_trial: Callable[[Architecture, Score], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Run trials until the study has ``n_trials`` that are finished, with whoever does the same.

    A trial is finished when it has a value, or when its architecture could not be scored and it
    failed with the reason in the attribute ``gennas:error``. There are exactly ``n_trials`` of
    them in the end, whatever the number of workers: each trial looks how many came before it, and
    gives way (is pruned) if there are enough.

    A worker may end at any moment. Its trial is failed and its parameters are queued again by
    the next worker that looks, so that every call returns with all trials finished. See
    :func:`gennas_optuna.storage.open_storage` for storages that outlive an interruption.

    Args:
        objective: what to minimise.
        study: a study of the objective's directions; its pruner is not asked.
        n_trials: how many finished trials the study is to have, with those it has already.
        on_trial: sees each architecture that this process scored.
        on_progress: sees how many trials of the study are finished.

    Raises:
        GenNASError: a setting is wrong, or the study is of another search.
    """
    _check.whole(n_trials, "n_trials", low=1)
    claim(objective, study)
    while True:
        put_back_lost(study)
        trials = study.get_trials(deepcopy=False)
        finished = sum(map(_is_finished, trials))
        if on_progress is not None:
            on_progress(min(finished, n_trials))
        if finished >= n_trials:
            return
        if finished + sum(t.state == TrialState.RUNNING for t in trials) >= n_trials:
            time.sleep(POLL)  # others have begun the last; should one of them end, it is our turn
        else:
            _run_one(objective, study, n_trials, on_trial)


def claim(objective: GenNASObjective, study: optuna.Study) -> None:
    """Note in the study what is searched, or see that it is the same as before.

    Raises:
        InvalidValueError: the study's trials are of another search.
    """
    objective.check_study(study)
    space = objective.space
    search = {"space": space.name, "form": space.form, "conditions": objective.identity()}
    before = study.user_attrs.get(SEARCH)
    if before is None:
        _refuse_foreign_trials(objective, study)
        study.set_user_attr(SEARCH, search)
    elif before != search:
        name = next(name for name in search if before.get(name) != search[name])
        raise InvalidValueError(
            f"study {study.study_name!r} is of another search: its {name} (task, steps, inputs, "
            "seed, objectives, limits) differ; give the same settings, or another study name"
            if name == "conditions"
            else f"study {study.study_name!r} is of another search: its {name} is "
            f"{_check.shorten(before.get(name))}, not {search[name]!r}; give another study name"
        )


def _refuse_foreign_trials(objective: GenNASObjective, study: optuna.Study) -> None:
    """Of a study that no search has claimed; ``study.optimize`` leaves trials in such.

    Raises:
        InvalidValueError: a trial is of another search, or of none.
    """
    trial = next(objective.foreign(study), None)
    if trial is not None:
        found = marks_of(trial)
        kind = f"another search ({found}, here {objective.marks()})" if found else "no search"
        raise InvalidValueError(
            f"study {study.study_name!r}: its trial {trial.number} is of {kind}; give the same "
            "settings, or another study name"
        )


def own_seed(seed: int, study_name: str) -> int:
    """A seed for the sampler of this process alone.

    Workers whose samplers begin with the same random state would propose the same.
    """
    parts = (study_name, time.time_ns(), *this_worker().values())
    return derive_seed(seed, "sampler", *parts) % 2**32


def share(
    storage: optuna.storages.BaseStorage,
    name: str,
    objective: GenNASObjective,
    sampler: BaseSampler,
) -> optuna.Study:
    """The study of that name; whoever comes first makes it.

    Raises:
        GenNASError: a setting is wrong, or what is in the storage cannot be read.
    """
    objective.identity()  # what it refuses, such as images that are not there, makes no study
    with explained(name):
        return optuna.create_study(
            storage=storage,
            study_name=name,
            directions=objective.directions,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )


def found_in(objective: GenNASObjective, study: optuna.Study) -> list[Found]:
    """The distinct networks within all limits that a study's workers scored, best first."""
    found: dict[str, Found] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        cost = trial.user_attrs.get("gennas:cost")
        key = trial.user_attrs.get("gennas:key")
        if cost is None or key is None or key in found or not feasible(trial):
            continue
        arch = objective.space.parse(trial.user_attrs["gennas:arch"])
        loss, seconds = trial.values[0], trial.user_attrs.get("gennas:seconds", 0.0)
        status = "ok" if loss < float("inf") else "diverged"
        sizes = int(cost["params"]), int(cost["flops"])
        score = Score(loss, None, status, *sizes, seconds, cost["cpu_seconds"])  # type: ignore[arg-type]
        found[key] = Found(arch, score)
    return sorted(found.values(), key=lambda item: item.score.loss)


def _run_one(
    objective: GenNASObjective,
    study: optuna.Study,
    n_trials: int,
    on_trial: Callable[[Architecture, Score], None] | None,
) -> None:
    with leased_trial(study) as trial:
        if _is_surplus(study, trial, n_trials):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            _evaluate(objective, study, trial, on_trial)


def _evaluate(
    objective: GenNASObjective,
    study: optuna.Study,
    trial: Trial,
    on_trial: Callable[[Architecture, Score], None] | None,
) -> None:
    try:
        arch = objective.begin(trial)
        values = objective.known(trial, arch)
        if values is None:
            score = objective.evaluator.evaluate(arch)
            if on_trial is not None:
                on_trial(arch, score)
            values = objective.finish(trial, arch, score)
        study.tell(trial, values, skip_if_finished=True)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except (KeyboardInterrupt, GenNASError):
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise
    except Exception as error:  # whatever a space or PyTorch raises
        if not is_taken(study, trial):
            fail(study, trial, error)


def _is_surplus(study: optuna.Study, trial: Trial, n_trials: int) -> bool:
    """Whether enough trials with smaller numbers are finished, running or waiting to be run.

    That makes the count exact: of the trials that are finished in the end, the one with the
    largest number saw all the others, which were numbered before it.
    """
    before = study.get_trials(deepcopy=False)[: trial.number]
    open_states = (TrialState.RUNNING, TrialState.WAITING)
    return sum(_is_finished(t) or t.state in open_states for t in before) >= n_trials


def _is_finished(trial: FrozenTrial) -> bool:
    failed = trial.state == TrialState.FAIL and ERROR in trial.user_attrs
    return failed or trial.state == TrialState.COMPLETE
