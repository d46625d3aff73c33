"""Optuna, its grid sampler, two threads, in memory."""

import sys

import optuna

from benchmarks.same_search.search import load, objective

data = load(sys.argv[1])
SPACE: dict[str, list[float | int]] = {
    "learning_rate": [0.0001, 0.001, 0.01],
    "hidden": [32, 64, 128],
    "layers": [1, 2],
}


def one(trial: optuna.Trial) -> float:
    point = {name: trial.suggest_categorical(name, choices) for name, choices in SPACE.items()}
    return objective(data, **point)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=optuna.samplers.GridSampler(SPACE, seed=0))
study.optimize(one, n_trials=18, n_jobs=2)
print(study.best_value, study.best_params)
