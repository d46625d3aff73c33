"""`baseline`: a whole search in a container, one trial at a time: told by one variable, it leaves one report.

It is what `run` does with one job, without torch in this process: a trial's memory has to do for both.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.commands.report import leave_summary
from trainer.commands.run import build_data
from trainer.container import enter_data, leave, require_writable
from trainer.data.cache import default_cache
from trainer.data.errors import DataUnavailable
from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.load import load
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.record import HASHES, RankReport, Record, cut_error, hash_number
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.suggestion import Suggestion
from trainer.local.folder import settle, trial_folder
from trainer.local.launcher import LauncherEnded
from trainer.local.ledger import Ledger
from trainer.local.processes import Processes
from trainer.local.replay import Replay, Replayed
from trainer.local.run import now, run
from trainer.report.progress import Progress, progress
from trainer.scheduling.history import History
from trainer.scheduling.workload import Workload, workload

VARIABLE = "TRIALRUN_BASELINE"


def main(options: argparse.Namespace) -> int:
    """Runs the search, writes the report as the container's termination message, exits with the outcome's code."""
    text = os.environ.get(VARIABLE)
    if text is None:
        raise UserError(f"{VARIABLE}: must be set; the operator tells a pod its search there")
    try:
        report = _measured(json.loads(text), options)
    except DataUnavailable as error:
        report = RankReport(outcome=Outcome.DATA_UNAVAILABLE, error=cut_error(str(error)))
    except (UserError, ValueError) as error:
        report = RankReport(outcome=Outcome.INVALID_CONFIG, error=cut_error(str(error)))
    except LauncherEnded as error:
        report = RankReport(outcome=Outcome.CRASHED, error=cut_error(str(error)))
    leave(report.model_copy(update={"clock": time.time_ns() // 1_000_000}), options.message)
    print(f"baseline: {report.outcome} {report.error}".rstrip(), file=sys.stderr)
    return EXIT_CODES[report.outcome]


def _measured(told: Mapping[str, Any], options: argparse.Namespace) -> RankReport:
    experiment = load(told["search"])
    suggested = told.get("suggested", ())
    work = workload(experiment, suggested)
    replay = None
    if isinstance(experiment, HyperparamSearch) and (suggested or "only" in told):
        replay = _replay(experiment, suggested, work, told.get("only"))
        replay.restrict(work)
    ready = enter_data(options.data)
    build_data(work.trials, ready)
    if options.output.is_dir():
        # A piece of the UID keeps it apart from one of the same name that was deleted.
        folder = options.output / f"{experiment.name}-{told['uid'][:8]}" / "baseline" / str(told["attempt"])
        require_writable(folder)
        return _run(work, replay, folder, ready, keeps=True)
    with tempfile.TemporaryDirectory() as scratch:
        return _run(work, replay, Path(scratch), ready, keeps=False)


def _replay(
    search: HyperparamSearch, suggested: Sequence[Point], work: Workload, only: Collection[int] | None
) -> Replay:
    """What the operator has told of a ledger: the points that were suggested, and the trials that ran."""
    first = len(search.spec.points)
    suggestions = [Suggestion(number=first + place, parameters=point) for place, point in enumerate(suggested)]
    ran = [trial for trial in work.order if only is None or trial.index in only]
    return Replay(search, suggestions, [Replayed(trial=trial.id) for trial in ran])


def _run(work: Workload, replay: Replay | None, folder: Path, ready: tuple[Path, ...], *, keeps: bool) -> RankReport:
    experiment, trials = work.experiment, work.trials
    ranks = max((trial.workers for trial in trials), default=1)
    settle(folder, experiment, fresh=True)
    if replay is not None:
        replay.leave(folder)
    with (
        Ledger(folder) as ledger,
        Processes(default_cache(), folder / "fork-server.log", ranks, ready) as launcher,
        progress(experiment, trials, [], slots=1, stream=sys.stderr) as shown,
    ):
        history = History(work, {}, now())
        launcher.await_ready(shown.waits)
        records = run(
            work,
            history,
            folder=folder,
            jobs=1,
            ledger=ledger,
            launcher=launcher,
            progress=shown if keeps else _Scratch(shown, folder),
        )
    if keeps:
        suggestions, only = ((), None) if replay is None else (replay.suggestions, replay.only)
        leave_summary(folder, experiment, Entries(records, suggestions, only=only))
    told = rests_on(experiment, trials, records)
    hashes = {name: hash_number(told[key]) for name, key in HASHES.items() if key in told}
    return RankReport(run=figures(experiment, trials, records), metrics=hashes)


class _Scratch:
    """Shows what it is told, and takes away what a trial has left: nobody could fetch it from a pod."""

    def __init__(self, shown: Progress, folder: Path) -> None:
        self._folder = folder
        self._shown = shown
        self.grown, self.started, self.reported, self.waits = shown.grown, shown.started, shown.reported, shown.waits

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial's record is in the ledger."""
        self._shown.ended(trial, record)
        shutil.rmtree(trial_folder(self._folder, trial), ignore_errors=True)
