"""The stage spaces of NDS: ResNet, ResNeXt-A and ResNeXt-B (and its vanilla networks by text)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution

from gennas_optuna.spaces._anynet import AnyNet, Block, Plan, Stage, Stem
from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._nds import NDSSpace
from gennas_optuna.spaces._record import Record
from gennas_optuna.spaces._scale import Scale
from gennas_optuna.spaces.nds import STAGE_SPACES, StageSpace

_EXAMPLE = (
    '{"block_type": "res_basic_block", "ds": [1, 2, 3, 3], "ws": [16, 32, 64, 64], '
    '"ss": [1, 1, 2, 2], "bot_muls": [], "num_gs": []}'
)
_BLOCKS: dict[str, Block] = {
    "res_basic_block": "basic",
    "res_bottleneck_block": "bottleneck",
    "double_plain_block": "vanilla",
}
_NAMES = {**{name: name for name in _BLOCKS}, "vanilla_block": "double_plain_block"}
_PARAMETERS = {"ds": "depth", "ws": "width", "bot_muls": "bottleneck", "num_gs": "groups"}
_STEMS: dict[int, Stem] = {1: "plain", 4: "resnet", 8: "resnext"}


class Code(NamedTuple):
    """The code of an architecture: what a record of the benchmark says about it.

    The first entry of each list is about the stem, the others are about one stage each:
    ``ds`` blocks, ``ws`` channels, ``ss`` stride of the first block; for bottleneck blocks (else
    empty) ``bot_muls`` inner by outer channels and ``num_gs`` groups.
    """

    block_type: str
    ds: tuple[int, ...]
    ws: tuple[int, ...]
    ss: tuple[int, ...]
    bot_muls: tuple[float, ...] = ()
    num_gs: tuple[int, ...] = ()


@dataclass(frozen=True)
class NDSStages(NDSSpace[StageSpace]):
    """Depth and width of three stages; for ResNeXt also the bottleneck and the groups of each.

    Block, stem and strides are in the row of ``STAGE_SPACES`` with this space's name.

    ``form="gennas"`` builds what GenNAS runs: in front a 3x3 convolution to 12 channels; all
    entries of the record are stages, the first (which in the benchmark stands for the stem) too,
    with stride 1; and ``num_gs`` is taken for the width of a group.
    ``form="groups-as-count"`` is the same with ``num_gs`` groups, as the benchmark means it.
    ``form="benchmark"`` builds the benchmark's own network: its stem, then the stages; those of
    ImageNet records (names ending in ``-in``) are for images of 224x224.

    Records with five entries (ImageNet ResNets), which GenNAS cannot run, are built in the same
    way and tapped after the last three stages.

    Depth and width are what is searched here, so :class:`~gennas_optuna.spaces.Scale` does not
    replace them but caps them: no stage has more blocks, no part of the network more channels.

    The children of GenNAS's evolution in these spaces are benchmark records: of 200 random ones
    the nearest. Here mutation redraws parameters, each with equal chance, at least one.
    """

    forms: ClassVar[tuple[str, ...]] = ("gennas", "groups-as-count", "benchmark")
    rows: ClassVar[Mapping[str, StageSpace]] = STAGE_SPACES
    kind: ClassVar[str] = "stage"

    def distributions(self) -> dict[str, BaseDistribution]:
        """Per stage (1 to 3) depth and width; for ResNeXt also bottleneck and groups.

        Every combination can be built in every form.
        """
        return {
            f"{_PARAMETERS[field]}_{stage}": CategoricalDistribution(choices)
            for stage in self._stages()
            for field, (_, choices) in self._searched().items()
        }

    def decode(self, params: Mapping[str, Any]) -> Architecture:  # noqa: D102 - inherited
        values = self._checked(params)
        lists = {
            field: (first, *(values[f"{_PARAMETERS[field]}_{s}"] for s in self._stages()))
            for field, (first, _) in self._searched().items()
        }
        return Architecture(self, Code(self.row.block, ss=self._strides(), **lists))

    def params(self, arch: Architecture) -> dict[str, Any]:
        """The parameters of an architecture.

        Raises:
            InvalidValueError: it is not in the sampled space: another block, stem or strides than
                the row's, or a value that is not one of its choices.
        """
        code = _code(arch)
        if (code.block_type, code.ss) != (self.row.block, self._strides()):
            raise self._outside(
                f"{code.block_type} with strides {list(code.ss)}",
                f"{self.row.block} with strides {list(self._strides())}",
                built=self._plan(code).fault() is None,
            )
        for field, (first, choices) in self._searched().items():
            found = getattr(code, field)
            if found[0] != first or not set(found[1:]) <= set(choices):
                raise self._outside(
                    f"{field} {list(found)}",
                    f"{first}, then values of {list(choices)}",
                    built=self._plan(code).fault() is None,
                )
        return {
            f"{_PARAMETERS[field]}_{stage}": getattr(code, field)[stage]
            for stage in self._stages()
            for field in self._searched()
        }

    def parse(self, text: str) -> Architecture:
        """Read the JSON text of a record's ``net``, or what :meth:`format` wrote.

        Read are records with 4 or 5 entries, of basic, bottleneck and vanilla blocks. A first
        bottleneck multiplier of 0 (there is none in a stem) is read as 1, as in GenNAS.
        """
        record = Record(text, space=self.name, example=_EXAMPLE)
        block = record.choice("block_type", _NAMES)
        lists: dict[str, Any] = {
            "ds": record.wholes("ds", range(1, 1001)),
            "ws": record.wholes("ws", range(1, 65537)),
            "ss": record.wholes("ss", range(1, 9)),
        }
        if lists["ss"][:1] not in {(stride,) for stride in _STEMS}:
            raise record.error(f"the first stride is none of {', '.join(map(str, _STEMS))}")
        if block == "res_bottleneck_block":
            first, *others = record.floats("bot_muls", 0, 64) or (0.0,)
            if 0 in others:
                raise record.error("a bottleneck multiplier of a stage is 0")
            lists["bot_muls"] = (first or 1.0, *others)
            lists["num_gs"] = record.wholes("num_gs", range(1, 65537))
        lengths = {field: len(values) for field, values in lists.items()}
        if len(set(lengths.values())) > 1 or lengths["ds"] not in (4, 5):
            raise record.error(f"{lengths} are not the same number of entries, 4 or 5")
        return Architecture(self, Code(block, **lists))

    def format(self, arch: Architecture) -> str:
        """Compact JSON with the fields of a record's ``net``."""
        return json.dumps(_code(arch)._asdict(), separators=(",", ":"))

    def key(self, arch: Architecture) -> str:
        """The network that is built, as in ``basic plain12|1x16/1|2x32/1|3x64/2|3x64/2``.

        Per stage blocks, channels and stride; of bottlenecks also inner channels and groups, as
        in ``2x128:32g4/2``. Fields of the record that the form does not use are not in it.
        """
        return str(self._plan(_code(arch)))

    def benchmark_key(self, arch: Architecture) -> str:
        """The key in the form ``"benchmark"``: GenNAS's strides and groups merge networks."""
        own = replace(self, form="benchmark")
        return own.key(Architecture(own, arch.code))

    def init_scheme(self) -> str:
        """Convolutions normal by fan-out, as AnyNet starts them."""
        return "fan-out"

    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> AnyNet:
        plan = self._plan(_code(arch)).sized(scale)
        return AnyNet(plan, input_shape=input_shape)

    def _plan(self, code: Code) -> Plan:
        own = self.form == "benchmark"
        stages = [
            Stage(depth, width, stride if place else 1)
            for place, (depth, width, stride) in enumerate(
                zip(code.ds, code.ws, code.ss, strict=True)
            )
        ]
        if code.bot_muls:
            for place, multiplier in enumerate(code.bot_muls):
                inner = round(stages[place].width * multiplier)
                groups = code.num_gs[place]
                if self.form == "gennas":
                    groups = inner // groups
                stages[place] = stages[place]._replace(inner=inner, groups=groups)
        return Plan(
            block=_BLOCKS[code.block_type],
            stem=_STEMS[code.ss[0]] if own else "plain",
            stem_width=code.ws[0] if own else 12,
            stages=tuple(stages[1:] if own else stages),
        )

    def _stages(self) -> range:
        return range(1, len(self.row.strides) + 1)

    def _strides(self) -> tuple[int, ...]:
        return (self.row.stem[1], *self.row.strides)

    def _searched(self) -> dict[str, tuple[Any, tuple[Any, ...]]]:
        """Per field of the code that is searched: its first entry, and the choices of others."""
        row = self.row
        found: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "ds": (1, row.depths),
            "ws": (row.stem[0], row.widths),
        }
        if row.bottlenecks:
            found |= {"bot_muls": (1.0, row.bottlenecks), "num_gs": (1, row.groups)}
        return found


def _code(arch: Architecture) -> Code:
    assert isinstance(arch.code, Code)
    return arch.code
