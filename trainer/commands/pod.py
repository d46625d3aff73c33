"""`pod`: one rank of one trial in a container: told by one environment variable, it leaves one report."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from trainer.data.build import default_cache
from trainer.distributed import ranks_from_environment
from trainer.environment import process_started
from trainer.experiment.errors import UserError
from trainer.experiment.outcome import EXIT_CODES
from trainer.experiment.record import RankReport, encode_report
from trainer.experiment.training import Training
from trainer.trial import Place, run_rank

VARIABLE = "TRIALRUN_TRIAL"
# Where an output volume is mounted; without one a trial leaves its report and no more.
OUTPUT = Path("/output")
_SHOW_SECONDS = 10.0  # between lines in the pod's log


def main(options: argparse.Namespace) -> int:
    """Trains, writes the report as the container's termination message, and exits with the outcome's code."""
    told = os.environ.get(VARIABLE)
    if told is None:
        raise UserError(f"{VARIABLE}: must be set; the operator tells a pod its trial there")
    document = json.loads(told)
    training = Training.model_validate_json(json.dumps(document["training"]))
    folder = OUTPUT / document["experiment"] / document["id"] if OUTPUT.is_dir() else None
    place = Place(ranks_from_environment(), "env://", default_cache(), folder)
    shown = time.monotonic()

    def show(row: dict[str, float]) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _SHOW_SECONDS:
            shown = time.monotonic()
            print(
                f"epoch {row['epoch']:.0f} of {training.train.epochs}, train loss {row['trainLoss']:.6g}", flush=True
            )

    report = run_rank(training, place, started=process_started(), on_epoch=show)
    leave(report, options.message)
    print(f"rank {report.rank}: {report.outcome} {report.error}".rstrip(), file=sys.stderr)
    return EXIT_CODES[report.outcome]


def leave(report: RankReport, message: Path) -> None:
    """Writes the report to the container's message file in one go: kubelet may read it at any moment.

    It is a mount: it can't be replaced by a rename, and it is there already.
    """
    content = encode_report(report)
    descriptor = os.open(message, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
