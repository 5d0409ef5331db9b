"""The plain loop that costs are compared with: it trains the same networks to the same losses."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import pytest
import torch
from nds_cell_examples import RECORDS
from torch import nn

from gennas_optuna import ProxyTask, get_space
from gennas_optuna.regression import fit, make_heads
from gennas_optuna.spaces import Architecture, Scale
from gennas_optuna.taps import StagedModel
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise, Optimizer, Stage

ROOT = Path(__file__).parents[1]
TASK = ProxyTask(
    stages=tuple(Stage(weight=weight) for weight in (0.25, 0.5, 1.0)),
    batch_size=4,
    optimizer=Optimizer(lr=0.01, weight_decay=0.01),
)
STEPS = 4


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.plain")


def random_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 32, 32), (16, 8, 8), (8, 8, 8), (24, 8, 8))
    inputs, *targets = (
        torch.randn(TASK.batch_size, *shape, generator=generator, dtype=torch.float64)
        for shape in shapes
    )
    return Batch(inputs, tuple(targets), Noise())


def package_losses(model: StagedModel, heads: nn.ModuleList, batch: Batch) -> tuple[float, ...]:
    """After each step, as the evaluator trains: channels last."""
    for module in (model, heads):
        module.to(memory_format=torch.channels_last)
    batch = batch.to(torch.device("cpu"))
    early = range(1, STEPS)
    trace = fit(
        model, heads, batch, TASK.stages, optimizer=TASK.optimizer, steps=STEPS, eval_steps=early
    )
    return trace.losses


def copy_convolutions(source: nn.Module, target: nn.Module) -> None:
    """By their order, from a network that names its layers otherwise."""
    pairs = zip(*(map(convolutions, (source, target))), strict=True)
    for ours, theirs in pairs:
        theirs.load_state_dict(ours.state_dict())


def convolutions(net: nn.Module) -> list[nn.Conv2d]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


def compare(plain, arch: Architecture, scale: Scale | None = None) -> None:
    """In double precision: in single, four steps magnify the rounding up to 0.4 %."""
    generator = torch.Generator().manual_seed(0)
    batch = random_batch()
    model = arch.space.build(arch, generator=generator, scale=scale).double()
    heads = make_heads(model, batch, generator=generator).double()
    with torch.random.fork_rng(devices=[]):
        plain_model = plain.plain_network(arch, scale).double()
        plain_heads = plain.plain_heads(plain_model, batch)
    if arch.space.name == "nasbench201":  # its batch norms in the cells have no parameters
        for part in ("stem", "reductions", "stages"):
            copy_convolutions(getattr(model, part), getattr(plain_model, part))
    else:
        plain_model.load_state_dict(model.state_dict())
    copy_convolutions(heads, plain_heads)
    losses = [
        plain.plain_loss(*copy.deepcopy((plain_model, batch)), TASK, n, copy.deepcopy(plain_heads))
        for n in range(1, STEPS + 1)
    ]
    assert len(set(losses)) == STEPS  # it learns
    assert package_losses(model, heads, batch) == pytest.approx(losses, rel=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
        "|avg_pool_3x3~0|+|none~0|nor_conv_3x3~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    ],
)
def test_nasbench201(plain, text: str) -> None:
    compare(plain, get_space("nasbench201").parse(text))


@pytest.mark.parametrize(
    "text",
    [
        # Three branches that split 16 channels unevenly, one of which also feeds the next.
        "[[[0,1,1,0,0],[0,0,0,1,1],[0,0,0,0,1],[0,0,0,0,1],[0,0,0,0,0]],"
        '["input","conv3x3-bn-relu","conv1x1-bn-relu","maxpool3x3","output"]]',
        # A projection into the output; vertex 2 leads nowhere.
        "[[[0,1,1,1],[0,0,0,1],[0,0,0,0],[0,0,0,0]],"
        '["input","conv3x3-bn-relu","conv1x1-bn-relu","output"]]',
    ],
)
def test_nasbench101(plain, text: str) -> None:
    compare(plain, get_space("nasbench101").parse(text))


@pytest.mark.parametrize("number", [0, 1], ids=lambda number: RECORDS[number][1])
def test_nds_cells(plain, number: int) -> None:
    """Pooling, and separable and dilated convolutions, by PyTorch's passes and the package's."""
    _, space, text, _ = RECORDS[number]
    compare(plain, get_space(space).parse(text), Scale(width=8, depth=5))


@pytest.mark.parametrize(("kind", "bounded"), [("uniform", True), ("gaussian", False)])
def test_noise_is_as_the_task_says(plain, kind: str, bounded: bool) -> None:
    seen = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(3))

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            seen.append(x.detach())
            return [conv(x) for conv in self.convs]

    batch = random_batch()
    batch = Batch(batch.inputs, batch.targets, Noise(kind, 0.1))
    with torch.random.fork_rng(devices=[]):
        plain.plain_loss(Watched().double(), batch, TASK, 1)
    _, trained, read = seen  # the first finds out the channels
    added = [(x - batch.inputs).abs().max() for x in (trained, read)]
    assert all(most > 0.09 and (most <= 0.1) == bounded for most in added)
    assert not trained.equal(read)
