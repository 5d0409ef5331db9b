"""The training loop on a device that answers no question: PyTorch's meta device.

Tensors on it have shapes, not values, and reading one raises an error. What runs there asks a GPU
for nothing either, so the processor can go on queueing work for it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gennas_optuna import get_space, get_task
from gennas_optuna.regression import fit, make_heads
from gennas_optuna.seeding import torch_generator
from gennas_optuna.spaces import Scale
from gennas_optuna.task import Batch


@pytest.mark.parametrize("window", [2, None])
@pytest.mark.parametrize(
    "name", ["nasbench101", "nasbench201", "nasbench-macro", "darts", "resnext-a", "nasbench-nlp"]
)
def test_training_reads_nothing_from_the_device_before_a_loss_is_reported(
    name: str, window: int | None
) -> None:
    space = get_space(name)
    task = get_task("generic" if space.layout == "NCHW" else "generic-sequence")
    shape = space.input_shape if task.sequence is None else task.sequence.shape
    scale = Scale(depth=2) if name == "darts" else None
    arch = space.sample(np.random.default_rng(0))
    net = space.build(arch, generator=torch_generator(0, "w"), input_shape=shape, scale=scale)
    images = torch.zeros((task.batch_size, *shape)) if task.sequence is None else None
    batch = task.materialize(images, net.taps, torch_generator(0, "targets"))
    heads = make_heads(net, batch, generator=torch_generator(0, "heads"))
    meta = torch.device("meta")
    targets = tuple(target.to(meta) for target in batch.targets)
    trainings: list[bool] = []
    net.register_forward_pre_hook(lambda module, _: trainings.append(module.training))

    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        fit(
            net.to(meta),
            nn.ModuleList(heads).to(meta),
            Batch(batch.inputs.to(meta), targets, batch.noise),
            task.stages,
            optimizer=task.optimizer,
            steps=5,
            eval_steps=[4],
            window=window,
        )
    assert batch.noise.level > 0
    assert trainings == [True] * 4 + ([] if window else [False])
