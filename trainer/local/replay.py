"""The baseline of a search that learns or stops early: the trials of its ledger again, each to the step it came to.

What was suggested and what was stopped is taken as it was: nothing is decided anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.atomic import write_text
from trainer.experiment.errors import UserError
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP, Record, Reported, latest
from trainer.experiment.spec import MAX_TRIALS, Experiment, HyperparamSearch
from trainer.experiment.suggestion import Suggestion, encode
from trainer.local.folder import require_alike
from trainer.local.ledger import REPLAY, SUGGESTIONS
from trainer.local.source import read_source
from trainer.scheduling.workload import Workload, decided


class Replayed(Reported):
    """A trial to run again, until a step where it was stopped there."""

    trial: str
    until: int | None = None


@dataclass(frozen=True)
class Replay:
    """The search as it is replayed, the suggestions that it takes, its trials in the order in which they began."""

    search: HyperparamSearch
    suggestions: Sequence[Suggestion]
    trials: Sequence[Replayed]

    @property
    def only(self) -> frozenset[str]:
        """The ids of its trials."""
        return frozenset(each.trial for each in self.trials)

    @property
    def ends(self) -> dict[str, int]:
        """The steps at which trials are stopped, by id."""
        return {each.trial: each.until for each in self.trials if each.until is not None}

    def restrict(self, work: Workload) -> None:
        """Leaves of a workload what is replayed, in its order."""
        only = self.only
        work.trials = [trial for trial in work.trials if trial.id in only]
        work.order = [work.by_id[each.trial] for each in self.trials if each.trial in work.by_id]
        work.points = None

    def leave(self, folder: Path) -> None:
        """Marks a folder as its."""
        if self.suggestions:
            write_text(folder / SUGGESTIONS, "".join(encode(each) + "\n" for each in self.suggestions))
        write_text(folder / REPLAY, "".join(each.model_dump_json(by_alias=True) + "\n" for each in self.trials))


def is_replay(folder: Path) -> bool:
    """Whether a folder holds a replay."""
    return (folder / REPLAY).exists()


def read_replay(source: str, experiment: Experiment) -> Replay:
    """The replay of the run that `source` names.

    Raises:
        UserError: the source can't be read, is another search than this, or has no results.
    """
    if not isinstance(experiment, HyperparamSearch):
        raise UserError(
            "--replay: must be given a HyperparamSearch, got a ScaleTest; run it again with another --out"
        )
    before, entries = read_source(source)
    require_alike(source, before, experiment)
    ran = [record for record in latest(entries.records).values() if record.outcome is not Outcome.SKIPPED]
    if not ran:
        raise UserError(f"--replay: must name a run with results, and {source} has none")
    first = {record.id: record.started_at for record in reversed(entries.records)}
    ran.sort(key=lambda record: (first[record.id], record.index))
    trials = [Replayed(trial=record.id, until=_until(record)) for record in ran]
    return Replay(decided(experiment, max_failed_trials=MAX_TRIALS), entries.suggestions, trials)


def _until(record: Record) -> int | None:
    step = record.evidence.get(STEP)
    return step if record.outcome is Outcome.STOPPED and isinstance(step, int) else None
