"""What every evaluator is: it scores architectures, each network once."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch

from gennas_optuna import _check
from gennas_optuna._ambient import default_settings
from gennas_optuna.cost import Cost, count_cost
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.regression import OnEval, Status, Trace
from gennas_optuna.spaces import Architecture, SearchSpace
from gennas_optuna.taps import StagedModel


@dataclass(frozen=True)
class Score:
    """What an evaluator says of an architecture.

    Attributes:
        loss: lower is better; ``inf`` if the training diverged. Presets that count the size have
            divided it by a power of the multiply-accumulates, as they have those of the trace.
        trace: the loss along the way; ``None`` where nothing is trained.
        status: ``"ok"`` or ``"diverged"``.
        params: learnable scalars of the backbone as encoded, without heads.
        flops: its multiply-accumulates for one input.
        seconds: wall time of the evaluation.
        cpu_seconds: processor time of the evaluation.
    """

    loss: float
    trace: Trace | None
    status: Status
    params: int
    flops: int
    seconds: float
    cpu_seconds: float


class Evaluator(ABC):
    """Scores architectures; two encodings of one network share one score.

    Args:
        seed: of everything that is drawn.
        device: ``"auto"`` (a GPU if there is one) or a name that PyTorch knows.
        threads: PyTorch threads during an evaluation.
    """

    def __init__(self, *, seed: int, device: str, threads: int) -> None:
        self.seed = _check.whole(seed, "seed", low=0)
        self.threads = _check.whole(threads, "threads", low=1, high=1024)
        self.device = _device(device)
        self._scores: dict[tuple[SearchSpace, str], Score] = {}
        self._costs: dict[tuple[Architecture, bool], Cost] = {}
        self._stopped: dict[tuple[SearchSpace, str], dict[int, float]] = {}
        self._make_locks()

    @abstractmethod
    def identity(self, space: SearchSpace) -> str:
        """A short text for all that a loss depends on besides the architecture."""

    @abstractmethod
    def input_shape(self, space: SearchSpace) -> tuple[int, ...]:
        """Shape of one input that networks of ``space`` are built for."""

    @abstractmethod
    def _measure(
        self, arch: Architecture, on_eval: OnEval | None
    ) -> tuple[float, Trace | None, Status]:
        """Find the loss of an architecture that was not scored before."""

    def steps_for(self, space: SearchSpace | None) -> int | None:
        """How many steps architectures of ``space`` are trained; ``None`` where none are."""
        return None

    def cached(self, arch: Architecture) -> Score | None:
        """The score that the architecture's network got before, if it did."""
        return self._scores.get((arch.space, arch.key))

    def remember(self, arch: Architecture, score: Score) -> None:
        """Take over a score that an equal evaluator found, in another process or earlier."""
        self._scores[arch.space, arch.key] = score
        self._costs[arch, False] = Cost(score.params, score.flops)

    def evaluate(
        self, arch: Architecture, on_eval: OnEval | None = None, *, reuse: bool = True
    ) -> Score:
        """Score an architecture.

        Args:
            arch: from any search space.
            on_eval: called with (step, loss) at each reported step; it may raise to stop, and
                then there is no score. For a network that was trained before, to the end or not,
                it first sees the losses that were recorded.
            reuse: take the score of an equal network that was evaluated before, if there is one.
        """
        _check.instance(arch, "arch", Architecture)
        identity = (arch.space, arch.key)
        with self._lock:
            lock = self._locks[identity]
        try:
            with lock:
                score = self._scores.get(identity) if reuse else None
                if score is None:
                    watch = self._resumed(identity, on_eval) if reuse else on_eval
                    score = self._timed(arch, watch)
                    self._scores[identity] = score
                    self._stopped.pop(identity, None)
                    return score
        finally:
            self._locks.pop(identity, None)  # whoever waits for it has it
        if on_eval is not None and score.trace is not None:
            for step, loss in zip(score.trace.steps, score.trace.losses, strict=True):
                if math.isfinite(loss):
                    on_eval(step, loss)
        cost = self._cost(arch)
        return replace(score, params=cost.params, flops=cost.flops)

    def _resumed(self, identity: tuple[SearchSpace, str], on_eval: OnEval | None) -> OnEval | None:
        """``on_eval``, having seen what a training that was stopped had found.

        Training it anew would find the same, so whoever stops at one of these saves it.
        """
        if on_eval is None:
            return None
        seen = dict(self._stopped.get(identity, {}))
        for step, loss in seen.items():
            on_eval(step, loss)

        def watch(step: int, loss: float) -> None:
            if step not in seen:
                self._stopped.setdefault(identity, {})[step] = loss
                on_eval(step, loss)

        return watch

    def _timed(self, arch: Architecture, on_eval: OnEval | None) -> Score:
        clock = time.thread_time if self.threads == 1 else time.process_time
        start, cpu_start = time.perf_counter(), clock()
        with default_settings(self.device, self.threads):
            loss, trace, status = self._measure(arch, on_eval)
            cost = self._cost(arch)
        seconds, cpu_seconds = time.perf_counter() - start, clock() - cpu_start
        return Score(loss, trace, status, *cost, seconds, cpu_seconds)

    def _cost(
        self, arch: Architecture, *, canonical: bool = False, network: StagedModel | None = None
    ) -> Cost:
        """Of the network as encoded, or of the one that all encodings with its key share.

        ``network`` is that one, on the CPU, if it has been built.
        """
        if (arch, canonical) not in self._costs:
            shape = self.input_shape(arch.space)
            if network is None:
                network = arch.space.skeleton(arch, input_shape=shape, canonical=canonical)
            params = sum(parameter.numel() for parameter in network.parameters())
            # What multiplies has parameters: if all of them are left, so is all that multiplies.
            same = canonical and params == self._cost(arch).params
            cost = self._cost(arch) if same else count_cost(network, shape)
            self._costs[arch, canonical] = cost
        return self._costs[arch, canonical]

    def _make_locks(self) -> None:
        self._lock = threading.Lock()
        self._locks: defaultdict[tuple[SearchSpace, str], threading.Lock]
        self._locks = defaultdict(threading.Lock)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"], state["_locks"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_locks()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # the meta device has no values
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InvalidValueError(
            f"device={name!r} is not available here: {_check.shorten(reason, 160)}"
        ) from None
    return device
