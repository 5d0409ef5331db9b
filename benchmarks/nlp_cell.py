"""Seconds per architecture of NAS-Bench-NLP: the package's network against a plain loop.

Trains both on the same regression with GenNAS's settings (batch 16, length 8, dimension 48,
layers 400->600->600->400, Adam, weight drop and dropout) and prints, for each recipe, the median
seconds for building the network and 100 steps, and the relative difference of the losses after
a few steps without the random drops.

    python -m benchmarks.nlp_cell [RECIPE.json ...]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import click
import torch
from torch.nn import functional as F

from benchmarks.script import Script
from gennas_optuna.spaces import get_space

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from nlp_recipes import GRU, LSTM, RNN
from plain_recurrent import PlainNet

SPACE = get_space("nasbench-nlp")


def recipes(paths: tuple[Path, ...]) -> dict[str, str]:
    if paths:
        return {path.stem[-24:]: json.loads(path.read_text())["recepie"] for path in paths}
    return {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}


class Run:
    """One network in training, with a linear head."""

    def __init__(self, net: torch.nn.Module) -> None:
        generator = torch.Generator().manual_seed(1)
        self.net = net
        self.head = torch.nn.Linear(400, 48)
        with torch.no_grad():
            self.head.weight.uniform_(-0.1, 0.1, generator=generator)
            self.head.bias.zero_()
        parameters = [*net.parameters(), *self.head.parameters()]
        self.adam = torch.optim.Adam(parameters, lr=0.001, weight_decay=1.2e-6, fused=True)
        self.x, self.y = torch.randn(2, 8, 16, 48, generator=generator)

    def step(self) -> float:
        """One optimiser step; the loss before it."""
        self.adam.zero_grad()
        loss = F.mse_loss(self.head(self.net(self.x)[0]), self.y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        return float(loss.detach())


def difference(recipe: str, steps: int = 5) -> float:
    """Relative difference of the losses without drops, with recurrent weights fixed in both."""
    arch = SPACE.parse(recipe)
    net = SPACE.build(arch, generator=torch.Generator().manual_seed(0)).eval()
    plain = PlainNet(net, arch.code).eval()
    for layer in plain.layers:
        for node in layer.recipe:
            for k, name in enumerate(node.inputs):
                if node.op == "linear" and name != "x":
                    layer.weights[layer.index[node.name]][k].requires_grad_(False)
    fast, slow = Run(net), Run(plain)
    losses = [(fast.step(), slow.step()) for _ in range(steps)]
    return max(abs(a - b) / b for a, b in losses)


def seconds(recipe: str, plain: bool, steps: int) -> float:
    """For one architecture: building it and training it."""
    arch = SPACE.parse(recipe)
    start = time.perf_counter()
    net = SPACE.build(arch, generator=torch.Generator().manual_seed(0))
    if plain:
        net = PlainNet(net, arch.code)
        start = time.perf_counter()  # what remains of building it is next to nothing
    run = Run(net.train())
    for _ in range(steps):
        run.step()
    return time.perf_counter() - start


@click.command(cls=Script)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--threads", default=1, show_default=True, help="PyTorch threads.")
@click.option("--repeats", default=3, show_default=True, help="Runs, whose median is shown.")
@click.option("--steps", default=100, show_default=True, help="Optimiser steps.")
def main(paths: tuple[Path, ...], threads: int, repeats: int, steps: int) -> None:
    """Time the recipes of the benchmark's records PATHS; by default of RNN, GRU and LSTM."""
    torch.set_num_threads(threads)
    click.echo("| recipe | nodes | plain s | ours s | ratio | losses differ by |")
    click.echo("|---|---|---|---|---|---|")
    ratios = []
    for name, recipe in recipes(paths).items():
        runs = [
            (seconds(recipe, True, steps), seconds(recipe, False, steps)) for _ in range(repeats)
        ]
        plain, ours = (statistics.median(times) for times in zip(*runs, strict=True))
        ratios.append(plain / ours)
        click.echo(
            f"| {name} | {len(json.loads(recipe))} | {plain:.2f} | {ours:.2f} "
            f"| {ratios[-1]:.2f} | {difference(recipe):.1e} |"
        )
    click.echo(f"\nmedian ratio {statistics.median(ratios):.2f}, {threads} thread(s)")


if __name__ == "__main__":
    main()
