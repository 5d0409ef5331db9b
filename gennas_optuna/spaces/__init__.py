"""Search spaces: one a file (or a row of data), found by name."""

from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces._registry import get_space, list_spaces, register_space
from gennas_optuna.spaces._scale import Scale

__all__ = ["Architecture", "Scale", "SearchSpace", "get_space", "list_spaces", "register_space"]
