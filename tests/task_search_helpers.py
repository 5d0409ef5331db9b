"""A cheap stand-in for training, and a table, for tests of the proxy-task search.

Run as a script it searches a study until it is killed or done.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from gennas_optuna import get_space
from gennas_optuna._evaluator import Evaluator
from gennas_optuna._task_study import open_study
from gennas_optuna.benchmarks import GroundTruth, Trained
from gennas_optuna.cost import Cost
from gennas_optuna.samplers import make_sampler
from gennas_optuna.seeding import derive_seed
from gennas_optuna.spaces import Architecture
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_search import ProxyTaskObjective, search_task

SPACE = get_space("nasbench201")


def uniform(*parts: object) -> float:
    return derive_seed(0, *parts) / 2**63


def quality(arch: Architecture) -> float:
    return round(uniform("quality", arch.key), 6)


def table(n: int = 40, **options: Any) -> GroundTruth:
    """``n`` different networks, each as good as a hash of it says."""
    rng = np.random.default_rng(0)
    archs: dict[str, Architecture] = {}
    while len(archs) < n:
        arch = SPACE.sample(rng)
        archs.setdefault(arch.key, arch)
    records = tuple(Trained(arch, quality(arch)) for arch in archs.values())
    settings = {"metric": "quality", "higher_is_better": True, "digest": "0" * 64, **options}
    return GroundTruth(name="toy", space=SPACE, records=records, skipped={}, **settings)


class FakeEvaluator(Evaluator):
    """Ranks the better the higher stage 0's share of the widths is; notes what it evaluates."""

    def __init__(self, task: ProxyTask, log: Path | None = None, sleep: float = 0.0) -> None:
        super().__init__(seed=0, device="cpu", threads=1)
        self.task, self.log, self.sleep = task, log, sleep

    def identity(self, space: Any) -> str:
        return self.task.digest

    def input_shape(self, space: Any) -> tuple[int, ...]:
        return (3, 32, 32)

    def loss(self, arch: Architecture) -> float:
        share = self.task.stages[0].channels / 1.5
        return -share * quality(arch) - (1 - share) * uniform(self.task.digest, arch.key)

    def _measure(self, arch: Architecture, on_eval: Any) -> Any:
        time.sleep(self.sleep)
        loss = self.loss(arch)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{self.task.digest} {arch.key}\n")
        return loss, None, "ok"

    def _cost(self, arch: Architecture) -> Cost:
        return Cost(1, 1)


@dataclass(frozen=True)
class Fake:
    """Makes fake evaluators."""

    log: Path | None = None
    sleep: float = 0.0
    kind: type[FakeEvaluator] = FakeEvaluator

    def __call__(self, task: ProxyTask) -> FakeEvaluator:
        return self.kind(task, self.log, self.sleep)


def fake_objective(**options: Any) -> ProxyTaskObjective:
    settings = {"n_archs": 10, "make_evaluator": Fake(), **options}
    return ProxyTaskObjective(SPACE, settings.pop("truth", table()), **settings)


def study_of(sampler: Any = None, **options: Any) -> optuna.Study:
    sampler = sampler or optuna.samplers.RandomSampler(seed=0)
    pruner = optuna.pruners.NopPruner()
    return optuna.create_study(
        **{"direction": "maximize", "sampler": sampler, "pruner": pruner, **options}
    )


def main(storage: str, log: str, n_trials: str, sampler: str) -> None:
    objective = fake_objective(make_evaluator=Fake(Path(log), sleep=0.05), prune=False)
    study = open_study(
        storage,
        "s",
        lambda *, seed: make_sampler(sampler, objective.tasks, seed=seed),
        seed=0,
    )
    search_task(objective, study, n_trials=int(n_trials))


if __name__ == "__main__":
    main(*sys.argv[1:])
