"""Brings the runs that MLflow has in line with those that it is to have: each once, whatever was killed meanwhile."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from trainer.tracking.client import Failure, Mlflow, Point
from trainer.tracking.runs import ATTEMPT, KILLED, PARENT, RUN, RUNNING, STARTED, TOLD, TRIAL, TrackedRun

_AT_ONCE = 4  # requests
_LARGEST = 1.7976931348623157e308  # stands in MLflow's databases for infinity

# A run to be told, and how its curve is read, which is only done where something of it is missing.
Wanted = tuple[TrackedRun, Callable[[], Sequence[Point]]]


def no_curve() -> Sequence[Point]:
    """The curve of a run of which only final figures are known."""
    return ()


@dataclass
class _There:
    """A run that MLflow has. `points` are None where it is not known which it has."""

    id: str
    attempt: int
    started: int
    status: str
    ended: int | None
    told: str
    parent: str
    points: set[tuple[str, int, float | None]] | None = None
    last: int = 0  # the latest moment of a point
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Told:
    """What came of telling: how many runs are as they should be, how many of them were not before, and refusals."""

    right: int = 0
    changed: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class Teller:
    """Tells of one experiment. `run` is what its runs are known by, of hexadecimal digits and dashes."""

    def __init__(self, server: Mlflow, name: str, run: str, origin: Mapping[str, str] = {}) -> None:
        """`name` is that of MLflow's experiment; `origin` are tags that every run gets."""
        self._server = server
        self._name = name
        self._run = run
        self._origin = dict(origin)
        self._experiment: str | None = None
        self._there: dict[str, _There] | None = None
        self._told: dict[str, int] = {}  # the attempts that were told to their end
        self.unsure = True  # whether another may have made runs since MLflow was asked last
        self.asked = -math.inf  # when that was, by a clock that never goes back

    @property
    def page(self) -> str:
        """Where the runs are looked at; empty where MLflow has none yet, as far as is known."""
        return "" if self._experiment is None or not self._there else self._server.page(self._experiment)

    def forget(self) -> None:
        """What is known of MLflow's runs may be wrong."""
        self._there = None

    def tell(self, parent: TrackedRun, children: Iterable[Wanted], went_well: Callable[[], None]) -> Told:
        """Tells all of these; calls `went_well` after each.

        Raises:
            Failure: MLflow can't be told any more now. All may be told again.
        """
        told = Told()

        def count(trial: str, changed: bool | Failure) -> None:
            if isinstance(changed, Failure):
                told.refused[trial] = str(changed)
            else:
                told.right += 1
                told.changed += changed
                went_well()

        try:
            if self._there is None:
                self._there = self._asked()
            count(*self._tell_one((parent, no_curve)))
            if told.refused:
                raise Failure(told.refused[""])
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                try:
                    wanted = list(children)
                    for (run, _), (trial, changed) in zip(wanted, pool.map(self._tell_one, wanted), strict=True):
                        count(trial, changed)
                        if trial not in told.refused and run.ended is not None:
                            self._told[trial] = run.attempt
                finally:
                    pool.shutdown(cancel_futures=True)
        except Failure:
            self.forget()
            raise
        return told

    def check(self) -> None:
        """Asks MLflow again which runs there are, and deletes those that stand for the same trial as another.

        Raises:
            Failure: it could not be done.
        """
        self.forget()
        self._there = self._asked()

    def lacking(self) -> list[str]:
        """Trials that were told, and that MLflow, as it was asked last, has not or not to their end any more.

        So it is where of two runs the one was deleted that had all.
        """
        if self._there is None:
            return []
        there = self._there
        return [
            trial
            for trial, attempt in self._told.items()
            if (known := there.get(trial)) is None or known.attempt < attempt or not known.told
        ]

    def end_others(self, trials: Collection[str], ended: int) -> None:
        """Ends the runs of other trials that still run as far as MLflow knows: they were killed with what ran them.

        Raises:
            Failure: it could not be done.
        """
        for trial, known in (self._there or {}).items():
            if trial and trial not in trials and known.status == RUNNING:
                self._server.end(known.id, KILLED, ended)
                known.status, known.ended = KILLED, ended

    def _asked(self) -> dict[str, _There]:
        """What MLflow has. Of several runs for one attempt the one whose id comes first stays, whoever decides it."""
        if self._experiment is None:
            self._experiment = self._server.experiment(self._name)
        by_trial: dict[str, list[_There]] = {}
        for found in self._server.runs(self._experiment, RUN, self._run):
            trial, known = _read(found)
            by_trial.setdefault(trial, []).append(known)
        self.asked = time.monotonic()
        kept: dict[str, _There] = {}
        for trial, runs in by_trial.items():
            runs.sort(key=lambda each: (-each.attempt, -each.started, each.id) if trial else (0, 0, each.id))
            kept[trial] = runs[0]
            for other in runs[1:]:
                self._delete(other)
        self.unsure = False
        return kept

    def _tell_one(self, wanted: Wanted) -> tuple[str, bool | Failure]:
        """Tells one run; gives its trial, and whether anything had to be told or why MLflow refuses it."""
        run, curve = wanted
        try:
            try:
                return run.trial, self._bring(run, curve)
            except Failure as failure:
                if not failure.of_one_run:
                    raise
                return run.trial, self._again(run, curve, failure)
        except Failure as failure:
            if not failure.of_one_run:
                raise
            return run.trial, failure

    def _again(self, run: TrackedRun, curve: Callable[[], Sequence[Point]], failure: Failure) -> bool:
        """Tells a run anew that MLflow does not have any more; where it has it, `failure` stands."""
        assert self._there is not None  # noqa: S101 - it was asked
        known = self._there.get(run.trial)
        if known is None:
            raise failure
        try:
            if _part(self._server.run(known.id), "info").get("lifecycle_stage") != "deleted":
                raise failure
        except Failure as second:
            if second.error != "RESOURCE_DOES_NOT_EXIST":
                raise
        del self._there[run.trial]
        return self._bring(run, curve)

    def _bring(self, run: TrackedRun, read_curve: Callable[[], Sequence[Point]]) -> bool:
        """Makes one run what it should be; whether it was not."""
        assert self._there is not None and self._experiment is not None  # noqa: S101, PT018 - it was asked
        known = self._there.get(run.trial)
        if known is not None and run.trial and (known.attempt, known.started) != (run.attempt, run.started):
            if known.attempt > run.attempt:
                return False  # another knows more
            self._delete(known)
            del self._there[run.trial]
            known = None
        parent = self._there[""].id if run.trial else ""
        digest = run.digest if run.ended is not None else ""
        if known is not None and digest and known.told == digest and _stands(known, run, parent):
            return False
        if known is None:
            known = self._created(run, parent)
        points = self._missing(known, run, read_curve())
        params = {name: value for name, value in run.params.items() if known.params.get(name) != value}
        tags = {**run.tags, TOLD: digest} | ({PARENT: parent} if parent else {})
        tags = {name: value for name, value in tags.items() if known.tags.get(name, "") != value}
        if not (points or params or tags) and _stands(known, run, parent):
            return False
        if points or params or tags:
            self._server.log(known.id, points, params, tags)
            known.points = None if known.points is None else known.points | set(map(_key, points))
            known.last = max([known.last, *(each.timestamp for each in points)])
            known.params, known.tags = {**known.params, **params}, {**known.tags, **tags}
            known.parent = parent
        if not _stands(known, run, parent):
            self._server.end(known.id, run.status, run.ended)
            known.status, known.ended = run.status, run.ended
        known.told = digest
        if digest and run.trial:  # the hash says all of it from now on
            known.points, known.params, known.tags = None, {}, {}
        return True

    def _created(self, run: TrackedRun, parent: str) -> _There:
        assert self._there is not None and self._experiment is not None  # noqa: S101, PT018 - it was asked
        tags = self._origin | {
            RUN: self._run,
            TRIAL: run.trial,
            ATTEMPT: str(run.attempt),
            STARTED: str(run.started),
            **run.tags,
        }
        if parent:
            tags[PARENT] = parent
        self.unsure = True
        made = self._server.create(self._experiment, run.name, run.started, tags)
        known = _There(made, run.attempt, run.started, RUNNING, None, "", parent, set(), tags=tags)
        self._there[run.trial] = known
        return known

    def _missing(self, known: _There, run: TrackedRun, curve: Sequence[Point]) -> list[Point]:
        """The points that MLflow lacks of a run: of its curve, and the final ones where that ends otherwise."""
        if known.points is None:
            known.points = set()
            for name in dict.fromkeys([*(each.name for each in curve), *run.metrics]):
                for point in self._server.points(known.id, name):
                    known.points.add(_key(point))
                    known.last = max(known.last, point.timestamp)
        missing = [each for each in curve if _key(each) not in known.points]
        # MLflow takes for a metric's last the value of the highest step, there the latest.
        at = max([run.step, *(each.step for each in curve)])
        moment = max([run.ended or run.started, known.last + 1, *(each.timestamp + 1 for each in curve)])
        final = [Point(name, value, moment, at) for name, value in run.metrics.items()]
        return missing + [each for each in final if _key(each) not in known.points and not _ends(curve, each)]

    def _delete(self, known: _There) -> None:
        try:
            self._server.delete(known.id)
        except Failure as failure:
            if failure.error not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # it is deleted already
                raise


def _ends(curve: Sequence[Point], final: Point) -> bool:
    """Whether a curve ends with a final figure as MLflow sees it."""
    of_name = [each for each in curve if each.name == final.name]
    return bool(of_name) and _key(max(of_name, key=lambda each: (each.step, each.timestamp))) == _key(final)


def _stands(known: _There, run: TrackedRun, parent: str) -> bool:
    same = known.status == run.status and known.parent == parent
    return same and (run.ended is None or known.ended == run.ended)


def _key(point: Point) -> tuple[str, int, float | None]:
    """What makes two points the same to MLflow, whatever their moments."""
    value = None if math.isnan(point.value) else min(max(point.value, -_LARGEST), _LARGEST)
    return point.name, point.step, value


def _read(found: Mapping[str, Any]) -> tuple[str, _There]:
    """The trial of a run, and what is known of it, from what MLflow says.

    Raises:
        Failure: it is none of ours.
    """
    info, data = _part(found, "info"), found.get("data") or {}
    try:
        tags = {each["key"]: each.get("value", "") for each in data.get("tags", [])}
        params = {each["key"]: each.get("value", "") for each in data.get("params", [])}
        ended = info.get("end_time")
        return tags.get(TRIAL, ""), _There(
            id=str(info["run_id"]),
            attempt=int(tags.get(ATTEMPT, 0)),
            started=int(tags.get(STARTED, 0)),
            status=str(info.get("status", RUNNING)),
            ended=None if ended is None else int(ended),
            told=tags.get(TOLD, ""),
            parent=tags.get(PARENT, ""),
            params={} if TOLD in tags else params,
            tags={} if TOLD in tags else tags,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Failure("what it says of a run is none of MLflow's") from None


def _part(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = found.get(name)
    if not isinstance(part, dict):
        raise Failure("what it says of a run is none of MLflow's")
    return part
