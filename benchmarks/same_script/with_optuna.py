"""Optuna, its grid sampler, in one process, in memory: COUNT trials, the results to FILE."""

import sys

import optuna

from benchmarks.same_script.adam import train
from benchmarks.same_script.points import leave, rates

count, file = int(sys.argv[1]), sys.argv[2]
space = {"lr": rates(count)}


def one(trial: optuna.Trial) -> float:
    return train(trial.suggest_categorical("lr", space["lr"]))


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=optuna.samplers.GridSampler(space, seed=0))
study.optimize(one, n_trials=count)
leave(file, ((trial.params["lr"], trial.value) for trial in study.trials))
