"""The proxy-task search: which signals rank a few architectures of known quality best."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from gennas_optuna import _check
from gennas_optuna._lease import WORKER, leased_trial, put_back_lost, this_worker
from gennas_optuna._task_bound import STATISTICS, upper_bound
from gennas_optuna._task_pool import EvaluatorFactory, MakeEvaluator, TaskPool
from gennas_optuna._task_result import TaskSearch, summarize
from gennas_optuna._task_study import (
    LOSSES,
    REUSED,
    check_direction,
    claim,
    completed,
    evaluations,
    finished,
    requeue_interrupted,
    requeue_stopped,
    since_best,
)
from gennas_optuna._trial import pruned_without_memory
from gennas_optuna.benchmarks import GroundTruth, Trained, load_truth
from gennas_optuna.correlation import kendall, spearman
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.score_file import finite
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import DEFAULT_PRESET, Preset
from gennas_optuna.spaces import SearchSpace, get_space
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_space import ProxyTaskSpace

__all__ = ["ProxyTaskObjective", "TaskSearch", "draw_distinct", "search_task"]


def draw_distinct(
    truth: GroundTruth, n: int, *, seed: int, what: str, without: Sequence[Trained] = ()
) -> list[Trained]:
    """Draw records of ``n`` different networks, none of which is in ``without``.

    Args:
        truth: the table.
        n: how many.
        seed: of the draw.
        what: names the draw; draws of different names are independent.
        without: records whose networks are left out.

    Raises:
        InvalidValueError: there are not that many.
    """
    seen = {record.arch.key for record in without}
    drawn: list[Trained] = []
    if len(truth) > 1:
        for record in truth.sample(len(truth), numpy_generator(seed, what)):
            if len(drawn) == n:
                break
            if record.arch.key not in seen:
                seen.add(record.arch.key)
                drawn.append(record)
    if len(drawn) < n:
        raise InvalidValueError(
            f"{truth.name} has {len(drawn)} different networks for the {what}: {n} were asked for"
        )
    return drawn


def _extremes_first(records: Sequence[Trained], truth: GroundTruth) -> list[Trained]:
    """The best, the worst, the second best and so on."""
    rest = deque(sorted(records, key=truth.goodness))
    ends = cycle((rest.pop, rest.popleft))
    return [next(ends)() for _ in records]


class ProxyTaskObjective:
    """An objective that maximises how well a proxy task ranks architectures of known quality.

    A trial's value is the signed rank correlation between minus the losses on its task and the
    truth. The architectures are evaluated one after another, always in the same order: the best
    and the worst first, then inwards, since a wrong order of those rules a task out soonest. A
    training that diverged ranks last. The correlation so far is reported after each, and a trial
    is pruned as soon as it cannot become better than the best finished one whatever the missing
    losses (an exact bound), or when the study's pruner says so, which is asked from half of the
    architectures on. A value is never that of a part: the trial is pruned instead.

    Each loss is kept in the trial's attributes as soon as it is known, so neither a trial that
    was stopped and is run again nor a repeated task trains an architecture twice.

    Examples:
        >>> import optuna
        >>> from gennas_optuna.task_search import ProxyTaskObjective
        >>> objective = ProxyTaskObjective("nasbench201", "hpo-bench:cifar10", steps=2, n_archs=2)
        >>> study = optuna.create_study(direction=objective.direction)
        >>> study.optimize(objective, n_trials=1)

    Args:
        space: the architectures' search space, or its registered name.
        truth: a table, or what :func:`load_truth` reads.
        n_archs: how many different networks of the table are used, drawn with ``seed``.
        archs: use these records of the table instead.
        statistic: ``"spearman"`` or ``"kendall"``.
        tasks: the tasks that are searched; by default ``ProxyTaskSpace.of(space)``.
        prune: stop trials by the exact bound. Samplers that learn from completed trials alone
            (evolution, CMA-ES) need ``False``.
        top: with ``prune``, complete all trials that can still come to be among the best so many.
        preset: see :class:`GenNASEvaluator`, like the other settings not listed here.
        workers: processes that evaluate; the result does not depend on it.
        make_evaluator: makes the evaluator of a task, instead of those settings.

    Raises:
        GenNASError: a setting is wrong; the message says what is allowed.
    """

    def __init__(
        self,
        space: str | SearchSpace,
        truth: str | Path | GroundTruth,
        *,
        n_archs: int = 20,
        archs: Sequence[Trained] | None = None,
        statistic: Literal["spearman", "kendall"] = "spearman",
        tasks: ProxyTaskSpace | None = None,
        prune: bool = True,
        top: int = 1,
        preset: str | Preset = DEFAULT_PRESET,
        steps: int | None = None,
        inputs: str | Path | torch.Tensor = "photos",
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
        workers: int = 1,
        make_evaluator: MakeEvaluator | None = None,
    ) -> None:
        self.space = get_space(space) if isinstance(space, str) else space
        self.truth = truth if isinstance(truth, GroundTruth) else load_truth(truth, self.space)
        if self.truth.space != self.space:
            raise InvalidValueError(
                f"{self.truth.name} is a table of {self.truth.space}, not of {self.space}"
            )
        _check.whole(n_archs, "n_archs", low=2)
        if archs is None:
            archs = draw_distinct(self.truth, n_archs, seed=seed, what="task search")
        if not isinstance(archs, Sequence) or not all(isinstance(a, Trained) for a in archs):
            raise InvalidValueError(
                f"archs={_check.shorten(archs)}: give a list of Trained, such as some of "
                "load_truth(...).records"
            )
        self.archs = tuple(_extremes_first(archs, self.truth))
        if len({record.arch.key for record in self.archs}) != len(self.archs) or len(archs) < 2:
            raise InvalidValueError("archs: give at least two architectures, each network once")
        self.goodness = tuple(self.truth.goodness(record) for record in self.archs)
        if len(set(self.goodness)) == 1:
            raise InvalidValueError("archs: all are equally good, so there is nothing to rank")
        self.statistic = _check.one_of(statistic, "statistic", STATISTICS)
        self.tasks = ProxyTaskSpace.of(self.space) if tasks is None else tasks
        _check.instance(self.tasks, "tasks", ProxyTaskSpace)
        self.prune = _check.boolean(prune, "prune")
        self.top = _check.whole(top, "top", low=1)
        self.seed = _check.whole(seed, "seed", low=0)
        self.make_evaluator = make_evaluator or EvaluatorFactory(
            preset, steps, inputs, seed, device, threads
        )
        self.make_evaluator(self.tasks.template)  # so that a wrong setting is told now
        self._pool = TaskPool(self.make_evaluator, [t.arch for t in self.archs], workers)

    @property
    def direction(self) -> StudyDirection:
        """For ``create_study(direction=...)``."""
        return StudyDirection.MAXIMIZE

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """All that the value of a parameter set depends on, for provenance."""
        archs = "\n".join(str(record.arch) for record in self.archs)
        evaluator = self.make_evaluator(self.tasks.template)
        procedure: dict[str, Any] = {}
        if isinstance(evaluator, GenNASEvaluator):
            procedure = {"preset": evaluator.preset.name, "steps": evaluator.steps_for(self.space)}
        return {
            "space": self.space.name,
            "form": self.space.form,
            "truth": Path(self.truth.name).name,
            "truth_digest": self.truth.digest,
            "n_archs": len(self.archs),
            "archs_digest": hashlib.sha256(archs.encode()).hexdigest()[:12],
            "statistic": self.statistic,
            "task_space": self.tasks.form,
            "template": self.tasks.template.digest,
            **procedure,
            "evaluator": evaluator.identity(self.space),
            "seed": self.seed,
        }

    def __call__(self, trial: BaseTrial) -> float:
        """Evaluate the task that the trial proposes.

        Raises:
            optuna.TrialPruned: the correlation cannot become the best any more, the study's
                pruner says so, or memory ran out.
            InvalidValueError: the study does not maximise, or is of another search.
        """
        study = trial.study if isinstance(trial, Trial) else None
        if study is not None:
            check_direction(study)
            claim(study, self.conditions)
            if WORKER not in trial.user_attrs:
                trial.set_user_attr(WORKER, this_worker())
        task = self.tasks.suggest(trial)
        identity = self.make_evaluator(task).identity(self.space)
        known = [] if study is None else self._known(study, identity)
        trial.set_user_attr("gennas:task", identity)
        if known:
            trial.set_user_attr(REUSED, len(known))
            trial.set_user_attr(LOSSES, [finite(loss) for loss in known])
        with pruned_without_memory():
            return self._correlate(trial, study, task, known)

    def correlation(self, losses: Sequence[float]) -> float:
        """The statistic over the first architectures, as many as there are losses."""
        statistic = spearman if self.statistic == "spearman" else kendall
        return statistic([-loss for loss in losses], self.goodness[: len(losses)])

    def bound(self, losses: Sequence[float]) -> float:
        """The most that :meth:`correlation` can become when the other losses are known."""
        return upper_bound([-loss for loss in losses], self.goodness, self.statistic)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        self._pool.close()

    def _correlate(
        self,
        trial: BaseTrial,
        study: optuna.Study | None,
        task: ProxyTask,
        known: Sequence[float],
    ) -> float:
        to_beat = self._to_beat(study)
        losses: list[float] = []
        scores = self._pool.scores(task, start=len(known))
        try:
            for number in range(1, len(self.archs) + 1):
                if number <= len(known):
                    losses.append(known[number - 1])
                else:
                    losses.append(next(scores).loss)
                    trial.set_user_attr(LOSSES, [finite(loss) for loss in losses])
                if number > 1:
                    trial.report(self.correlation(losses), number)
                if max(2, len(known)) <= number < len(self.archs):
                    self._consider_pruning(trial, losses, to_beat)
        finally:
            scores.close()
        return self.correlation(losses)

    def _consider_pruning(
        self, trial: BaseTrial, losses: Sequence[float], to_beat: float | None
    ) -> None:
        number = len(losses)
        if to_beat is not None and (bound := self.bound(losses)) <= to_beat:
            raise optuna.TrialPruned(
                f"after {number} architectures the correlation can become {bound:.4f} at most"
            )
        if 2 * number >= len(self.archs) and trial.should_prune():
            raise optuna.TrialPruned(f"stopped by the pruner after {number} architectures")

    def _to_beat(self, study: optuna.Study | None) -> float | None:
        if study is None or not self.prune:
            return None
        best = completed(study)
        return best[self.top - 1].value if len(best) >= self.top else None

    def _known(self, study: optuna.Study, identity: str) -> list[float]:
        """The most losses that any trial of the study has of this task."""
        most: list[float | None] = []
        for trial in study.get_trials(deepcopy=False):
            losses = trial.user_attrs.get(LOSSES, [])
            if trial.user_attrs.get("gennas:task") == identity and len(losses) > len(most):
                most = losses
        return [float("inf") if loss is None else loss for loss in most]


def search_task(
    objective: ProxyTaskObjective,
    study: optuna.Study,
    *,
    n_trials: int | None = None,
    n_evaluations: int | None = None,
    timeout: float | None = None,
    patience: int | None = None,
    start: Sequence[ProxyTask] = (),
    take_over: bool = False,
    on_trial: Callable[[FrozenTrial], None] | None = None,
) -> TaskSearch:
    """Run a study of proxy tasks until it has what it was to have, and tell what it found.

    All limits but ``timeout`` count what is in the study, so a search that was stopped, in
    whatever way, goes on when it is called again with the same storage, and ends with the same
    number of trials. A trial whose process was stopped, wherever it ran, is marked as failed, and
    its parameters are run again, beginning with the losses that it had found. Several processes
    may work on one study.

    Args:
        objective: what is maximised.
        study: with direction ``"maximize"``; :func:`open_study` makes one.
        n_trials: completed and pruned trials that the study is to have. Several processes may
            exceed it by those that they have begun.
        n_evaluations: trained architectures that the study is to have; the trial that reaches
            this number is still finished.
        timeout: seconds after which no trial is begun.
        patience: stop after so many finished trials without a new best.
        start: tasks to try first, if the study is new.
        take_over: run again at once what other machines left running; see
            :func:`requeue_stopped`.
        on_trial: sees each trial of this process as it is finished.

    Raises:
        InvalidValueError: no limit is given, or the study does not maximise or is of another
            search.
    """
    if n_trials is n_evaluations is timeout is patience is None:
        raise InvalidValueError("give n_trials, n_evaluations, timeout or patience")
    for name, limit in (
        ("n_trials", n_trials),
        ("n_evaluations", n_evaluations),
        ("patience", patience),
    ):
        if limit is not None:
            _check.whole(limit, name, low=1)
    if timeout is not None:
        _check.number(timeout, "timeout", low=0)
    _check.sequence(start, "start")
    check_direction(study)
    claim(study, objective.conditions)
    requeue_stopped(study, take_over=take_over)
    if not study.get_trials(deepcopy=False):
        for task in start:
            study.enqueue_trial(objective.tasks.params(task))
    begun = time.monotonic()

    def stopped() -> str | None:
        if n_trials is not None and len(finished(study)) >= n_trials:
            return "n_trials"
        if n_evaluations is not None and evaluations(study) >= n_evaluations:
            return "n_evaluations"
        if patience is not None and since_best(study) >= patience:
            return "patience"
        if timeout is not None and time.monotonic() - begun >= timeout:
            return "timeout"
        return None

    try:
        while (reason := stopped()) is None:
            put_back_lost(study)
            trial = _run_one(objective, study)
            if trial is not None and on_trial is not None:
                on_trial(trial)
    except (KeyboardInterrupt, SystemExit):
        requeue_interrupted(study)
        raise
    finally:
        objective.close()
    return summarize(objective, study, reason)


def _run_one(objective: ProxyTaskObjective, study: optuna.Study) -> FrozenTrial | None:
    """The next trial, finished; ``None`` if another worker took it over meanwhile."""
    told = None
    with leased_trial(study) as trial:
        try:
            value = objective(trial)
        except optuna.TrialPruned:
            told = study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            told = study.tell(trial, value, skip_if_finished=True)
    return None if told is None or told.state == TrialState.FAIL else told
