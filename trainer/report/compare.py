"""What the ledgers of several runs say beside each other: A is the baseline, each other is held against it. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from string import ascii_uppercase
from typing import Any, Literal

from pydantic import Field

from trainer.benchmark import intervals
from trainer.benchmark.intervals import Estimate
from trainer.experiment import moments
from trainer.experiment.baseline import figures
from trainer.experiment.best import Best, direction
from trainer.experiment.comparable import depends_on_validation, unlike
from trainer.experiment.comparison import Comparison, compare, differing_data, remark
from trainer.experiment.cost import worker_hour
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial, id_alone
from trainer.experiment.metrics import Direction
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import CODE, DATA, INPUTS, VALIDATION, OutcomeText, Record, Reported
from trainer.experiment.redact import redacted
from trainer.experiment.spec import Experiment, HyperparamSearch, Parameter, ScaleTest
from trainer.experiment.summary import Summary, summarize
from trainer.experiment.training import Training
from trainer.packages import PackageMissing
from trainer.report.results import Results
from trainer.report.wording import count, listed, number, one_line, setting

_LONGEST = 120  # letters of a value that was changed


class Ledger(Reported):
    """One side as it was given, and what its own ledger says."""

    source: str
    summary: Summary


class Bests(Reported):
    """Which of the two best points is better.

    `better` is None where neither is, or it can't be said; `reasons` say why, or what else has to be known.
    """

    metric: str | None = Field(description="What both searches are by; null where they are by two.")
    direction: Direction | None = Field(description="Whether less or more of it is better; null as `metric` is.")
    a: float | None = Field(description="A's best: the mean over its repeats. Null without a best.")
    b: float | None = Field(description="The same of B.")
    difference: Estimate | None = Field(
        None,
        description="B's best minus A's, with its interval of 95 % by Welch's t where both have repeats; null where "
        "the two can't be compared.",
    )
    better: Literal["a", "b"] | None = Field(None, description="The better one; null where neither is.")
    told_apart: bool | None = Field(
        None,
        description="Whether the interval says that they differ; null without one, where chance is not ruled out.",
    )
    reasons: tuple[str, ...]


class Change(Reported):
    """A field of the files, or content that records tell of, in which the two differ. None is what one hasn't."""

    path: str
    a: str | None
    b: str | None


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


class CellFigures(Reported):
    """A cell on one side, its repeats together: it succeeded if all did. None is what was not measured."""

    outcome: OutcomeText
    seconds: float | None
    samples_per_second: float | None
    peak_bytes: int | None


class Cell(Reported):
    """A size and a worker count; a side that has not run it, or doesn't have it, is None."""

    multiplier: int
    workers: int
    a: CellFigures | None
    b: CellFigures | None


class Frontier(Reported):
    """The largest size that each side carried with so many workers; None where it carried none of its cells."""

    workers: int
    a: int | None
    b: int | None


class Facts(Reported):
    """Everything that is said of two runs. `time_saved` is in seconds, negative where B took longer than A."""

    a: Ledger
    b: Ledger
    bests: Bests | None = Field(description="Which best is better; null for scale tests.")
    changes: tuple[Change, ...]
    comparison: Comparison | None
    time_saved: float | None
    remark: str | None
    agreement: Agreement
    cells: tuple[Cell, ...]
    frontier: tuple[Frontier, ...]


class Comparisons(Reported):
    """Several runs, each against the first."""

    comparisons: tuple[Facts, ...]


@dataclass(frozen=True)
class Side:
    """A ledger with its experiment; `attempts` are all its records, its results' those that count."""

    source: str
    attempts: tuple[Record, ...]
    results: Results

    @cached_property
    def best_values(self) -> tuple[float, ...]:
        """What each repeat of its best point measured; nothing without a best."""
        results = self.results
        return tuple(results.values[trial.id] for trial in results.trials if trial.id in results.best_ids)

    @cached_property
    def cells(self) -> Mapping[tuple[int, int], CellFigures]:
        """A scale test's cells that ran, by worker count and size."""
        groups: dict[tuple[int, int], list[Record]] = {}
        for trial in self.results.trials:
            if trial.id in self.results.records:
                key = (trial.workers, trial.multiplier)
                groups.setdefault(key, []).append(self.results.records[trial.id])
        return {key: _cell(records) for key, records in groups.items()}

    def carried(self, workers: int) -> int | None:
        """The largest size that succeeded with so many workers; None where none did."""
        found = (key[1] for key, cell in self.cells.items() if key[0] == workers and _succeeded(cell))
        return max(found, default=None)


class Pair:
    """Two sides, A and another, and what is worked out of both; `letter` is what the other goes by."""

    def __init__(self, a: Side, b: Side, letter: str = "B") -> None:
        """Raises `UserError` where one is a search and the other a scale test."""
        if a.results.experiment.kind != b.results.experiment.kind:
            kinds = " and ".join(f"{side.source} is a {side.results.experiment.kind}" for side in (a, b))
            raise UserError(f"{kinds}: two searches can be compared, or two scale tests")
        self.a = a
        self.b = b
        self.letter = letter
        self.is_scale_test = isinstance(a.results.experiment, ScaleTest)

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
            figures(side.results.experiment, side.results.trials, side.attempts) for side in (self.a, self.b)
        )
        compared = None
        if ours and theirs:
            rests_on = tuple(differing_data((theirs, ours) for _, theirs, ours in self.ran))
            compared = compare(ours, theirs, worker_hour(self.b.results.experiment), rests_on)
        walls = [side.results.summary.timing.wall for side in (self.a, self.b) if side.results.summary.timing]
        grid = tuple(_cells(self.a, self.b)) if self.is_scale_test else ()
        return Facts(
            a=Ledger(source=self.a.source, summary=self.a.results.summary),
            b=Ledger(source=self.b.source, summary=self.b.results.summary),
            bests=None if self.is_scale_test else bests(self.a, self.b, self.letter),
            changes=tuple(Change(path=path, a=a, b=b) for path, (a, b) in changes((self.a, self.b)).items()),
            comparison=compared,
            time_saved=walls[0] - walls[1] if len(walls) == 2 else None,
            remark=remark(
                self.b.results.summary.timing,
                compared,
                on_cluster=self.b.results.experiment.metadata.uid is not None,
            ),
            agreement=agreement(self.ran),
            cells=grid,
            frontier=tuple(
                Frontier(workers=workers, a=self.a.carried(workers), b=self.b.carried(workers))
                for workers in sorted({cell.workers for cell in grid})
            ),
        )


def side(source: str, experiment: Experiment, entries: Entries) -> Side:
    """A ledger with the summary of it alone."""
    trials, attempts = entries.trials(experiment), tuple(entries.records)
    summary = summarize(experiment, trials, attempts, planned=entries.planned(experiment), rungs=entries.rungs)
    return Side(source, attempts, Results(experiment, trials, attempts, summary))


def against_first(sides: Sequence[Side]) -> tuple[Pair, ...]:
    """Each of two sides or more but the first, against that.

    Raises:
        UserError: they are of both kinds, or more than there are letters for.
    """
    if len(sides) > len(ascii_uppercase):
        raise UserError(f"at most {len(ascii_uppercase)} runs can be compared, A to Z, got {len(sides)}")
    first, *others = sides
    return tuple(
        Pair(first, other, letter) for letter, other in zip(ascii_uppercase[1 : len(sides)], others, strict=True)
    )


def lettered(pairs: Sequence[Pair]) -> list[tuple[str, Side]]:
    """All sides, each with the letter that it goes by."""
    return [("A", pairs[0].a), *((pair.letter, pair.b) for pair in pairs)]


# --- which best is better -------------------------------------------------------------------------------------------


def bests(a: Side, b: Side, letter: str = "B") -> Bests:
    """The best points of two searches against each other; in the reasons B goes by `letter`."""
    (metric, better), objective_of_b = _objective(a), _objective(b)
    best_a, best_b = a.results.summary.best, b.results.summary.best
    why_not = _not_comparable(a, b, letter)
    if why_not or best_a is None or best_b is None:
        same = (metric, better) == objective_of_b
        return Bests(
            metric=metric if same else None,
            direction=better if same else None,
            a=None if best_a is None else best_a.value,
            b=None if best_b is None else best_b.value,
            reasons=tuple(why_not),
        )
    one, other = best_a.value, best_b.value
    difference, unknown = _difference(a, b, letter)
    interval = None if difference is None else difference.interval
    told_apart = None if interval is None else interval.low > 0 or interval.high < 0
    leads: Literal["a", "b"] | None = None
    behind = _behind_naive(a, b, letter)
    if one != other and told_apart is not False and len(behind) < 2:
        leads = "b" if (other < one) is (better == "Minimize") else "a"
    beside = [] if one == other else [*unknown, *_chosen_among(a, b, letter)]
    beside += _unverified(a.results.records[best_a.id], b.results.records[best_b.id], metric)
    return Bests(
        metric=metric,
        direction=better,
        a=one,
        b=other,
        difference=difference,
        better=leads,
        told_apart=told_apart,
        reasons=(*_beside_naive(behind), *beside, *_unfinished(a, b, letter)),
    )


def _objective(of: Side) -> tuple[str, Direction]:
    assert isinstance(of.results.experiment, HyperparamSearch)  # noqa: S101
    objective = of.results.experiment.spec.objective
    return objective.metric, direction(objective)


def _not_comparable(a: Side, b: Side, letter: str) -> list[str]:
    """Why the two bests say nothing about each other, in sentences."""
    (metric, better), (other, contrary) = _objective(a), _objective(b)
    if metric != other:
        return [f"A is a search by {metric}, {letter} by {other}."]
    if better != contrary:
        return [f"By A's file less of {metric} is {_word(better)}, by {letter}'s it is {_word(contrary)}."]
    best_a, best_b = a.results.summary.best, b.results.summary.best
    if best_a is None or best_b is None:
        sides = (("A", a), (letter, b))
        return [f"{name}: {_no_best(side.results)}" for name, side in sides if side.results.summary.best is None]
    why_not = unlike(metric, _trial(a, best_a), _trial(b, best_b))
    return [] if why_not is None else [f"The two bests {why_not}."]


def _word(better: Direction) -> str:
    return "better" if better == "Minimize" else "worse"


def _no_best(results: Results) -> str:
    if results.summary.groups:
        return "there is no best of all, as its trials were validated on different samples."
    if results.all_break:
        return "there is no best, as every point that was measured breaks a constraint of the search."
    return f"there is no best, as no trial has measured {results.wanted}."


def _trial(of: Side, best: Best) -> tuple[Trial, Record]:
    return of.results.trials[of.results.rows[best.id]], of.results.records[best.id]


def _difference(a: Side, b: Side, letter: str) -> tuple[Estimate | None, list[str]]:
    """B's best minus A's, and why it has no interval, or one that holds 0."""
    once = [name for name, side in (("A", a), (letter, b)) if len(side.best_values) == 1]
    if once:
        who = "Each best is" if len(once) == 2 else f"{once[0]}'s best is"
        return _of_means(a, b), [f"{who} a single run, so chance is not ruled out: `repeats: 5` would tell."]
    try:
        found = intervals.difference(b.best_values, a.best_values)
    except PackageMissing as error:
        return _of_means(a, b), [f"Chance is not ruled out. {str(error)[0].upper()}{str(error)[1:]}."]
    if found is None:
        return None, []
    if found.interval is None:
        return found, ["The repeats of each best are all equal, so the difference has no interval."]
    if found.interval.low <= 0 <= found.interval.high:
        return found, ["The interval of the difference holds 0: it may be chance, or the repeats too few to tell."]
    return found, []


def _of_means(a: Side, b: Side) -> Estimate | None:
    """The difference without an interval; None where it has no float."""
    value = moments.rounded(moments.exact_mean(b.best_values) - moments.exact_mean(a.best_values))
    return None if value is None else Estimate(value=value, interval=None)


def _behind_naive(a: Side, b: Side, letter: str) -> dict[str, float]:
    """The figure of a prediction that has learnt nothing, of each side whose best does not beat it."""
    naive = {name: side.results.summary.naive for name, side in (("A", a), (letter, b))}
    return {name: each.value for name, each in naive.items() if each is not None and not each.best_beats}


def _beside_naive(behind: Mapping[str, float]) -> Iterator[str]:
    if len(behind) == 2:
        where = ", ".join(f"{number(value)} in {name}" for name, value in behind.items())
        yield f"Neither best beats a naive prediction ({where}), so neither has learnt anything yet."
        return
    for name, value in behind.items():
        yield f"{name}'s best does not beat a naive prediction, which has {number(value)}."


def _unverified(one: Record, other: Record, metric: str) -> Iterator[str]:
    """That nobody knows whether both were validated on the same, where the records tell nothing that they share."""
    shared = any(one.evidence.get(key) == other.evidence.get(key, "") for key in (VALIDATION, DATA, INPUTS))
    if depends_on_validation(metric) and not shared:
        yield "Whether both were validated on the same samples is unverified: their records don't tell."


def _chosen_among(a: Side, b: Side, letter: str) -> Iterator[str]:
    """The best of many looks better than it is, which no interval of it counts."""
    one, other = len(a.results.measured), len(b.results.measured)
    if one == other > 1:
        yield f"Each best was chosen among {one:,} points by this same figure, so it looks better than it is."
    elif one != other:
        yield (
            f"A's best was chosen among {count(one, 'point')}, {letter}'s among {other:,}, by this same "
            "figure: the more are tried, the better the best looks by chance alone."
        )


def _unfinished(a: Side, b: Side, letter: str) -> Iterator[str]:
    for name, each in (("A", a), (letter, b)):
        left = each.results.unfinished
        if left and each.results.summary.ended_by is None:
            yield f"{name} has {count(left, 'trial')} yet to run: its best may change."


# --- what was changed -----------------------------------------------------------------------------------------------

_CONTENT = {DATA: "content of the data", INPUTS: "content of the inputs", CODE: "content of the code"}


def changes(sides: Sequence[Side]) -> dict[str, tuple[str | None, ...]]:
    """Every field in which the sides' files differ with its value in each, by its path below `spec`.

    Defaults are put in, so that it doesn't matter how a file was written; where others run a program, those of our
    trainer are left out. A parameter is one field, also where another side has one value of it. What records tell of
    content comes last.
    """
    plain = dict(_leaves("training", Training().document()))
    documents = [_flat(side.results.experiment, _varied(sides)) for side in sides]
    told = [_content(side) for side in sides]
    found: dict[str, tuple[str | None, ...]] = {}
    for each in (documents, told):
        for path in dict.fromkeys(path for document in each for path in document):
            values = tuple(document.get(path) for document in each)
            if len(set(values)) == 1 or {*values} == {None, plain.get(path)} or (each is told and None in values):
                continue
            found[path] = tuple(None if value is None else _safe(path, value) for value in values)
    return found


def _varied(sides: Sequence[Side]) -> list[str]:
    """The parameters of all sides."""
    searches = [side.results.experiment for side in sides]
    found = (each.name for one in searches if isinstance(one, HyperparamSearch) for each in one.spec.parameters)
    return list(dict.fromkeys(found))


def _flat(experiment: Experiment, varied: Sequence[str]) -> dict[str, str]:
    """A document's values as text, by path."""
    document = experiment.spec.document()
    parameters: dict[str, Parameter] = {}
    if isinstance(experiment, HyperparamSearch):
        document["objective"]["direction"] = direction(experiment.spec.objective)
        parameters = {each.name: each for each in experiment.spec.parameters}
        del document["parameters"]
    if experiment.spec.program is not None:
        del document["training"]
    found = dict(_leaves("", document))
    base = "program.settings" if experiment.spec.program is not None else "training"
    for name in varied:
        fixed = found.pop(f"{base}.{name}", None)
        if name in parameters:
            found[f"parameters.{name}"] = _values(parameters[name], fixed)
        elif fixed is not None:
            found[f"parameters.{name}"] = f"fixed at {fixed}"
    return found


def _values(of: Parameter, otherwise: str | None) -> str:
    if of.range is not None:
        said = f"{setting(of.range.min)} to {setting(of.range.max)}"
        said += f" in steps of {setting(of.range.step)}" if of.range.step is not None else ""
        said += ", log" if of.range.scale == "Log" else ""
    else:
        said = ", ".join(map(setting, of.choices or ()))
    if of.when:
        wanted = [f"{name} is {' or '.join(map(setting, values))}" for name, values in of.when.items()]
        said += f", when {listed(wanted)}" + (f", else {otherwise}" if otherwise is not None else "")
    return said


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """The values of a document by their paths; nothing for what is null or empty."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves(f"{path}.{name}".lstrip("."), each)
    elif isinstance(value, list):
        if value and all(isinstance(each, Mapping) and "name" in each for each in value):
            for each in value:
                rest = {name: of for name, of in each.items() if name != "name" and of is not None}
                yield from _leaves(f"{path}.{each['name']}", rest["value"] if rest.keys() == {"value"} else rest)
        elif value:
            plain = all(not isinstance(each, Mapping | list) for each in value)
            separator = " " if path == "program.command" else ", "
            yield path, separator.join(map(setting, value)) if plain else json.dumps(value, ensure_ascii=False)
    elif value is not None:
        yield path, setting(value)


def _content(of: Side) -> dict[str, str]:
    """What the records of a side say that they rest on."""
    found = {}
    for key, name in _CONTENT.items():
        told = sorted({str(record.evidence[key]) for _, record in of.results.ran if key in record.evidence})
        if told:
            found[name] = told[0] if len(told) == 1 else f"{len(told)} different, {told[0]} and others"
    return found


def _safe(path: str, text: str) -> str:
    """A value without the secret that its field's name says it holds."""
    name = path.rpartition(".")[2]
    return one_line(redacted(f"{name}={text}").removeprefix(f"{name}="), _LONGEST)


# --- how far metrics agree ------------------------------------------------------------------------------------------


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


# --- the cells of scale tests ---------------------------------------------------------------------------------------


def _cells(a: Side, b: Side) -> Iterator[Cell]:
    """The cells of both by size and worker count, whatever else their trainings differ in."""
    for workers, size in sorted({**a.cells, **b.cells}):
        key = (workers, size)
        yield Cell(multiplier=size, workers=workers, a=a.cells.get(key), b=b.cells.get(key))


def only_one_carries(grid: Sequence[Cell]) -> list[Cell]:
    """The cells that both sides tried and one of them alone succeeded in."""
    return [
        cell
        for cell in grid
        if cell.a is not None and cell.b is not None and _succeeded(cell.a) is not _succeeded(cell.b)
    ]


def _succeeded(cell: CellFigures) -> bool:
    return cell.outcome is Outcome.SUCCEEDED


def _cell(records: Sequence[Record]) -> CellFigures:
    failed = [record for record in records if record.outcome is not Outcome.SUCCEEDED]
    told = failed or records
    rates = [
        record.samples * record.epochs / record.seconds.train
        for record in told
        if record.outcome is Outcome.SUCCEEDED and record.seconds.train > 0
    ]
    peaks = [rank.counted_peak for record in told for rank in record.memory if rank is not None]
    ran = [record.seconds.total for record in told if record.outcome is not Outcome.SKIPPED]
    return CellFigures(
        outcome=told[0].outcome,
        seconds=fmean(ran) if ran else None,
        samples_per_second=fmean(rates) if rates else None,
        peak_bytes=max(peaks, default=None),
    )
