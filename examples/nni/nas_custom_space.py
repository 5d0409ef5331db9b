"""GenNAS on an NNI model space of one's own: name the modules whose feature maps it reads."""

from nni_strategy.evaluator import GenNASEvaluator, best_models
from nni_strategy.strategy import OptunaStrategy

# isort: split
import nni
import torch
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, MutableConv2d
from nni.nas.space import model_context
from torch import nn


class Stages(ModelSpace):
    """Three stages, each with an operation and a kernel size to choose."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width]
        self.stages = nn.Sequential(
            *(self._stage(i, channels[i], channels[i + 1]) for i in range(3))
        )
        self.classifier = nn.Linear(channels[-1], 10)

    @staticmethod
    def _stage(i: int, before: int, after: int) -> nn.Sequential:
        pools = {"max": nn.MaxPool2d(2), "average": nn.AvgPool2d(2)}
        kernel = nni.choice(f"kernel{i}", [1, 3, 5])
        return nn.Sequential(
            MutableConv2d(before, after, kernel, padding=kernel // 2),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            LayerChoice(pools, label=f"pool{i}"),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.stages(x).mean((2, 3)))


def main() -> None:
    evaluator = GenNASEvaluator(steps=5, taps=["stages.0", "stages.1", "stages.2"])
    config = NasExperimentConfig("sequential", "simplified", "local")
    config.max_trial_number = 6
    experiment = NasExperiment(Stages(), evaluator, OptunaStrategy("evolution", seed=0), config)
    try:
        experiment.run()
        best = best_models(experiment)
    finally:
        experiment.stop()
    for result in best:
        print(f"loss {result.loss:.4f}  {result.sample}")
    with model_context(best[0].sample):  # the winner, ready to train
        print(Stages())


if __name__ == "__main__":
    main()
