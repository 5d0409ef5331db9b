"""The fingerprint rule of the parity files, and where to find them.

The rule fills a network with fixed weights, feeds it a fixed input and sums up each map in four
numbers, the last of which depends on the order of channels and pixels.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

SHARED = Path(os.environ.get("GENNAS_SHARED", Path(__file__).parents[2] / "shared"))


def shared(relative: str) -> Path:
    """A file of the development data; the test is skipped where there is none."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"development data {relative} is not on this machine (set GENNAS_SHARED)")
    return path


def load(relative: str) -> Any:
    return json.loads(shared(relative).read_text())


def _grid(shape: tuple[int, ...], *factors: float) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for axis, (size, factor) in enumerate(zip(shape, factors, strict=True)):
        view = [-1 if axis == k else 1 for k in range(len(shape))]
        total = total + factor * torch.arange(size, dtype=torch.float64).view(view)
    return total


def rule_weight(shape: tuple[int, ...]) -> torch.Tensor:
    full = (*shape, *[1] * (4 - len(shape)))
    o = torch.arange(full[0], dtype=torch.float64).view(-1, 1, 1, 1)
    i = torch.arange(full[1], dtype=torch.float64).view(1, -1, 1, 1)
    phase = 1 + _grid(full, 0.7, 1.3, 0.3, 0.2) + 0.5 * torch.remainder(o * i, 11)
    return (torch.cos(phase) / math.sqrt(math.prod(shape[1:]))).reshape(shape)


def fill(net: nn.Module) -> nn.Module:
    """Weights by the rule, biases 0, batch norm as new; float64, evaluation mode."""
    net.double().eval()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data = rule_weight(tuple(module.weight.shape))
            if module.bias is not None:
                module.bias.data.zero_()
    return net


def images(n: int = 2) -> torch.Tensor:
    return torch.sin(_grid((n, 3, 32, 32), 0.1, 0.5, 0.05, 0.07))


def statistics(maps: torch.Tensor) -> list[float]:
    """Mean, population standard deviation, largest magnitude, mean weighted by position."""
    weight = torch.sin(1 + _grid(tuple(maps.shape), 0.9, 0.31, 0.17, 0.23))
    parts = (maps.mean(), maps.std(unbiased=False), maps.abs().max(), (maps * weight).mean())
    return [float(part) for part in parts]


def assert_fingerprint(maps: torch.Tensor, expected: list[float], relative: float = 1e-7) -> None:
    found = statistics(maps)
    tolerance = relative * abs(expected[2]) + 1e-12
    assert found == pytest.approx(expected, rel=0, abs=tolerance)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
