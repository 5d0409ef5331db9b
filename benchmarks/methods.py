"""What is compared: presets, proxies and the plain loop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click

from gennas_optuna import GenNASEvaluator, ProxyEvaluator
from gennas_optuna._evaluator import Evaluator
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.proxies import PROXIES
from gennas_optuna.settings import PRESETS
from gennas_optuna.spaces import SearchSpace

PLAIN = "plain"
"""The regression written the obvious way, see :mod:`benchmarks.plain`."""

DEAR = (PLAIN, "paper")
"""Those that take minutes for a network in some spaces."""


class Method(NamedTuple):
    """One of them.

    Attributes:
        name: as printed.
        kind: a preset, a proxy or ``plain``.
        task: for a preset and the plain loop: its proxy task.
        seed: of the scores.
        device: a PyTorch device.
    """

    name: str
    kind: str
    task: str
    seed: int
    device: str = "cpu"

    def evaluator(self) -> Evaluator:
        """What scores architectures; the plain loop takes task and batch of ``paper``."""
        if self.kind in PROXIES:
            return ProxyEvaluator(self.kind, seed=self.seed, device=self.device)
        preset = "paper" if self.kind == PLAIN else self.kind
        return GenNASEvaluator(
            self.task, preset=preset, report_steps=(), seed=self.seed, device=self.device
        )

    def reason_against(self, space: SearchSpace) -> str:
        """Why it cannot train networks of a space; empty if it can, or trains nothing."""
        if self.kind == PLAIN and space.layout != "NCHW":
            return f"the plain loop is for images, and {space.name} takes sequences"
        return reason_against(self.evaluator(), space)


def reason_against(evaluator: Evaluator, space: SearchSpace) -> str:
    """Why its task does not fit networks of a space; empty if it does, or trains nothing."""
    if isinstance(evaluator, GenNASEvaluator):
        try:
            evaluator.task_for(space)
        except InvalidValueError as error:
            return str(error)
    return ""


def methods(names: tuple[str, ...], seed: int, device: str) -> list[Method]:
    """Those of the command line: ``NAME`` or ``PRESET:TASK``; by default all."""
    known = (*PRESETS, *PROXIES, PLAIN)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise click.UsageError(f"method {twice[0]!r} is given twice: give each once")
    found = []
    for name in names or known:
        kind, _, task = name.partition(":")
        if kind not in known:
            raise click.UsageError(f"method {name!r}: give one of {', '.join(known)}")
        if task and kind not in PRESETS:
            raise click.UsageError(f"method {name!r}: only a preset takes a task")
        label = f"{kind}, {Path(task.rpartition('#')[2]).stem}" if task else kind
        found.append(Method(label, kind, task or "default", seed, device))
    labels = Counter(method.name for method in found)
    found = [m._replace(name=f"{m.kind}, {m.task}") if labels[m.name] > 1 else m for m in found]
    paper = next((m for m in found if m.kind == "paper"), None)
    if paper is None:
        return found
    return [m._replace(task=paper.task) if m.kind == PLAIN else m for m in found]
