"""`init`: a commented experiment file to start from."""

import argparse
import sys

TEMPLATE = """\
# A hyperparameter search. Run it here with `python -m trainer run FILE`, on a cluster with `kubectl apply -f FILE`.
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata:
  name: my-search                     # lower-case letters, digits and '-'; at most 39 characters
spec:
  objective:
    metric: validMse                  # validMse validMae validR2; classification: validLogLoss validAccuracy validF1
  algorithm: Grid                     # every combination; Random draws `trials` points from choices and ranges
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
  repeats: 1                          # more train each point with several seeds; the mean counts
  maxFailedTrials: 3                  # when more have failed no new one starts
  deadlineSeconds: 600                # per trial
"""


def main(_: argparse.Namespace) -> int:
    """Prints the file."""
    sys.stdout.write(TEMPLATE)
    return 0
