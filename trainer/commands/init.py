"""`init`: a commented experiment file to start from."""

import argparse
import json
import shlex
import sys

from trainer.experiment.errors import UserError

TEMPLATE = """\
# A hyperparameter search. Run it here with `python -m trainer run FILE`, on a cluster with `kubectl apply -f FILE`.
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata:
  name: my-search                     # lower-case letters, digits and '-'; at most 39 characters, 33 with TrainJobs
spec:
  objective:
    metric: validMse                  # validMse validMae validR2; classification: validLogLoss validAccuracy validF1
  algorithm: Grid                     # every combination; Random, Sobol and TPE, which learns, try `trials` points
  parameters:                         # a name is the path of a field of `training` below
    - {name: train.learningRate, choices: [0.0001, 0.001, 0.01]}
    - {name: model.hiddenSize, choices: [32, 64]}
  training:
    data:
      source: sp500                   # ships with Trialrun; also yfinance csv parquet npz synthetic
      window: 60                      # days that a sample sees
      task: Regression                # the next day's return; Classification: its sign
    model: {kind: MLP, layers: 2}     # MLP LSTM Transformer
    train: {epochs: 20, batchSize: 32, patience: 5, seed: 0}
  # earlyStopping: {rule: ASHA}       # stops trials that do worse than others did at the same epoch
  # budget: {maxSeconds: 3600}        # ends the search before all its points are tried; also target, plateau, maxCost
  repeats: 1                          # more train each point with several seeds; the mean counts
  maxFailedTrials: 3                  # when more have failed no new one starts
  deadlineSeconds: 600                # per trial
"""


PROGRAM = """\
# A hyperparameter search over a program. Run it here with `python -m trainer run FILE`; on a cluster, once `code` or
# an image has its files, with `python -m trainer apply FILE`.
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata:
  name: my-search                     # lower-case letters, digits and '-'; at most 39 characters, 33 with TrainJobs
spec:
  objective:
    metric: loss                      # a metric that the program reports, of any name
    direction: Minimize               # or Maximize
  algorithm: Grid                     # every combination; Random, Sobol and TPE, which learns, try `trials` points
  parameters:                         # any names; a dotted one reaches into `settings` below
    - {name: lr, choices: [0.1, 0.01, 0.001]}
    - {name: optimizer, choices: [adam, sgd]}
    - {name: momentum, choices: [0.0, 0.9], when: {optimizer: sgd}}
  program:
    # What to run, word by word, from the folder of this file. The program asks for its parameters:
    #     import trialrun
    #     trial = trialrun.trial(lr=0.1)               # by hand, this counts
    #     trial.parameters["lr"]
    #     trial.report(epoch, loss=loss)               # as often as it likes; the last report counts
    # or is given them in the command, as in [..., --lr, "${parameters.lr}"].
    command: @COMMAND@
    settings: {epochs: 10}            # what the program is told and does not vary
    # code: ./src                     # the folder of its files, in which it starts
  # earlyStopping: {rule: ASHA}       # stops trials that do worse than others did at the same step
  # budget: {maxSeconds: 3600}        # ends the search before all its points are tried; also target, plateau, maxCost
  repeats: 1                          # more run each point with several seeds (trial.seed); the mean counts
  maxFailedTrials: 3                  # when more have failed no new one starts
  deadlineSeconds: 600                # per trial
"""


def main(options: argparse.Namespace) -> int:
    """Prints the file: for Trialrun's own trainer, or for a program.

    Raises:
        UserError: the program's command has no words, or a quote too few.
    """
    sys.stdout.write(TEMPLATE if options.program is None else _of_program(options.program))
    return 0


def _of_program(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"--program: must be a command as a shell reads it, got {command}: {error}") from error
    if not words:
        raise UserError("--program: must be a command, got none")
    return PROGRAM.replace("@COMMAND@", json.dumps(words, ensure_ascii=False))
