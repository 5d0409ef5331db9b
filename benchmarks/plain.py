"""The regression written the obvious way: what the presets' cost is compared with.

Networks are built just as encoded, one module per operation with a ReLU of its own, in PyTorch's
default memory layout, with its default optimiser loops. NAS-Bench-201 and NAS-Bench-101 networks
are written here from their publications; for the other spaces the package's own network is taken
as encoded, with PyTorch's own layers, so its plain cost is rather too low.
"""

from __future__ import annotations

import json
import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gennas_optuna import Architecture
from gennas_optuna.seeding import torch_generator
from gennas_optuna.spaces import Scale
from gennas_optuna.spaces._depthwise import DepthwiseConv2d
from gennas_optuna.spaces._pointwise import PointwiseConv2d
from gennas_optuna.spaces._pool import AvgPool, MaxPool
from gennas_optuna.task import Batch, ProxyTask


def plain_network(arch: Architecture, scale: Scale | None = None) -> nn.Module:
    """A module that returns the list of taps; its initial weights come from the global state.

    NAS-Bench-201 and NAS-Bench-101 have one size; the others have the paper's, or ``scale``.
    """
    if arch.space.name == "nasbench201":
        return _NASBench201(str(arch))
    if arch.space.name == "nasbench101":
        return _NASBench101(*_pruned(*json.loads(str(arch))))
    generator = torch_generator(0, "weights", arch.key)
    model = arch.space.build(arch, generator=generator, scale=scale)
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, AvgPool):
                pad = layer.kernel // 2
                plain = nn.AvgPool2d(layer.kernel, layer.stride, pad, count_include_pad=False)
                setattr(parent, name, plain)
            elif isinstance(layer, (DepthwiseConv2d, PointwiseConv2d)):
                # The same parameters, PyTorch's own passes.
                layer.__class__ = nn.Conv2d  # type: ignore[assignment]
            elif isinstance(layer, MaxPool):
                layer.__class__ = nn.MaxPool2d  # type: ignore[assignment]
    return model


def plain_heads(model: nn.Module, batch: Batch) -> nn.ModuleList:
    """One per tap, of device and type of the batch: resize, batch norm, 1x1 convolution."""
    model.eval()
    with torch.no_grad():
        channels = [tap.shape[1] for tap in model(batch.inputs[:1])]
    return nn.ModuleList(
        nn.Sequential(nn.Upsample(t.shape[2:]), nn.BatchNorm2d(c), nn.Conv2d(c, t.shape[1], 1))
        for c, t in zip(channels, batch.targets, strict=True)
    ).to(batch.inputs)


def plain_loss(
    model: nn.Module,
    batch: Batch,
    task: ProxyTask,
    steps: int,
    heads: nn.ModuleList | None = None,
) -> float:
    """The paper's loss of an image network: ``steps`` steps of SGD, then one evaluation.

    Args:
        model: of device and type of the batch; it is trained in place.
        batch: inputs, targets and noise.
        task: for its weights and its optimiser, which must be SGD.
        steps: how many.
        heads: those of :func:`plain_heads`, trained in place; made anew if not given.
    """
    inputs = batch.inputs.contiguous()
    targets = [target.contiguous() for target in batch.targets]
    heads = plain_heads(model, batch) if heads is None else heads
    parameters = [*model.parameters(), *heads.parameters()]
    settings = task.optimizer
    decay = [p for p in parameters if p.dim() > 1]
    rest = [p for p in parameters if p.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": decay, "weight_decay": settings.weight_decay},
        {"params": rest},
    ]
    optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)

    def loss(weights: list[float]) -> torch.Tensor:
        x = inputs
        if batch.noise.level:
            gaussian = batch.noise.kind == "gaussian"
            draw = torch.randn_like(x) if gaussian else 2 * torch.rand_like(x) - 1
            x = x + batch.noise.level * draw
        total = inputs.new_zeros(())
        for weight, tap, head, target in zip(weights, model(x), heads, targets, strict=True):
            total = total + weight * F.mse_loss(head(tap), target)
        return total

    model.train()
    heads.train()
    for _ in range(steps):
        optimizer.zero_grad()
        training = loss([stage.training_weight for stage in task.stages])
        training.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    heads.eval()
    with torch.no_grad():
        return float(loss([stage.weight for stage in task.stages]))


class _NASBench201(nn.Module):
    def __init__(self, text: str) -> None:
        super().__init__()
        widths = (16, 32, 64)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.stages = nn.ModuleList(
            nn.Sequential(*[_Cell201(text, c) for _ in range(5)]) for c in widths
        )
        self.reductions = nn.ModuleList([_Residual(16, 32), _Residual(32, 64)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        taps = [self.stages[0](self.stem(x))]
        for reduction, stage in zip(self.reductions, self.stages[1:], strict=True):
            taps.append(stage(reduction(taps[-1])))
        return taps


class _Cell201(nn.Module):
    def __init__(self, text: str, c: int) -> None:
        super().__init__()
        nodes = [re.findall(r"(\w+)~(\d)", node) for node in text.split("+")]
        self.sources = [[int(source) for _, source in node] for node in nodes]
        self.edges = nn.ModuleList(
            nn.ModuleList(_operation(name, c) for name, _ in node) for node in nodes
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [x]
        for edges, sources in zip(self.edges, self.sources, strict=True):
            assert isinstance(edges, nn.ModuleList)
            total: Any = sum(op(states[s]) for op, s in zip(edges, sources, strict=True))
            states.append(total)
        return states[-1]


class _Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.0


def _operation(name: str, c: int) -> nn.Module:
    if name == "none":
        return _Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    kernel = int(name[-1])
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c, c, kernel, padding=kernel // 2),
        nn.BatchNorm2d(c, affine=False, track_running_stats=False),
    )


class _Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.side = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.main(x) + self.side(x)
        return total


def _pruned(matrix: list[list[int]], ops: list[str]) -> tuple[list[list[int]], list[str]]:
    """Without the vertices that are on no path from the input to the output."""
    n = len(ops)
    ahead, back = {0}, {n - 1}
    for v in range(1, n):
        if any(matrix[u][v] for u in ahead):
            ahead.add(v)
    for v in range(n - 2, -1, -1):
        if any(matrix[v][u] for u in back):
            back.add(v)
    kept = sorted(ahead & back)
    return [[matrix[u][v] for v in kept] for u in kept], [ops[v] for v in kept]


class _NASBench101(nn.Module):
    def __init__(self, matrix: list[list[int]], ops: list[str]) -> None:
        super().__init__()
        self.stem = _conv_bn_relu(3, 16, 3)
        stacks, before = [], 16
        for c in (16, 32, 64):
            stacks.append(
                nn.Sequential(
                    *[_Cell101(matrix, ops, before if i == 0 else c, c) for i in range(3)]
                )
            )
            before = c
        self.stacks = nn.ModuleList(stacks)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        taps = [self.stacks[0](self.stem(x))]
        for stack in self.stacks[1:]:
            taps.append(stack(self.pool(taps[-1])))
        return taps


class _Cell101(nn.Module):
    def __init__(self, matrix: list[list[int]], ops: list[str], c_in: int, c_out: int) -> None:
        super().__init__()
        self.matrix, last = matrix, len(ops) - 1
        self.joined = [v for v in range(1, last) if matrix[v][last]]
        channels = [0] * (last + 1)
        channels[last] = c_out
        for k, v in enumerate(self.joined):
            channels[v] = c_out // len(self.joined) + (k < c_out % len(self.joined))
        for v in range(last - 1, 0, -1):
            if not channels[v]:
                channels[v] = max(channels[w] for w in range(v + 1, last) if matrix[v][w])
        self.channels = channels
        self.projections = nn.ModuleDict(
            {
                str(v): _conv_bn_relu(c_in, channels[v], 1)
                for v in range(1, last + 1)
                if matrix[0][v]
            }
        )
        self.ops = nn.ModuleList(
            nn.MaxPool2d(3, 1, 1)
            if ops[v] == "maxpool3x3"
            else _conv_bn_relu(channels[v], channels[v], int(ops[v][4]))
            for v in range(1, last)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        last = len(self.channels) - 1
        for v in range(1, last + 1):
            terms = [
                values[u][:, : self.channels[v]]
                for u in range(1, v)
                if self.matrix[u][v] and v < last
            ]
            if v == last and self.joined:
                terms = [torch.cat([values[u] for u in self.joined], 1)]
            if str(v) in self.projections:
                terms.append(self.projections[str(v)](x))
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            values.append(self.ops[v - 1](total) if v < last else total)
        return values[-1]


def _conv_bn_relu(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())
