"""From the processor, where random numbers are drawn, to the device."""

from __future__ import annotations

import torch


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``tensor`` on ``device``, without waiting for what that has still to compute.

    Numbers are drawn on the processor, so that they are the same whatever the device. A GPU
    copies from pinned memory while the processor goes on; from other memory the copy would wait.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
