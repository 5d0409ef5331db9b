"""A study that used to train each model: with ``with_score`` around the function that builds it.

Everything else of the study stays: sampler, storage, pruner, callbacks. Twelve steps instead of
40 keep this example short; leave ``steps`` out for real use.
"""

import optuna
from torch import nn

from gennas_optuna import GenNASError, with_score


def build_model(trial: optuna.Trial) -> nn.Module:
    width = trial.suggest_int("width", 4, 24, step=4)
    kernel = trial.suggest_categorical("kernel", [1, 3, 5])
    depth = trial.suggest_int("depth", 1, 3)
    act = (
        nn.ReLU if trial.suggest_categorical("activation", ["relu", "silu"]) == "relu" else nn.SiLU
    )
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(3):
        for i in range(depth):
            out = width << stage
            stride = 2 if i == 0 else 1
            layers += [
                nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(out),
                act(),
            ]
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def main() -> None:
    # It was: study.optimize(lambda trial: train_and_validate(build_model(trial)), n_trials=...)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(with_score(build_model, steps=12), n_trials=12, catch=GenNASError)
    best = study.best_trial
    print("best:", best.params, "loss:", best.value)
    print("taps:", best.user_attrs["gennas:taps"])
    print("parameters:", best.user_attrs["gennas:cost"]["params"])


if __name__ == "__main__":
    main()
