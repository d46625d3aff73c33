"""`report DIR`: makes a run's summary and page again from its ledger."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trainer.atomic import write_text
from trainer.experiment.entries import Entries
from trainer.experiment.expand import Trial
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.summary import Summary, summarize
from trainer.local.folder import SUMMARY, stored_experiment
from trainer.local.ledger import read_entries
from trainer.packages import advice, have
from trainer.report.results import Results
from trainer.report.tables import closing


def main(options: argparse.Namespace) -> int:
    """Leaves summary.json and report.html in the folder, and the statistics of repeats."""
    experiment = stored_experiment(options.folder)
    summary = leave_report(options.folder, experiment, read_entries(options.folder))
    if options.json:
        print(summary.model_dump_json(by_alias=True))
    return 0


def leave_summary(folder: Path, experiment: Experiment, entries: Entries) -> Summary:
    """Writes summary.json from the ledger and returns it."""
    return _leave_summary(folder, experiment, entries.trials(experiment), entries)


def leave_report(folder: Path, experiment: Experiment, entries: Entries) -> Summary:
    """Writes summary.json and, where plots can be drawn, report.html; of a search with repeats also its statistics.

    What they came to is said on stderr.
    """
    trials, records = entries.trials(experiment), entries.records
    summary = _leave_summary(folder, experiment, trials, entries)
    results = Results(experiment, trials, records, summary)
    print(closing(results, folder), file=sys.stderr)
    begun = time.monotonic()
    statistics = None
    if experiment.spec.repeats > 1 and isinstance(experiment, HyperparamSearch):
        from trainer.report.treatment_view import leave_statistics

        statistics = leave_statistics(folder, results)
    if not have("plotly"):
        print(
            f"report: its charts need the package plotly, found none; {advice('plotly')}, then "
            f"`trialrun report {folder}`",
            file=sys.stderr,
        )
        return summary
    # Imported late: what was found is on the screen before the page is made.
    from trainer.report.page import NAME, render
    from trainer.report.sections import experiment_page

    write_text(folder / NAME, render(experiment_page(results, folder, statistics)))
    print(f"report: {folder / NAME} ({time.monotonic() - begun:.1f} s)", file=sys.stderr)
    return summary


def _leave_summary(folder: Path, experiment: Experiment, trials: Sequence[Trial], entries: Entries) -> Summary:
    summary = summarize(experiment, trials, entries.records, planned=entries.planned(experiment), rungs=entries.rungs)
    write_text(folder / SUMMARY, summary.model_dump_json(by_alias=True, indent=2) + "\n")
    return summary
