from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import optuna
import pytest
import torch

from gennas_optuna.benchmarks import GroundTruth, load_truth


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """NNI's experiments, which mostly wait, run beside all the rest if they come first."""
    items.sort(key=lambda item: item.path.stem != "test_nni_experiment")


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def global_random_state_untouched() -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.fixture(scope="session")
def cifar10_truth() -> GroundTruth:
    return load_truth("hpo-bench:cifar10", "nasbench201")
