"""How much memory a network needs for one input."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gennas_optuna.taps import StagedModel


def peak_memory(skeleton: StagedModel, input_shape: tuple[int, ...]) -> int:
    """Bytes alive at the worst moment of one pass in evaluation mode, for a batch of one input.

    Counted are parameters, buffers, the input, and every intermediate result from the operation
    that makes it until nothing refers to it. What a library allocates inside an operation is
    not, so the number is the same on every machine.

    Args:
        skeleton: a network; on the meta device nothing is computed.
        input_shape: of one input: (3, H, W), or (T, D) for sequences.
    """
    sequence = skeleton.taps[0].layout == "LND"
    shape = (input_shape[0], 1, *input_shape[1:]) if sequence else (1, *input_shape)
    device = next((tensor.device for tensor in skeleton.parameters()), None)
    x = torch.zeros(shape, device=device)
    was_training = skeleton.training
    skeleton.eval()
    with torch.no_grad(), _LiveBytes() as live:
        for tensor in (*skeleton.parameters(), *skeleton.buffers(), x):
            live.add(tensor)
        skeleton(x)
    skeleton.train(was_training)
    peak: int = live.peak
    return peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages of all tensors that operations return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return result

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        identity, size = storage._cdata, storage.nbytes()
        if identity in self._known:
            return
        self._known.add(identity)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, identity, size)

    def _free(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.now -= size
