"""How much memory one evaluation takes, in a process of its own."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.methods import Method
from benchmarks.timing import run_once
from gennas_optuna import Architecture, get_space


def peak_memory(method: Method, arch: Architecture) -> float:
    """MiB by which a fresh process grows while it evaluates the architecture, imports included.

    Raises:
        click.ClickException: the process died.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    given = (method, arch.space.name, str(arch), sender)
    process = context.Process(target=_measure, args=given)
    process.start()
    sender.close()  # so that nothing holds it open when the process dies
    try:
        found = [float(receiver.recv())]
    except EOFError:
        found = []
    process.join()
    if not found:
        raise click.ClickException(
            f"the process that measured the memory of {method.name} on {arch.space.name} died "
            f"with exit code {process.exitcode}"
        )
    return found[0]


def _measure(method: Method, space: str, text: str, sender: Any) -> None:
    arch = get_space(space).parse(text)
    torch.set_num_threads(1)
    before = _high_water()
    run_once(method, arch)
    sender.send((_high_water() - before) / 1024)


def _high_water() -> int:
    """Most memory this program had at once, in KiB; ``getrusage`` counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
