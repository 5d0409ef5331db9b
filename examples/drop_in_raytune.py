"""A Ray Tune tuner whose trials are scored instead of trained. Needs ``pip install "ray[tune]"``.

Twelve steps instead of 40 keep this example short; leave ``steps`` out for real use.
"""

import os
import tempfile
from itertools import pairwise

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from torch import nn

from gennas_optuna import score


def build_model(config: dict) -> nn.Module:
    width, kernel = config["width"], config["kernel"]
    sizes = [3, width, 2 * width, 4 * width]
    layers = []
    for channels, out in pairwise(sizes):
        layers += [
            nn.Conv2d(channels, out, kernel, 2, kernel // 2),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[-1], 10))


def trainable(config: dict) -> None:
    # It was: model = build_model(config), an optimiser, epochs, a validation loss.
    found = score(build_model(config), steps=12, verbose=False)
    tune.report({"loss": found.loss, "params": found.params})


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            trainable,
            param_space={
                "width": tune.grid_search([4, 8]),
                "kernel": tune.grid_search([1, 3]),
            },
            tune_config=tune.TuneConfig(metric="loss", mode="min", reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
        best = results.get_best_result()
        print("trials:", len(results), "best:", best.config, "loss:", best.metrics["loss"])
    ray.shutdown()


if __name__ == "__main__":
    main()
