"""What proxy tasks make: inputs, targets and noise."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from task_examples import (
    PUBLISHED,
    SEQUENCE_TASK,
    TAPS,
    TASK,
    WAVE,
)

from gennas_optuna import ProxyTask
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals import Dot, DotGaussian, Resize, Signal, Sin1D
from gennas_optuna.taps import TapInfo
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise, SequenceInput, Stage


def materialize(task: ProxyTask, seed: int = 0, taps: tuple[TapInfo, ...] = TAPS) -> Batch:
    images = torch.randn(task.batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    return task.materialize(images, taps, torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("global_random_state_untouched")
def test_shapes_and_determinism() -> None:
    task = ProxyTask.from_dict(PUBLISHED)
    batch, again, other = materialize(task), materialize(task), materialize(task, seed=1)
    shapes = [(16, 64, 8, 8), (16, 48, 8, 8), (16, 16, 8, 8)]
    assert [tuple(target.shape) for target in batch.targets] == shapes
    assert all(target.dtype == torch.float32 for target in batch.targets)
    assert batch.noise == task.noise
    for a, b, c in zip(batch.targets, again.targets, other.targets, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_other_sizes() -> None:
    batch = materialize(dataclasses.replace(TASK, batch_size=2, target_size=5))
    shapes = [(2, 64, 5, 5), (2, 48, 5, 5), (2, 16, 5, 5)]
    assert [tuple(target.shape) for target in batch.targets] == shapes


def first_target(*signals: Signal) -> torch.Tensor:
    return materialize(ProxyTask((Stage(signals), Stage(), Stage()))).targets[0]


def test_a_stage_without_signals_is_all_zeros() -> None:
    assert not first_target().any()


def test_targets_are_sums_of_levels_times_signals() -> None:
    dots = Dot(0.5, 0.25, True)
    both = first_target(WAVE, dots)
    assert torch.allclose(both, first_target(WAVE) + first_target(dots), atol=1e-6)
    assert set(first_target(dots).unique().tolist()) == {-0.5, 0.0, 0.5}
    assert float(first_target(WAVE).abs().max()) == pytest.approx(1.5, rel=1e-3)
    louder = first_target(dataclasses.replace(WAVE, level=3.0), dots)
    assert torch.allclose(louder - both, first_target(WAVE), atol=1e-5)


@pytest.mark.parametrize("position", range(5))
def test_changing_one_signal_leaves_the_others_as_they_were(position: int) -> None:
    signals: list[Signal] = [
        WAVE,
        Sin1D(1.0, (0.1, 0.3), False),
        Dot(2.0, 0.5, True),
        DotGaussian(0.7, 0.5, False),
        Resize(1.2),
    ]
    without = [signal for i, signal in enumerate(signals) if i != position]
    alone = first_target(signals[position])
    assert alone.any()
    assert torch.allclose(first_target(*signals) - first_target(*without), alone, atol=1e-5)


def test_signals_of_a_stage_draw_independently_of_each_other() -> None:
    """The blurred dots of a stage are not its other dots, blurred."""
    dots, blurred = first_target(Dot(1, 0.25, True)), first_target(DotGaussian(1, 0.25, True))
    pairs = torch.stack([dots.flatten(), blurred.flatten()])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.05


def test_stages_draw_independently_of_each_other() -> None:
    signals = (WAVE, Dot(2.0, 0.5, True))
    alike = materialize(ProxyTask((Stage(signals), Stage(signals), Stage(signals)))).targets
    assert not torch.allclose(alike[0], alike[1])
    other = materialize(ProxyTask((Stage(), Stage(signals), Stage((WAVE,))))).targets
    assert torch.equal(alike[1], other[1])


@pytest.mark.usefixtures("global_random_state_untouched")
def test_sequence_tasks_make_their_own_input() -> None:
    taps = (TapInfo("output", 400, (8,), "LND"),)
    task = dataclasses.replace(SEQUENCE_TASK, batch_size=4)
    batch = task.materialize(None, taps, torch.Generator().manual_seed(0))
    assert tuple(batch.inputs.shape) == tuple(batch.targets[0].shape) == (8, 4, 48)
    assert ((batch.inputs != 0).sum((0, 2)) == 8 * 48 // 2).all()  # half of the cells, per sample
    assert torch.isfinite(batch.targets[0]).all()
    assert not torch.equal(batch.inputs, batch.targets[0])
    again = task.materialize(None, taps, torch.Generator().manual_seed(0))
    assert torch.equal(batch.inputs, again.inputs)


def test_the_input_and_target_of_a_sequence_are_drawn_apart() -> None:
    signals = (Dot(1.0, 0.5, True),)
    task = ProxyTask((Stage(signals),), sequence=SequenceInput(signals, dimension=48))
    taps = (TapInfo("output", 400, (8,), "LND"),)
    batch = task.materialize(None, taps, torch.Generator().manual_seed(0))
    assert not torch.equal(batch.inputs, batch.targets[0])


@pytest.mark.parametrize(
    ("task", "taps"),
    [
        (TASK, TAPS[:2]),
        (TASK, ()),
        (TASK, (*TAPS, TAPS[0])),
        (TASK, (*TAPS[:2], TapInfo("x", 4, (8,), "LND"))),
        (SEQUENCE_TASK, TAPS[:1]),
        (SEQUENCE_TASK, TAPS),
    ],
    ids=["too few", "none", "too many", "mixed", "image for sequence", "images for sequence"],
)
def test_taps_that_do_not_fit_are_explained(task: ProxyTask, taps: tuple[TapInfo, ...]) -> None:
    explained = f"{task.name!r} has {len(task.stages)} stages.*the network has {len(taps)}"
    with pytest.raises(InvalidValueError, match=explained):
        materialize(task, taps=taps)


@pytest.mark.parametrize("images", [None, torch.zeros(3, 3, 8, 8), torch.zeros(16, 3, 8)])
def test_images_that_do_not_fit_are_explained(images: torch.Tensor | None) -> None:
    with pytest.raises(InvalidValueError, match=r"'mine' needs \(16, 3, H, W\)"):
        TASK.materialize(images, TAPS, torch.Generator())


def test_batches_move_to_a_device_in_the_faster_layout() -> None:
    batch = materialize(TASK)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.inputs, batch.inputs)
    assert moved.inputs.is_contiguous(memory_format=torch.channels_last)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in moved.targets)
    assert batch.to(torch.device("meta")).targets[1].device.type == "meta"


def test_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    gaussian = Noise("gaussian", 0.5).sample((100_000,), generator)
    uniform = Noise("uniform", 0.5).sample((100_000,), generator)
    assert float(gaussian.std()) == pytest.approx(0.5, rel=0.02)
    assert float(uniform.std()) == pytest.approx(0.5 / math.sqrt(3), rel=0.02)
    assert float(uniform.abs().max()) <= 0.5
    assert float(gaussian.abs().max()) > 1.5
    for noise in (gaussian, uniform):
        assert abs(float(noise.mean())) < 0.01
    assert not Noise().sample((10,), generator).any()
