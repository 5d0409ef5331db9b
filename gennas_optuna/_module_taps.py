"""Any ``nn.Module`` as a backbone with taps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gennas_optuna import _tap_finder
from gennas_optuna._module_copy import one_line
from gennas_optuna._tap_finder import BATCH, hooked
from gennas_optuna._tap_maps import Axes, Call, Reading, image_maps, sequence_maps
from gennas_optuna.errors import GenNASError, InvalidValueError, out_of_memory
from gennas_optuna.taps import StagedModel

Shape = tuple[int, ...]


class ModuleTaps(StagedModel):
    """A foreign module that hands over some of its parts' outputs.

    Its own output is not used. Forward hooks are there while a pass runs, and removed after it,
    also when it fails.

    Args:
        model: maps images (N, C, H, W), sequences or tokens to features; it is not copied.
        input_shape: (C, H, W) of an image, (L, D) of a sequence, (L,) of tokens.
        count: number of taps to find.
        taps: module paths to read instead; ``path#2`` is the second call of a module.
        batch_first: sequences are (N, L, D), not (L, N, D); ``None``: unless a part of the
            module has an attribute ``batch_first`` that is false (PyTorch's own convention).
        width: tokens only: width of the task's sequences. They pass through a linear layer that
            takes the place of the token embedding, as GenNAS does it for recurrent cells.

    Raises:
        InvalidValueError: the forward pass fails, or there are no such taps.
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: Shape,
        *,
        count: int = 3,
        taps: Sequence[str] | None = None,
        batch_first: bool | None = None,
        width: int = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.input_shape = input_shape
        if batch_first is None:
            parts = model.modules()
            batch_first = all(getattr(part, "batch_first", True) is not False for part in parts)
        self.axes: Axes = "NLD" if batch_first else "LND"
        self.tokens = _TokenEntry(model, self.axes, width) if len(input_shape) == 1 else None
        self.readings = self._find(count, taps)
        self.taps = tuple(reading.info for reading in self.readings)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images (N, C, H, W), or sequences (L, N, D) whatever the module's own order."""
        wanted = {(r.path, r.number): i for i, r in enumerate(self.readings)}
        found: list[torch.Tensor | None] = [None] * len(wanted)
        counts: Counter[str] = Counter()

        def hook(path: str, _: nn.Module, output: Any) -> None:
            counts[path] += 1
            i = wanted.get((path, counts[path]))
            if i is not None:
                found[i] = self.readings[i].read(output)

        parts = {r.path: self.model.get_submodule(r.path) for r in self.readings}
        with hooked(parts, hook):
            self._run(x)
        maps = tuple(tap for tap in found if tap is not None)
        if len(maps) < len(found):
            missing = [
                info.name for info, tap in zip(self.taps, found, strict=True) if tap is None
            ]
            raise InvalidValueError(f"the module did not run {', '.join(missing)} in this pass")
        return maps

    def _run(self, x: torch.Tensor) -> None:
        try:
            if self.tokens is not None:
                self.tokens(self.model, x)
            else:
                batch_first = x.dim() == 3 and self.axes == "NLD"
                self.model(x.transpose(0, 1).contiguous() if batch_first else x)
        except GenNASError:
            raise
        except Exception as error:  # what a foreign module raises is not known
            if out_of_memory(error):
                raise
            raise InvalidValueError(
                f"the module's forward failed on a batch of inputs of shape {self.input_shape}: "
                f"{one_line(error)}"
            ) from error

    # Finding the taps -----------------------------------------------------------------------

    @torch.no_grad()
    def _find(self, count: int, taps: Sequence[str] | None) -> list[Reading]:
        self.eval()
        shape = self.input_shape
        if len(shape) == 3:
            size, larger = (shape[1], shape[2]), (shape[0], 2 * shape[1], 2 * shape[2])
            calls = self._trace((BATCH, *shape))
            try:
                grown = self._trace((BATCH, *larger))
            except InvalidValueError:  # made for one size of image, as vision transformers are
                grown = None
            classify = image_maps(BATCH, size, grown)
        else:
            width = shape[1] if self.tokens is None else self.tokens.width
            calls = self._trace((shape[0], BATCH, width))
            logits = None if self.tokens is None else self.tokens.vocabulary
            classify = sequence_maps(BATCH, shape[0], self.axes, logits)
        if taps is None:
            return _tap_finder.choose(calls, classify, count)
        return _tap_finder.named(calls, classify, self.model, taps)

    def _trace(self, shape: Shape) -> list[Call]:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return _tap_finder.trace(self.model, lambda: self._run(x))


class _TokenEntry(nn.Module):
    """Feeds real-valued sequences to a module that takes tokens.

    The module is called with tokens, and what its embedding of them returns is replaced by a
    linear map of the sequences.
    """

    def __init__(self, model: nn.Module, axes: Axes, width: int) -> None:
        super().__init__()
        embeddings = [m for m in model.modules() if isinstance(m, nn.Embedding)]
        if not embeddings:
            raise InvalidValueError(
                "an input shape of one number is for modules of tokens, and the module has no "
                "nn.Embedding: give (L, D) for sequences, (C, H, W) for images"
            )
        table = max(embeddings, key=lambda e: e.num_embeddings)
        self.path = next(path for path, m in model.named_modules() if m is table)
        self.axes = axes
        self.width = width
        self.vocabulary = table.num_embeddings
        self.linear = nn.Linear(width, table.embedding_dim)

    def forward(self, model: nn.Module, x: torch.Tensor) -> None:
        """Run the module on sequences (L, N, width)."""
        x = self.linear(x if self.axes == "LND" else x.transpose(0, 1))
        # Not a small number, which may stand for padding; the module may mask that.
        tokens = torch.full(x.shape[:2], self.vocabulary - 1, device=x.device)

        def replace(_: str, __: nn.Module, output: Any) -> torch.Tensor | None:
            same = isinstance(output, torch.Tensor) and output.shape == x.shape
            return x if same else None

        with hooked({self.path: model.get_submodule(self.path)}, replace):
            model(tokens)
