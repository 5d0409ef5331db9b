"""Which model a result belongs to: NNI may deliver it under another one's name."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gennas_optuna.regression import Status

_logger = logging.getLogger(__name__)


def sample_key(sample: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits for an architecture sample, the same in every process."""
    text = json.dumps(sample, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ModelResult:
    """What one model of an experiment got.

    Attributes:
        sample: the architecture, as ``nni.nas.space.model_context`` takes it.
        loss: lower is better; ``inf`` if the training diverged.
        status: ``"ok"`` or ``"diverged"``.
        params: learnable scalars of the model, classifier included.
        flops: multiply-accumulates up to the last tap for one input.
        seconds: wall time of the evaluation.
    """

    sample: dict[str, Any]
    loss: float
    status: Status
    params: int
    flops: int
    seconds: float

    @property
    def key(self) -> str:
        """Identity of the architecture."""
        return sample_key(self.sample)

    def to_metric(self) -> dict[str, Any]:
        """The metric that is reported to NNI: it names the model that it belongs to.

        ``default`` is what NNI's strategies maximise.
        """
        return {"default": -self.loss, "key": self.key, **self.__dict__}

    @classmethod
    def from_metric(cls, metric: Any) -> ModelResult | None:
        """Read a reported metric; ``None`` for those of others, or if key and sample disagree."""
        if not isinstance(metric, Mapping) or "key" not in metric:
            return None
        try:
            result = cls(**{name: metric[name] for name in cls.__dataclass_fields__})
        except KeyError:
            return None
        if result.key != metric["key"]:
            _logger.warning("A result names model %s but holds another one", metric["key"])
            return None
        return result
