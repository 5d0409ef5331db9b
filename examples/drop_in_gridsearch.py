"""scikit-learn's ``GridSearchCV`` over a skorch net, scored instead of trained.

Needs ``pip install skorch``. Without epochs the net is built and not trained; the scorer says how
good its architecture is; only the best one is trained. Twelve steps instead of 40 keep this
example short; leave ``steps`` out for real use.
"""

from itertools import pairwise

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn

from gennas_optuna import score


class Net(nn.Module):
    """What the user has: hyperparameters to a network."""

    def __init__(self, width: int = 8, kernel: int = 3) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, kernel, 2, kernel // 2), nn.BatchNorm2d(b), nn.ReLU()
                )
                for a, b in pairwise(sizes)
            )
        )
        self.classifier = nn.Linear(4 * width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3))).softmax(1)


def gennas_scorer(net: NeuralNetClassifier, x: np.ndarray, _: np.ndarray) -> float:
    """A scikit-learn scorer: higher is better. The labels are not used."""
    found = score(net.module_, x.shape[1:], inputs=torch.from_numpy(x), steps=12, verbose=False)
    return -found.loss


def main() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=64)
    x = rng.normal(y[:, None, None, None], 1, size=(64, 3, 32, 32)).astype(np.float32)

    net = NeuralNetClassifier(
        Net, max_epochs=0, lr=0.05, batch_size=16, train_split=None, verbose=0
    )
    everything = np.arange(len(x))
    search = GridSearchCV(
        net,
        {"module__width": [4, 8, 16], "module__kernel": [1, 3]},
        scoring=gennas_scorer,
        cv=[(everything, everything)],  # nothing is trained, so nothing has to be held out
        refit=False,
    )
    search.fit(x, y)
    print("best:", search.best_params_, "loss:", -search.best_score_)

    best = net.set_params(**search.best_params_, max_epochs=10).fit(x, y)
    print("its accuracy on the training images:", best.score(x, y))


if __name__ == "__main__":
    main()
