"""A search as a study of Optuna's: its trials, and the SQLite file that `optuna.load_study` opens.

A trial of the study is a point: of several repeats the mean counts. Points that may not be
ranked together are not in one study, so that what a study says is best is what the search's summary says.
"""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from trainer.atomic import replace
from trainer.experiment import moments
from trainer.experiment.best import Points, Ranking, direction, objective_value, rank
from trainer.experiment.caveats import caveats
from trainer.experiment.comparable import Fields, Group, comparable, contents
from trainer.experiment.constraints import violations
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial, by_point
from trainer.experiment.learnt import FEWEST_POINTS, best_of, importance
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import NAIVE, Record
from trainer.experiment.redact import redacted
from trainer.experiment.space import whole_numbers
from trainer.experiment.spec import HyperparamSearch, Parameter, Range, Scalar, SearchSpec
from trainer.export.run import Run

_OURS = int.from_bytes(b"Trlr")  # the application_id of a file that was written here; its user_version counts trials
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# As Optuna spells them. A list is how it kept constraints before version 5: Optuna and its dashboard both read it.
_CONSTRAINTS, _METRIC_NAMES = "constraints", "study:metric_names"


@dataclass(frozen=True)
class Study:
    """Points of a search that may be ranked together, as Optuna has them; `importance` is the summary's."""

    name: str
    direction: StudyDirection
    trials: tuple[FrozenTrial, ...]
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any]
    importance: Mapping[str, float]

    @cached_property
    def best_trial(self) -> FrozenTrial | None:
        """The best of those that break no constraint, the first of equals; None where there is none."""
        return self._best(trial for trial in self.trials if all(each <= 0 for each in trial.constraints.values()))

    @cached_property
    def best_measured(self) -> FrozenTrial | None:
        """The best of all, whatever they break; None where none was measured."""
        return self._best(self.trials)

    def _best(self, trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
        sign = 1 if self.direction is StudyDirection.MINIMIZE else -1
        measured = (trial for trial in trials if trial.state is TrialState.COMPLETE)
        return min(measured, key=lambda trial: (sign * trial.value, trial.number), default=None)


def studies(run: Run) -> list[Study]:
    """The studies of a search: one under its name or, where trials were validated on different samples, several.

    Then each group has a study of its own, named after what sets it apart, and the one under the search's name holds
    the points that belong to none.

    Raises:
        UserError: it is a scale test.
    """
    search = run.experiment
    if not isinstance(search, HyperparamSearch):
        raise UserError(
            f"{search.name}: must be a HyperparamSearch, whose trials have an objective, got a {search.kind}; "
            "--csv and --parquet have its cells"
        )
    objective, constraints = search.spec.objective, search.spec.constraints
    by_id = {trial.id: trial for trial in run.trials}
    first = contents((by_id[record.id], record) for record in run.attempts)
    measured = {
        identity: record
        for identity, record in run.records.items()
        if objective_value(record, objective.metric) is not None
    }
    groups = comparable(objective.metric, run.trials, measured, first).groups
    whole = rank(objective, run.trials, run.records, first, constraints)
    points, made = by_point(run.trials), _Trials(run, search)
    if len(groups) < 2:
        return [made.study(search.name, points, whole, caveats(search, whole))]
    found = []
    for name, part in _parts(search.name, points, groups).items():
        members = [trial for trials in part.values() for trial in trials]
        ranking = rank(objective, members, run.records, first, constraints)
        about = whole if name == search.name else ranking
        found.append(made.study(name, part, ranking, caveats(search, about)))
    return found


def write_studies(path: Path, found: Sequence[Study]) -> None:
    """Writes the studies into an SQLite file, which `sqlite:///` and its path name to Optuna.

    Raises:
        OSError: it can't be written; then the file is as it was.
        UserError: there is no room where temporary files go.
    """
    # Optuna's storage makes the tables, under a name of ours: braces and "?" mean something to it. Its own way to add
    # a trial asks the database about every attribute of it, which takes minutes with thousands of trials.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "study.db")
        try:
            RDBStorage(f"sqlite:///{file}").engine.dispose()
            with closing(sqlite3.connect(file)) as database, database:
                database.execute(f"PRAGMA application_id = {_OURS}")
                database.execute(f"PRAGMA user_version = {sum(len(study.trials) for study in found)}")
                for number, study in enumerate(found, 1):
                    _insert(database, number, study)
        except (sqlite3.OperationalError, SQLAlchemyError) as error:
            raise UserError(
                f"{path}: cannot be written: its database is made in {tempfile.gettempdir()} first, and {error}; "
                "make room there, or set TMPDIR to another folder"
            ) from error
        with replace(path) as temporary:
            shutil.copyfile(file, temporary)


def is_study(path: Path) -> bool:
    """Whether a file was written here, and nobody has added trials to it since."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            (made_by,) = database.execute("PRAGMA application_id").fetchone()
            (written,) = database.execute("PRAGMA user_version").fetchone()
            return bool(made_by == _OURS and database.execute("SELECT count(*) FROM trials").fetchone() == (written,))
    except sqlite3.DatabaseError:
        return False


_Part = dict[int, list[Trial]]


def _parts(search: str, points: Mapping[int, list[Trial]], groups: Sequence[Group]) -> dict[str, _Part]:
    """The points of each study by its name: first those that belong to no group, then those of each group.

    A point that was not measured belongs where its parameters put it, as far as they tell.
    """
    names: dict[str, Fields] = {}
    of_point: dict[int, str] = {}
    for number, group in enumerate(groups, 1):
        name = f"{search} {', '.join(f'{path}={value}' for path, value in group.fields)}"
        if not group.fields or name in names:
            name = f"{search} set {number}"
        names[name] = group.fields
        of_point |= {trial.point: name for trial in group.trials}
    parts: dict[str, _Part] = {name: {} for name in (search, *names)}
    for point, trials in points.items():
        alike = (
            name
            for name, fields in names.items()
            if fields and all(trials[0].parameters.get(path) == value for path, value in fields)
        )
        parts[of_point.get(point) or next(alike, search)][point] = trials
    return parts


class _Trials:
    """Makes Optuna's trials of a search's points."""

    def __init__(self, run: Run, search: HyperparamSearch) -> None:
        self._run, self._search = run, search
        self._metric = search.spec.objective.metric
        self._distributions = {each.name: distribution(search.spec, each) for each in search.spec.parameters}
        self._made = 0

    def study(
        self, name: str, points: Mapping[int, Sequence[Trial]], ranking: Ranking, remarks: Iterable[str]
    ) -> Study:
        """The study of some points, of which `ranking` says what each came to."""
        measured, spec = ranking.points, self._search.spec
        other = {trial.point for trial in ranking.other}
        means = {} if measured is None else measured.means
        trials = [
            self._trial(number, repeats, means.get(point), point in other)
            for number, (point, repeats) in enumerate(points.items())
        ]
        shares = {} if measured is None else importance(spec, measured)
        about = {
            "experiment": self._search.name,
            "repeats": spec.repeats,
            "importance": shares,
            "importanceQuantile": _quantile(measured),
            "caveats": list(remarks),
        }
        way = StudyDirection.MINIMIZE if direction(spec.objective) == "Minimize" else StudyDirection.MAXIMIZE
        return Study(name, way, tuple(trials), about, {_METRIC_NAMES: [self._metric]}, shares)

    def _trial(self, number: int, repeats: Sequence[Trial], mean: float | None, other: bool) -> FrozenTrial:
        records = [record for trial in repeats if (record := self._run.records.get(trial.id)) is not None]
        ended = len(records) == len(repeats) and all(record.final for record in records)
        starts = [record.started_at for record in records]
        if not starts:
            starts = [begun for trial in repeats if (begun := self._run.curves.begun(trial)) is not None]
        began = min(starts, default=None)
        state = _state(records, mean, ended=ended, began=began is not None)
        told = self._intermediate_values(repeats)
        value = mean
        if state is TrialState.PRUNED and told:
            value = told[max(told)]
        broken = state is TrialState.COMPLETE and bool(self._search.spec.constraints)
        self._made += 1
        return FrozenTrial(
            number=number,
            trial_id=self._made,
            state=state,
            value=value,
            datetime_start=None if state is TrialState.WAITING else _local(began or 0),
            datetime_complete=_local(max(record.finished_at for record in records)) if ended else None,
            params=dict(repeats[0].parameters),
            distributions={name: self._distributions[name] for name in repeats[0].parameters},
            user_attrs=dict(self._about(repeats, records, other=other)),
            system_attrs={_CONSTRAINTS: list(violations(self._search.spec.constraints, records))} if broken else {},
            intermediate_values=told,
        )

    def _about(
        self, repeats: Sequence[Trial], records: Sequence[Record], *, other: bool
    ) -> Iterator[tuple[str, Any]]:
        """What Optuna has no place of its own for, by the names that the table has."""
        yield "index", repeats[0].index
        yield "id", repeats[0].id
        if not records:
            return
        worst = next((record for record in records if record.outcome is not Outcome.SUCCEEDED), records[0])
        yield "outcome", str(worst.outcome)
        if worst.error:
            yield "error", redacted(worst.error)
        if other:
            yield "leftOut", "it rests on other content than the first trial: data, inputs or code"
        if len(repeats) > 1:
            yield "repeats", len(records)
            found = [value for record in records if (value := objective_value(record, self._metric)) is not None]
            if len(found) > 1:
                yield "deviation", moments.deviation(found)
        yield "attempt", max(record.attempt for record in records)
        for name in records[0].metrics:
            values = [record.metrics[name] for record in records if name in record.metrics]
            if name != self._metric and len(values) == len(records) and not name.startswith(NAIVE):
                yield f"metrics.{name}", _mean(values)
        yield "seconds.total", _mean([record.seconds.total for record in records])
        peaks = [peak for record in records if (peak := record.counted_peak) is not None]
        if peaks:
            yield "peakMemoryBytes", max(peaks)

    def _intermediate_values(self, repeats: Sequence[Trial]) -> dict[int, float]:
        """The objective by step: of several repeats the mean, at the steps that all of them told."""
        told = [
            {each.step: each.metrics[self._metric] for each in self._run.steps(trial) if self._metric in each.metrics}
            for trial in repeats
        ]
        return {step: _mean([each[step] for each in told]) for step in told[0] if all(step in each for each in told)}


def distribution(spec: SearchSpec, parameter: Parameter) -> BaseDistribution:
    """What Optuna would draw a parameter from."""
    interval = parameter.range
    if interval is None:
        return CategoricalDistribution(parameter.choices)
    log = interval.scale == "Log"
    if (whole := whole_numbers(spec, parameter)) is not None:
        return IntDistribution(*whole, log=log)
    if interval.step is None:
        return FloatDistribution(interval.min, interval.max, log=log)
    if all(float(each).is_integer() for each in (interval.min, interval.max, interval.step)):
        return IntDistribution(int(interval.min), int(interval.max), step=int(interval.step))
    return FloatDistribution(interval.min, interval.max, step=interval.step if _divides(interval) else None)


def _divides(interval: Range) -> bool:
    """Whether a step leads from one end of a range to the other by its decimal digits, as Optuna demands."""
    low, high, step = (Decimal(str(each)) for each in (interval.min, interval.max, interval.step))
    return (high - low) % step == 0


def _quantile(points: Points | None) -> float | None:
    """The share of the points that importance takes for the best of them: `target_quantile` of Optuna's evaluator."""
    count = 0 if points is None else len(points.means)
    return best_of(count) / count if count >= FEWEST_POINTS else None


def _state(records: Sequence[Record], mean: float | None, *, ended: bool, began: bool) -> TrialState:
    if mean is not None:
        return TrialState.COMPLETE
    if not ended:
        return TrialState.RUNNING if began else TrialState.WAITING
    outcomes = {record.outcome for record in records}
    stopped = Outcome.STOPPED in outcomes and outcomes <= {Outcome.STOPPED, Outcome.SUCCEEDED}
    return TrialState.PRUNED if stopped else TrialState.FAIL


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else moments.mean(values)


def _local(milliseconds: int) -> datetime:
    """A moment as Optuna has it in memory: local, without a zone."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone().replace(tzinfo=None)


def _internal(by: BaseDistribution, value: Scalar) -> float:
    """A parameter's value as a database has it: of a choice which one. Optuna's own way takes true for 1."""
    if not isinstance(by, CategoricalDistribution):
        return float(by.to_internal_repr(value))
    return float(next(i for i, each in enumerate(by.choices) if each == value and type(each) is type(value)))


def _stored(moment: datetime | None) -> str | None:
    """A moment as Optuna has it in a database: of UTC, without a zone."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def _insert(database: sqlite3.Connection, number: int, study: Study) -> None:
    """Puts a study into tables that Optuna has made."""

    def put(table: str, fields: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * (fields.count(",") + 1))
        database.executemany(f"INSERT INTO {table} ({fields}) VALUES ({marks})", rows)  # noqa: S608 - names are ours

    put("studies", "study_id, study_name", [(number, study.name)])
    put("study_directions", "study_id, objective, direction", [(number, 0, study.direction.name)])
    for table, attributes in (
        ("study_user_attributes", study.user_attrs),
        ("study_system_attributes", study.system_attrs),
    ):
        rows = ((number, key, json.dumps(value)) for key, value in attributes.items())
        put(table, "study_id, key, value_json", rows)
    trials = study.trials
    put(
        "trials",
        "trial_id, number, study_id, state, datetime_start, datetime_complete",
        (
            (
                trial._trial_id,
                trial.number,
                number,
                trial.state.name,
                _stored(trial.datetime_start),
                _stored(trial.datetime_complete),
            )
            for trial in trials
        ),
    )
    spelt = {name: distribution_to_json(by) for trial in trials for name, by in trial.distributions.items()}
    put(
        "trial_params",
        "trial_id, param_name, param_value, distribution_json",
        (
            (trial._trial_id, name, _internal(trial.distributions[name], value), spelt[name])
            for trial in trials
            for name, value in trial.params.items()
        ),
    )
    put(
        "trial_values",
        "trial_id, objective, value, value_type",
        ((trial._trial_id, 0, trial.value, "FINITE") for trial in trials if trial.value is not None),
    )
    put(
        "trial_intermediate_values",
        "trial_id, step, intermediate_value, intermediate_value_type",
        (
            (trial._trial_id, step, value, "FINITE")
            for trial in trials
            for step, value in trial.intermediate_values.items()
        ),
    )
    for table, name in (("trial_user_attributes", "user_attrs"), ("trial_system_attributes", "system_attrs")):
        rows = (
            (trial._trial_id, key, json.dumps(value))
            for trial in trials
            for key, value in getattr(trial, name).items()
        )
        put(table, "trial_id, key, value_json", rows)
