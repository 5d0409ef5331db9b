"""GenNAS: a fast objective for neural architecture search, without labels and without training."""

from gennas_optuna.benchmarks import GroundTruth, load_truth
from gennas_optuna.errors import GenNASError
from gennas_optuna.evaluator import GenNASEvaluator, Score
from gennas_optuna.modules import ModuleScore, score, with_score
from gennas_optuna.objective import GenNASObjective, gennas_objective
from gennas_optuna.presets import get_task, list_tasks, packaged_tasks
from gennas_optuna.proxies import ProxyEvaluator
from gennas_optuna.ranking import rank
from gennas_optuna.samplers import RegularizedEvolutionSampler
from gennas_optuna.search import search
from gennas_optuna.spaces import (
    Architecture,
    Scale,
    SearchSpace,
    get_space,
    list_spaces,
    register_space,
)
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_search import ProxyTaskObjective, TaskSearch, search_task
from gennas_optuna.task_space import ProxyTaskSpace

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "GenNASError",
    "GenNASEvaluator",
    "GenNASObjective",
    "GroundTruth",
    "ModuleScore",
    "ProxyEvaluator",
    "ProxyTask",
    "ProxyTaskObjective",
    "ProxyTaskSpace",
    "RegularizedEvolutionSampler",
    "Scale",
    "Score",
    "SearchSpace",
    "TaskSearch",
    "gennas_objective",
    "get_space",
    "get_task",
    "list_spaces",
    "list_tasks",
    "load_truth",
    "packaged_tasks",
    "rank",
    "register_space",
    "score",
    "search",
    "search_task",
    "with_score",
]
