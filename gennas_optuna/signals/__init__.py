"""Synthetic regression signals: one basis a class, found by name."""

from gennas_optuna.signals._base import Signal, list_signals, register_signal, signal_from_dict
from gennas_optuna.signals._dots import Dot, DotGaussian
from gennas_optuna.signals._resize import Resize
from gennas_optuna.signals._sines import Sin1D, Sin2D

__all__ = [
    "Dot",
    "DotGaussian",
    "Resize",
    "Signal",
    "Sin1D",
    "Sin2D",
    "list_signals",
    "register_signal",
    "signal_from_dict",
]
