"""A plain Optuna study that minimises the GenNAS loss over NAS-Bench-201.

Six steps instead of 40 keep this example short; leave ``steps`` out for real use.
"""

import optuna

from gennas_optuna import GenNASObjective, RegularizedEvolutionSampler


def main() -> None:
    objective = GenNASObjective("nasbench201", steps=6)
    study = optuna.create_study(
        sampler=RegularizedEvolutionSampler(
            objective.space, population_size=5, tournament_size=3, seed=0
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    study.optimize(objective, n_trials=10)
    print("best architecture:", study.best_trial.user_attrs["gennas:arch"])
    print("its loss:", study.best_value)


if __name__ == "__main__":
    main()
