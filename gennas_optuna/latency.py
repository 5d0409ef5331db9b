"""How long a network takes for one input."""

from __future__ import annotations

import torch

from gennas_optuna._ambient import default_settings
from gennas_optuna.taps import StagedModel

MIN_SECONDS = 0.2
"""How long to measure: enough runs that the median of them is steady."""


def latency(
    model: StagedModel,
    input_shape: tuple[int, ...],
    *,
    device: torch.device | str = "cpu",
    threads: int = 1,
    min_seconds: float = MIN_SECONDS,
    channels_last: bool = True,
) -> float:
    """Milliseconds of one pass in evaluation mode, for a batch of one input.

    It is the median of repeated runs after a warm-up, by :class:`torch.utils.benchmark.Timer`,
    which synchronises GPUs. Other work on the machine makes it longer: measure on an idle one.

    Args:
        model: the backbone; it is moved to ``device``, and its mode is put back.
        input_shape: of one input: (3, H, W), or (T, D) for sequences.
        device: where it runs.
        threads: PyTorch threads.
        min_seconds: how long to measure at least.
        channels_last: lay images' weights out so, which is faster.
    """
    sequence = model.taps[0].layout == "LND"
    shape = (input_shape[0], 1, *input_shape[1:]) if sequence else (1, *input_shape)
    was_training = model.training
    model.to(device).eval()
    if channels_last and not sequence:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    from torch.utils.benchmark import Timer  # noqa: PLC0415 - slow to import

    timer = Timer(
        "model(x)",
        globals={"model": model, "x": torch.zeros(shape, device=device)},
        num_threads=threads,
    )
    with default_settings(torch.device(device), threads), torch.no_grad():
        measured = timer.blocked_autorange(min_run_time=min_seconds)
    model.train(was_training)
    return float(measured.median * 1e3)
