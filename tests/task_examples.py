"""Proxy tasks, and their plain forms, that several tests take."""

from __future__ import annotations

from typing import Any

from gennas_optuna import ProxyTask
from gennas_optuna.signals import Dot, Resize, Sin2D
from gennas_optuna.taps import TapInfo
from gennas_optuna.task_parts import Noise, SequenceInput, Stage

TAPS = tuple(TapInfo(f"stage {i}", 16 << i, (32 >> i, 32 >> i)) for i in range(3))
WAVE = Sin2D(1.5, (0.1, 0.2), True)
TASK = ProxyTask(
    (
        Stage((WAVE,), channels=1.0, weight=0.25),
        Stage((Dot(2.0, 0.5, False), Resize(2.4)), channels=0.75, weight=0.5, train_weight=1.0),
        Stage((), channels=0.25),
    ),
    noise=Noise("uniform", 0.1),
    name="mine",
)
SEQUENCE_TASK = ProxyTask(
    (Stage((Sin2D(1.0, (0.1,), True),)),),
    sequence=SequenceInput((Dot(1.0, 0.5, True),), dimension=48),
)
PUBLISHED: dict[str, Any] = {
    "batchsize": 16,
    "noise": {"type": "uniform", "noise_level": 0.1},
    "last_channel_l0": 1.0,
    "last_channel_l1": 0.75,
    "last_channel_l2": 0.25,
    "feature": {
        "0": {"sin1d": None, "sin2d": {"level": 1.1, "range": [0.1, 0.2], "local": True}},
        "1": {"dot": {"level": 2.0, "partial": 0.5, "local": False}, "resize": {"level": 2.4}},
        "2": {"dot_gaussian": {"level": 2.1, "partial": 0.25, "local": False}},
    },
}
PUBLISHED_SEQUENCE: dict[str, Any] = {
    "batchsize": 64,
    "noise": {"type": "gaussian", "noise_level": 0.0},
    "dimension": 48,
    "feature": {
        "0": {"sin2d": {"level": 2.6, "range": [0.2], "local": True}, "dot": None},
        "1": {"dot_gaussian": {"level": 0.7, "partial": 0.5, "local": True}, "resize": None},
    },
}
DECODED = {"plain": TASK.to_dict(), "sequence": SEQUENCE_TASK.to_dict()} | {
    "published": PUBLISHED,
    "published sequence": PUBLISHED_SEQUENCE,
}
PLAIN, SEQUENCE = DECODED["plain"], DECODED["sequence"]
