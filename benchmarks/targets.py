"""How long it takes to build a task's inputs and targets, once per task, as a Markdown table.

python -m benchmarks.targets --task TASKS#CONF_NB101
"""

from __future__ import annotations

import time
from statistics import median

import click
import torch

from gennas_optuna import get_space, get_task
from gennas_optuna.presets import list_tasks
from gennas_optuna.seeding import numpy_generator, torch_generator


@click.command()
@click.option("--task", "tasks", multiple=True, help="Further tasks; those packaged are measured.")
@click.option("--repeat", default=9, show_default=True, help="Runs, whose median is shown.")
def main(tasks: tuple[str, ...], repeat: int) -> None:
    """Measure the image tasks, for a batch of 16 and the taps of NAS-Bench-201."""
    torch.set_num_threads(1)
    space = get_space("nasbench201")
    taps = space.skeleton(space.sample(numpy_generator(0, "targets"))).taps
    images = torch.rand((16, *space.input_shape), generator=torch_generator(0, "images"))
    click.echo("| task | CPU-milliseconds |\n|---|---|")
    for name in (*list_tasks(), *tasks):
        task = get_task(name)
        if task.sequence is not None:
            continue
        times = []
        for _ in range(repeat):
            start = time.thread_time()
            task.materialize(images, taps, torch_generator(0, "targets"))
            times.append(1000 * (time.thread_time() - start))
        click.echo(f"| {name.rpartition('#')[2]} | {median(times):.1f} |")


if __name__ == "__main__":
    main()
