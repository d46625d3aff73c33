"""`list FILE`: the trials of an experiment, without running or importing anything heavy."""

import argparse
import json
import sys

from trainer.experiment.spec import Experiment
from trainer.report.text import listing
from trainer.scheduling.workload import workload


def main(options: argparse.Namespace) -> int:
    """Prints the trials in the order of their index."""
    experiment: Experiment = options.experiment
    work = workload(experiment)
    trials = work.trials
    for sentence in (*work.doubts, *work.ignored):
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
    if work.missing:
        print(
            f"{options.file}: {work.missing} points come as the search learns; `suggest` tells which is next",
            file=sys.stderr,
        )
    return 0
