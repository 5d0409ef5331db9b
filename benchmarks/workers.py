"""Many workers on one study: throughput, what storages cost, and that nothing is lost.

    python -m benchmarks.workers throughput --storage postgresql://...
    python -m benchmarks.workers cost --storage postgresql://...
    python -m benchmarks.workers kill --storage postgresql://... --control "pg_ctl -D DATA -w"
    python -m benchmarks.workers memory

The first two print Markdown tables. ``kill`` runs four workers, kills one with SIGKILL every few
seconds and starts it again, and checks what is in the study afterwards; with ``--control`` it
stops and starts the database twice as well.
"""

from __future__ import annotations

import gc
import os
import random
import shlex
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import click
import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.throughput import (
    SPACE,
    Rate,
    head,
    in_a_pool,
    new_name,
    rates,
    row,
    searches,
    trials_of,
    without_study,
)
from gennas_optuna import (
    GenNASEvaluator,
    GenNASObjective,
    ProxyEvaluator,
    RegularizedEvolutionSampler,
    Scale,
    get_space,
)
from gennas_optuna._lease import WORKER
from gennas_optuna._processes import process_context
from gennas_optuna.settings import Preset
from gennas_optuna.storage import open_storage
from gennas_optuna.workers import share, work

POSTGRES = click.option("--storage", required=True, help="A PostgreSQL URL.")


@click.group()
def main() -> None:
    """Many workers on one study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def places(postgres: str | None) -> Iterator[dict[str, str | None]]:
    """A URL for each kind of storage."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, str | None] = {
            "in memory": None,
            "JournalFile": f"{folder}/study.journal",
            "SQLite": f"sqlite:///{folder}/study.db",
        }
        if postgres is None:
            yield found
            return
        found["PostgreSQL"] = postgres
        from optuna.storages._grpc.server import make_server  # noqa: PLC0415

        with socket_port() as port:
            pass
        server = make_server(open_storage(postgres), "127.0.0.1", port)
        server.start()
        found["gRPC before PostgreSQL"] = f"grpc://127.0.0.1:{port}"
        yield found
        server.stop(None)


@contextmanager
def socket_port() -> Iterator[int]:
    import socket  # noqa: PLC0415

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@main.command()
@click.option("--storage", help="A PostgreSQL URL.")
@click.option("--trials", default=60)
@click.option("--steps", default=20)
@click.option("--workers", "counts", multiple=True, default=(1, 2), show_default=True)
@click.option("--repeats", default=3, show_default=True)
def throughput(
    storage: str | None, trials: int, steps: int, counts: tuple[int, ...], repeats: int
) -> None:
    """Architectures per minute, and the medians of the ratios to the first number of workers."""
    print(f"{trials} trials of {steps} steps; {os.cpu_count()} cores")
    print(head(counts))
    with places(storage) as found:
        runs: dict[str, Rate] = {
            "no study": partial(without_study, trials, steps),
            "`gennas rank`": partial(in_a_pool, trials, steps),
            **searches(found, trials, steps),
        }
        for what, run in runs.items():
            print(row(what, rates(run, counts, repeats)), flush=True)


@main.command()
@POSTGRES
@click.option("--trials", default=200)
def cost(storage: str, trials: int) -> None:
    """Milliseconds per trial when the evaluation itself costs nothing."""
    print("| storage | ms per trial | of them more than in memory |\n|---|---|---|")
    objective = GenNASObjective(SPACE, evaluator=ProxyEvaluator("params"))
    rng = np.random.default_rng(0)
    archs = {(arch := objective.space.sample(rng)).key: arch for _ in range(trials)}
    for arch in archs.values():
        objective.evaluator.evaluate(arch)
    memory = None
    with places(storage) as found:
        for kind, url in found.items():
            sampler = optuna.samplers.RandomSampler(seed=0)
            study = share(open_storage(url), new_name("cost"), objective, sampler)
            for arch in archs.values():
                study.enqueue_trial(objective.space.params(arch))
            start = time.perf_counter()
            work(objective, study, n_trials=len(archs))
            each = 1e3 * (time.perf_counter() - start) / len(archs)
            memory = each if memory is None else memory
            print(f"| {kind} | {each:.1f} | {each - memory:.1f} |", flush=True)


@main.command()
@click.option("--storage", required=True)
@click.option("--workers", default=4)
@click.option("--trials", default=200)
@click.option("--steps", default=5)
@click.option("--every", default=4.0, help="Mean seconds between kills.")
@click.option("--control", help="Command that takes `stop` and `start` of the database.")
@click.option("--seed", default=0)
def kill(
    storage: str,
    workers: int,
    trials: int,
    steps: int,
    every: float,
    control: str | None,
    seed: int,
) -> None:
    """Workers that are killed at random, then a look at what they left."""
    rng, name, kills = random.Random(seed), new_name("kill"), 0
    # A process that has imported everything forks the workers, so that they start at once.
    context = process_context()

    def begin() -> BaseProcess:
        process = context.Process(target=run_worker, args=(storage, name, trials, steps))
        process.start()
        return process

    running = [begin() for _ in range(workers)]
    marks = [trials // 3, 2 * trials // 3] if control else []
    begun, ended = time.monotonic(), False
    while not ended:
        time.sleep(rng.uniform(0.5, 1.5) * every)
        finished = sum(t.state == TrialState.COMPLETE for t in safe_trials(storage, name))
        if marks and finished >= marks[0]:
            marks.pop(0)
            subprocess.run(
                [*shlex.split(control or ""), "stop", "-m", "immediate"],
                cwd="/",
                check=True,
                stdout=subprocess.DEVNULL,
            )
            time.sleep(3)
            subprocess.run(
                [*shlex.split(control or ""), "start"],
                cwd="/",
                check=True,
                stdout=subprocess.DEVNULL,
            )
            print(f"database stopped for 3 s at {finished} finished trials", flush=True)
            continue
        place = rng.randrange(workers)
        if finished >= trials:
            for process in running:
                process.join()
            ended = True
        elif running[place].is_alive():
            running[place].kill()
            running[place].join()
            kills += 1
            running[place] = begin()
        if any(process.exitcode not in (None, 0) for process in running):
            raise click.ClickException("a worker stopped with an error")
    seconds = time.monotonic() - begun
    print(f"{workers} workers, {kills} kills, {seconds:.0f} s")
    look(trials_of(storage, name), trials, steps)


def run_worker(storage: str, name: str, trials: int, steps: int) -> None:
    """What ``gennas search`` does with a storage."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objective = GenNASObjective(SPACE, steps=steps)
    sampler = RegularizedEvolutionSampler(objective.space, seed=0)
    work(objective, share(open_storage(storage), name, objective, sampler), n_trials=trials)


def safe_trials(storage: str, name: str) -> list[FrozenTrial]:
    try:
        return trials_of(storage, name)
    except KeyError:  # no worker has made the study yet
        return []


def look(found: list[FrozenTrial], wanted: int, steps: int) -> None:
    """What a study holds, and whether a quiet run of the same architectures agrees."""
    states = Counter(t.state.name for t in found)
    done = [t for t in found if t.state == TrialState.COMPLETE]
    trained = [t for t in done if "gennas:duplicate_of" not in t.user_attrs]
    keys = Counter(t.user_attrs["gennas:key"] for t in trained)
    again = sum(count - 1 for count in keys.values())
    late = sum(is_late(t, trained) for t in trained)
    print(
        f"states: {dict(states)}; {len(keys)} networks trained, {again} of them twice, at the same "
        f"time; {late} after another worker had finished"
    )
    print(f"workers that finished a trial: {len({str(t.user_attrs[WORKER]) for t in done})}")
    space, evaluator = get_space(SPACE), GenNASEvaluator(steps=steps)
    quiet = {
        key: evaluator.evaluate(space.parse(arch)).loss
        for key, arch in {
            t.user_attrs["gennas:key"]: t.user_attrs["gennas:arch"] for t in done
        }.items()
    }
    differ = sum(t.value != quiet[t.user_attrs["gennas:key"]] for t in done)
    best = min(t.value for t in done if t.value is not None)
    print(
        f"best {best!r}, quiet run {min(quiet.values())!r}; {differ} of {len(done)} values differ"
    )
    assert states["COMPLETE"] == wanted
    assert not states["RUNNING"]
    assert not states["WAITING"]
    assert not differ
    assert not late
    assert best == min(quiet.values())


def is_late(trial: FrozenTrial, trained: list[FrozenTrial]) -> bool:
    """Whether the network was trained though it was known already when the trial began."""
    return any(
        other.user_attrs["gennas:key"] == trial.user_attrs["gennas:key"]
        and other.datetime_complete is not None
        and trial.datetime_start is not None
        and other.datetime_complete < trial.datetime_start
        for other in trained
        if other.number != trial.number
    )


@main.command()
@click.option("--evaluations", default=10_000)
@click.option("--first", default=500)
def memory(evaluations: int, first: int) -> None:
    """Resident memory of one process after the first evaluations, and after all."""
    space = get_space(SPACE)
    evaluator = GenNASEvaluator(preset=Preset("small", steps=1, scale=Scale(width=4, depth=1)))
    rng, before = np.random.default_rng(0), 0.0
    for number in range(1, evaluations + 1):
        evaluator.evaluate(space.sample(rng), reuse=False)
        if number == first:
            before = resident()
        if number % 1000 == 0 or number == first:
            print(f"{number} evaluations: {resident():.1f} MB", flush=True)
    print(
        f"change after the first {first}: {100 * (resident() / before - 1):+.1f} %; {threading.active_count()} threads"
    )


def resident() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
