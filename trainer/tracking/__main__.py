"""The process that tells MLflow: takes requests on one pipe and answers on another, until the requests end.

`check` and `follow`, `begun` and `finish` are of a run here; `tell` is of an experiment on a cluster, whose records
come with it. When the requests end so does the process: what it knows follows from the ledger and from MLflow.
"""

import getpass
import json
import os
import queue
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.experiment.load import load
from trainer.experiment.record import decode
from trainer.tracking.address import experiment_name, from_environment
from trainer.tracking.client import Failure, Mlflow
from trainer.tracking.runs import Begun, of_experiment, of_record
from trainer.tracking.teller import Teller, no_curve

if TYPE_CHECKING:  # the operator's image has no trainer.local
    from trainer.tracking.follower import Follower

_LOOK_SECONDS = 1.0
_MOST_BACKOFF_SECONDS = 60.0
_SAY_SECONDS = 0.5
_CHECK_SECONDS = 300.0  # between looks for runs that another has made, which MLflow takes seconds to list
_MOST_TELLERS = 64  # of experiments on a cluster whose runs are remembered
_READ_BYTES = 65536


class Backoff:
    """When to try again after failures in a row."""

    def __init__(self) -> None:
        self.until = 0.0
        self._seconds = 1.0

    def failed(self, failure: Failure) -> None:
        """Doubles the wait."""
        self.until = time.monotonic() + max(self._seconds, failure.retry_after)
        self._seconds = min(2 * self._seconds, _MOST_BACKOFF_SECONDS)

    def went_well(self) -> None:
        """There is nothing to wait for."""
        self.until, self._seconds = 0.0, 1.0


class Service:
    """Does what is asked. `answer` takes what is to be said."""

    def __init__(self, server: Mlflow, asked: "queue.Queue[dict[str, Any]]", answer: Callable[..., None]) -> None:
        self._server = server
        self._asked = asked
        self._answer = answer
        self._follower: Follower | None = None
        self._finishing = False
        self._backoff = Backoff()
        self._tellers: OrderedDict[str, Teller] = OrderedDict()
        self._said = 0.0

    def run(self) -> None:
        """Goes on for ever; the reader of the requests ends the process."""
        while True:
            wait = None
            if self._follower is not None:
                wait = max(0.0 if self._finishing else _LOOK_SECONDS, self._backoff.until - time.monotonic())
            with suppress(queue.Empty):
                self.take(self._asked.get(timeout=wait))
                while True:
                    self.take(self._asked.get_nowait())
            if self._follower is not None and time.monotonic() >= self._backoff.until:
                self._go_on(self._follower)

    def take(self, request: dict[str, Any]) -> None:
        """Does what one request asks for."""
        match request.pop("do"):
            case "check":
                self._check(**request)
            case "follow":
                from trainer.tracking.follower import Follower

                name = experiment_name(request["name"])
                self._follower = Follower(self._server, Path(request["folder"]), name, _origin())
            case "begun":
                if self._follower is not None:
                    self._follower.begun(Begun(**request))
            case "finish":
                self._finishing = self._follower is not None
                self._backoff.went_well()  # the runner waits
                if not self._finishing:  # it was ended before it had a folder
                    self._answer(event="finished", left=0, total=0)
            case "tell":
                self._tell(**request)

    def _check(self, name: str) -> None:
        try:
            page = self._server.page(self._server.experiment(experiment_name(name)))
        except Failure as failure:
            self._answer(event="checked", page="", why=str(failure))
        else:
            self._answer(event="checked", page=page, why="")

    def _go_on(self, follower: "Follower") -> None:
        """Tells what is new of a run, or the rest of it."""
        try:
            tell = follower.finish if self._finishing else follower.look
            tell(lambda: self._progress(follower))
        except Failure as failure:
            self._backoff.failed(failure)
            if self._finishing:
                self._answer(event="failed", left=follower.left, total=follower.total, why=str(failure))
            return
        self._backoff.went_well()
        if self._finishing:
            self._finishing, self._follower = False, None
            self._answer(
                event="finished",
                left=follower.left,
                total=follower.total,
                changed=follower.changed,
                page=follower.page,
                why=follower.refusal,
            )

    def _progress(self, follower: "Follower") -> None:
        waited_for = self._finishing or any(each["do"] == "finish" for each in list(self._asked.queue))
        if waited_for and time.monotonic() >= self._said + _SAY_SECONDS:
            self._said = time.monotonic()
            self._answer(event="progress", left=follower.left, total=follower.total)

    def _tell(
        self,
        run: str,
        name: str,
        experiment: dict[str, Any],
        began: int,
        over: Mapping[str, Any] | None,
        records: list[str],
        last: bool,
    ) -> None:
        """Tells of an experiment on a cluster: its run, and some of its records. `last` says that those were all."""
        teller = self._tellers.pop(run, None) or Teller(self._server, name, run, {"mlflow.source.name": "trialrun"})
        self._tellers[run] = teller
        if len(self._tellers) > _MOST_TELLERS:
            self._tellers.popitem(last=False)
        document = load(experiment)
        parent = of_experiment(document, began, **(over or {}))
        wanted = [(of_record(decode(line), document), no_curve) for line in records]
        try:
            told = teller.tell(parent, wanted, lambda: None)
            soon = over is not None or time.monotonic() > teller.asked + _CHECK_SECONDS
            if last and teller.unsure and soon:
                teller.check()
        except Failure as failure:
            self._answer(event="failed", why=str(failure), after=failure.retry_after)
        else:
            self._answer(event="told", changed=told.changed, refused=told.refused, lacking=teller.lacking())


def _origin() -> dict[str, str]:
    """What every run here says of where it comes from, as MLflow's own client does."""
    found = {"mlflow.source.name": "trialrun", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError, ImportError):  # nobody has this number
        found["mlflow.user"] = getpass.getuser()
    return found


def _listen(requests: int, asked: "queue.Queue[dict[str, Any]]") -> None:
    """Takes requests as they come, and ends the process with them: whoever asks must never wait."""
    pending = b""
    while received := os.read(requests, _READ_BYTES):
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            asked.put(json.loads(line))
    os._exit(0)


def main(requests: int, answers: int) -> int:
    """Runs until the requests end."""
    try:
        address = from_environment()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if address is None:
        return 2
    asked: queue.Queue[dict[str, Any]] = queue.Queue()

    def answer(**event: Any) -> None:
        with suppress(BrokenPipeError):
            os.write(answers, json.dumps(event).encode() + b"\n")

    threading.Thread(target=_listen, args=(requests, asked), daemon=True).start()
    try:
        Service(Mlflow(address), asked, answer).run()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # requests that are under way are not waited for
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
