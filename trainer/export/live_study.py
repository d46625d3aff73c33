"""Optuna's dashboard on a run's folder: a storage that follows the ledger, and that nobody can write to."""

import copy
import json
import sys
import threading
import time
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from bottle import Bottle, HTTPResponse, request
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import wsgi

from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.export.run import Curves, Run
from trainer.export.study import Study, studies
from trainer.interrupts import interruptible
from trainer.local.folder import EXPERIMENT, stored_experiment
from trainer.local.ledger import NAME, RUNGS, SUGGESTIONS, read_entries

_HOST = "127.0.0.1"
_OUR_NAMES = (_HOST, "localhost")  # a page of elsewhere, whose name leads here, asks for that name
_LOOK_SECONDS = 1.0
_STUDY = "/api/studies/<study_id:int>"


class FollowingStorage(InMemoryStorage):
    """The studies of a run's folder, read anew when the folder has changed; it never writes there."""

    def __init__(self, folder: Path) -> None:
        """Reads the folder.

        Raises:
            UserError: it holds no run of a search, or its ledger can't be read.
        """
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of each study that is made
        self._folder = folder
        self._curves = Curves(folder, ours=stored_experiment(folder).spec.program is None)
        self._reading = threading.Lock()
        self._entries, self._stamp = Entries(), list[Any]()
        self._ids: dict[str, int] = {}
        self._found: dict[int, Study] = {}
        self._bests: dict[int, FrozenTrial] = {}
        self._told = ""
        self._read()
        self._looked = time.monotonic()

    def study(self, study_id: int) -> Study:
        """A study as it stands.

        Raises:
            KeyError: there is none of that id.
        """
        self._look()
        return self._found[study_id]

    def get_all_studies(self) -> list[Any]:
        """All studies, as Optuna has them."""
        self._look()
        found: list[Any] = super().get_all_studies()
        return found

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of a study as they stand, or those in some states."""
        found = [each for each in self.study(study_id).trials if states is None or each.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial by its id.

        Raises:
            KeyError: there is none of that id.
        """
        for study in self._found.values():
            for trial in study.trials:
                if trial._trial_id == trial_id:
                    return trial
        raise KeyError(trial_id)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best trial of those that break no constraint; where each breaks one, of all.

        The dashboard asks by trials that it read seconds ago: of a run started anew, the best of before is told.

        Raises:
            ValueError: none has been complete.
        """
        study = self.study(study_id)
        best = study.best_trial or study.best_measured or self._bests.get(study_id)
        if best is None:
            raise ValueError("No trials are completed yet.")
        self._bests[study_id] = best
        return best

    def _look(self) -> None:
        """Reads the folder again, if the last look is a while ago."""
        with self._reading:
            if time.monotonic() - self._looked < _LOOK_SECONDS:
                return
            try:
                self._read()
            except UserError as error:  # as while the run is started anew: what was read last is shown meanwhile
                if str(error) != self._told:
                    print(f"dashboard: {error}", file=sys.stderr, flush=True)
                self._told = str(error)
            self._looked = time.monotonic()

    def _read(self) -> None:
        stamp = [_stamp(self._folder / name) for name in (EXPERIMENT, NAME, SUGGESTIONS, RUNGS)]
        left = any(not trial.state.is_finished() for study in self._found.values() for trial in study.trials)
        if stamp == self._stamp and not left:
            return
        if stamp != self._stamp:
            self._entries = read_entries(self._folder)
        experiment = stored_experiment(self._folder)
        found = {
            self._id(study.name, study.direction): study
            for study in studies(Run(experiment, self._entries, self._curves))
        }
        for identity, study in found.items():
            for key, value in study.user_attrs.items():
                self.set_study_user_attr(identity, key, value)
            for key, value in study.system_attrs.items():
                self.set_study_system_attr(identity, key, value)
        gone = {identity: replace(study, trials=()) for identity, study in self._found.items()}
        self._found, self._stamp = gone | found, stamp

    def _id(self, name: str, direction: StudyDirection) -> int:
        """The id of a study, which it keeps."""
        if name not in self._ids:
            self._ids[name] = self.create_new_study([direction], name)
        return self._ids[name]


def application(storage: FollowingStorage) -> Bottle:
    """Optuna's dashboard over a storage that it may read only, with the importances of the run's summary."""
    app = wsgi(storage)
    app.add_hook("before_request", _refuse_others)
    # A route of a rule that there is takes its place. The dashboard's own takes the best tenth of however few trials.
    app.get(f"{_STUDY}/param_importances")(lambda study_id: _importances(storage.study(study_id)))
    app.install(_NoBest(storage))
    return app


def serve(storage: FollowingStorage, port: int) -> None:
    """Serves the dashboard on this machine alone until it is interrupted or asked to end; says its address.

    Raises:
        UserError: it can't listen there.
    """
    try:
        server = make_server(_HOST, port, application(storage), server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UserError(
            f"--port: {port} must be free on {_HOST} to listen on ({error.strerror}); name another, or 0 for any"
        ) from error

    with server, suppress(KeyboardInterrupt):
        interruptible()
        print(f"serves http://{_HOST}:{server.server_port}/ until it is interrupted", file=sys.stderr, flush=True)
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing of each request."""


class _NoBest:
    """A plugin of Bottle's: a study each of whose trials breaks a constraint has no best, and none is shown."""

    name, api = "no-best", 2

    def __init__(self, storage: FollowingStorage) -> None:
        self._storage = storage

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        """What answers a route."""
        if route.rule != _STUDY or route.method != "GET":
            return callback

        def answer(study_id: int) -> Any:
            found = callback(study_id=study_id)
            if isinstance(found, dict) and self._storage.study(study_id).best_trial is None:
                found["best_trials"] = []
            return found

        return answer


def _refuse_others() -> None:
    """Refuses what would change something, and pages of elsewhere."""
    if request.urlparts.hostname not in _OUR_NAMES:
        raise _refusal("the dashboard is for this machine alone")
    if request.method not in ("GET", "HEAD"):
        raise _refusal("the dashboard shows a run, and changes nothing")


def _refusal(reason: str) -> HTTPResponse:
    return HTTPResponse(json.dumps({"reason": reason}), status=403, headers={"Content-Type": "application/json"})


def _importances(study: Study) -> dict[str, Any]:
    """What Optuna's dashboard asks for, one list for each objective."""
    kinds = {name: type(by).__name__ for trial in study.trials for name, by in trial.distributions.items()}
    shares = [
        {"name": name, "importance": share, "distribution": kinds[name]}
        for name, share in study.importance.items()
        if name in kinds
    ]
    return {"param_importances": [shares]}


def _stamp(path: Path) -> tuple[int, int] | None:
    """By what a file is known to have changed; None of one that isn't there."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size
