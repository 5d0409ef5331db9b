"""Ground truth: what trained architectures of the published benchmarks reached."""

from gennas_optuna.benchmarks._load import load_truth
from gennas_optuna.benchmarks._truth import GroundTruth, Trained

__all__ = ["GroundTruth", "Trained", "load_truth"]
