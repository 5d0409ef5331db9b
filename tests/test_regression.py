"""The training loop against plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from regression_helpers import Given
from torch import nn

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.regression import ImageHead, Trace, fit, make_heads
from gennas_optuna.spaces._init import initialize
from gennas_optuna.taps import StagedModel, TapInfo
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import SEQUENCE_OPTIMIZER, Noise, Optimizer, Stage


class Line(StagedModel):
    """A small network with two taps, random layers included: dropout of pixels after the first."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 5, 3, padding=1)
        self.drop = drop
        self.taps = (TapInfo("first", 4, (8, 8)), TapInfo("second", 5, (8, 8)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = F.relu(self.norm(self.first(x)))
        if self.training and self.drop:
            keep = torch.rand(first.shape, generator=self.noise_generator) > self.drop
            first = first * keep
        return first, self.second(first)


def line(noise: float = 0.0, drop: float = 0.0) -> tuple[Line, nn.ModuleList, Batch]:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):  # so that making it draws nothing from the global state
        model = Line(drop)
    initialize(model, generator=generator)
    batch = Batch(
        torch.randn(4, 3, 8, 8, generator=generator),
        tuple(torch.randn(4, n, 8, 8, generator=generator) for n in (6, 7)),
        Noise("gaussian", noise),
    )
    return model, make_heads(model, batch, generator=generator), batch


def double_line() -> tuple[Line, nn.ModuleList, Batch]:
    model, heads, batch = line()
    targets = tuple(target.double() for target in batch.targets)
    return model.double(), heads.double(), Batch(batch.inputs.double(), targets, batch.noise)


def trained(
    stages: tuple[Stage, ...] = (Stage(weight=0.5), Stage()),
    *,
    noise: float = 0.0,
    drop: float = 0.0,
    **options: Any,
) -> tuple[Trace, Line]:
    model, heads, batch = line(noise, drop)
    settings = {"optimizer": Optimizer(lr=0.05), "steps": 6, **options}
    return fit(model, heads, batch, stages, **settings), model


@pytest.mark.parametrize(
    "optimizer",
    [
        Optimizer("sgd", 0.05, 0.9, 0.1, "matrices"),
        Optimizer("sgd", 0.05, 0.0, 0.1, "all"),
        Optimizer("adam", 0.01, 0.0, 0.1, "matrices"),
        Optimizer("adam", 0.01, 0.0, 0.1, "all"),
    ],
)
@pytest.mark.parametrize("weights", [(0.5, 1.0), (0.0, 2.0)])
def test_updates_are_plain_pytorchs(optimizer: Optimizer, weights: tuple[float, ...]) -> None:
    """A loop written the obvious way, with weight decay on the right parameters by hand.

    In double precision, since Adam blows up the rounding errors of gradients that are zero.
    """
    model, heads, batch = double_line()
    stages = tuple(Stage(weight=weight) for weight in weights)
    trace = fit(model, heads, batch, stages, optimizer=optimizer, steps=5)

    twin, (one, two), _ = double_line()
    assert isinstance(one, ImageHead)
    assert isinstance(two, ImageHead)
    convs = [twin.first, twin.second, one.conv, two.conv]
    norms = [twin.norm, one.norm, two.norm]
    matrices = [conv.weight for conv in convs]
    others = [p for norm in norms for p in norm.parameters()] + [conv.bias for conv in convs]
    everywhere = {"matrices": 0.0, "all": optimizer.weight_decay}[optimizer.decay]
    groups = [
        {"params": matrices, "weight_decay": optimizer.weight_decay},
        {"params": others, "weight_decay": everywhere},
    ]
    updates = {
        "sgd": lambda: torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum),
        "adam": lambda: torch.optim.Adam(groups, lr=optimizer.lr),
    }[optimizer.kind]()

    def loss() -> torch.Tensor:
        first, second = twin(batch.inputs)
        errors = (one(first) - batch.targets[0], two(second) - batch.targets[1])
        return sum(
            (w * (e**2).mean() for w, e in zip(weights, errors, strict=True) if w),
            torch.zeros((), dtype=torch.float64),
        )

    for _ in range(5):
        updates.zero_grad()
        loss().backward()
        updates.step()
    for module in (twin, one, two):
        module.eval()
    with torch.no_grad():
        assert trace.loss == pytest.approx(float(loss()), rel=1e-9)
    twins = [*twin.named_parameters(), *one.named_parameters(), *two.named_parameters()]
    found = [*model.parameters(), *heads.parameters()]
    for (name, expected), parameter in zip(twins, found, strict=True):
        assert torch.allclose(parameter, expected, rtol=1e-9, atol=1e-9), name


@pytest.mark.usefixtures("global_random_state_untouched")
def test_noise_and_dropout_come_from_the_seed_alone() -> None:
    options: dict[str, Any] = {"noise": 0.5, "drop": 0.2, "eval_steps": range(6)}
    first, model = trained(seed=3, **options)
    second, twin = trained(seed=3, **options)
    assert first == second
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not set(first.losses) & set(trained(seed=4, **options)[0].losses)


def test_training_steps_and_evaluations_see_different_noise() -> None:
    seen: list[torch.Tensor] = []

    class Watched(Line):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            seen.append(x)
            return super().forward(x)

    _, heads, batch = line(noise=0.5)
    model = Watched()
    fit(model, heads, batch, (Stage(), Stage()), optimizer=Optimizer(), steps=2, eval_steps=[1])
    assert len(seen) == 4
    noises = torch.stack([x - batch.inputs for x in seen])
    assert torch.allclose(noises.std((1, 2, 3, 4)), torch.full((4,), 0.5), atol=0.05)
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 4


def test_evaluations_along_the_way_do_not_change_the_end() -> None:
    def trace(eval_steps: Collection[int]) -> Trace:
        return trained(noise=0.5, drop=0.2, eval_steps=eval_steps)[0]

    every = trace(range(1, 7))
    assert every.steps == (1, 2, 3, 4, 5, 6)
    assert trace(()) == Trace((6,), every.losses[-1:], "ok")
    assert trace({2, 4}).losses == every.losses[1::2]
    assert trace((100, 0)).steps == (6,)  # there are no such steps


def test_every_evaluation_is_reported_in_turn() -> None:
    seen: list[tuple[int, float]] = []
    trace, _ = trained(eval_steps=(2, 4), on_eval=lambda step, loss: seen.append((step, loss)))
    assert [step for step, _ in seen] == [2, 4, 6]
    assert seen == list(zip(trace.steps, trace.losses, strict=True))


def test_a_window_reads_the_mean_of_the_last_training_losses() -> None:
    """Against single readings, which are the losses before each step's update."""
    single = [trained(steps=n, window=1, noise=0.1)[0].loss for n in range(1, 7)]
    trace, _ = trained(steps=6, window=3, eval_steps=(2, 5), noise=0.1)
    expected = [sum(single[:2]) / 2, sum(single[2:5]) / 3, sum(single[3:6]) / 3]
    assert trace.steps == (2, 5, 6)
    assert trace.losses == pytest.approx(expected, rel=1e-6)


def test_a_window_does_not_change_the_training() -> None:
    _, plain = trained(noise=0.1)
    _, windowed = trained(noise=0.1, window=4)
    for one, other in zip(plain.parameters(), windowed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_first_training_loss_is_that_of_the_untrained_network() -> None:
    model, heads, batch = line()
    with torch.no_grad():
        maps = [head(tap) for head, tap in zip(heads, model.train()(batch.inputs), strict=True)]
        losses = [F.mse_loss(a, b) for a, b in zip(maps, batch.targets, strict=True)]
    trace, _ = trained(steps=1, window=1)
    assert trace.loss == pytest.approx(float(0.5 * losses[0] + losses[1]), rel=1e-6)


def test_a_window_reports_with_the_weight_and_trains_with_the_training_weight() -> None:
    """A stage of weight 0 is not in the reading, one without training weight is."""
    only = (Stage(weight=0.0), Stage(weight=1.0))
    first = trained(only, steps=1, window=1)[0].loss
    both = (Stage(weight=1.0, train_weight=0.0), Stage(weight=1.0))
    assert trained(both, steps=1, window=1)[0].loss > first


def test_divergence_shows_in_a_window() -> None:
    trace, _ = trained(steps=40, window=4, optimizer=Optimizer(lr=1e20))
    assert trace.status == "diverged"
    assert trace.loss == math.inf


def test_what_on_eval_raises_passes_through() -> None:
    class StopError(Exception):
        pass

    seen: list[int] = []

    def stop(step: int, loss: float) -> None:
        seen.append(step)
        raise StopError

    with pytest.raises(StopError):
        trained(eval_steps=(2, 4), on_eval=stop)
    assert seen == [2]


def test_the_training_weight_trains_and_the_weight_reports() -> None:
    plain, model = trained((Stage(), Stage()))
    scaled, same = trained(
        (Stage(weight=0.25, train_weight=1), Stage(weight=0.25, train_weight=1))
    )
    assert torch.equal(model.first.weight, same.first.weight)
    assert scaled.loss == pytest.approx(0.25 * plain.loss)
    _, other = trained((Stage(train_weight=0.25), Stage()))
    assert not torch.equal(model.first.weight, other.first.weight)


def test_a_stage_that_is_not_trained_is_still_reported() -> None:
    both, model = trained((Stage(weight=1, train_weight=0), Stage()))
    last, same = trained((Stage(weight=0), Stage()))
    assert torch.equal(model.first.weight, same.first.weight)
    assert both.loss > last.loss


def test_the_last_layers_are_untouched_if_only_the_first_stage_trains() -> None:
    before, *_ = line()
    _, model = trained((Stage(), Stage(weight=0)), optimizer=Optimizer(weight_decay=0))
    assert torch.equal(model.second.weight, before.second.weight)
    assert not torch.equal(model.first.weight, before.first.weight)


def test_weights_decay_also_where_no_loss_comes_from() -> None:
    before, *_ = line()
    _, model = trained((Stage(), Stage(weight=0)), optimizer=Optimizer(weight_decay=0.1))
    ratio = model.second.weight.detach().norm() / before.second.weight.detach().norm()
    assert 0.5 < float(ratio) < 0.99


def test_the_networks_are_left_in_evaluation_mode_and_improve() -> None:
    trace, model = trained(steps=60, eval_steps=[1])
    assert trace.losses[-1] < trace.losses[0]
    assert not model.training


def test_divergence_ends_the_training_at_the_next_evaluation() -> None:
    seen: list[int] = []
    trace, _ = trained(
        optimizer=Optimizer(lr=1e6),
        steps=50,
        eval_steps=range(1, 51),
        on_eval=lambda step, _: seen.append(step),
    )
    assert trace.status == "diverged"
    assert trace.loss == math.inf
    assert not math.isfinite(trace.losses[-1])
    assert all(map(math.isfinite, trace.losses[:-1]))
    assert len(trace.steps) == len(trace.losses) < 10
    assert seen == list(trace.steps[:-1])  # only finite losses are reported


def test_divergence_is_found_at_the_end_without_evaluations() -> None:
    trace, _ = trained(optimizer=Optimizer(lr=1e6), steps=20)
    assert (trace.status, trace.loss, trace.steps) == ("diverged", math.inf, (20,))


def test_a_reading_that_overflows_does_not_end_a_sound_training() -> None:
    """As running statistics that lag behind make it in the first steps of some networks."""

    class Lagging(Given):
        readings = 0

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            self.readings += not self.training
            return (x * 1e30 if not self.training and self.readings == 1 else x,)

    def run(model: Given) -> Trace:
        generator = torch.Generator().manual_seed(0)
        inputs, target = (torch.randn(8, 4, 6, generator=generator) for _ in range(2))
        batch = Batch(inputs, (target,), Noise())
        heads = make_heads(model, batch, generator=generator)
        options = {"optimizer": SEQUENCE_OPTIMIZER, "steps": 4, "eval_steps": (1, 2)}
        return fit(model, heads, batch, (Stage(),), **options)

    tap = TapInfo("x", 6, (8,), "LND")
    sound, lagging = run(Given(tap)), run(Lagging(tap))
    assert (sound.steps, lagging.steps) == ((1, 2, 4), (2, 4))
    assert lagging.losses == sound.losses[1:]


def test_sequences_are_trained_too() -> None:
    """One linear head on the input itself, as in the plain loop."""
    generator = torch.Generator().manual_seed(0)
    inputs, target = (torch.randn(8, 4, 6, generator=generator) for _ in range(2))
    batch = Batch(inputs, (target,), Noise())
    model = Given(TapInfo("x", 6, (8,), "LND"))
    heads = make_heads(model, batch, generator=generator)
    twin = nn.Linear(6, 6)
    twin.load_state_dict(heads[0].state_dict())
    trace = fit(model, heads, batch, (Stage(),), optimizer=SEQUENCE_OPTIMIZER, steps=3)
    updates = torch.optim.Adam(twin.parameters(), lr=1e-3, weight_decay=1.2e-6)
    for _ in range(3):
        updates.zero_grad()
        F.mse_loss(twin(inputs), target).backward()
        updates.step()
    assert trace.loss == pytest.approx(float(F.mse_loss(twin(inputs), target).detach()), rel=1e-6)


@pytest.mark.parametrize("steps", [0, -1, 1.5, "3", True, None])
def test_the_number_of_steps_is_checked(steps: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"steps=.*whole number from 1 up"):
        trained(steps=steps)


def test_something_must_be_trained() -> None:
    with pytest.raises(InvalidValueError, match="no stage has a training weight above 0"):
        trained((Stage(train_weight=0), Stage(train_weight=0)))
