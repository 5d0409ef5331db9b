"""What the objectives do alike with further values and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from optuna.pruners import NopPruner
from optuna.study import Study, StudyDirection
from optuna.trial import BaseTrial, Trial

from gennas_optuna import _check
from gennas_optuna.constraints import MEASURES, check_constraints, set_constraints
from gennas_optuna.errors import InvalidValueError


class SeveralObjectives:
    """An objective that minimises a loss, and some costs beside it, within limits on costs.

    Args:
        extra_objectives: further values to minimise, of :data:`MEASURES`.
        constraints: upper limits, by the same names.

    Raises:
        InvalidValueError: a name or a limit is not allowed.
    """

    def __init__(
        self, extra_objectives: Sequence[str], constraints: Mapping[str, float] | None
    ) -> None:
        self.extra_objectives = tuple(
            _check.one_of(name, "extra_objectives", MEASURES)
            for name in _check.sequence(extra_objectives, "extra_objectives")
        )
        if len(set(self.extra_objectives)) < len(self.extra_objectives):
            raise InvalidValueError(f"extra_objectives={extra_objectives!r}: give each once")
        self.constraints = check_constraints(constraints)

    @property
    def directions(self) -> list[StudyDirection]:
        """For ``create_study(directions=...)``: everything is minimised."""
        return [StudyDirection.MINIMIZE] * (1 + len(self.extra_objectives))

    @property
    def metric_names(self) -> list[str]:
        """For ``study.set_metric_names``."""
        return ["loss", *self.extra_objectives]

    def check_trial(self, trial: BaseTrial) -> None:
        """See that the trial's study takes what the objective gives, before it is found.

        One value may be one of several of a study's. The function that calls may turn it for a
        study that maximises, but no pruner may see the losses then: it would prune the best.

        Raises:
            InvalidValueError: the study takes one value of several, or maximises the loss.
        """
        if not isinstance(trial, Trial) or len(trial.study.directions) > 1:
            return
        maximises = trial.study.direction == StudyDirection.MAXIMIZE
        if self.extra_objectives or (maximises and not isinstance(trial.study.pruner, NopPruner)):
            self.check_study(trial.study)

    def check_study(self, study: Study) -> None:
        """See that a study minimises as many values as there are.

        Raises:
            InvalidValueError: it does not.
        """
        if study.directions != self.directions:
            found = ", ".join(direction.name.lower() for direction in study.directions)
            raise InvalidValueError(
                f"study {study.study_name!r} has the directions {found}; this search minimises "
                f"{', '.join(self.metric_names)}: make the study with "
                "directions=objective.directions, or give another study name"
            )

    def _costs(self, measure: Callable[[str], float]) -> dict[str, float]:
        """What is noted of a network: its sizes, and all that is asked for."""
        names = {"params", "flops", *self.extra_objectives, *self.constraints}
        return {name: measure(name) for name in MEASURES if name in names}

    def _admit(self, trial: BaseTrial, measure: Callable[[str], float]) -> bool:
        """Set the trial's constraints; whether the network is within all of them."""
        excess = {name: measure(name) / limit - 1 for name, limit in self.constraints.items()}
        set_constraints(trial, excess)
        return all(value <= 0 for value in excess.values())

    def _values(self, loss: float, measure: Callable[[str], float]) -> float | tuple[float, ...]:
        """The trial's value or values."""
        extra = tuple(measure(name) for name in self.extra_objectives)
        return (loss, *extra) if extra else loss
