"""Published image classifiers, built from ``transformers`` configurations without weights.

The accuracies are top-1 on ImageNet-1k at 224 x 224 (MobileViT: 256 x 256), of training on
ImageNet-1k alone and without distillation, as the source of each family states them. The recipes
differ between families, so the ranking across families is not one of architectures alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import transformers as hf
from torch import nn

TORCHVISION = "torchvision model documentation, weights IMAGENET1K_V1"
HOWARD = "Howard et al. 2017, arXiv 1704.04861, tables 6 and 8"
TAN = "Tan & Le 2019, arXiv 1905.11946, table 2"
LIU_2022 = "Liu et al. 2022, arXiv 2201.03545, table 1"
TOUVRON = "Touvron et al. 2021, arXiv 2012.12877, table 5 (without distillation)"
LIU_2021 = "Liu et al. 2021, arXiv 2103.14030, table 1"
YU = "Yu et al. 2022, arXiv 2111.11418, table 2"
WANG_2021 = "Wang et al. 2021, arXiv 2102.12122, table 2"
WANG_2022 = "Wang et al. 2022, arXiv 2106.13797, and the sizes of its code"
MEHTA = "Mehta & Rastegari 2022, arXiv 2110.02178, figure 6"
WU = "Wu et al. 2021, arXiv 2103.15808, table 3"


@dataclass(frozen=True)
class Published:
    """A published architecture.

    Attributes:
        name: as in its paper.
        top1: accuracy in percent.
        params: in millions, as published.
        source: of the accuracy.
        build: makes the network with random weights for square images of a given size.
    """

    name: str
    top1: float
    params: float
    source: str
    build: Callable[[int], nn.Module]


def _make(
    head: str,
    config: str,
    size: int,
    *,
    sized: bool = False,
    windowed: bool = False,
    **options: Any,
) -> nn.Module:
    """A classifier of 1,000 classes.

    Args:
        head: its class in ``transformers``.
        config: the class of its configuration.
        size: height and width of its images, a multiple of 32.
        sized: it is made for one size of image.
        windowed: it attends within windows, 7 x 7 at 224, which shrink with the image.
        options: of the configuration.
    """
    if sized:
        options["image_size"] = size
    if windowed:
        options["window_size"] = size // 32
    model: nn.Module = getattr(hf, head)(getattr(hf, config)(num_labels=1000, **options))
    return model


def _family(
    head: str,
    config: str,
    source: str,
    rows: dict[str, tuple[float, float, dict[str, Any]]],
    **common: Any,
) -> list[Published]:
    return [
        Published(name, top1, params, source, partial(_make, head, config, **common, **options))
        for name, (top1, params, options) in rows.items()
    ]


BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}

MODELS: tuple[Published, ...] = (
    *_family(
        "ResNetForImageClassification",
        "ResNetConfig",
        TORCHVISION,
        {
            "ResNet-18": (69.758, 11.7, {**BASIC, "depths": [2, 2, 2, 2]}),
            "ResNet-34": (73.314, 21.8, {**BASIC, "depths": [3, 4, 6, 3]}),
            "ResNet-50": (76.130, 25.6, {"depths": [3, 4, 6, 3]}),
            "ResNet-101": (77.374, 44.5, {"depths": [3, 4, 23, 3]}),
        },
    ),
    *_family(
        "RegNetForImageClassification",
        "RegNetConfig",
        TORCHVISION,
        {
            "RegNetY-400MF": (
                74.046,
                4.3,
                {"hidden_sizes": [48, 104, 208, 440], "depths": [1, 3, 6, 6], "groups_width": 8},
            ),
            "RegNetY-800MF": (
                76.420,
                6.4,
                {"hidden_sizes": [64, 144, 320, 784], "depths": [1, 3, 8, 2], "groups_width": 16},
            ),
            "RegNetY-1.6GF": (
                77.950,
                11.2,
                {"hidden_sizes": [48, 120, 336, 888], "depths": [2, 6, 17, 2], "groups_width": 24},
            ),
            "RegNetY-3.2GF": (
                78.948,
                19.4,
                {
                    "hidden_sizes": [72, 216, 576, 1512],
                    "depths": [2, 5, 13, 1],
                    "groups_width": 24,
                },
            ),
        },
        layer_type="y",
    ),
    *_family(
        "MobileNetV1ForImageClassification",
        "MobileNetV1Config",
        HOWARD,
        {
            "MobileNetV1 0.5": (63.7, 1.3, {"depth_multiplier": 0.5}),
            "MobileNetV1 0.75": (68.4, 2.6, {"depth_multiplier": 0.75}),
            "MobileNetV1 1.0": (70.6, 4.2, {"depth_multiplier": 1.0}),
        },
    ),
    *_family(
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        TORCHVISION,
        {"MobileNetV2": (71.878, 3.5, {})},
    ),
    *_family(
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        TAN,
        {
            "EfficientNet-B0": (
                77.1,
                5.3,
                {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
            ),
            "EfficientNet-B1": (
                79.1,
                7.8,
                {"width_coefficient": 1.0, "depth_coefficient": 1.1, "hidden_dim": 1280},
            ),
        },
        dropout_rate=0.2,
    ),
    *_family(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        LIU_2022,
        {
            "ConvNeXt-T": (82.1, 28.6, {"depths": [3, 3, 9, 3]}),
            "ConvNeXt-S": (83.1, 50.2, {"depths": [3, 3, 27, 3]}),
        },
    ),
    *_family(
        "ViTForImageClassification",
        "ViTConfig",
        TOUVRON,
        {
            "DeiT-Ti": (
                72.2,
                5.7,
                {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
            ),
            "DeiT-S": (
                79.8,
                22.1,
                {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
            ),
            "DeiT-B": (81.8, 86.6, {}),
        },
        sized=True,
    ),
    *_family(
        "SwinForImageClassification",
        "SwinConfig",
        LIU_2021,
        {
            "Swin-T": (81.3, 28.3, {"depths": [2, 2, 6, 2]}),
            "Swin-S": (83.0, 49.6, {"depths": [2, 2, 18, 2]}),
        },
        num_heads=[3, 6, 12, 24],
        sized=True,
        windowed=True,
    ),
    *_family(
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        YU,
        {
            "PoolFormer-S12": (77.2, 11.9, {"depths": [2, 2, 6, 2]}),
            "PoolFormer-S24": (80.3, 21.4, {"depths": [4, 4, 12, 4]}),
            "PoolFormer-S36": (
                81.4,
                30.9,
                {"depths": [6, 6, 18, 6], "layer_scale_init_value": 1e-6},
            ),
        },
    ),
    *_family(
        "PvtForImageClassification",
        "PvtConfig",
        WANG_2021,
        {
            "PVT-Tiny": (75.1, 13.2, {"depths": [2, 2, 2, 2]}),
            "PVT-Small": (79.8, 24.5, {"depths": [3, 4, 6, 3]}),
        },
        sized=True,
    ),
    *_family(
        "PvtV2ForImageClassification",
        "PvtV2Config",
        WANG_2022,
        {
            "PVTv2-B0": (70.5, 3.7, {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2]}),
            "PVTv2-B1": (
                78.7,
                14.0,
                {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2]},
            ),
            "PVTv2-B2": (
                82.0,
                25.4,
                {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3]},
            ),
        },
        sized=True,
    ),
    *_family(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        MEHTA,
        {
            "MobileViT-XXS": (
                69.0,
                1.3,
                {
                    "hidden_sizes": [64, 80, 96],
                    "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320],
                    "expand_ratio": 2.0,
                },
            ),
            "MobileViT-XS": (
                74.8,
                2.3,
                {
                    "hidden_sizes": [96, 120, 144],
                    "neck_hidden_sizes": [16, 32, 48, 64, 80, 96, 384],
                },
            ),
            "MobileViT-S": (78.4, 5.6, {}),
        },
        sized=True,
    ),
    *_family(
        "CvtForImageClassification",
        "CvtConfig",
        WU,
        {"CvT-13": (81.6, 20.0, {})},
    ),
)
"""In the order of the families; every configuration is checked against its published size."""
