"""`report DIR`: makes a run's summary and page again from its ledger, or a page of it ranked by another metric."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainer.atomic import write_text
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.summary import Summary, summarize
from trainer.local.folder import SUMMARY, stored_experiment
from trainer.local.ledger import read_entries
from trainer.packages import advice, have
from trainer.report.results import Results, file_name, ranked_by
from trainer.report.text import closing
from trainer.report.view import Page


def main(options: argparse.Namespace) -> int:
    """Leaves summary.json and report.html in the folder, and the statistics of repeats; `--by` a page beside them."""
    experiment, entries = stored_experiment(options.folder), read_entries(options.folder)
    if options.by is not None:
        summary = leave_report_by(options.folder, ranked_by(experiment, entries, options.by, options.direction))
    elif options.direction is not None:
        raise UserError(f"--direction {options.direction}: goes with --by METRIC, which is missing")
    else:
        summary = leave_report(options.folder, experiment, entries)
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
    if _has_treatments(results):
        from trainer.report.treatments import leave_statistics

        statistics = leave_statistics(folder, results)
    if _can_draw(f"trialrun report {folder}"):
        # Imported late: what was found is on the screen before the page is made.
        from trainer.report.page import NAME
        from trainer.report.sections import experiment_page

        _leave_page(folder / NAME, experiment_page(results, folder, statistics), begun)
    return summary


def leave_report_by(folder: Path, results: Results) -> Summary:
    """Writes the page of a search that is ranked by another metric, and says on stderr what it came to.

    All else in the folder stays as it is.
    """
    metric = results.metric or ""
    print(closing(results, folder), file=sys.stderr)
    begun = time.monotonic()
    statistics = None
    if _has_treatments(results):
        from trainer.report.treatments import told_statistics

        statistics = told_statistics(results)
    if _can_draw(f"trialrun report {folder} --by {metric}"):
        from trainer.report.sections import experiment_page

        page = experiment_page(results, folder, statistics)
        title, kind = f"{results.summary.experiment}: report by {metric}", f"{page.kind}, ranked by {metric}"
        _leave_page(folder / file_name(metric), replace(page, title=title, kind=kind), begun)
    return results.summary


def _has_treatments(results: Results) -> bool:
    return results.repeats > 1 and isinstance(results.experiment, HyperparamSearch)


def _can_draw(again: str) -> bool:
    """Whether charts can be drawn; where they can't, what to install and to call again is said on stderr."""
    if have("plotly"):
        return True
    print(
        f"report: its charts need the package plotly, found none; {advice('plotly')}, then `{again}`", file=sys.stderr
    )
    return False


def _leave_page(path: Path, page: Page, begun: float) -> None:
    from trainer.report.page import render

    write_text(path, render(page))
    print(f"report: {path} ({time.monotonic() - begun:.1f} s)", file=sys.stderr)


def _leave_summary(folder: Path, experiment: Experiment, trials: Sequence[Trial], entries: Entries) -> Summary:
    summary = summarize(experiment, trials, entries.records, planned=entries.planned(experiment), rungs=entries.rungs)
    write_text(folder / SUMMARY, summary.model_dump_json(by_alias=True, indent=2) + "\n")
    return summary
