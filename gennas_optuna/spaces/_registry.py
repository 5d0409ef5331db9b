"""Search spaces by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gennas_optuna import _check
from gennas_optuna.errors import GenNASError, InvalidValueError, UnknownNameError
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces.nasbench101 import NASBench101
from gennas_optuna.spaces.nasbench201 import NASBench201
from gennas_optuna.spaces.nasbench_macro import NASBenchMacro
from gennas_optuna.spaces.nasbench_nlp import NASBenchNLP
from gennas_optuna.spaces.nds import CELL_SPACES, STAGE_SPACES
from gennas_optuna.spaces.nds_cells import NDSCells
from gennas_optuna.spaces.nds_stages import NDSStages

_FACTORIES: dict[str, Callable[..., SearchSpace]] = {}


def register_space(name: str, factory: Callable[..., SearchSpace]) -> None:
    """Make ``get_space(name, **options)`` call ``factory(**options)``.

    Raises:
        InvalidValueError: the name is taken, or is no text.
    """
    _check.instance(name, "name of a search space", str)
    if name in _FACTORIES:
        raise InvalidValueError(f"a search space named {name!r} is registered already")
    _FACTORIES[name] = factory


def get_space(name: str, **options: Any) -> SearchSpace:
    """The search space of that name.

    Args:
        name: one of :func:`list_spaces`.
        options: the space's own options, such as ``form="benchmark"``.

    Raises:
        UnknownNameError: there is no such space.
        InvalidValueError: the space has no such option.
    """
    if not isinstance(name, str) or name not in _FACTORIES:
        raise UnknownNameError("search space", name, _FACTORIES)
    try:
        return _FACTORIES[name](**options)
    except GenNASError:
        raise
    except TypeError as error:
        raise InvalidValueError(f"search space {name!r}: {error}") from error


def list_spaces() -> list[str]:
    """The names of all registered spaces, in order of registration."""
    return list(_FACTORIES)


register_space("nasbench101", NASBench101)
register_space("nasbench201", NASBench201)
register_space("nasbench-macro", NASBenchMacro)
register_space("nasbench-nlp", NASBenchNLP)
for _name in CELL_SPACES:
    register_space(_name, partial(NDSCells, _name))
for _name in STAGE_SPACES:
    register_space(_name, partial(NDSStages, _name))
