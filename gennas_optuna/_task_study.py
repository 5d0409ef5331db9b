"""The study of a task search as it stands in its storage, and how it goes on after a stop."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna import _check
from gennas_optuna._lease import ALIVE, WORKER, put_back, put_back_lost, this_worker
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.samplers import RegularizedEvolutionSampler
from gennas_optuna.seeding import derive_seed
from gennas_optuna.storage import explained, open_storage

SEARCH = "gennas:search"
LOSSES = "gennas:losses"
REUSED = "gennas:reused"
"""How many of a trial's first losses were known before it was run."""

_ONCE_WORKER = "gennas:process"
"""What the attribute :data:`WORKER` was called in older studies."""


class MakeSampler(Protocol):
    """Makes a sampler of a seed."""

    def __call__(self, *, seed: int) -> BaseSampler:
        """The sampler."""


_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(
    storage: str | BaseStorage | None,
    name: str | None,
    make_sampler: MakeSampler,
    *,
    seed: int,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Create a study that is maximised, or go on with the one of that name.

    Args:
        storage: where it is kept, or what :func:`gennas_optuna.storage.open_storage` opens.
        name: of the study. A storage that is to be gone on with needs one.
        make_sampler: of the sampler's seed. Whoever finds the study there already gets another
            seed than who made it, lest samplers that keep a random state (all but the evolution)
            propose the same once more.
        seed: of the search.
        pruner: besides the exact bound; by default none.

    Raises:
        InvalidValueError: the storage cannot be used.
    """
    sampler, pruner = make_sampler(seed=seed), pruner or optuna.pruners.NopPruner()
    place = storage if isinstance(storage, BaseStorage) else open_storage(storage)
    with explained(name):
        try:  # only one process can make it
            return optuna.create_study(
                storage=place,
                study_name=name,
                direction="maximize",
                sampler=sampler,
                pruner=pruner,
            )
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=place, pruner=pruner)
        begun = len(study.get_trials(deepcopy=False))
    if not isinstance(sampler, RegularizedEvolutionSampler):
        joined = derive_seed(seed, "joined", begun, secrets.token_hex(8)) % 2**32
        sampler = make_sampler(seed=joined)
    study.sampler = sampler
    return study


def check_direction(study: optuna.Study) -> None:
    """A rank correlation is maximised; a study that minimises it would find the worst task."""
    _check.instance(study, "study", optuna.Study)
    if study.directions != [StudyDirection.MAXIMIZE]:
        raise InvalidValueError(
            "the rank correlation is maximised: make the study with "
            "create_study(direction='maximize')"
        )


def claim(study: optuna.Study, search: Mapping[str, Any]) -> None:
    """Note in the study what is searched, or see that it is the same as before.

    Raises:
        InvalidValueError: the study's trials were made under other conditions.
    """
    before = study.user_attrs.get(SEARCH)
    if before is None:
        if any(LOSSES in trial.user_attrs for trial in study.get_trials(deepcopy=False)):
            raise InvalidValueError(
                f"study {study.study_name!r} has trials, and does not tell of which search; give "
                "another study name"
            )
        study.set_user_attr(SEARCH, dict(search))
        return
    changed = [key for key in search if before.get(key) != search[key]]
    if changed:
        key = changed[0]
        raise InvalidValueError(
            f"study {study.study_name!r} is another search: its {key} is "
            f"{_check.shorten(before.get(key))}, not {_check.shorten(search[key])}; give another "
            "study name, or the same settings"
        )


def requeue_stopped(study: optuna.Study, *, take_over: bool = False) -> int:
    """Put back the trials of workers that are gone, see :func:`put_back_lost`.

    Args:
        study: the study.
        take_over: also those of which this machine cannot know at once whether their worker
            lives, since it runs, or ran, on another machine.

    Returns:
        How many trials were put back.
    """
    count = put_back_lost(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        elsewhere = worker is None or worker["host"] != this_worker()["host"]
        if _ONCE_WORKER in trial.user_attrs or (take_over and elsewhere):
            count += put_back(study, trial)
    return count


def requeue_interrupted(study: optuna.Study) -> None:
    """Have the trial that this process was running, and that failed, run again.

    It keeps the losses that it found.
    """
    here = this_worker()
    own = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get(WORKER) == here]
    if own and own[-1].state == TrialState.FAIL and own[-1].params:
        attributes = own[-1].user_attrs
        kept = {k: v for k, v in attributes.items() if k not in (WORKER, ALIVE)}
        kept[REUSED] = len(kept.get(LOSSES, ()))
        study.enqueue_trial(own[-1].params, user_attrs=kept)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were completed or pruned."""
    return study.get_trials(deepcopy=False, states=_FINISHED)


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have a correlation, best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-(trial.value or 0.0), trial.number))


def trained(trial: FrozenTrial) -> int:
    """Architectures that a trial trained, whatever became of it."""
    return len(trial.user_attrs.get(LOSSES, ())) - int(trial.user_attrs.get(REUSED, 0))


def evaluations(study: optuna.Study) -> int:
    """Architectures that were trained in all trials."""
    return sum(map(trained, study.get_trials(deepcopy=False)))


def since_best(study: optuna.Study) -> int:
    """Finished trials after the one that is best."""
    best = completed(study)[:1]
    return sum(trial.number > best[0].number for trial in finished(study)) if best else 0
