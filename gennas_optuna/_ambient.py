"""PyTorch's own settings as they are when it starts, whatever the caller has changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_LOCK = threading.Lock()
_before: list[tuple[torch.dtype, str]] = []
"""The caller's settings, once for each thread at work."""


@contextmanager
def default_settings(device: torch.device, threads: int) -> Iterator[None]:
    """Gradients, single precision, no automatic casting; so losses depend on none of it.

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
        stack.enter_context(_single_precision())
        yield


@contextmanager
def _single_precision() -> Iterator[None]:
    """Single precision for the process, until the last of the threads at work has ended."""
    with _LOCK:
        now = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        _before.append(_before[0] if _before else now)
        _set(torch.float32, "highest")
    try:
        yield
    finally:
        with _LOCK:
            callers = _before.pop()
            if not _before:
                _set(*callers)


def _set(dtype: torch.dtype, precision: str) -> None:
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
    if torch.get_float32_matmul_precision() != precision:
        torch.set_float32_matmul_precision(precision)
