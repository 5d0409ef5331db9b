"""Proxies without training, to compare GenNAS with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from gennas_optuna._evaluator import Evaluator
from gennas_optuna._input_identity import input_identity
from gennas_optuna.errors import InvalidValueError, UnknownNameError
from gennas_optuna.inputs import Inputs, load_images
from gennas_optuna.regression import OnEval, Status, Trace
from gennas_optuna.seeding import torch_generator
from gennas_optuna.spaces import Architecture, SearchSpace
from gennas_optuna.taps import StagedModel

NASWOT_BATCH = 64
"""Images whose activation patterns NASWOT compares."""

ZICO_BATCH = 64
"""Images in each of the two batches whose gradients ZiCo compares."""

ZICO_CLASSES = 10


class ProxyEvaluator(Evaluator):
    """Scores architectures by a proxy that trains nothing; the loss is minus the proxy.

    Args:
        proxy: ``"params"`` or ``"flops"``: the size of the network without whatever cannot reach a
            tap;
            ``"synflow"`` (Tanaka et al., NeurIPS 2020): sum of weight times gradient of the
            output for an input of ones, with absolute weights and without batch norm, in
            logarithm; ``"naswot"`` (Mellor et al., ICML 2021): log-determinant of the kernel of
            ReLU activation patterns; ``"zico"`` (Li et al., ICLR 2023): sum over the layers of
            the logarithm of the weights' mean absolute gradient over its standard deviation
            between two batches, here without labels: of a random linear classifier on the last
            tap and random classes.
        inputs: images for ``"naswot"`` and ``"zico"``, see
            :func:`gennas_optuna.inputs.load_images`.
        seed: of the initial weights and images.
        device: where networks run; ``"auto"``: a GPU if there is one.
        threads: PyTorch threads during an evaluation.
    """

    def __init__(
        self,
        proxy: str,
        *,
        inputs: Inputs = "photos",
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        super().__init__(seed=seed, device=device, threads=threads)
        if proxy not in PROXIES:
            raise UnknownNameError("proxy", proxy, PROXIES)
        self.proxy = proxy
        self.inputs = inputs
        self._batches: dict[tuple[int, ...], torch.Tensor] = {}

    def identity(self, space: SearchSpace) -> str:
        """The proxy's name and seed, and what else is not as it is by default."""
        what = "canonical-" if self.proxy in ("params", "flops") else ""  # once: as encoded
        return "-".join([f"{what}{self.proxy}", str(self.seed), *self._unusual])

    @cached_property
    def _unusual(self) -> list[str]:
        if self.proxy in ("params", "flops"):
            return []
        images = input_identity(self.inputs) if self.proxy in ("naswot", "zico") else "photos"
        unusual = [] if images == "photos" else [images[:12]]
        unusual += [] if self.threads == 1 else [f"{self.threads} threads"]
        return unusual if self.device.type == "cpu" else [*unusual, self.device.type]

    def input_shape(self, space: SearchSpace) -> tuple[int, ...]:
        """The space's own."""
        return space.input_shape

    def _measure(
        self, arch: Architecture, on_eval: OnEval | None
    ) -> tuple[float, Trace | None, Status]:
        value = PROXIES[self.proxy](self, arch)
        return (-value, None, "ok") if math.isfinite(value) else (math.inf, None, "diverged")

    def _build(self, arch: Architecture) -> StagedModel:
        generator = torch_generator(self.seed, "weights", arch.key)
        return arch.space.build(arch, generator=generator, canonical=True).to(self.device)

    def _params(self, arch: Architecture) -> float:
        return float(self._cost(arch, canonical=True).params)

    def _flops(self, arch: Architecture) -> float:
        return float(self._cost(arch, canonical=True).flops)

    def _synflow(self, arch: Architecture) -> float:
        model = self._build(arch).double().eval()  # products of many layers overflow floats
        _remove_norms(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.abs_()
        shape = _batch_shape(model, arch.space.input_shape, 1)
        taps = model(torch.ones(shape, dtype=torch.float64, device=self.device))
        output = taps[-1].sum()
        if not output.requires_grad:  # no weight reaches the last tap
            return 0.0
        output.backward()
        total = sum(
            float((parameter.detach() * parameter.grad).abs().sum())
            for parameter in model.parameters()
            if parameter.grad is not None
        )
        return math.log1p(total)

    def _naswot(self, arch: Architecture) -> float:
        model = self._build(arch).train()
        x = self._images(model, arch.space.input_shape, NASWOT_BATCH)
        model.noise_generator = torch_generator(self.seed, "dropout")
        with torch.no_grad(), _ReLUPatterns(NASWOT_BATCH) as patterns:
            model(x)
        if patterns.kernel is None:
            raise InvalidValueError(f"proxy 'naswot' compares ReLUs, and {arch} has none")
        return float(torch.linalg.slogdet(patterns.kernel).logabsdet)

    def _zico(self, arch: Architecture) -> float:
        model = self._build(arch).train()
        layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        batch = self._images(model, arch.space.input_shape, 2 * ZICO_BATCH)
        samples = 0 if model.taps[0].layout == "NCHW" else 1
        generator = torch_generator(self.seed, "classes")
        classifier = torch.randn(model.taps[-1].channels, ZICO_CLASSES, generator=generator)
        classifier = classifier.to(self.device) / math.sqrt(model.taps[-1].channels)
        model.noise_generator = torch_generator(self.seed, "dropout")
        gradients: list[list[torch.Tensor]] = []
        for images in batch.chunk(2, dim=samples):
            classes = torch.randint(ZICO_CLASSES, (ZICO_BATCH,), generator=generator)
            last = model(images)[-1]
            if not last.requires_grad:  # no weight reaches the last tap
                return 0.0
            features = last.mean((2, 3)) if samples == 0 else last.mean(0)
            loss = F.cross_entropy(features @ classifier, classes.to(self.device))
            found = torch.autograd.grad(loss, [m.weight for m in layers], allow_unused=True)
            gradients.append([torch.zeros(1) if g is None else g for g in found])
        total = 0.0
        for first, second in zip(*gradients, strict=True):
            mean, deviation = (first.abs() + second.abs()) / 2, (first - second).abs() / 2
            ratio = float((mean / deviation)[deviation > 0].double().sum())
            total += math.log(ratio) if ratio > 0 else 0.0
        return total

    def _images(self, model: StagedModel, shape: tuple[int, ...], count: int) -> torch.Tensor:
        """Drawn once per input shape, whatever the architecture."""
        if shape not in self._batches:
            generator = torch_generator(self.seed, "images")
            if model.taps[0].layout == "NCHW":
                size = (shape[1], shape[2])
                x = load_images(self.inputs, count=count, size=size, generator=generator)
            else:
                x = torch.randn(_batch_shape(model, shape, count), generator=generator)
            self._batches[shape] = x.to(self.device)
        return self._batches[shape]


PROXIES: dict[str, Callable[[ProxyEvaluator, Architecture], float]] = {
    "params": ProxyEvaluator._params,
    "flops": ProxyEvaluator._flops,
    "synflow": ProxyEvaluator._synflow,
    "naswot": ProxyEvaluator._naswot,
    "zico": ProxyEvaluator._zico,
}
"""Each proxy's value by name: higher is better."""


class _ReLUPatterns(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums up, over all ReLUs that run, in how many units each two samples agree."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch = batch
        self.kernel: torch.Tensor | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it is what imports it

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.relu, torch.ops.aten.relu_):
            on = (out > 0).reshape(self.batch, -1).double()
            agree = on @ on.T + (1 - on) @ (1 - on).T
            self.kernel = agree if self.kernel is None else self.kernel + agree
        return out


def _remove_norms(model: nn.Module) -> None:
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            setattr(model, name, nn.Identity())
        else:
            _remove_norms(child)


def _batch_shape(model: StagedModel, shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    if model.taps[0].layout == "NCHW":
        return (batch, *shape)
    return (shape[0], batch, *shape[1:])
