"""Published models, built without weights: their taps, sizes and scores."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gennas_optuna import score
from gennas_optuna._module_score import _flops
from gennas_optuna._module_taps import ModuleTaps


def quick(model: nn.Module, size: int = 64):
    return score(model, (3, size, size), steps=1, verbose=False)


def published() -> dict:
    """The rows of ``benchmarks/published.py``, which is not in the package, by name."""
    pytest.importorskip("transformers")
    path = Path(__file__).parents[1] / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published_models", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {model.name: model for model in module.MODELS}


STAGES = {
    "ResNet-18": (128, 256, 512),
    "ResNet-50": (512, 1024, 2048),
    "RegNetY-400MF": (104, 208, 440),
    "RegNetY-800MF": (144, 320, 784),
    "MobileNetV1 0.5": (128, 256, 512),
    "MobileNetV2": (32, 96, 1280),
    "EfficientNet-B0": (40, 112, 1280),
    "ConvNeXt-T": (192, 384, 768),
    "DeiT-Ti": (192, 192, 192),
    "DeiT-S": (384, 384, 384),
    "Swin-T": (192, 384, 768),
    "PoolFormer-S12": (128, 320, 512),
    "PVT-Tiny": (128, 320, 512),
    "PVTv2-B0": (64, 160, 256),
    "MobileViT-XXS": (48, 64, 320),
    "CvT-13": (64, 192, 384),
}
"""Channels at the ends of the last three stages, as the papers' tables of the networks give them
(of DeiT: the width)."""

SIZES = {"DeiT-Ti": (4, 4, 4), "DeiT-S": (4, 4, 4), "CvT-13": (16, 8, 4)}
"""Places of those maps per side, for images of 64 x 64; of all others 64/8, 64/16 and 64/32."""


def test_published_models_have_their_published_size() -> None:
    models = published()
    assert len(models) >= 30
    for model in models.values():
        with torch.device("meta"):
            net = model.build(224)
        params = sum(p.numel() for p in net.parameters()) / 1e6
        assert params == pytest.approx(model.params, rel=0.03), model.name
        assert 60 < model.top1 < 85
        assert model.source


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_published_models_are_scored_in_one_line_each(name: str) -> None:
    model = published()[name]
    found = quick(model.build(64))
    assert tuple(tap.channels for tap in found.taps) == STAGES[name]
    sizes = SIZES.get(name, (8, 4, 2))
    assert tuple(tap.size for tap in found.taps) == tuple((size, size) for size in sizes)
    assert found.status == "ok"
    assert math.isfinite(found.loss)


def test_a_distilled_transformer_has_two_special_tokens() -> None:
    hf = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48}
    config = hf.DeiTConfig(image_size=64, num_hidden_layers=3, **sizes)
    taps = quick(hf.DeiTModel(config)).taps
    assert [(tap.channels, tap.size) for tap in taps] == [(24, (4, 4))] * 3


def test_published_flops() -> None:
    models = published()
    # GFLOPS of torchvision's documentation, at 224 x 224
    for name, expected in (("ResNet-18", 1.81), ("RegNetY-400MF", 0.40)):
        net = models[name].build(224)
        counted = _flops(ModuleTaps(net, (3, 224, 224)), (3, 224, 224)) / 1e9
        assert counted == pytest.approx(expected, abs=0.011), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", (128, 256, 512)), ("swin_t", (192, 384, 768)), ("vit_b_16", (768, 768, 768))],
)
def test_torchvision_models(name: str, channels: tuple[int, ...]) -> None:
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    options = {"image_size": 64} if name == "vit_b_16" else {}
    found = quick(models.get_model(name, **options))
    assert tuple(tap.channels for tap in found.taps) == channels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", (128, 256, 512)),
        ("convnext_tiny", (192, 384, 768)),
        ("deit_tiny_patch16_224", (192,) * 3),
    ],
)
def test_timm_models(name: str, channels: tuple[int, ...]) -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    timm = pytest.importorskip("timm")
    options = {"img_size": 64} if name.startswith("deit") else {}
    found = quick(timm.create_model(name, **options))
    assert tuple(tap.channels for tap in found.taps) == channels
