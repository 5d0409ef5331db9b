"""GenNAS as an objective of an Optuna study."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._several import SeveralObjectives
from gennas_optuna._trial import pruned_without_memory, reporter
from gennas_optuna.constraints import feasible
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.inputs import Inputs
from gennas_optuna.latency import latency
from gennas_optuna.memory import peak_memory
from gennas_optuna.seeding import torch_generator
from gennas_optuna.settings import DEFAULT_PRESET, Preset
from gennas_optuna.spaces import Architecture, SearchSpace, get_space
from gennas_optuna.task import ProxyTask

Duplicates = Literal["cached", "prune", "evaluate"]


MARKS = ("gennas:space", "gennas:task")
"""The attributes of a trial that tell what its values depend on, the network aside."""


def marks_of(trial: FrozenTrial) -> dict[str, str]:
    """Those of a trial that somebody scored; empty if it was no objective of a space."""
    return {name: trial.user_attrs[name] for name in MARKS if name in trial.user_attrs}


class GenNASObjective(SeveralObjectives):
    """An objective that minimises the GenNAS loss over a search space.

    It works with ``study.optimize``, with ``FixedTrial`` and with ``enqueue_trial``, can be
    pickled, and may be shared by threads. Each trial gets the attributes ``gennas:arch``,
    ``gennas:key``, ``gennas:space`` (with its form and options), ``gennas:task`` (identity of
    everything else the loss depends on), ``gennas:seconds``, ``gennas:cost`` (what was counted
    and measured, and ``cpu_seconds``) and, for a repeated network, ``gennas:duplicate_of``.

    In a study with one objective the loss is reported along the way, so the study's pruner acts:
    note that a plain ``create_study()`` has a ``MedianPruner``. Running out of memory prunes the
    trial; divergence gives the value ``inf``.

    An architecture beyond a constraint is not trained, since all constraints are on what can be
    known before: its loss is ``inf`` and its trial is complete. That is what samplers need: those
    that heed constraints compare such trials by how far they are beyond the limits, whatever
    their values, and learn nothing from trials that are pruned.

    Examples:
        >>> import optuna
        >>> from gennas_optuna import GenNASObjective
        >>> objective = GenNASObjective("nasbench201", steps=2)
        >>> study = optuna.create_study(directions=objective.directions)
        >>> study.optimize(objective, n_trials=1)

    Args:
        space: a registered name or a :class:`SearchSpace`.
        task: see :class:`GenNASEvaluator`, like the other settings not listed here.
        extra_objectives: further values to minimise: ``"flops"`` (multiply-accumulates),
            ``"params"``, ``"latency"`` (milliseconds of one pass with one input, measured) and
            ``"memory"`` (bytes alive at the worst moment of that pass, counted). All are of the
            network as encoded, at the paper's size.
        constraints: upper limits on any of these, such as ``{"flops": 3e8, "params": 1e6}``.
        duplicates: what to do with a network that a finished trial of the study had:
            ``"cached"``: return that trial's values; ``"prune"``; or ``"evaluate"`` it again. Of
            equal networks that several threads score at once none has finished: one is trained,
            all complete.
        evaluator: use this one instead of making one from the settings.

    Raises:
        GenNASError: a setting is wrong; the message says what is allowed.
    """

    def __init__(
        self,
        space: str | SearchSpace,
        task: str | Path | ProxyTask = "default",
        *,
        preset: str | Preset = DEFAULT_PRESET,
        steps: int | None = None,
        report_steps: Sequence[int] | None = None,
        inputs: Inputs = "photos",
        extra_objectives: Sequence[str] = (),
        constraints: Mapping[str, float] | None = None,
        duplicates: Duplicates = "cached",
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.space = get_space(space) if isinstance(space, str) else space
        _check.instance(self.space, "space", SearchSpace)
        super().__init__(extra_objectives, constraints)
        self._measured: dict[tuple[str, Architecture], float] = {}
        self._looked_back: set[str] = set()
        self.duplicates = _check.one_of(duplicates, "duplicates", ("cached", "prune", "evaluate"))
        self.evaluator = evaluator or GenNASEvaluator(
            task,
            preset=preset,
            steps=steps,
            report_steps=report_steps,
            inputs=inputs,
            seed=seed,
            device=device,
            threads=threads,
        )
        if isinstance(self.evaluator, GenNASEvaluator):
            self.evaluator.reports_for(self.space)  # refused here rather than in each trial

    def __call__(self, trial: BaseTrial) -> float | tuple[float, ...]:
        """Score the architecture that the trial proposes.

        Raises:
            optuna.TrialPruned: the study's pruner says so, memory ran out, or the network is a
                duplicate and duplicates are pruned.
        """
        self.check_trial(trial)
        self._look_back(trial)
        arch = self.begin(trial)
        values = self.known(trial, arch)
        if values is not None:
            return values
        several, last = bool(self.extra_objectives), self.evaluator.steps_for(self.space)
        report = reporter(trial, several=several, last=last)
        with pruned_without_memory():
            score = self.evaluator.evaluate(arch, report, reuse=self.duplicates != "evaluate")
        return self.finish(trial, arch, score)

    # The steps of a trial, for searches that run several at a time ---------------------------

    def begin(self, trial: BaseTrial) -> Architecture:
        """Ask the trial for an architecture and note it in the trial's attributes."""
        arch = self.space.suggest(trial)
        trial.set_user_attr("gennas:arch", str(arch))
        trial.set_user_attr("gennas:key", arch.key)
        for name, value in self.marks().items():
            trial.set_user_attr(name, value)
        return arch

    def known(self, trial: BaseTrial, arch: Architecture) -> float | tuple[float, ...] | None:
        """The value or values if no training is needed for them, ``None`` otherwise.

        That is where a constraint is violated, and where a finished trial of the study had the
        network (unless duplicates are evaluated). Costs are those of this encoding all the same.

        Raises:
            optuna.TrialPruned: duplicates are pruned, and this is one.
        """
        if not self.admit(trial, arch):
            return self.reject(trial, arch)
        earlier = None if self.duplicates == "evaluate" else self._finished(trial, arch)
        if earlier is None:
            return None
        trial.set_user_attr("gennas:duplicate_of", earlier.number)
        if self.duplicates == "prune":
            raise optuna.TrialPruned(f"the same network as trial {earlier.number}")
        if earlier.user_attrs["gennas:arch"] == str(arch):  # what was measured stays
            return tuple(earlier.values) if self.extra_objectives else float(earlier.values[0])
        return self._values(earlier.values[0], partial(self.measure, arch))

    def admit(self, trial: BaseTrial, arch: Architecture) -> bool:
        """Set the trial's constraints; whether the architecture is within all of them."""
        return self._admit(trial, partial(self.measure, arch))

    def reject(self, trial: BaseTrial, arch: Architecture) -> float | tuple[float, ...]:
        """The value or values of an architecture beyond a constraint, which is not trained."""
        trial.set_user_attr("gennas:cost", self._cost(arch, cpu_seconds=0.0))
        return self._values(math.inf, partial(self.measure, arch))

    def finish(
        self, trial: BaseTrial, arch: Architecture, score: Score
    ) -> float | tuple[float, ...]:
        """Note the cost in the trial's attributes; the trial's value or values."""
        trial.set_user_attr("gennas:seconds", round(score.seconds, 3))
        values = self._values(score.loss, partial(self.measure, arch))
        trial.set_user_attr("gennas:cost", self._cost(arch, round(score.cpu_seconds, 4)))
        return values

    def measure(self, arch: Architecture, name: str) -> float:
        """One of :data:`MEASURES`; what was measured once for an architecture stays."""
        if (name, arch) not in self._measured:
            shape = self.evaluator.input_shape(arch.space)
            if name in ("flops", "params"):
                value = float(getattr(self.evaluator._cost(arch), name))
            elif name == "memory":
                value = float(peak_memory(arch.space.skeleton(arch, input_shape=shape), shape))
            else:
                generator = torch_generator(self.evaluator.seed, "latency")
                model = arch.space.build(arch, generator=generator, input_shape=shape)
                value = latency(
                    model, shape, device=self.evaluator.device, threads=self.evaluator.threads
                )
            self._measured[name, arch] = value
        return self._measured[name, arch]

    def identity(self) -> str:
        """A short text for all that a trial's values depend on besides the architecture."""
        limits = [f"{name}<={limit:g}" for name, limit in self.constraints.items()]
        return "+".join([self.evaluator.identity(self.space), *self.extra_objectives, *limits])

    def marks(self) -> dict[str, str]:
        """What :data:`MARKS` are in this objective's trials."""
        return dict(zip(MARKS, (repr(self.space), self.identity()), strict=True))

    def foreign(self, study: optuna.Study) -> Iterator[FrozenTrial]:
        """The study's trials with values that do not compare with this objective's."""
        own = self.marks()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if marks_of(trial) != own:
                yield trial

    def _cost(self, arch: Architecture, cpu_seconds: float) -> dict[str, float]:
        return {**self._costs(partial(self.measure, arch)), "cpu_seconds": cpu_seconds}

    def _look_back(self, trial: BaseTrial) -> None:
        """Warn, once a study, if it has losses that do not compare with these."""
        if not isinstance(trial, Trial) or trial.study.study_name in self._looked_back:
            return
        self._looked_back.add(trial.study.study_name)
        scored = (other for other in self.foreign(trial.study) if marks_of(other))
        if (other := next(scored, None)) is not None:
            warnings.warn(
                f"study {trial.study.study_name!r}: trial {other.number} was scored in another "
                f"space or with other settings ({marks_of(other)}, here {self.marks()}), so "
                "its value does not compare with those to come; give the same settings, or use "
                "another study",
                stacklevel=3,
            )

    def _finished(self, trial: BaseTrial, arch: Architecture) -> FrozenTrial | None:
        """The first finished trial of the study with this network under these settings."""
        if not isinstance(trial, Trial):
            return None
        wanted = {
            "gennas:key": arch.key,
            **self.marks(),  # keys of two spaces may be equal
        }
        for other in trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            # Not one that took its loss from another (workers may finish in any order), nor one
            # beyond a limit, which was not trained.
            if "gennas:duplicate_of" in other.user_attrs or not feasible(other):
                continue
            if wanted.items() <= other.user_attrs.items():
                return other
        return None


@lru_cache(maxsize=1)
def _default_objective() -> GenNASObjective:
    return GenNASObjective("nasbench201")


def gennas_objective(trial: BaseTrial) -> float:
    """The ready-made objective: NAS-Bench-201 with its default task and the default settings.

    Examples:
        >>> import optuna
        >>> from gennas_optuna import gennas_objective
        >>> study = optuna.create_study()
        >>> study.optimize(gennas_objective, n_trials=3)  # doctest: +SKIP
    """
    value: Any = _default_objective()(trial)
    return float(value)
