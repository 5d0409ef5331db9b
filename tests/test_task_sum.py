"""Sums of proxy tasks."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from task_examples import SEQUENCE_TASK, TAPS, TASK, WAVE

from gennas_optuna import ProxyTask, get_space, get_task, superpose
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals import Dot, Signal, Sin1D
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise, Optimizer, Stage
from gennas_optuna.task_space import ProxyTaskSpace

DOTS, LINES = Dot(2.0, 0.5, True), Sin1D(0.7, (0.1, 0.3), True)


def of(*signals: Signal, channels: float = 1.0, **options: object) -> ProxyTask:
    """The same signals in all three stages."""
    stages = tuple(Stage(signals, channels=channels, weight=w) for w in (0.25, 0.5, 1.0))
    return dataclasses.replace(ProxyTask(stages), **options)


def materialize(task: ProxyTask) -> Batch:
    images = torch.zeros(task.batch_size, 3, 32, 32)
    return task.materialize(images, TAPS, torch.Generator().manual_seed(0))


def test_targets_are_sums() -> None:
    parts = [of(WAVE), of(DOTS), of(LINES)]
    batches = [materialize(task) for task in parts]
    together = materialize(superpose(parts))
    for i, target in enumerate(together.targets):
        expected = sum(batch.targets[i] for batch in batches) / math.sqrt(3)
        torch.testing.assert_close(target, expected)


def test_signals_of_a_kind_are_drawn_independently() -> None:
    one = of(DOTS)
    target = materialize(one).targets[0]
    twice = materialize(superpose([one, one])).targets[0]
    other = math.sqrt(2) * twice - target  # what the second added to the first, which is the same
    correlation = torch.corrcoef(torch.stack([target.flatten(), other.flatten()]))[0, 1]
    assert abs(correlation) < 0.05
    assert float(twice.var()) == pytest.approx(float(target.var()), rel=0.05)


def test_the_rest_is_the_mean() -> None:
    gaussian, uniform = Noise("gaussian", 0.3), Noise("uniform", 0.4 * math.sqrt(3))
    first = of(WAVE, channels=0.25, noise=gaussian, name="a")
    task = superpose([first, of(DOTS, noise=uniform)], name="both")
    assert [stage.head_channels for stage in task.stages] == [40, 40, 40]
    assert [stage.weight for stage in task.stages] == [0.25, 0.5, 1.0]
    assert all(stage.train_weight is None for stage in task.stages)
    # Deviations of 0.3 and 0.4
    assert task.noise.kind == "gaussian"
    assert task.noise.level == pytest.approx(math.sqrt((0.3**2 + 0.4**2) / 2))
    assert task.name == "both"
    both = superpose([TASK, TASK]).stages[1]
    assert (both.weight, both.train_weight) == (0.5, 1.0)


def test_no_more_channels_than_the_narrowest_signal_offers() -> None:
    narrow = of(Sin1D(1.0, (0.1,), True))  # 64 maps
    wide = of(DOTS, channels=3.0)
    assert superpose([narrow, wide]).stages[0].head_channels == 64


def test_of_one_task_it_is_that_task() -> None:
    assert superpose([TASK]) is TASK


def test_sequences_are_summed_too() -> None:
    task = superpose([SEQUENCE_TASK, SEQUENCE_TASK])
    assert task.sequence is not None
    assert [signal.kind for signal in task.sequence.signals] == ["dot", "dot"]
    assert task.sequence.signals[0].level == pytest.approx(1 / math.sqrt(2))


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_files_hold_it(suffix: str, tmp_path: Path) -> None:
    task = superpose([get_task("nasbench101-fast"), get_task("nasbench201-fast")])
    file = tmp_path / f"task.{suffix}"
    task.save(file)
    assert ProxyTask.load(file) == task
    assert ProxyTask.load(file).digest == task.digest


def test_a_search_starts_from_the_first_of_each_kind() -> None:
    space = ProxyTaskSpace.of(get_space("nasbench201"))
    first = get_task("nasbench101-fast")
    found = space.decode(space.params(superpose([first, first])))
    expected = superpose([first, first]).stages[0].signals[:2]
    assert [s.kind for s in found.stages[0].signals] == [s.kind for s in expected]
    levels = [signal.level for signal in found.stages[0].signals]
    assert levels == pytest.approx([signal.level for signal in expected], abs=1e-4)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (of(DOTS, batch_size=8), "different batch_size have no sum: 16 and 8"),
        (of(DOTS, target_size=4), "different target_size"),
        (of(DOTS, optimizer=Optimizer(lr=0.01)), "different optimizer"),
        (ProxyTask((Stage((DOTS,)),)), "different number of stages have no sum: 3 and 1"),
    ],
)
def test_tasks_that_do_not_go_together(other: ProxyTask, named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        superpose([of(WAVE), other])


def test_images_and_sequences_do_not_go_together() -> None:
    images = ProxyTask((Stage((WAVE,)),), optimizer=SEQUENCE_TASK.optimizer)
    with pytest.raises(
        InvalidValueError, match=r"different shape of sequences.*None and \(8, 48\)"
    ):
        superpose([images, SEQUENCE_TASK])


def test_there_must_be_one() -> None:
    with pytest.raises(InvalidValueError, match="at least one"):
        superpose([])
