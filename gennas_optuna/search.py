"""Architecture search: an Optuna study asked for batches, scored by a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import Trial, TrialState

from gennas_optuna import _check
from gennas_optuna._evaluator import Score
from gennas_optuna.errors import GenNASError
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.spaces import Architecture

BATCH = 4
"""Trials asked for at a time. Fixed, so that a search does not depend on the workers."""

ERROR = "gennas:error"
"""The attribute of a trial that tells why its architecture could not be scored."""

OnTrial = Callable[[Architecture | None, Score | None], None]
"""Sees each trial's architecture and score. There is no score where the architecture was beyond
a constraint or could not be scored."""


@dataclass(frozen=True)
class Found:
    """A distinct network that a search scored."""

    arch: Architecture
    score: Score


def search(
    objective: GenNASObjective,
    study: optuna.Study,
    *,
    n_trials: int,
    workers: int = 1,
    on_trial: OnTrial | None = None,
) -> list[Found]:
    """Run ``n_trials`` trials of ``study``, several at a time.

    The study is asked for trials in batches of a fixed size, so the result is the same for any
    number of workers. Whatever ends the search, no trial is left running. An architecture that
    cannot be scored (PyTorch raises, memory runs out, its worker dies) fails its trial, with the
    reason in the attribute ``gennas:error``, and the search goes on. Each network is trained once
    in any case; where the objective prunes duplicates, trials that repeat one are pruned.

    Args:
        objective: its space, evaluator and limits are used.
        study: any study with the objective's directions; its pruner is not asked.
        n_trials: how many trials to run.
        workers: processes.
        on_trial: sees each architecture with its score.

    Returns:
        The distinct networks that were scored, best first.

    Raises:
        GenNASError: a setting is wrong, such as images that are not there.
    """
    objective.check_study(study)
    _check.whole(n_trials, "n_trials", low=0)
    found: dict[str, Found] = {}
    first: dict[str, int] = {}
    with EvaluatorPool(objective.evaluator, workers) as pool:
        for start in range(0, n_trials, BATCH):
            trials = [study.ask() for _ in range(min(BATCH, n_trials - start))]
            try:
                for arch, outcome in _batch(objective, pool, trials):
                    trial, score = trials[0], None
                    try:
                        if arch is not None:
                            number = first.setdefault(arch.key, trial.number)
                            if number != trial.number:
                                trial.set_user_attr("gennas:duplicate_of", number)
                        score = _settle(objective, study, trial, arch, outcome)
                    except Exception as error:  # whatever a space or PyTorch raises
                        fail(study, trial, error)
                    if arch is not None and score is not None:
                        found.setdefault(arch.key, Found(arch, score))
                    trials.pop(0)
                    if on_trial is not None:
                        on_trial(arch, score)
            finally:
                for trial in trials:
                    study.tell(trial, state=TrialState.FAIL)
    return sorted(found.values(), key=lambda item: item.score.loss)


def _settle(
    objective: GenNASObjective,
    study: optuna.Study,
    trial: Trial,
    arch: Architecture | None,
    outcome: Score | Exception | None,
) -> Score | None:
    """Tell the study what became of a trial."""
    if isinstance(outcome, Exception):
        raise outcome
    assert arch is not None
    if objective.duplicates == "prune" and "gennas:duplicate_of" in trial.user_attrs:
        study.tell(trial, state=TrialState.PRUNED)
    elif outcome is None:
        study.tell(trial, objective.reject(trial, arch))
    else:
        study.tell(trial, objective.finish(trial, arch, outcome))
    return outcome


def _batch(
    objective: GenNASObjective, pool: EvaluatorPool, trials: Sequence[Trial]
) -> Iterator[tuple[Architecture | None, Score | Exception | None]]:
    """What becomes of each trial: a score, an exception, or nothing (beyond a constraint)."""
    drafts = [_draft(objective, trial) for trial in list(trials)]
    outcomes = pool.outcomes(
        [arch for arch, state in drafts if arch is not None and state is True]
    )
    for arch, state in drafts:
        if isinstance(state, Exception):
            yield arch, state
        else:
            yield arch, next(outcomes) if state else None


def _draft(
    objective: GenNASObjective, trial: Trial
) -> tuple[Architecture | None, bool | Exception]:
    """The trial's architecture, and whether it is within the constraints."""
    arch = None
    try:
        arch = objective.begin(trial)
        return arch, objective.admit(trial, arch)
    except Exception as error:  # whatever a space or PyTorch raises
        return arch, error


def fail(study: optuna.Study, trial: Trial, error: Exception) -> None:
    """Fail a trial whose architecture could not be scored, with the reason in its attributes.

    Raises:
        GenNASError: that is the error; it concerns the whole search, not one architecture.
    """
    if isinstance(error, GenNASError):
        raise error
    reason = " ".join(str(error).split())
    trial.set_user_attr(ERROR, f"{type(error).__name__}: {reason}"[:400])
    study.tell(trial, state=TrialState.FAIL)
