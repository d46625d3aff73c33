"""MLflow in memory, with its rules: what was written stays, a parameter can't change, a deleted run takes nothing."""

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.tracking.client import Failure, Point

_NAME = re.compile(r"[/\w.\- :]{1,250}")


class KilledMidway(BaseException):
    """Whoever asked is killed."""


class FakeMlflow:
    """Stands in for `trainer.tracking.client.Mlflow`.

    `fails` says what becomes of the request of a number, counted from 0: an exception, and whether it is raised after
    the request was carried out.
    """

    def __init__(self) -> None:
        self.all: dict[str, dict[str, Any]] = {}
        self.experiments: list[str] = []
        self.fails: dict[int, tuple[BaseException, bool]] = {}
        self.asked: list[str] = []
        self.refuses: str | None = None  # the trial of which nothing is taken
        self.down: Failure | None = None
        self._lock = threading.RLock()

    def page(self, experiment: str) -> str:
        return f"http://mlflow/#/experiments/{experiment}"

    def experiment(self, name: str) -> str:
        with self._request(f"experiment {name}"):
            if name not in self.experiments:
                self.experiments.append(name)
            return str(self.experiments.index(name))

    def runs(self, experiment: str, tag: str, value: str) -> Iterator[Mapping[str, Any]]:
        with self._request("search"):
            found = [
                each
                for each in self.all.values()
                if each["info"]["experiment_id"] == experiment
                and each["info"]["lifecycle_stage"] == "active"
                and each["tags"].get(tag) == value
            ]
            return iter([self._described(each) for each in found])

    def run(self, run: str) -> Mapping[str, Any]:
        with self._request("get"):
            return self._described(self.all[run])

    def create(self, experiment: str, name: str, started: int, tags: Mapping[str, str]) -> str:
        with self._request(f"create {tags['trialrun.trial']}"):
            self._require_taken(tags)
            made = f"{len(self.all):032x}"
            info = {
                "run_id": made, "experiment_id": experiment, "run_name": name, "status": "RUNNING",
                "start_time": started, "lifecycle_stage": "active",
            }  # fmt: skip
            self.all[made] = {"info": info, "tags": dict(tags), "params": {}, "metrics": {}}
            return made

    def log(self, run: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        with self._request("log"):
            found = self._active(run)
            for name, value in params.items():
                if found["params"].setdefault(name, value) != value:
                    raise Failure("changed", 400, "INVALID_PARAMETER_VALUE")
            for point in points:
                assert _NAME.fullmatch(point.name)
                value = "nan" if math.isnan(point.value) else point.value
                found["metrics"][point.name, point.step, value, point.timestamp] = point
            found["tags"] |= tags

    def end(self, run: str, status: str, ended: int | None) -> None:
        with self._request("end"):
            self._active(run)["info"] |= {"status": status} | ({} if ended is None else {"end_time": ended})

    def delete(self, run: str) -> None:
        with self._request("delete"):
            self.all[run]["info"]["lifecycle_stage"] = "deleted"

    def points(self, run: str, name: str) -> Iterator[Point]:
        with self._request("history"):
            return iter([each for each in self.all[run]["metrics"].values() if each.name == name])

    # --- what is there

    def active(self) -> list[dict[str, Any]]:
        """The runs that are not deleted."""
        return [each for each in self.all.values() if each["info"]["lifecycle_stage"] == "active"]

    def by_trial(self) -> dict[str, dict[str, Any]]:
        """The same by trial, of which each must have one."""
        trials = [each["tags"]["trialrun.trial"] for each in self.active()]
        assert len(set(trials)) == len(trials), trials
        return dict(zip(trials, self.active(), strict=True))

    def metrics(self, trial: str) -> dict[str, float]:
        """The last value of each metric, as MLflow sees it."""
        points = sorted(self.by_trial()[trial]["metrics"].values(), key=lambda each: (each.step, each.timestamp))
        return {each.name: each.value for each in points}

    def curve(self, trial: str, name: str) -> list[tuple[int, float]]:
        """The values of a metric by step."""
        points = sorted(self.by_trial()[trial]["metrics"].values(), key=lambda each: (each.step, each.timestamp))
        return [(each.step, each.value) for each in points if each.name == name]

    def _request(self, what: str) -> "_Request":
        with self._lock:
            number = len(self.asked)
            self.asked.append(what)
            if self.down is not None:
                raise self.down
            error, done = self.fails.get(number, (None, False))
            if error is not None and not done:
                raise error
            return _Request(self._lock, error)

    def _active(self, run: str) -> dict[str, Any]:
        found = self.all[run]
        if found["info"]["lifecycle_stage"] != "active":
            raise Failure("it must be active", 400, "INVALID_PARAMETER_VALUE")
        self._require_taken(found["tags"])
        return found

    def _require_taken(self, tags: Mapping[str, str]) -> None:
        if self.refuses is not None and tags["trialrun.trial"] == self.refuses:
            raise Failure("it answered 400 (no)", 400, "INVALID_PARAMETER_VALUE")

    def _described(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        pairs = {
            name: [{"key": key, "value": value} for key, value in found[name].items()] for name in ("tags", "params")
        }
        return {"info": dict(found["info"]), "data": pairs}


class _Request:
    """A request that is carried out; what is raised in its place comes after."""

    def __init__(self, lock: threading.RLock, error: BaseException | None) -> None:
        self._lock = lock
        self._error = error

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: object, *_: object) -> None:
        self._lock.release()
        if kind is None and self._error is not None:
            raise self._error
