"""What a ledger says of each run: whether it is done with, and the number of its next attempt. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from trainer.experiment.best import direction
from trainer.experiment.bounds import Budget
from trainer.experiment.budget import Ended, Spending
from trainer.experiment.entries import Entries
from trainer.experiment.expand import Kind, Trial
from trainer.experiment.outcome import LEFT_OUT, OUT_OF_MEMORY, Outcome
from trainer.experiment.record import Record
from trainer.experiment.rung import RungEntry
from trainer.experiment.spec import HyperparamSearch, ScaleTest
from trainer.scheduling.limits import Limits, limits, tells_floor
from trainer.scheduling.stopping.rungs import Rungs
from trainer.scheduling.workload import Workload

Ledger = Mapping[str, Sequence[Record]]  # the records of each run by its id, in the order of their attempts


def is_done(work: Workload, record: Record, accepted: int) -> bool:
    """Whether a run with this latest record is done with: not if it didn't succeed before `accepted`.

    That a trial was stopped stands: it would be again.
    """
    stands = record.outcome is Outcome.SUCCEEDED or record.outcome is Outcome.STOPPED
    again = not stands and record.accepted_at < accepted
    return record.final and not (again and may_go_on(work, record))


def may_go_on(work: Workload, record: Record) -> bool:
    """Whether a run with this latest record may have another attempt."""
    return work.most_attempts is None or record.attempt < work.most_attempts


def is_failure(record: Record) -> bool:
    """Whether it counts towards maxFailedTrials."""
    return record.outcome is not Outcome.SUCCEEDED and record.outcome not in LEFT_OUT


def by_run(records: Iterable[Record]) -> Ledger:
    """Records by the run that they are of, in the order of their attempts."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.id, []).append(record)
    for of_run in found.values():
        of_run.sort(key=lambda record: (record.attempt, record.finished_at))
    return found


def taken_up(work: Workload, entries: Entries, now: int) -> "History":
    """What was done before a run that is taken up at `now`, milliseconds since 1970.

    All that did not succeed is to be run again, also if the clock was set back.
    """
    accepted = max([now, *(record.accepted_at + 1 for record in entries.records)])
    return History(work, by_run(entries.records), accepted, entries.rungs)


class History:
    """What is known of each run, `accepted` being when the experiment, or its rerun, was taken up.

    That is in milliseconds since 1970. What didn't succeed before is run again. It takes a ledger in at once, and
    further records one by one, each in the same time however many there are. `entered` are the ledger's rung entries,
    in the order of their numbers.
    """

    def __init__(self, work: Workload, ledger: Ledger, accepted: int, entered: Iterable[RungEntry] = ()) -> None:
        self.accepted = accepted
        self.failed: set[str] = set()  # trials that are done with and failed
        self.out_of_memory: list[Record] = []  # of runs that are done with
        self._work = work
        self._records: dict[str, list[Record]] = {}
        self._done: dict[str, Record] = {}
        self._left = {trial.id: trial for trial in work.order}
        self._grown = len(work.order)
        search = work.experiment if isinstance(work.experiment, HyperparamSearch) else None
        # A budget that bounds nothing need not be counted, record by record.
        self._spending = None if search is None or search.spec.budget == Budget() else Spending(search)
        self.rungs: Rungs | None = None
        if search is not None and (early := search.spec.early_stopping) is not None:
            self.rungs = Rungs(early, direction(search.spec.objective), search.spec.repeats)
        for entry in entered:
            self.enter(entry)
        for records in ledger.values():
            if records:
                self._records[records[-1].id] = list(records)
                for record in records:
                    self._spend(record)
                self._weigh(records)
        self.limits: Limits | None = limits(work, self._records, self._done)

    def add(self, record: Record) -> None:
        """Takes in the record of an attempt that has ended."""
        records = self._records.setdefault(record.id, [])
        records.append(record)
        self._spend(record)
        self._weigh(records)
        if record.id in self._work.by_id and self._work.by_id[record.id].kind is Kind.FLOOR:
            self.limits = limits(self._work, self._records, self._done)

    def grow(self) -> None:
        """Takes in the trials by which the workload has grown."""
        for trial in self._work.order[self._grown :]:
            self._left[trial.id] = trial
        self._grown = len(self._work.order)

    def entry(self, trial: Trial, attempt: int, step: int, metrics: Mapping[str, float]) -> RungEntry | None:
        """What is to be written down, decision included, when a trial has told these metrics; None for nothing."""
        if self.rungs is None or self._work.metric is None:
            return None
        return self.rungs.entry(trial, attempt, step, metrics, self._work.metric)

    def enter(self, entry: RungEntry) -> None:
        """Takes in a rung entry that was written."""
        if self.rungs is None:
            return
        if (trial := self._work.by_id.get(entry.trial)) is not None:
            self.rungs.enter(entry, trial.point)
        else:  # of a trial that the file no longer has; its number is taken
            self.rungs.count = entry.number + 1

    def last_entry(self, trial: Trial) -> RungEntry | None:
        """The entry of the last rung that a trial has reached."""
        return None if self.rungs is None else self.rungs.last(trial.id)

    @property
    def stopping(self) -> Iterable[Trial]:
        """What is not done with and was decided not to go on."""
        if self.rungs is None:
            return ()
        of_points = (self._work.by_point[point] for point in sorted(self.rungs.stopped))
        return [trial for trials in of_points for trial in trials if trial.id in self._left]

    def ended(self, busy_since: int | None, now: int) -> Ended | None:
        """Why the search's budget ends it, None while it doesn't; at `now` something has run since `busy_since`."""
        return None if self._spending is None else self._spending.ended(busy_since, now)

    def latest(self, trials: Iterable[Trial]) -> dict[str, Record]:
        """The latest record of each of these that has one."""
        return {trial.id: self._records[trial.id][-1] for trial in trials if trial.id in self._records}

    @property
    def left(self) -> Iterable[Trial]:
        """What is not done with, as it is to start. Until `limits` are known, that is what measures them.

        Trials of a search that were never tried come before those that failed: these may use the budget up again. Of
        a learning search they wait for its last point. A scale test has no budget, and its smaller cells spare larger
        ones.
        """
        if self.limits is None:
            return [trial for trial in self._work.floors if trial.id not in self._done]
        if self.limits.problem is not None:
            return ()
        if isinstance(self._work.experiment, ScaleTest):
            return self._left.values()
        tried = (trial for trial in self._left.values() if trial.id in self._records and not self._may_wait(trial))
        return chain((trial for trial in self._left.values() if trial.id not in self._records), tried)

    def _may_wait(self, trial: Trial) -> bool:
        """Whether a trial that was tried is to run again only after all others: it has failed for good before."""
        return self._work.missing > 0 and self._records[trial.id][-1].final

    def is_done(self, trial: Trial) -> bool:
        """Whether it is done with."""
        return trial.id in self._done

    def next_attempt(self, trial: Trial) -> int:
        """The number of its next attempt: it follows on what is written, which no crash can lose."""
        return self._records[trial.id][-1].attempt + 1 if trial.id in self._records else 1

    def _spend(self, record: Record) -> None:
        trial = self._work.by_id.get(record.id)
        if self._spending is not None and trial is not None and trial.kind is Kind.TRIAL:
            self._spending.add(trial, record)

    def _weigh(self, records: Sequence[Record]) -> None:
        """Sorts a run in by its records."""
        latest = records[-1]
        trial = self._work.by_id.get(latest.id)
        if trial is None or not is_done(self._work, latest, self.accepted) or self._must_tell_floor(trial, records):
            return
        self._done[trial.id] = latest
        self._left.pop(trial.id, None)
        if trial.kind is Kind.TRIAL and is_failure(latest):
            self.failed.add(trial.id)
        else:
            self.failed.discard(trial.id)
        if trial.kind is not Kind.BASELINE and latest.outcome in OUT_OF_MEMORY:
            self.out_of_memory.append(latest)

    def _must_tell_floor(self, trial: Trial, records: Sequence[Record]) -> bool:
        """Whether these should have told the floor that limits count from, and another attempt may yet."""
        test, latest = self._work.experiment, records[-1]
        if trial.kind is not Kind.FLOOR or not isinstance(test, ScaleTest) or test.spec.cell.memory_limit is not None:
            return False
        again = latest.accepted_at < self.accepted and may_go_on(self._work, latest)
        return again and not tells_floor(records)
