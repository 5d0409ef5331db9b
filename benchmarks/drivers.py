"""What the cost of a score depends on, and whether it is linear, as a Markdown table.

    python -m benchmarks.drivers nasbench201 nasbench101

One driver at a time is varied, the others stay at 20 steps, 16 images of 32 x 32 pixels, the
paper's depth and one architecture. The exponent is the slope of the logarithm of the cost over
that of the driver: 1 is linear (pixels: 1 per pixel, that is 2 per side).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import click
import numpy as np

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
    "architectures": (1, 2, 4),
}


@click.command()
@click.argument("spaces", nargs=-1, required=True)
@click.option("--seed", default=0, show_default=True, help="Of the architectures and scores.")
@click.option("--repeat", default=3, show_default=True, help="Runs, whose median is shown.")
def main(spaces: tuple[str, ...], seed: int, repeat: int) -> None:
    """Measure SPACES."""
    click.echo("| space | driver | CPU-seconds | exponent |\n|---|---|---|---|")
    for name in spaces:
        space = get_space(name)
        rng = numpy_generator(seed, "drivers")
        archs = [space.sample(rng) for _ in range(max(DRIVERS["architectures"]))]
        _seconds(Setting(), archs, seed)  # warm up
        for driver, values in DRIVERS.items():
            costs = [
                median(_seconds(Setting(**{driver: v}), archs, seed) for _ in range(repeat))
                for v in values
            ]
            exponent = np.polyfit(np.log(values), np.log(costs), 1)[0]
            found = ", ".join(f"{v}: {cost:.2f}" for v, cost in zip(values, costs, strict=True))
            click.echo(f"| {name} | {driver} | {found} | {exponent:.2f} |")


def _seconds(setting: Setting, archs: Sequence[Architecture], seed: int) -> float:
    evaluator = setting.evaluator(seed)
    evaluator.steps = 1
    evaluator.evaluate(archs[0], reuse=False)  # makes the batch, once for all architectures
    evaluator.steps = setting.steps
    return sum(
        evaluator.evaluate(arch, reuse=False).cpu_seconds
        for arch in archs[: setting.architectures]
    )


if __name__ == "__main__":
    main()
