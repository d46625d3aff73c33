"""`train FILE`: one configuration in this process. Under torchrun every rank calls it."""

import argparse
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from trainer.data.cache import default_cache
from trainer.experiment.errors import UserError
from trainer.experiment.expand import expand
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.outcome import ADVICE, EXIT_CODES, Outcome
from trainer.experiment.record import HASHES, RankReport, hash_text, undefined_name
from trainer.experiment.spec import Experiment
from trainer.experiment.training import Training
from trainer.local.folder import MARK, taken
from trainer.training.checkpoint import CHECKPOINT
from trainer.training.distributed import ranks_from_environment
from trainer.training.environment import process_started
from trainer.training.trial import CONFIG, WEIGHTS, RankContext, run_rank


def main(options: argparse.Namespace) -> int:
    """Trains and exits with the code of the outcome."""
    experiment: Experiment = options.experiment
    training = _training(experiment, options.trial)
    ranks = ranks_from_environment()
    folder: Path = options.out or Path("runs") / f"{experiment.name}-train"
    # Before the training, not after hours of it. Rank 0 alone writes there.
    with taken(folder, _holds_training) if ranks.is_rank0 else nullcontext():
        return _train(training, RankContext(ranks, "env://", default_cache(), folder), folder, as_json=options.json)


def _train(training: Training, context: RankContext, folder: Path, *, as_json: bool) -> int:
    ranks = context.ranks
    epochs = training.train.epochs
    shown = 0.0

    def show(row: dict[str, float]) -> None:
        nonlocal shown
        last = row["epoch"] == epochs
        if ranks.is_rank0 and not as_json and (last or time.monotonic() - shown > 1.0):
            shown = time.monotonic()
            figures = "  ".join(f"{name} {value:.6g}" for name, value in row.items() if name != "epoch")
            print(f"epoch {row['epoch']:.0f}/{epochs}  {figures}", file=sys.stderr)

    report = run_rank(training, context, started=process_started(), on_epoch=show)
    if report.outcome is not Outcome.SUCCEEDED:
        where = f"rank {ranks.rank}: " if ranks.count > 1 else ""
        print(f"trialrun: {where}{report.outcome}: {report.error}\n{ADVICE[report.outcome]}", file=sys.stderr)
    elif ranks.is_rank0:
        _tell(report, folder, as_json=as_json)
    return EXIT_CODES[report.outcome]


def _holds_training(folder: Path) -> bool:
    """Whether a folder is marked, or holds what a training of version 0.1 left there, which left no mark."""
    return any((folder / name).is_file() for name in (MARK, CHECKPOINT)) or all(
        (folder / name).is_file() for name in (CONFIG, WEIGHTS)
    )


def _training(experiment: Experiment, wanted: str | None) -> Training:
    if wanted is None:
        return experiment.spec.training
    trials = expand(experiment)
    for trial in trials:
        if trial.id == wanted:
            return trial.training
    raise UserError(f"--trial: must be the id of one of the {len(trials)} trials that `list` shows, got {wanted}")


def _tell(report: RankReport, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print(report.model_dump_json(by_alias=True))
        return
    undefined = {undefined_name(name): (name, because) for name, because in UNDEFINED_BECAUSE.items()}
    for name, value in report.metrics.items():
        if name in undefined:
            metric, because = undefined[name]
            print(f"{metric:16} undefined: {because}")
        elif name not in HASHES:
            print(f"{name:16} {value:.6g}")
    for name, key in HASHES.items():
        if name in report.metrics:
            print(f"{key:16} {hash_text(report.metrics[name])}")
    print(f"artefacts in {folder}", file=sys.stderr)
