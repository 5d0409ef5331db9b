"""NAS-Bench-Macro (Su et al., CVPR 2021): eight layers, each of them one of three."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from gennas_optuna._check import shorten
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces._nasbench_macro_net import STAGES, NASBenchMacroNet, layers
from gennas_optuna.spaces._scale import Scale

CHOICES = (0, 1, 2)
"""Identity; inverted residual with expansion 3, kernel 3; with expansion 6, kernel 5."""

LAYERS = sum(STAGES)
"""Layers of a network."""


@dataclass(frozen=True)
class NASBenchMacro(SearchSpace):
    """The 6,561 encodings of NAS-Bench-Macro: three stages of two, three and three layers.

    The code of an architecture is the tuple of its eight digits.

    ``form="gennas"`` is the network in the GenNAS code: the first stage keeps size and width of
    the stem, and a bare 1x1 convolution to 40 times that width (1280) is the last tap.
    ``form="benchmark"`` is the benchmark's own network, in which every stage starts with stride
    2, tapped after each stage; its last convolution, which only the classifier reads, is left
    out.
    """

    name: str = "nasbench-macro"
    forms: ClassVar[tuple[str, ...]] = ("gennas", "benchmark")

    def distributions(self) -> dict[str, BaseDistribution]:
        """One choice of 0, 1, 2 per layer: ``layer_1`` to ``layer_8``."""
        return {f"layer_{i}": CategoricalDistribution(CHOICES) for i in range(1, LAYERS + 1)}

    def decode(self, params: Mapping[str, Any]) -> Architecture:  # noqa: D102 - inherited
        return self._arch(list(self._checked(params).values()))

    def params(self, arch: Architecture) -> dict[str, Any]:  # noqa: D102
        return dict(zip(self.distributions(), _digits(arch), strict=True))

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Each layer becomes one of the other two with chance 1/8, and one surely does.

        The move is ours: GenNAS searched no architectures in this space.
        """
        changed = rng.random(LAYERS) < 1 / LAYERS
        changed[rng.integers(LAYERS)] = True
        steps = rng.integers(1, len(CHOICES), size=LAYERS) * changed
        return self._arch(
            [
                (digit + int(step)) % len(CHOICES)
                for digit, step in zip(_digits(arch), steps, strict=True)
            ]
        )

    def parse(self, text: str) -> Architecture:
        """Read the benchmark's key: eight digits 0 to 2, such as ``"02012100"``."""
        if not re.fullmatch(r"[0-2]{8}", text.strip()):
            raise InvalidValueError(
                f"not a NAS-Bench-Macro architecture: {shorten(text)}; "
                "give eight digits 0 to 2 such as '02012100'"
            )
        return self._arch([int(digit) for digit in text.strip()])

    def format(self, arch: Architecture) -> str:
        """The benchmark's key: eight digits."""
        return "".join(map(str, _digits(arch)))

    def key(self, arch: Architecture) -> str:
        """The digits, with identities that are nothing moved to the end of their stage.

        An identity computes nothing unless its layer changes size or width, which the first one
        of a stage does (in GenNAS's variant not that of the first stage). So within a stage only
        the order of the other layers matters. 3,087 networks remain of the 6,561 encodings,
        3,969 in the benchmark's own form.
        """
        return "".join(map(str, _canonical(_digits(arch), gennas=self.form == "gennas")))

    def benchmark_key(self, arch: Architecture) -> str:
        """The key in the form ``"benchmark"``: GenNAS's first stage merges networks."""
        return "".join(map(str, _canonical(_digits(arch), gennas=False)))

    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> NASBenchMacroNet:
        if scale.depth is not None or scale.depth_factor != 1:
            raise InvalidValueError(
                f"{scale}: a NAS-Bench-Macro architecture says itself how deep "
                "it is; give a scale with a width only"
            )
        gennas = self.form == "gennas"
        return NASBenchMacroNet(
            _canonical(_digits(arch), gennas=gennas) if canonical else _digits(arch),
            width=scale.channels(32),
            gennas=gennas,
            input_shape=input_shape,
        )

    def _arch(self, digits: Sequence[int]) -> Architecture:
        return Architecture(self, tuple(digits))


def _digits(arch: Architecture) -> tuple[int, ...]:
    assert isinstance(arch.code, tuple)
    return arch.code


def _canonical(digits: tuple[int, ...], *, gennas: bool) -> tuple[int, ...]:
    """The encoding that all those of one network share, see :meth:`NASBenchMacro.key`."""
    shapes = list(layers(1, not gennas))
    return tuple(
        digit
        for _, digit in sorted(
            zip(shapes, digits, strict=True),
            # Stable: layers that compute something keep their order.
            key=lambda item: (item[0].stage, item[0].plain and item[1] == 0),
        )
    )
