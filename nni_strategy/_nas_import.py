"""NNI's architecture-search package, imported with a clear error and without its noise."""

from __future__ import annotations

import warnings

from gennas_optuna.errors import MissingFileError

try:
    with warnings.catch_warnings():
        # NNI 3.0 warns of every name in torch.nn that is younger than itself.
        warnings.simplefilter("ignore")
        import nni.nas.nn.pytorch
        import nni.nas.strategy  # noqa: F401
except ImportError as error:
    raise MissingFileError(
        "nni_strategy.evaluator and nni_strategy.strategy need NNI with its NAS part: "
        f'pip install "gennas-optuna[nni-nas]" ({error})'
    ) from error
