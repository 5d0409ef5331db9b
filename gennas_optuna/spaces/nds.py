"""The search spaces of the NDS benchmark as rows of data.

NDS: Radosavovic, Johnson, Xie, Lo, Dollar, "On Network Design Spaces for Visual Recognition",
ICCV 2019. It gives the operations, nodes and outputs of the cell spaces and the ranges of the
ResNet family; each choice is uniform. Widths and depths of the cell spaces are those of its
ImageNet records, and half the widths and two cells less for CIFAR. It kept only models below a
limit of complexity (all ImageNet records of the cell spaces have less than 6 million parameters);
sampling here has no such limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class CellSpace:
    """A space of cells, from which a network of some width and depth is built.

    Attributes:
        ops: the operations to choose from, in the table of ``_ops``.
        nodes: nodes of a cell, each the sum of two operations.
        loose: whether a cell's output joins only the nodes that no other one reads, or all.
        widths: channels of a node before the first reduction; one value if it is fixed.
        depths: number of cells; one value if it is fixed.
        imagenet: whether the records are of ImageNet models.
    """

    ops: tuple[str, ...]
    nodes: int
    loose: bool
    widths: range = range(16, 49, 8)
    depths: range = range(4, 21, 4)
    imagenet: bool = False


@dataclass(frozen=True)
class StageSpace:
    """A space of networks of three stages of equal blocks behind a stem.

    Attributes:
        block: the block, as the records name it.
        stem: width and stride of the stem.
        depths: blocks of a stage.
        widths: channels of a stage.
        bottlenecks: inner width of a block as a part of its width; empty if it has none.
        groups: groups of a block's inner convolution; empty as above.
        strides: stride of each stage's first block.
        imagenet: whether the records are of ImageNet models.
    """

    block: str
    stem: tuple[int, int]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottlenecks: tuple[float, ...] = ()
    groups: tuple[int, ...] = ()
    strides: tuple[int, ...] = (1, 2, 2)
    imagenet: bool = False


def _imagenet(space: CellSpace) -> CellSpace:
    """Twice the widths and two cells more: the five values of each in the ImageNet records."""
    return replace(space, widths=range(32, 97, 16), depths=range(6, 23, 4), imagenet=True)


def _fixed(space: CellSpace) -> CellSpace:
    """One width and depth: the smallest and the largest, as in the records of DARTS_fix-w-d_in.

    The two values of the CIFAR files are taken to be the same ends of their ranges.
    """
    return replace(space, widths=space.widths[:1], depths=space.depths[-1:])


_POOLS = ("avg_pool_3x3", "max_pool_3x3")
_SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7")

_DARTS = CellSpace(
    ops=("none", "skip_connect", *_POOLS, *_SEPARABLE[:2], "dil_conv_3x3", "dil_conv_5x5"),
    nodes=4,
    loose=False,
)
_ENAS = CellSpace(ops=("skip_connect", *_POOLS, *_SEPARABLE[:2]), nodes=5, loose=True)
_PNAS = CellSpace(
    ops=("skip_connect", *_POOLS, *_SEPARABLE, "dil_conv_3x3", "conv_7x1_1x7"),
    nodes=5,
    loose=False,
)
_AMOEBA = CellSpace(
    ops=("skip_connect", *_POOLS, *_SEPARABLE, "dil_sep_conv_3x3", "conv_7x1_1x7"),
    nodes=5,
    loose=True,
)
_NASNET = CellSpace(
    ops=(
        "skip_connect",
        *_POOLS,
        "max_pool_5x5",
        "max_pool_7x7",
        "conv_1x1",
        "conv_3x3",
        "conv_3x1_1x3",
        "conv_7x1_1x7",
        "dil_conv_3x3",
        *_SEPARABLE,
    ),
    nodes=5,
    loose=True,
)

CELL_SPACES: dict[str, CellSpace] = {
    "darts": _DARTS,
    "darts-in": _imagenet(_DARTS),
    "darts-fix-w-d": _fixed(_DARTS),
    "darts-fix-w-d-in": _fixed(_imagenet(_DARTS)),
    "enas": _ENAS,
    "enas-in": _imagenet(_ENAS),
    "enas-fix-w-d": _fixed(_ENAS),
    "pnas": _PNAS,
    "pnas-in": _imagenet(_PNAS),
    "pnas-fix-w-d": _fixed(_PNAS),
    "nasnet": _NASNET,
    "nasnet-in": _imagenet(_NASNET),
    "amoeba": _AMOEBA,
    "amoeba-in": _imagenet(_AMOEBA),
}
"""The cell spaces by registered name."""

_RESNET = StageSpace(
    block="res_basic_block",
    stem=(16, 1),
    depths=(1, 2, 3, 4, 6, 8, 12, 16, 24),
    widths=(16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256),
)
_RESNEXT_A = StageSpace(
    block="res_bottleneck_block",
    stem=(16, 1),
    depths=(1, 2, 4, 8, 16),
    widths=(16, 32, 64, 128, 256),
    bottlenecks=(0.25, 0.5, 1.0),
    groups=(1, 2, 4),
)
_RESNEXT_B = replace(_RESNEXT_A, widths=(64, 128, 256, 512, 1024), groups=(1, 2, 4, 8, 16))

STAGE_SPACES: dict[str, StageSpace] = {
    "resnet": _RESNET,
    "resnext-a": _RESNEXT_A,
    "resnext-a-in": replace(_RESNEXT_A, stem=(64, 8), imagenet=True),
    "resnext-b": _RESNEXT_B,
    "resnext-b-in": replace(_RESNEXT_B, stem=(64, 8), imagenet=True),
}
"""The spaces of stages by registered name. The paper gives both ends and the number of values of
each range (spaced about evenly on a logarithmic axis); the values are those of the records."""
