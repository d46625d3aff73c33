"""`list FILE`: the trials of an experiment, without running or importing anything heavy."""

import argparse
import json
import sys

from trainer.experiment.doubts import doubts, ignored
from trainer.experiment.expand import expand
from trainer.experiment.spec import Experiment
from trainer.report.tables import listing


def main(options: argparse.Namespace) -> int:
    """Prints the trials in the order of their index."""
    experiment: Experiment = options.experiment
    trials = expand(experiment)
    for sentence in (*doubts(experiment, trials), *ignored(experiment, trials)):
        print(f"warning: {options.file}: {sentence}", file=sys.stderr)
    if options.json:
        for trial in trials:
            row = {
                "index": trial.index,
                "id": trial.id,
                "parameters": trial.parameters,
                "repeat": trial.repeat,
                "workers": trial.workers,
            }
            print(json.dumps(row))
    else:
        print(listing(experiment, trials))
    return 0
