"""Trainings against the losses of the paper's evaluator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

import parity
from gennas_optuna.regression import fit, make_heads
from gennas_optuna.spaces import Architecture, get_space
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise, Optimizer, Stage

NB201 = get_space("nasbench201")
PAPER = tuple(Stage(weight=weight) for weight in (0.25, 0.5, 1.0))


def axes(*sizes: int) -> list[torch.Tensor]:
    views = [[-1 if i == k else 1 for k in range(4)] for i in range(4)]
    return [
        torch.arange(n, dtype=torch.float64).view(v) for n, v in zip(sizes, views, strict=True)
    ]


def parity_batch() -> Batch:
    """The inputs and targets of training_cv.json, by its formulas."""
    n, c, h, w = axes(8, 3, 32, 32)
    x = torch.sin(
        2.1 * n + 1.9 * c + (0.37 + 0.11 * n) * h + (0.53 + 0.07 * c) * w + 0.013 * (n + 1) * h * w
    )
    targets = []
    for stage, channels in enumerate((64, 48, 16)):
        n, c, h, w = axes(8, channels, 8, 8)
        targets.append(torch.cos(0.3 * n + 0.7 * c + 0.4 * h + 0.9 * w + stage))
    return Batch(x, tuple(targets), Noise())


def parity_losses(arch: Architecture, *, canonical: bool = False) -> tuple[float, ...]:
    """After each of four SGD steps from the fixed weights of the parity files."""
    generator = torch.Generator().manual_seed(0)
    batch = parity_batch()
    model = arch.space.build(arch, generator=generator, canonical=canonical)
    heads = make_heads(model, batch, generator=generator)
    parity.fill(model)
    parity.fill(heads)
    optimizer = Optimizer(lr=0.01)
    trace = fit(model, heads, batch, PAPER, optimizer=optimizer, steps=4, eval_steps=(1, 2, 3))
    assert trace.steps == (1, 2, 3, 4)
    assert trace.status == "ok"
    assert trace.loss == trace.losses[-1]
    return trace.losses


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize(
    ("space", "text", "losses"),
    [
        ("nasbench201", "421211", [16.58631113, 11.7146705, 8.922352833, 5.49291334]),
        ("nasbench201", "300000", [0.8750209734, 0.8750057431, 0.8749841415, 0.8749569367]),
        ("nasbench-macro", "20000000", [0.9429104457, 0.9399489756, 0.9369305588, 0.9340661669]),
    ],
)
def test_losses_of_the_papers_evaluator(
    space: str, text: str, losses: list[float], canonical: bool
) -> None:
    """Both forms of a network, where they agree on the order of the channels."""
    found = parity_losses(get_space(space).parse(text), canonical=canonical)
    assert found == pytest.approx(losses, rel=1e-6)


def record(file: str, **identity: Any) -> dict[str, Any]:
    """The entry of a parity file that has these values."""
    [found] = [
        row
        for row in parity.load(f"parity/{file}.json")["archs"]
        if identity.items() <= {k: v for k, v in row.items() if k in identity}.items()
    ]
    return found


def nb101(enc: dict[str, Any]) -> Architecture:
    return get_space("nasbench101").parse(json.dumps([enc["matrix"], enc["ops"]]))


def cells(name: str) -> Callable[[dict[str, Any]], Architecture]:
    """Of the NDS records: in GenNAS's ImageNet form, or its CIFAR form."""
    forms = {"imagenet": f"{name}-in", "cifar": name}

    def arch(enc: dict[str, Any]) -> Architecture:
        row = record(f"nds_{name}", index=enc["index"])
        net = {key: row[key] for key in ("width", "depth", "genotype")}
        return get_space(forms[enc["form"]]).parse(json.dumps(net))

    return arch


PARITY_SPACES: dict[str, Callable[[dict[str, Any]], Architecture]] = {
    "nb101": nb101,
    "nb201": lambda enc: NB201.parse(enc["key"]),
    "macro": lambda enc: get_space("nasbench-macro").parse(enc["key"]),
    "nds_darts": cells("darts"),
    "nds_nasnet": cells("nasnet"),
    "nds_resnext-a": lambda enc: get_space("resnext-a").parse(
        json.dumps(record("nds_resnext-a", index=enc["index"])["net"])
    ),
    "nds_resnet": lambda enc: get_space("resnet").parse(
        json.dumps(record("nds_resnet", name=enc["name"])["net"])
    ),
}


def slow(number: int, name: str) -> Any:
    return pytest.param(number, name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        slow(0, "nb101"),
        (1, "nb101"),
        (2, "nb101"),
        (3, "nb201"),
        slow(4, "nb201"),
        (5, "nb201"),
        (6, "nb201"),
        slow(7, "nds_darts"),
        slow(8, "nds_darts"),
        slow(9, "nds_nasnet"),
        slow(10, "nds_nasnet"),
        (11, "nds_resnext-a"),
        (12, "nds_resnet"),
        (13, "macro"),
        (14, "macro"),
    ],
)
def test_recorded_trainings(number: int, name: str) -> None:
    rows = parity.load("parity/training_cv.json")["archs"]
    assert len(rows) == 15
    assert rows[number]["space"] == name
    losses = parity_losses(PARITY_SPACES[name](rows[number]["enc"]))
    assert losses == pytest.approx(rows[number]["eval_losses"], rel=1e-6)
