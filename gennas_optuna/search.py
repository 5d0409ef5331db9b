"""Architecture search: an Optuna study with several trials under way, scored by a pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import Trial, TrialState

from gennas_optuna import _check
from gennas_optuna._evaluator import Score
from gennas_optuna.errors import GenNASError
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.spaces import Architecture

WINDOW = 4
"""Networks that are trained or wait for it at a time, whatever the number of workers.

Fixed, so that a search does not depend on the workers. A wide window keeps many of them busy while
one trains a dear network; a narrow one lets the sampler know more of what it asked for, also where
there is one worker. Four suit machines of a few cores; workers that share a storage wait for no
one.
"""

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

    :data:`WINDOW` trials are under way at any time. The oldest is told to the study as soon as its
    score is there, and then the next is asked for. That order is fixed, so the result is the same
    for any number of workers. Whatever ends the search, no trial is left running. An architecture
    that cannot be scored (PyTorch raises, memory runs out, its worker dies) fails its trial, with
    the reason in the attribute ``gennas:error``, and the search goes on. Each network is trained
    once in any case; where the objective prunes duplicates, trials that repeat one are pruned.

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
    with EvaluatorPool(objective.evaluator, workers) as pool:
        found = _Search(objective, study, pool, on_trial).run(n_trials)
    return sorted(found.values(), key=lambda item: item.score.loss)


@dataclass
class _Asked:
    """A trial that the study has not been told of yet.

    There is no ``outcome`` where nothing is trained: beyond a constraint, or after an ``error``.
    """

    trial: Trial
    arch: Architecture | None = None
    outcome: Callable[[], Score | Exception] | None = None
    error: Exception | None = None


class _Search:
    """One search. What it ``asked`` for are its trials that are running, oldest first."""

    def __init__(
        self,
        objective: GenNASObjective,
        study: optuna.Study,
        pool: EvaluatorPool,
        on_trial: OnTrial | None,
    ) -> None:
        self.objective, self.study, self.pool = objective, study, pool
        self.on_trial = on_trial
        self.asked: deque[_Asked] = deque()
        self.found: dict[str, Found] = {}
        self.first: dict[str, int] = {}  # the number of the first trial with the network

    def run(self, n_trials: int) -> dict[str, Found]:
        """The networks that were scored, by their keys."""
        try:
            for _ in range(n_trials):
                self._ask()
                if len(self.asked) == WINDOW:
                    self._settle_oldest()
            while self.asked:
                self._settle_oldest()
        finally:
            for asked in self.asked:
                self.study.tell(asked.trial, state=TrialState.FAIL, skip_if_finished=True)
        return self.found

    def _ask(self) -> None:
        """Begin a trial; what it proposes is submitted to the pool."""
        asked = _Asked(self.study.ask())
        self.asked.append(asked)
        try:
            asked.arch = arch = self.objective.begin(asked.trial)
            number = self.first.setdefault(arch.key, asked.trial.number)
            if number != asked.trial.number:
                asked.trial.set_user_attr("gennas:duplicate_of", number)
            if self.objective.admit(asked.trial, arch):
                asked.outcome = self.pool.submit(arch)
        except Exception as error:  # whatever a space or PyTorch raises
            asked.error = error

    def _settle_oldest(self) -> None:
        """Wait for what becomes of the trial, and tell the study."""
        asked, score = self.asked[0], None
        try:
            score = self._tell(asked)
        except Exception as error:
            fail(self.study, asked.trial, error)
        self.asked.popleft()
        if asked.arch is not None and score is not None:
            self.found.setdefault(asked.arch.key, Found(asked.arch, score))
        if self.on_trial is not None:
            self.on_trial(asked.arch, score)

    def _tell(self, asked: _Asked) -> Score | None:
        objective, trial, arch = self.objective, asked.trial, asked.arch
        outcome = asked.error if asked.outcome is None else asked.outcome()
        if isinstance(outcome, Exception):
            raise outcome
        assert arch is not None
        if objective.duplicates == "prune" and "gennas:duplicate_of" in trial.user_attrs:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif outcome is None:
            self.study.tell(trial, objective.reject(trial, arch))
        else:
            self.study.tell(trial, objective.finish(trial, arch, outcome))
        return outcome


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
