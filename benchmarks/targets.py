"""How long a task's images and targets take, each once per task, as a Markdown table.

    python -m benchmarks.targets --task TASKS#CONF_NB101

Photos: choosing, cropping and resizing those that come with scikit-image, as all presets do by
default. Targets: drawing the synthetic signals that those photos are regressed to. The first batch
of photos in a process costs more, for imports and decoding; it is shown below the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import click
import torch

from benchmarks.script import Script
from gennas_optuna import get_space, get_task
from gennas_optuna.inputs import load_images
from gennas_optuna.presets import list_tasks
from gennas_optuna.seeding import numpy_generator, torch_generator


@click.command(cls=Script)
@click.option("--task", "tasks", multiple=True, help="Further tasks; those packaged are measured.")
@click.option("--repeat", default=9, show_default=True, help="Runs, whose median is shown.")
def main(tasks: tuple[str, ...], repeat: int) -> None:
    """Measure the image tasks, for their batch of photos and the taps of NAS-Bench-201."""
    torch.set_num_threads(1)
    space = get_space("nasbench201")
    taps = space.skeleton(space.sample(numpy_generator(0, "targets"))).taps
    found = [(name, get_task(name)) for name in (*list_tasks(), *tasks)]
    size = (space.input_shape[1], space.input_shape[2])
    first = _milliseconds(partial(_photos, 16, size))
    click.echo("| task | photos | photos, CPU-ms | targets, CPU-ms |\n|---|---|---|---|")
    for name, task in found:
        if task.sequence is not None:
            continue
        photos = partial(_photos, task.batch_size, size)
        images = photos()
        loading = median(_milliseconds(photos) for _ in range(repeat))
        drawing = median(
            _milliseconds(partial(task.materialize, images, taps, torch_generator(0, "targets")))
            for _ in range(repeat)
        )
        cells = (name.rpartition("#")[2], f"{task.batch_size} of {size[0]} x {size[1]}")
        click.echo(f"| {' | '.join(cells)} | {loading:.1f} | {drawing:.1f} |")
    click.echo(f"\nThe first 16 photos of this process, with imports: {first:.0f} CPU-ms.")


def _photos(count: int, size: tuple[int, int]) -> torch.Tensor:
    return load_images("photos", count=count, size=size, generator=torch_generator(0, "images"))


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return 1000 * (time.thread_time() - start)


if __name__ == "__main__":
    main()
