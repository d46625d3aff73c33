"""`best NAME`: the best trial of a search on a cluster, its metrics, and whether it has learnt anything."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from trainer import arguments
from trainer.columns import aligned
from trainer.experiment import moments
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.record import Record, latest
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.summary import Summary, summarize
from trainer.kubectl import find, with_ledger
from trainer.report.wording import count, number, setting

_WIDTH = 100


def main(options: argparse.Namespace) -> int:
    """Prints it as the ledger has it now.

    Raises:
        UserError: it is no search, or has no best trial.
    """
    wanted, found = find(options.experiment, options.namespace)
    experiment, entries = with_ledger(wanted, found)
    if not isinstance(experiment, HyperparamSearch):
        raise UserError(
            f"{wanted.text}: is a scale test, which has no best trial; "
            f"{arguments.call(options, 'status', wanted.text)} says how far it came"
        )
    summary = summarize(experiment, entries.trials(experiment), entries.records, planned=entries.planned(experiment))
    best = summary.best
    metrics = {} if best is None else _metrics(experiment, entries, best.id)
    if options.json:
        told = summary.document()
        kept: dict[str, Any] = {name: told.get(name) for name in ("best", "naive", "groups", "caveats", "counts")}
        print(json.dumps(kept | {"metrics": metrics}))
    if best is None and not summary.groups:
        counts = summary.counts
        why = (
            " ".join(summary.caveats)
            or f"{counts.done} of {count(counts.total, 'trial')} are done, {counts.failed} failed"
        )
        raise UserError(f"{wanted.text}: has no best trial yet: {why}")
    if not options.json:
        print("\n".join(_text(wanted.text, summary, metrics)))
    return 0


def _metrics(experiment: Experiment, entries: Entries, best: str) -> dict[str, float]:
    """What the best point's trials reported: the means over its repeats of what all of them have."""
    trials = entries.trials(experiment)
    point = next(trial.point for trial in trials if trial.id == best)
    counted = latest(entries.records)
    records: Sequence[Record] = [counted[trial.id] for trial in trials if trial.point == point]
    names = [name for name in records[0].metrics if all(name in each.metrics for each in records)]
    return {name: moments.mean([each.metrics[name] for each in records]) for name in names}


def _text(text: str, summary: Summary, metrics: Mapping[str, float]) -> Iterator[str]:
    counts, best = summary.counts, summary.best
    so_far = " so far" if summary.state == "Incomplete" else ""
    if best is None:
        yield f"{text}  no single best{so_far}"
        for group in summary.groups:
            where = ", ".join(f"{path} {setting(value)}" for path, value in group.fields.items())
            if (one := group.best) is not None:
                yield f"  {where}: trial {one.index} ({one.id}), {one.metric} {number(one.value)}"
    else:
        done = f"{counts.done} of {count(counts.total, 'trial')} done"
        yield f"{text}  trial {best.index} ({best.id}) is best{so_far}, {done}"
        value = number(best.value)
        if best.deviation is not None:
            value += f" ± {number(best.deviation)} over {best.repeats} repeats"
        rows = [(best.metric, f"{value}, {'less' if best.direction == 'Minimize' else 'more'} is better")]
        rows += [(path, setting(value)) for path, value in best.parameters.items()]
        rows += [(name, number(value)) for name, value in metrics.items() if name != best.metric]
        yield from (f"  {line}" for line in aligned(rows, left=(0, 1)))
    for caveat in summary.caveats:
        yield from (f"  {line}" for line in wrap(caveat, _WIDTH))
