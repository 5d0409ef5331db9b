"""NDS networks against the numbers of the reference: parameters, MACs, shapes, fingerprints."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import parity
from gennas_optuna.spaces import Architecture, SearchSpace, get_space
from gennas_optuna.taps import StagedModel

CELL_FILES = {
    "nds_darts": "darts",
    "nds_darts_fix-w-d": "darts-fix-w-d",
    "nds_enas": "enas",
    "nds_pnas": "pnas",
    "nds_nasnet": "nasnet",
    "nds_amoeba": "amoeba",
}

rule_weight = functools.lru_cache(parity.rule_weight)


def filled(space: SearchSpace, arch: Architecture) -> StagedModel:
    """The network with the weights of the fingerprint rule, without first drawing others."""
    net = space.skeleton(arch).eval()
    net._apply(lambda tensor: torch.empty(tensor.shape, dtype=torch.float64))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            module.weight.data.copy_(rule_weight(tuple(module.weight.shape)))
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return net


def assert_as_recorded(space: SearchSpace, arch: Architecture, expected: dict[str, Any]) -> None:
    net = filled(space, arch)
    assert parity.parameters(net) == expected["params_backbone"] == expected["params_executed"]
    macs = 0

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output[0].numel() * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        taps = net(parity.images())
    assert macs == expected["macs"]
    assert [list(tap.shape) for tap in taps] == expected["tap_shapes"]
    for tap, info, numbers in zip(taps, net.taps, expected["taps"], strict=True):
        assert tuple(tap.shape[1:]) == (info.channels, *info.size)
        parity.assert_fingerprint(tap, numbers)


def cell_rows(file: str) -> list[dict[str, Any]]:
    rows = parity.load(f"parity/{file}.json")["archs"]
    assert len(rows) == 26
    for row in rows:
        row["text"] = json.dumps({name: row[name] for name in ("width", "depth", "genotype")})
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), CELL_FILES.items())
def test_cells_for_cifar(file: str, name: str, matched: Callable[[str], None]) -> None:
    space = get_space(name)
    for row in cell_rows(file):
        assert_as_recorded(space, space.parse(row["text"]), row["cifar"])
        matched(name)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), CELL_FILES.items())
def test_cells_for_imagenet(file: str, name: str, matched: Callable[[str], None]) -> None:
    space = get_space(f"{name}-in")
    for row in cell_rows(file):
        assert_as_recorded(space, space.parse(row["text"]), row["imagenet"])
        matched(space.name)


@pytest.mark.parametrize(("file", "name"), CELL_FILES.items())
def test_sizes_of_the_first_release_and_of_the_benchmark(file: str, name: str) -> None:
    """First release: the CIFAR form. Benchmark: a linear layer for 1000 classes on top."""
    first = get_space(f"{name}-in", form="first-release")
    own = get_space(f"{name}-in", form="benchmark")
    assert own.input_shape == (3, 224, 224)
    for row in cell_rows(file):
        net = first.skeleton(first.parse(row["text"]))
        assert parity.parameters(net) == row["cifar"]["params_backbone"]
        net = own.skeleton(own.parse(row["text"]))
        assert [tap.size for tap in net.taps] == [(28, 28), (14, 14), (7, 7)]
        classifier = 1000 * net.taps[-1].channels + 1000
        assert parity.parameters(net) + classifier == row["params_json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name", "form", "field", "count"),
    [
        ("nds_resnet", "resnet", "gennas", "gennas", 30),
        ("nds_resnet_5stage", "resnet", "gennas", "five_stage_fixed", 26),
        ("nds_resnext-a", "resnext-a-in", "gennas", "gennas", 26),
        ("nds_resnext-a", "resnext-a-in", "groups-as-count", "groups_as_count", 26),
        ("nds_resnext-b", "resnext-b-in", "gennas", "gennas", 26),
        ("nds_resnext-b", "resnext-b-in", "groups-as-count", "groups_as_count", 26),
    ],
)
def test_stages(
    file: str, name: str, form: str, field: str, count: int, matched: Callable[[str], None]
) -> None:
    space = get_space(name, form=form)
    rows = parity.load(f"parity/{file}.json")["archs"]
    assert len(rows) == count
    for row in rows:
        assert_as_recorded(space, space.parse(json.dumps(row["net"])), row[field])
        matched(f"{name}, {field}")


@pytest.mark.parametrize(
    "file", ["nds_resnet", "nds_resnet_5stage", "nds_resnext-a", "nds_resnext-b"]
)
def test_sizes_of_the_benchmarks_own_stages(file: str) -> None:
    """With a linear layer on top, for 10 classes where the stem has stride 1, else for 1000."""
    space = get_space("resnet", form="benchmark")
    rows = [r for r in parity.load(f"parity/{file}.json")["archs"] if "params_json" in r]
    assert len(rows) >= 4
    for row in rows:
        net = space.skeleton(space.parse(json.dumps(row["net"])))
        classes = 10 if row["net"]["ss"][0] == 1 else 1000
        classifier = classes * (net.taps[-1].channels + 1)
        assert parity.parameters(net) + classifier == row["params_json"]
