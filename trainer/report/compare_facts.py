"""What two ledgers say beside each other: A, the baseline, and B, what is compared with it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trainer.experiment.baseline import figures
from trainer.experiment.comparison import Comparison, compare, differing_data, remark
from trainer.experiment.cost import worker_hour
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial, id_alone
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import OutcomeText, Record, Reported
from trainer.experiment.spec import Experiment, ScaleTest
from trainer.experiment.summary import Summary, summarize
from trainer.report.compare_cells import Cell, Frontier, cells, frontier
from trainer.report.results import Results


class Ledger(Reported):
    """One side as it was given, and what its own ledger says."""

    source: str
    summary: Summary


class Largest(Reported):
    """Where the metrics of one trial differ most: |A - B| as a share of the larger of the two."""

    difference: float
    index: int
    id: str
    metric: str
    a: float
    b: float


class Ended(Reported):
    """A trial that ended in another way in A than in B."""

    index: int
    id: str
    a: OutcomeText
    b: OutcomeText


class Agreement(Reported):
    """How far metrics agree that both sides have of trials that succeeded in both; `same`: to the bit."""

    both: int
    same: int
    largest: Largest | None
    outcomes: tuple[Ended, ...]


class Facts(Reported):
    """Everything that is said of the two. `time_saved` is in seconds, negative where B took longer than A."""

    a: Ledger
    b: Ledger
    comparison: Comparison | None
    time_saved: float | None
    remark: str | None
    agreement: Agreement
    cells: tuple[Cell, ...]
    frontier: tuple[Frontier, ...]


@dataclass(frozen=True)
class Side:
    """A ledger with its experiment; `attempts` are all its records, its results' those that count."""

    source: str
    attempts: tuple[Record, ...]
    results: Results


class Pair:
    """The two sides, and what is worked out of both."""

    def __init__(self, a: Side, b: Side) -> None:
        """Raises `UserError` where one is a search and the other a scale test."""
        if a.results.experiment.kind != b.results.experiment.kind:
            kinds = " and ".join(f"{side.source} is a {side.results.experiment.kind}" for side in (a, b))
            raise UserError(f"{kinds}: two searches can be compared, or two scale tests")
        self.a = a
        self.b = b
        self.is_scale_test = isinstance(a.results.experiment, ScaleTest)

    @property
    def sides(self) -> tuple[tuple[str, Side], tuple[str, Side]]:
        """Both with the letter that they go by."""
        return ("A", self.a), ("B", self.b)

    @cached_property
    def ran(self) -> list[tuple[Trial, Record, Record]]:
        """The trials that ran on both sides with their record there, as B lists them.

        In a search they are the same trial by whatever number of workers, in a scale test that is what differs.
        """
        theirs = {self._identity(trial): record for trial, record in self.a.results.ran}
        return [
            (trial, theirs[identity], ours)
            for trial, ours in self.b.results.ran
            if (identity := self._identity(trial)) in theirs
        ]

    def _identity(self, trial: Trial) -> str:
        return trial.id if self.is_scale_test else id_alone("HyperparamSearch", trial)

    @cached_property
    def facts(self) -> Facts:
        """What is said of them."""
        theirs, ours = (
            figures(side.results.experiment, side.results.trials, side.attempts) for _, side in self.sides
        )
        compared = None
        if ours and theirs:
            rests_on = tuple(differing_data((theirs, ours) for _, theirs, ours in self.ran))
            compared = compare(ours, theirs, worker_hour(self.b.results.experiment), rests_on)
        walls = [side.results.summary.timing.wall for _, side in self.sides if side.results.summary.timing]
        grid = cells(self.a.results, self.b.results) if self.is_scale_test else ()
        return Facts(
            a=Ledger(source=self.a.source, summary=self.a.results.summary),
            b=Ledger(source=self.b.source, summary=self.b.results.summary),
            comparison=compared,
            time_saved=walls[0] - walls[1] if len(walls) == 2 else None,
            remark=remark(
                self.b.results.summary.timing,
                compared,
                on_cluster=self.b.results.experiment.metadata.uid is not None,
            ),
            agreement=agreement(self.ran),
            cells=grid,
            frontier=frontier(grid),
        )


def side(source: str, experiment: Experiment, entries: Entries) -> Side:
    """A ledger with the summary of it alone."""
    trials, attempts = entries.trials(experiment), tuple(entries.records)
    summary = summarize(experiment, trials, attempts, planned=entries.planned(experiment), rungs=entries.rungs)
    return Side(source, attempts, Results(experiment, trials, attempts, summary))


def agreement(ran: Sequence[tuple[Trial, Record, Record]]) -> Agreement:
    """How far the metrics of trials agree that ran on both sides."""
    both = [
        (trial, a.metrics, b.metrics, sorted(a.metrics.keys() & b.metrics.keys()))
        for trial, a, b in ran
        if a.outcome is b.outcome is Outcome.SUCCEEDED and a.metrics.keys() & b.metrics.keys()
    ]
    differences = [
        Largest(
            difference=_share(a[name], b[name]),
            index=trial.index,
            id=trial.id,
            metric=name,
            a=a[name],
            b=b[name],
        )
        for trial, a, b, names in both
        for name in names
        if a[name] != b[name]
    ]
    return Agreement(
        both=len(both),
        same=sum(all(a[name] == b[name] for name in names) for _, a, b, names in both),
        largest=max(differences, key=lambda each: each.difference, default=None),
        outcomes=tuple(
            Ended(index=trial.index, id=trial.id, a=a.outcome, b=b.outcome)
            for trial, a, b in ran
            if a.outcome is not b.outcome
        ),
    )


def _share(a: float, b: float) -> float:
    """|a - b| as a share of the larger of two that differ: at most 2. Each is divided first: their difference may
    be beyond the largest float.
    """
    larger = max(abs(a), abs(b))
    return abs(a / larger - b / larger)
