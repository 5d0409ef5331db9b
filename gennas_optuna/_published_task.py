"""The nested-dict form in which the GenNAS authors publish their proxy tasks, made plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gennas_optuna import _check

_WEIGHTS = (0.25, 0.5, 1.0)
"""Loss weights of the three stages, early to late; they stand in the authors' code, not here."""

_SETTINGS = {"level": "level", "range": "frequencies", "partial": "fraction", "local": "local"}
"""Their names of a signal's settings, and ours."""

_KINDS = ("sin1d", "sin2d", "dot", "dot_gaussian", "resize")


def is_published(data: Mapping[str, Any]) -> bool:
    """Whether a mapping is meant to be in the published form."""
    return "feature" in data


def published_to_plain(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Rename a published task to our plain form: of sequences if it has a ``dimension``.

    Raises:
        InvalidValueError: an entry is unknown or missing; values are checked by the reader of
            the plain form.
    """
    sequence = "dimension" in data
    sides = ("0", "1") if sequence else ("0", "1", "2")
    widths = () if sequence else tuple(f"last_channel_l{i}" for i in range(3))
    keys = ("batchsize", "noise", "feature", *(("dimension",) if sequence else widths))
    _check.mapping(data, where, allowed=keys, required=keys)
    noise_keys = ("type", "noise_level")
    noise = _check.mapping(
        data["noise"], f"{where} noise", allowed=noise_keys, required=noise_keys
    )
    features = _check.mapping(data["feature"], f"{where} feature", allowed=sides, required=sides)
    signals = [_signals(features[side], f"{where} feature {side}") for side in sides]
    plain: dict[str, Any] = {
        "noise": {"kind": noise["type"], "level": noise["noise_level"]},
        "batch_size": data["batchsize"],
    }
    if sequence:
        plain["stages"] = [{"signals": signals[1]}]
        plain["sequence"] = {"dimension": data["dimension"], "signals": signals[0]}
    else:
        plain["stages"] = [
            {"signals": on, "channels": data[width], "weight": weight}
            for on, width, weight in zip(signals, widths, _WEIGHTS, strict=True)
        ]
    return plain


def _signals(side: Any, where: str) -> list[dict[str, Any]]:
    on = []
    for kind, settings in _check.mapping(side, where, allowed=_KINDS).items():
        if settings is not None:
            _check.mapping(settings, f"{where} {kind}", allowed=_SETTINGS)
            ours = {_SETTINGS[name]: value for name, value in settings.items()}
            on.append({"kind": kind, **ours})
    return on
