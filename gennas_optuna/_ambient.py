"""PyTorch's own settings as they are when it starts, whatever the caller has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch.backends import cudnn

_backends: Any = torch.backends  # what mypy sees of them depends on PyTorch's version
_T = TypeVar("_T")


class _Arithmetic(NamedTuple):
    """What holds for the whole process.

    PyTorch has two interfaces to the precision of products, and its older one raises an error
    once the newer one has been used. So that the older one goes on working for whoever uses it,
    it is used here too, as long as it does.

    Attributes:
        dtype: of tensors made without one.
        matmul: precision of matrix products, by the older interface; ``None`` if that is closed.
        tf32: whether cuDNN may round to 10 bits, likewise.
        products: precision of single-precision products, by kind, by the newer interface.
        deterministic: whether cuDNN may take only algorithms that repeat themselves to the bit.
        benchmark: whether it takes the algorithm that happens to be the fastest in a trial.
    """

    dtype: torch.dtype
    matmul: str | None
    tf32: bool | None
    products: tuple[str, ...]
    deterministic: bool
    benchmark: bool


_PRODUCTS: list[Any] = []  # before PyTorch 2.9
if hasattr(cudnn, "conv"):
    _PRODUCTS = [_backends.cuda.matmul, cudnn.conv, cudnn.rnn]
    _PRODUCTS += [getattr(_backends.mkldnn, kind) for kind in ("matmul", "conv", "rnn")]

_LOCK = threading.Lock()
_before: list[_Arithmetic] = []
"""The caller's settings, once for each thread at work."""


@contextmanager
def default_settings(device: torch.device, threads: int) -> Iterator[None]:
    """Gradients, single precision, no automatic casting; so losses depend on no caller's choice.

    Args:
        device: where networks run.
        threads: PyTorch threads meanwhile.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        stack.enter_context(_exact_arithmetic())
        yield


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """Our settings for the process, until the last of the threads at work has ended."""
    with _LOCK:
        _before.append(_before[0] if _before else _read())
        _set(_exact(_before[0]))
    try:
        yield
    finally:
        with _LOCK:
            callers = _before.pop()
            if not _before:
                _set(callers)


def _exact(callers: _Arithmetic) -> _Arithmetic:
    return _Arithmetic(
        torch.float32,
        None if callers.matmul is None else "highest",
        None if callers.tf32 is None else False,
        ("ieee",) * len(_PRODUCTS),
        deterministic=True,
        benchmark=False,
    )


def _read() -> _Arithmetic:
    return _Arithmetic(
        torch.get_default_dtype(),
        _unless_closed(torch.get_float32_matmul_precision),
        _unless_closed(lambda: cudnn.allow_tf32),
        tuple(product.fp32_precision for product in _PRODUCTS),
        cudnn.deterministic,
        cudnn.benchmark,
    )


def _unless_closed(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except RuntimeError:
        return None


def _set(wanted: _Arithmetic) -> None:
    if torch.get_default_dtype() != wanted.dtype:
        torch.set_default_dtype(wanted.dtype)
    if wanted.matmul is not None:
        torch.set_float32_matmul_precision(wanted.matmul)
    if wanted.tf32 is not None:
        cudnn.allow_tf32 = wanted.tf32
    for product, precision in zip(_PRODUCTS, wanted.products, strict=True):
        product.fp32_precision = precision
    cudnn.deterministic, cudnn.benchmark = wanted.deterministic, wanted.benchmark
