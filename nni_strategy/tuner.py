"""An NNI tuner that proposes what an Optuna sampler does.

In ``config.yml``::

    tuner:
      className: nni_strategy.tuner.OptunaTuner
      codeDirectory: .
      classArgs:
        sampler: tpe
        optimize_mode: minimize

or, once it is registered, ``name: OptunaTuner`` in place of the first two lines.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from nni.runtime.msg_dispatcher_base import MsgDispatcherBase
from nni.tuner import Tuner
from nni.utils import ClassArgsValidator

if TYPE_CHECKING:
    from nni_strategy._tuner_study import TunerStudy

__all__ = ["OptunaTuner", "OptunaTunerArguments"]

_logger = logging.getLogger(__name__)
_DISPATCHED = os.environ.get("SDK_PROCESS") == "dispatcher"
"""Whether this is the process that NNI's manager starts for the tuner."""


class OptunaTuner(Tuner):  # type: ignore[misc]
    """Runs an Optuna study whose trials are those of an NNI experiment.

    Results are attributed by the parameters that they carry (those of ``nni_strategy.trial`` do),
    since NNI may deliver, import or resume them under others; how many it mixed up stands in the
    dispatcher's log. Results of other trials are taken as NNI delivers them.

    At ``trialConcurrency: 1`` it proposes the same parameters in the same order as
    ``study.optimize`` with the same sampler, seed and space, without a pruner. A resumed
    experiment goes on from its finished trials. A trial that failed is told to the study as soon
    as it is certain which one it was.

    Under NNI's manager wrong arguments are told on its console and in the dispatcher's log, and
    the experiment's status is ERROR. They are looked at after the tuner has connected, since the
    manager waits ten seconds for that, whatever else the computer does.

    Args:
        sampler: ``"tpe"``, ``"evolution"``, ``"random"``, ``"nsga2"`` or ``"cmaes"``.
        optimize_mode: ``"minimize"`` (architecture search: the loss) or ``"maximize"``
            (proxy-task search: the rank correlation).
        seed: of the sampler; ``None`` takes a random one.
        population: of evolution and NSGA-II.
        space: a registered search space. The search space of the experiment must be its own, and
            evolution uses its moves. Without it any search space in NNI's form is searched.
        form: which network of ``space``.
        search: ``"arch"`` or ``"task"``: architectures of ``space``, or proxy tasks for it.
        task_space: the form of the proxy tasks.

    Raises:
        GenNASError: an argument is wrong.
    """

    def __init__(
        self,
        sampler: str = "tpe",
        optimize_mode: str = "minimize",
        seed: int | None = None,
        population: int = 50,
        space: str | None = None,
        form: str | None = None,
        search: str = "arch",
        task_space: str = "flat",
        **unknown: Any,
    ) -> None:
        super().__init__()
        self._arguments = {
            "sampler": sampler,
            "optimize_mode": optimize_mode,
            "seed": seed,
            "population": population,
            "space": space,
            "form": form,
            "search": search,
            "task_space": task_space,
            **unknown,
        }
        self._study: TunerStudy | None = None
        self._lock = threading.Lock()  # NNI calls from two threads
        if not _DISPATCHED:
            self._make()

    @property
    def study(self) -> Any:
        """The Optuna study."""
        return self._ready().study

    @property
    def mispaired(self) -> int:
        """How many results came under the parameters of another trial."""
        return self._ready().mispaired

    def update_search_space(self, search_space: Any) -> None:
        """Begin, or go on, with this search space.

        Raises:
            GenNASError: it is not one that can be searched, or not that of ``space``.
        """
        self._told(lambda: self._ready().use(search_space))

    def generate_parameters(self, parameter_id: int, **kwargs: Any) -> dict[str, Any]:
        """The parameters of the next trial."""
        parameters: dict[str, Any] = self._told(lambda: self._ready().ask(parameter_id))
        return parameters

    def receive_trial_result(
        self, parameter_id: int, parameters: Any, value: Any, **kwargs: Any
    ) -> None:
        """Take the final result of a trial.

        Raises:
            GenNASError: it is no result, it says why trials cannot run, or it is to be optimised
                in the other direction.
        """
        self._told(lambda: self._ready().tell(parameter_id, parameters, value))

    def trial_end(self, parameter_id: int, success: bool, **kwargs: Any) -> None:
        """Note that a trial has ended; ``parameter_id`` may be another trial's."""
        if not success:
            self._told(lambda: self._ready().fail())

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Take results of other experiments, or of this one before it was resumed."""
        self._told(lambda: self._ready().add(data))

    def _make(self) -> TunerStudy:
        # Not at the top: PyTorch is slow to import.
        from nni_strategy._tuner_study import TunerArguments, TunerStudy  # noqa: PLC0415

        self._study = TunerStudy(TunerArguments.of(self._arguments))
        return self._study

    def _ready(self) -> TunerStudy:
        return self._study or self._make()

    def _told(self, action: Callable[[], Any]) -> Any:
        """Do something; if that fails under NNI's manager, say so and end the dispatcher.

        NNI would log the error and wait for ever.
        """
        from gennas_optuna.errors import GenNASError  # noqa: PLC0415 - PyTorch is slow to import

        with self._lock:
            try:
                return action()
            except Exception as error:
                if not _DISPATCHED:
                    raise
                if not isinstance(error, GenNASError):
                    _logger.exception("OptunaTuner:")
                _give_up(f"OptunaTuner: error: {error}")


def _give_up(message: str) -> NoReturn:
    """End the dispatcher, and have the manager end the experiment."""
    _logger.error(message)
    print(message, file=sys.stderr, flush=True)
    # The manager waits half a minute for a dispatcher that has gone, but not if it is told. NNI
    # gives tuners no way to tell it, so look for the dispatcher that has called.
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if isinstance(dispatcher := frame.f_locals.get("self"), MsgDispatcherBase):
            dispatcher.report_error(message)
            break
    logging.shutdown()
    os._exit(1)


class OptunaTunerArguments(ClassArgsValidator):  # type: ignore[misc]
    """Checks ``classArgs`` where NNI asks for it: in experiments in the form before version 2."""

    def validate_class_args(self, **kwargs: Any) -> None:
        """See that a tuner can be made of the arguments.

        Raises:
            GenNASError: naming what is wrong.
        """
        from nni_strategy._tuner_study import TunerArguments, TunerStudy  # noqa: PLC0415

        TunerStudy(TunerArguments.of(kwargs))
