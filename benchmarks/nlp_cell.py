"""Seconds per architecture of NAS-Bench-NLP: the package's network against a plain loop.

Trains both on the same regression with GenNAS's settings (batch 16, length 8, dimension 48,
layers 400->600->600->400, Adam, weight drop and dropout) and prints, for each recipe, the median
seconds for building the network and 100 steps, and the relative difference of the losses after
a few steps without the random drops.

    python benchmarks/nlp_cell.py [--threads 1] [--repeats 3] [RECIPE.json ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from gennas_optuna.spaces import get_space

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from nlp_recipes import GRU, LSTM, RNN
from plain_recurrent import PlainNet

SPACE = get_space("nasbench-nlp")
STEPS = 100


def recipes(paths: list[str]) -> dict[str, str]:
    if paths:
        return {
            Path(path).stem[-24:]: json.loads(Path(path).read_text())["recepie"] for path in paths
        }
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
        loss.backward()
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


def seconds(recipe: str, plain: bool) -> float:
    """For one architecture: building it and training it for 100 steps."""
    arch = SPACE.parse(recipe)
    start = time.perf_counter()
    net = SPACE.build(arch, generator=torch.Generator().manual_seed(0))
    if plain:
        net = PlainNet(net, arch.code)
        start = time.perf_counter()  # what remains of building it is next to nothing
    run = Run(net.train())
    for _ in range(STEPS):
        run.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help="records of the benchmark")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"{'recipe':24} {'nodes':>5} {'plain s':>8} {'fast s':>8} {'ratio':>6} {'loss diff':>10}"
    )
    ratios = []
    for name, recipe in recipes(args.recipes).items():
        runs = [(seconds(recipe, True), seconds(recipe, False)) for _ in range(args.repeats)]
        plain, fast = (statistics.median(times) for times in zip(*runs, strict=True))
        ratios.append(plain / fast)
        nodes = len(json.loads(recipe))
        print(
            f"{name:24} {nodes:5} {plain:8.2f} {fast:8.2f} {ratios[-1]:6.2f} {difference(recipe):10.1e}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f}, {args.threads} thread(s)")


if __name__ == "__main__":
    main()
