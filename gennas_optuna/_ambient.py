"""PyTorch's own settings as they are when it starts, whatever the caller has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


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
        count, dtype = torch.get_num_threads(), torch.get_default_dtype()
        precision = torch.get_float32_matmul_precision()
        stack.callback(torch.set_num_threads, count)
        torch.set_num_threads(threads)
        # Set only where they differ: another thread may be at work.
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if precision != "highest":
            stack.callback(torch.set_float32_matmul_precision, precision)
            torch.set_float32_matmul_precision("highest")
        yield
