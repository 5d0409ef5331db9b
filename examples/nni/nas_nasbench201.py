"""An NNI NAS experiment on the hub's NAS-Bench-201, scored by GenNAS and searched by TPE.

In this process by default; ``--workers 2`` hands two models at a time to NNI's training service.
"""

import argparse

from nni_strategy.evaluator import GenNASEvaluator, best_models
from nni_strategy.strategy import OptunaStrategy

# isort: split
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub.pytorch import NasBench201

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--models", type=int, default=4, help="how many are evaluated")
parser.add_argument("--steps", type=int, default=5, help="optimiser steps; 100 in the paper")
parser.add_argument("--workers", type=int, default=1, help="models at a time")
parser.add_argument("--port", type=int, default=8080, help="of NNI's web page, with workers")


def main() -> None:
    options = parser.parse_args()
    # A small network, to be quick; leave the arguments out for the benchmark's own size.
    space = NasBench201(stem_out_channels=8, num_modules_per_stack=1)
    engine = "sequential" if options.workers == 1 else "ts"
    config = NasExperimentConfig(engine, "simplified", "local")
    config.max_trial_number = options.models
    config.trial_concurrency = options.workers
    experiment = NasExperiment(
        space, GenNASEvaluator(steps=options.steps), OptunaStrategy("tpe", seed=0), config
    )
    try:
        experiment.run(port=options.port)
        for result in best_models(experiment):  # not export_top_models: see docs/nni_nas.md
            print(f"loss {result.loss:.4f}  {result.params:,} parameters  {result.sample}")
    finally:
        experiment.stop()


if __name__ == "__main__":
    main()
