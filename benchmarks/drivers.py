"""What the cost of a score depends on, and whether it is linear, as a Markdown table.

    python -m benchmarks.drivers nasbench201 nasbench101

One driver at a time is varied, the others stay at 20 steps, 16 images of 32 x 32 pixels, the
paper's depth and one architecture. The exponent is the slope of the logarithm of the cost over
that of the driver: 1 is linear (pixels: 1 per pixel, that is 2 per side).

All times are of an evaluator that is made anew, with the targets that it draws; the images are
there before, see :mod:`benchmarks.targets`. The driver ``architectures`` has one evaluator score
one network so many times: as many networks of equal cost, so that it would show if an evaluator
grew slower, or its first score were dearer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import click
import numpy as np
import torch

from benchmarks.script import Script
from gennas_optuna import Architecture, GenNASEvaluator, Scale, get_space
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import Preset
from gennas_optuna.spaces import SearchSpace


@dataclass(frozen=True)
class Setting:
    """One combination of the drivers."""

    steps: int = 20
    batch: int = 16
    pixels: int = 32 * 32
    depth: int | None = None
    architectures: int = 1

    def evaluator(self, seed: int) -> GenNASEvaluator:
        """Trains as this setting says."""
        preset = Preset(
            "measured", self.steps, batch_size=self.batch, scale=Scale(depth=self.depth)
        )
        sized = _Sized("generic", preset=preset, report_steps=(), seed=seed, device="cpu")
        sized.side = round(self.pixels**0.5)
        return sized


class _Sized(GenNASEvaluator):
    side = 32

    def input_shape(self, space: SearchSpace) -> tuple[int, ...]:
        return (3, self.side, self.side)


DRIVERS: dict[str, Sequence[int]] = {
    "steps": (10, 20, 40, 80),
    "batch": (4, 8, 16, 32, 64),
    "pixels": (16 * 16, 32 * 32, 64 * 64),
    "depth": (1, 2, 3, 4),
    "architectures": (1, 2, 4, 8),
}


@click.command(cls=Script)
@click.argument("spaces", nargs=-1, required=True)
@click.option("--seed", default=0, show_default=True, help="Of the architectures and scores.")
@click.option("--repeat", default=3, show_default=True, help="Runs, whose median is shown.")
def main(spaces: tuple[str, ...], seed: int, repeat: int) -> None:
    """Measure SPACES."""
    searched = [get_space(name) for name in spaces]
    click.echo("| space | driver | CPU-seconds | exponent |\n|---|---|---|---|")
    for space in searched:
        Setting().evaluator(seed).task_for(space)  # raises if it does not fit
        arch = space.sample(numpy_generator(seed, "drivers"))
        _seconds(Setting(steps=1), arch, seed)  # warm up
        for driver, values in DRIVERS.items():
            costs = [
                median(_seconds(Setting(**{driver: v}), arch, seed) for _ in range(repeat))
                for v in values
            ]
            exponent = np.polyfit(np.log(values), np.log(costs), 1)[0]
            found = ", ".join(f"{v}: {cost:.2f}" for v, cost in zip(values, costs, strict=True))
            click.echo(f"| {space.name} | {driver} | {found} | {exponent:.2f} |")


def _seconds(setting: Setting, arch: Architecture, seed: int) -> float:
    torch.set_num_threads(1)
    evaluator = setting.evaluator(seed)
    evaluator._load(evaluator.task_for(arch.space), evaluator.input_shape(arch.space))
    start = time.thread_time()
    for _ in range(setting.architectures):
        evaluator._costs.clear()  # so that it is counted anew, as of an unknown network
        evaluator.evaluate(arch, reuse=False)
    return time.thread_time() - start


if __name__ == "__main__":
    main()
