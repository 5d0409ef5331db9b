"""Modules as people write them, for the tests of scoring any module."""

from __future__ import annotations

import torch
from torch import nn

from gennas_optuna import score


class Stages(nn.Module):
    """Three convolutions with batch norm and dropout, 16 x 16 to 4 x 4 for images of 32 x 32."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width))
        self.c = nn.Sequential(nn.Conv2d(2 * width, width, 3, 2, 1), nn.BatchNorm2d(width))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.c(self.b(self.a(x))).mean((2, 3))))


class Tokens(nn.Module):
    """A vision transformer of ``depth`` blocks for images of one size, with class tokens."""

    def __init__(self, size: int = 32, patch: int = 8, special: int = 1, depth: int = 6) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, patch, patch)
        self.special = nn.Parameter(torch.zeros(1, special, 16))
        self.position = nn.Parameter(torch.zeros(1, special + (size // patch) ** 2, 16))
        layers = [
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(depth)
        ]
        self.blocks = nn.ModuleList(layers)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.special.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


class Squeeze(nn.Module):
    """Residual stages with squeeze-and-excitation, then a convolution on pooled maps."""

    class Block(nn.Module):
        def __init__(self, width_in: int, width: int) -> None:
            super().__init__()
            self.expand = nn.Conv2d(width_in, 2 * width, 1)
            self.conv = nn.Conv2d(2 * width, width, 3, 2, 1)
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 2, 1), nn.ReLU(), nn.Conv2d(2, width, 1)
            )
            self.rest = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(self.expand(x).relu())
            return self.rest(x * self.gate(x).sigmoid()) + x

    def __init__(self, stages: int = 4) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(self.Block(4 if i else 3, 4) for i in range(stages)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Conv2d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.pool(self.stages(x))).flatten(1)


class Shared(nn.Module):
    """One pooling module that is run three times, and ``view`` at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.unused = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.pool(self.pool(self.conv(x))))
        return self.fc(x.view(len(x), -1))


class Language(nn.Module):
    """Tokens to logits over the vocabulary."""

    def __init__(self, vocabulary: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 12)
        layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.logits = nn.Linear(12, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.logits(self.encoder(self.embedding(tokens)))


class Failing(nn.Module):
    """Fails after its convolutions; only in training mode if asked to."""

    def __init__(self, training_only: bool = False) -> None:
        super().__init__()
        self.net = Stages()
        self.training_only = training_only

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.net(x)
        if self.training or not self.training_only:
            raise KeyError("no such thing")
        return x


def quick(model: nn.Module, *args, **options):
    return score(model, *args, **{"steps": 2, "verbose": False, **options})
