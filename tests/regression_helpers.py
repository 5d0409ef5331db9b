"""What the tests of heads and of the training loop have in common."""

from __future__ import annotations

import torch

from gennas_optuna.taps import StagedModel, TapInfo


class Given(StagedModel):
    """No network: its input is its only tap."""

    def __init__(self, tap: TapInfo) -> None:
        super().__init__()
        self.taps = (tap,)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)
