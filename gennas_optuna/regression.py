"""The regression: heads on the taps, a few optimiser steps, the loss along the way."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from gennas_optuna import _check
from gennas_optuna._transfer import send
from gennas_optuna._updates import Updates
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.seeding import torch_generator
from gennas_optuna.spaces._init import initialize
from gennas_optuna.taps import StagedModel, TapInfo
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Optimizer, Stage

Status = Literal["ok", "diverged"]

OnEval = Callable[[int, float], None]
"""Called with (step, loss) after each evaluation; may raise to stop the training."""


@dataclass(frozen=True)
class Trace:
    """How the loss went.

    Attributes:
        steps: the optimiser steps after which the loss was evaluated, counted from 1; without
            those where it overflowed in evaluation mode while the training went on.
        losses: the loss after each of them: in evaluation mode with fresh noise, or the mean of
            the last training losses; see :func:`fit`.
        status: ``"diverged"`` if the last of them is not a finite number.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    status: Status

    @property
    def loss(self) -> float:
        """The final loss, ``inf`` if the training diverged."""
        return self.losses[-1] if self.status == "ok" else math.inf


class ImageHead(nn.Module):
    """Nearest-neighbour resize to the target's size, batch norm, 1x1 convolution with bias."""

    def __init__(self, tap: TapInfo, target: torch.Size) -> None:
        super().__init__()
        self.size = tuple(target[2:])
        self.norm = nn.BatchNorm2d(tap.channels)
        self.conv = nn.Conv2d(tap.channels, target[1], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) to (B, C, S, S)."""
        if x.shape[2:] != self.size:
            x = F.interpolate(x, size=self.size, mode="nearest")
        out: torch.Tensor = self.conv(self.norm(x))
        return out


class SequenceHead(nn.Linear):
    """A linear layer: weights uniform in +-0.1, bias 0 at the start (GenNAS, RNN space)."""

    def __init__(self, tap: TapInfo, target: torch.Size) -> None:
        super().__init__(tap.channels, target[2])

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        self.weight.uniform_(-0.1, 0.1, generator=generator)
        self.bias.zero_()


_HEADS: dict[str, type[ImageHead] | type[SequenceHead]] = {
    "NCHW": ImageHead,
    "LND": SequenceHead,
}


def make_heads(model: StagedModel, batch: Batch, *, generator: torch.Generator) -> nn.ModuleList:
    """One head per tap, by the tap's layout, mapping it to its target; on the CPU."""
    with torch.device("meta"):
        heads = nn.ModuleList(
            [
                _HEADS[tap.layout](tap, target.shape)
                for tap, target in zip(model.taps, batch.targets, strict=True)
            ]
        )
    return initialize(heads, generator=generator)


def fit(
    model: StagedModel,
    heads: nn.ModuleList,
    batch: Batch,
    stages: tuple[Stage, ...],
    *,
    optimizer: Optimizer,
    steps: int,
    eval_steps: Collection[int] = (),
    window: int | None = None,
    factor: float = 1.0,
    seed: int = 0,
    on_eval: OnEval | None = None,
) -> Trace:
    """Train ``model`` and ``heads`` in place to regress the batch's targets.

    The loss is the sum over the stages of weight times mean squared error. Every step trains on
    the whole batch with noise drawn anew. After the last step, and after those in ``eval_steps``,
    the loss is read: in evaluation mode without gradient, or from the training losses so far.

    Args:
        model: backbone, on the device of ``batch``.
        heads: one per tap, from :func:`make_heads`.
        batch: inputs, targets and noise.
        stages: the task's stages, for their weights.
        optimizer: the task's optimiser.
        steps: number of optimiser steps.
        eval_steps: further steps to evaluate after. They do not change the final loss: noise of
            training and of each evaluation come from streams of their own.
        window: read the mean of this many last training losses, each taken before its step's
            update, instead of a loss in evaluation mode.
        factor: what the losses that are read are multiplied by; those trained on are not.
        seed: of the noise and of dropout. Give all architectures that are compared the same.
        on_eval: sees each (step, loss); what it raises ends the training.
    """
    _check.whole(steps, "steps", low=1)
    last = len(stages) - 1
    train_weights = [stage.training_weight for stage in stages]
    eval_weights = [stage.weight for stage in stages]
    if not any(train_weights):
        raise InvalidValueError("no stage has a training weight above 0")
    updates = Updates((model, heads), optimizer)
    train_noise = torch_generator(seed, "training noise")
    model.noise_generator = torch_generator(seed, "dropout")

    def stage_losses(weights: list[float], noise: torch.Generator) -> list[torch.Tensor]:
        inputs = batch.inputs
        if batch.noise.level:
            inputs = inputs + send(batch.noise.sample(inputs.shape, noise), inputs.device)
        # The last stage always counts, so that the whole network is run and updated.
        return [
            F.mse_loss(heads[i](tap), batch.targets[i])
            if weights[i] or i == last
            else inputs.new_zeros(())
            for i, tap in enumerate(model(inputs))
        ]

    def evaluated(step: int) -> torch.Tensor:
        trained.eval()
        with torch.no_grad():
            noise = torch_generator(seed, "evaluation", step)
            loss = _weighted(stage_losses(eval_weights, noise), eval_weights)
        trained.train(step < steps)
        return loss

    # With a window, what is trained on must hold whatever is read.
    seen = [a or b for a, b in zip(train_weights, eval_weights, strict=True)]
    recent: deque[torch.Tensor] = deque(maxlen=window)
    found: list[tuple[int, float]] = []
    status: Status = "ok"
    trained = nn.ModuleList([model, heads]).train()  # not at every step: it takes a while
    for step in range(1, steps + 1):
        updates.zero_grad()
        losses = stage_losses(train_weights if window is None else seen, train_noise)
        total = _weighted(losses, train_weights)
        total.backward()  # type: ignore[no-untyped-call]
        updates.step()
        if window is not None:
            recent.append(_weighted([loss.detach() for loss in losses], eval_weights))
        if step == steps or step in eval_steps:
            read = evaluated(step) if window is None else torch.stack([*recent]).mean()
            loss = factor * float(read)
            finite = math.isfinite(loss)
            if not finite and step < steps and math.isfinite(float(total.detach())):
                continue  # running statistics that lag behind, not the training
            found.append((step, loss))
            if not finite:
                status = "diverged"
                break
            if on_eval is not None:
                on_eval(step, loss)
    read_after, values = zip(*found, strict=True)
    return Trace(read_after, values, status)


def _weighted(losses: list[torch.Tensor], weights: list[float]) -> torch.Tensor:
    """The sum of the stages' losses times their weights.

    Stages of weight 0 are left out, but for the last, which keeps the whole network in the graph.
    """
    total = torch.zeros_like(losses[-1])
    for i, (loss, weight) in enumerate(zip(losses, weights, strict=True)):
        if weight or i == len(losses) - 1:
            total = total + weight * loss
    return total
