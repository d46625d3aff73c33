"""What a search has spent of its budget, and the sentence that says why that ends it. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from fractions import Fraction
from operator import itemgetter
from typing import Literal, NamedTuple

from trainer.experiment import moments
from trainer.experiment.best import direction, objective_reader
from trainer.experiment.constraints import violations
from trainer.experiment.cost import worker_hour
from trainer.experiment.expand import Trial
from trainer.experiment.record import Record, latest
from trainer.experiment.spec import HyperparamSearch


class Ended(NamedTuple):
    """Which limit of a budget was reached, and what was found."""

    reason: Literal["Target", "Plateau", "MaxSeconds", "MaxCost"]
    sentence: str


class Spending:
    """What a search has spent, and whether its budget ends it.

    It takes the records of all attempts, in any order: the same ones always say the same.
    """

    def __init__(self, search: HyperparamSearch) -> None:
        self._budget = search.spec.budget
        self._rate = worker_hour(search)
        self._points = _Points(search)
        self._busy = _Busy()
        self._worker_seconds = Fraction(0)  # exact, so that the order of adding makes no difference

    def add(self, trial: Trial, record: Record) -> None:
        """Takes in the record of an attempt at a trial; each once."""
        self._points.add(trial, record)
        self._busy.add(record.started_at, record.finished_at)
        self._worker_seconds += Fraction(record.workers * record.seconds.total)

    def ended(self, busy_since: int | None = None, now: int = 0) -> Ended | None:
        """Why nothing more is to start, None while something may.

        At `now` trials run, and have done so without a pause since `busy_since`, both in milliseconds since 1970.
        """
        return next(self._reached(busy_since, now), None)

    def _reached(self, busy_since: int | None, now: int) -> Iterator[Ended]:
        budget = self._budget
        if said := self._points.target_reached():
            yield Ended("Target", said)
        if said := self._points.plateau_reached():
            yield Ended("Plateau", said)
        seconds = self._busy.milliseconds(busy_since, now) / 1000
        if budget.max_seconds is not None and seconds >= budget.max_seconds:
            said = f"spec.budget.maxSeconds {budget.max_seconds} is reached: trials ran for {seconds:.1f} s."
            yield Ended("MaxSeconds", said)
        if budget.max_cost is None or self._rate is None:
            return
        cost = self._rate * float(self._worker_seconds) / 3600
        if cost >= budget.max_cost:
            yield Ended("MaxCost", f"spec.budget.maxCost {budget.max_cost:g} is reached: trials cost {cost:.6g}.")


class _Point(NamedTuple):
    """A point that has ended. Without a `value` it failed, was stopped or breaks a constraint."""

    finished_at: int
    first: int  # the index of its first trial
    value: float | None


class _Points:
    """The points of a search in the order in which they ended, and what that says of its target and its plateau."""

    def __init__(self, search: HyperparamSearch) -> None:
        self._spec = search.spec
        self._budget = search.spec.budget
        self._sign = 1 if direction(search.spec.objective) == "Minimize" else -1
        self._read = objective_reader(search.spec.objective.metric)
        self._records: dict[int, dict[int, Record]] = {}  # those that count, by point and repeat
        self._known: dict[int, _Point] = {}
        self._ended: list[_Point] = []
        self._forget()

    def add(self, trial: Trial, record: Record) -> None:
        """Takes in a record; a trial's latest counts."""
        of_point = self._records.setdefault(trial.point, {})
        known = of_point.get(trial.repeat)
        of_point[trial.repeat] = record if known is None else latest([known, record])[trial.id]
        if (before := self._known.pop(trial.point, None)) is not None:  # a trial of it was run again
            del self._ended[bisect_left(self._ended, before[:2], key=_place)]
            self._forget()
        if len(of_point) == self._spec.repeats and all(each.final for each in of_point.values()):
            self._end(trial.point, trial.index - trial.repeat, list(of_point.values()))

    def target_reached(self) -> str:
        """That a point is as good as the target, the first that was; empty while none is."""
        self._go_on()
        if (point := self._reached) is None:
            return ""
        return f"spec.budget.target {self._budget.target:g} is reached by trial {point.first} with {point.value:.6g}."

    def plateau_reached(self) -> str:
        """That so many points in a row were no better than the best before; empty where it has never been so."""
        self._go_on()
        if self._row is None:
            return ""
        best, last = self._row
        return (
            f"spec.budget.plateau {self._budget.plateau} is reached: so many points in a row, up to trial "
            f"{last.first}, were no better than trial {best.first} with {best.value:.6g}."
        )

    def _end(self, number: int, index: int, records: list[Record]) -> None:
        point = _Point(max(each.finished_at for each in records), index, self._value(records))
        self._known[number] = point
        at = bisect_left(self._ended, _place(point), key=_place)
        if at < self._seen:
            self._forget()
        self._ended.insert(at, point)

    def _value(self, records: list[Record]) -> float | None:
        values = [value for each in records if (value := self._read(each)) is not None]
        if len(values) < len(records) or any(beyond > 0 for beyond in violations(self._spec.constraints, records)):
            return None
        return moments.mean(values)

    def _forget(self) -> None:
        """What was found counts no longer: it is looked for again from the first point on."""
        self._seen = self._worse = 0
        self._best: _Point | None = None
        self._reached: _Point | None = None
        self._row: tuple[_Point, _Point] | None = None

    def _go_on(self) -> None:
        """Looks at the points that have ended since it was last asked."""
        for point in self._ended[self._seen :]:
            self._look_at(point)
        self._seen = len(self._ended)

    def _look_at(self, point: _Point) -> None:
        if self._is_better(point.value, None if self._best is None else self._best.value):
            self._best, self._worse = point, 0
        elif self._best is not None:
            self._worse += 1
            if self._worse == self._budget.plateau and self._row is None:
                self._row = self._best, point
        target = self._budget.target
        if self._reached is None and target is not None and point.value is not None:
            self._reached = None if self._is_better(target, point.value) else point

    def _is_better(self, value: float | None, than: float | None) -> bool:
        return value is not None and (than is None or self._sign * value < self._sign * than)


class _Busy:
    """When anything ran: spans of milliseconds that do not meet, in order."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []
        self._total = 0

    def add(self, start: int, end: int) -> None:
        """Takes in a span, of which any part may be known."""
        first = bisect_left(self._spans, start, key=itemgetter(1))
        last = bisect_right(self._spans, end, key=itemgetter(0))
        if end <= start:
            return
        met = self._spans[first:last]
        whole = (min([start, *(begun for begun, _ in met)]), max([end, *(ended for _, ended in met)]))
        self._spans[first:last] = [whole]
        self._total += whole[1] - whole[0] - sum(ended - begun for begun, ended in met)

    def milliseconds(self, since: int | None, now: int) -> int:
        """How long anything ran, and has from `since` to `now`."""
        if since is None or now <= since:
            return self._total
        later = self._spans[bisect_right(self._spans, since, key=itemgetter(1)) :]
        known = sum(max(0, min(ended, now) - max(begun, since)) for begun, ended in later)
        return self._total + now - since - known


def _place(point: tuple[int, int] | _Point) -> tuple[int, int]:
    return point[0], point[1]
