"""Follows the folder of a run here, and tells MLflow what is new in it. The folder is only read, but for an id."""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer.atomic import write_text
from trainer.experiment.record import Record, decode
from trainer.local.folder import SUMMARY, TRACKING, TRIALS, stored_experiment
from trainer.local.ledger import NAME as LEDGER
from trainer.tracking.client import Mlflow, Point
from trainer.tracking.curves import GrowingCurve, curve
from trainer.tracking.runs import Begun, TrackedRun, of_begun, of_experiment, of_record
from trainer.tracking.teller import Teller, Told, Wanted


class Follower:
    """One run's folder. `name` is that of MLflow's experiment, `origin` are tags that every run gets."""

    def __init__(self, server: Mlflow, folder: Path, name: str, origin: dict[str, str]) -> None:
        self._folder = folder
        self._experiment = stored_experiment(folder)
        self._teller = Teller(server, name, _run_id(folder / TRACKING), origin)
        self._began = _now()
        self._records: dict[str, Record] = {}
        self._read = 0
        self._running: dict[str, Begun] = {}
        self._curves: dict[str, GrowingCurve] = {}
        self._due: set[str] = set()  # trials of which there is something to tell
        self._refused: dict[str, str] = {}
        self.changed = 0

    @property
    def page(self) -> str:
        """Where the experiment is looked at in MLflow; empty where that is not known yet."""
        return self._teller.page

    @property
    def left(self) -> int:
        """How many trials MLflow does not have as they are."""
        return len(self._due) + len(self._refused)

    @property
    def total(self) -> int:
        """How many trials there are to tell of."""
        return len(self._records.keys() | self._running.keys())

    @property
    def refusal(self) -> str:
        """Why MLflow refuses a trial, of the first; empty where it refuses none."""
        return next(iter(self._refused.values()), "")

    def begun(self, begun: Begun) -> None:
        """A trial's attempt has begun."""
        self._running[begun.id] = begun
        self._curves[begun.id] = GrowingCurve(self._folder / TRIALS / begun.id)
        self._due.add(begun.id)

    def look(self, went_well: Callable[[], None]) -> None:
        """Tells what is new, once a trial has begun: a run that has nothing left to do stands as it does.

        Calls `went_well` after each trial.

        Raises:
            Failure: it could not be told; the next look tells it.
        """
        self._take_in()
        for trial, growing in self._curves.items():
            if trial in self._running and growing.grow():
                self._due.add(trial)
        if self._due and self._curves:
            self._tell(self._parent(), [self._wanted(trial) for trial in sorted(self._due)], went_well)

    def finish(self, went_well: Callable[[], None]) -> None:
        """Tells the rest, now that the run is over; of a trial that left no record it was killed.

        Calls `went_well` after each trial.

        Raises:
            Failure: it could not be told; to be called again.
        """
        self._take_in()
        if not (self._records or self._running or self._teller.page):
            return  # nothing was run
        self._due |= self._running.keys()
        over, parent = _now(), self._parent(over=True)
        self._tell(parent, [self._wanted(trial, over) for trial in sorted(self._due)], went_well)
        self._running.clear()
        if self._teller.unsure:
            self._teller.check()
        if self._teller.lacking():
            self._tell(parent, [self._wanted(trial) for trial in self._teller.lacking()], went_well)
        self._teller.end_others(self._records.keys(), over)

    def _take_in(self) -> None:
        """Reads the records that are new."""
        try:
            with (self._folder / LEDGER).open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except OSError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                record = decode(line)
            except ValueError:
                continue  # the runner says so
            known, running = self._records.get(record.id), self._running.get(record.id)
            if known is not None and record.attempt < known.attempt:
                continue
            self._records[record.id] = record
            self._due.add(record.id)
            if running is not None and running.attempt <= record.attempt:
                del self._running[record.id]
                if (running.attempt, running.started) != (record.attempt, record.started_at):
                    del self._curves[record.id]

    def _wanted(self, trial: str, over: int | None = None) -> Wanted:
        """A trial as it is to be told."""
        if (running := self._running.get(trial)) is not None:
            return of_begun(running, self._experiment, over=over), partial(list, self._curves[trial].points)
        record = self._records[trial]
        return of_record(record, self._experiment), partial(self._curve, record)

    def _curve(self, record: Record) -> Sequence[Point]:
        growing = self._curves.get(record.id)
        seen = growing.finish() if growing is not None else []
        return seen or curve(self._folder / TRIALS / record.id, record)

    def _parent(self, *, over: bool = False) -> TrackedRun:
        began = min((each.accepted_at for each in self._records.values() if each.accepted_at), default=self._began)
        if not over:
            return of_experiment(self._experiment, began)
        summary = _summary(self._folder / SUMMARY)
        return of_experiment(
            self._experiment,
            began,
            state=summary.get("state", "Incomplete"),
            ended=max((each.finished_at for each in self._records.values()), default=_now()),
            done=summary.get("counts", {}).get("done", 0),
            best=summary.get("best"),
        )

    def _tell(self, parent: TrackedRun, wanted: Sequence[Wanted], went_well: Callable[[], None]) -> None:
        told: Told = self._teller.tell(parent, wanted, went_well)
        self.changed += told.changed
        self._refused = {trial: why for trial, why in self._refused.items() if trial not in self._due} | told.refused
        for run, _ in wanted:
            self._due.discard(run.trial)
            if run.ended is not None:
                self._curves.pop(run.trial, None)
        self._due.update(self._teller.lacking())


def _run_id(path: Path) -> str:
    """What the folder's runs are known by in MLflow; made up once."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["run"]
        return str(uuid.UUID(found))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        made = str(uuid.uuid4())
        write_text(path, json.dumps({"run": made}) + "\n")
        return made


def _summary(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> int:
    return time.time_ns() // 1_000_000
