"""`suggest FILE`: which point a search would try next, and why, without running anything."""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from trainer.experiment.errors import UserError
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar
from trainer.local.launcher import WAKE_SECONDS
from trainer.local.ledger import read_entries
from trainer.local.suggester import LOG, Suggester
from trainer.local.warm_start import earlier_lessons
from trainer.packages import require
from trainer.report.wording import settings
from trainer.scheduling.decide import decide
from trainer.scheduling.history import History, taken_up
from trainer.scheduling.workload import workload


def main(options: argparse.Namespace) -> int:
    """Prints it; 1 where the search would start nothing more."""
    experiment: Experiment = options.experiment
    if not isinstance(experiment, HyperparamSearch):
        raise UserError(f"{options.file}: must be a HyperparamSearch, got a ScaleTest, whose cells `list` prints")
    folder: Path = options.out or Path("runs") / experiment.name
    entries = read_entries(folder)
    work = workload(experiment, entries.suggested(experiment))
    history = taken_up(work, entries, now=0)
    decision = decide(work, history, (), free=1, now=0)
    if decision.starts:
        trial = decision.starts[0].trial
        total = len(work.trials) + work.missing * experiment.spec.repeats
        why = f"the next of {total} trials that has not ended well"
        _tell(options, number=trial.point, parameters=trial.parameters, why=why, learnt_from=0)
        return 0
    if not decision.wanted:
        print(_nothing(history, experiment))
        return 1
    require("optuna")
    with tempfile.TemporaryDirectory() as scratch:
        earlier, _ = earlier_lessons(folder, experiment, {})
        with Suggester(work, history, Path(scratch) / LOG, earlier) as suggester:
            suggester.ask()
            while not (answers := suggester.answer(WAKE_SECONDS)):
                pass  # it is ready
    if (found := answers[0]) is None:
        print("nothing: every point that the parameters make has been tried")
        return 1
    _tell(options, number=found.number, parameters=found.parameters, why=found.why, learnt_from=found.learnt_from)
    return 0


def _nothing(history: History, search: HyperparamSearch) -> str:
    """Why nothing is next."""
    if (ended := history.ended(None, 0)) is not None:
        return f"nothing: {ended.sentence}"
    if len(history.failed) > search.spec.max_failed_trials:
        return f"nothing: {len(history.failed)} trials failed, more than spec.maxFailedTrials"
    return "nothing: all points have been tried; raise spec.trials to go on"


def _tell(
    options: argparse.Namespace, *, number: int, parameters: Mapping[str, Scalar], why: str, learnt_from: int
) -> None:
    if options.json:
        print(json.dumps({"number": number, "parameters": parameters, "why": why, "learntFrom": learnt_from}))
        return
    print(f"point {number}: {settings(parameters, {})}\n{why}")
