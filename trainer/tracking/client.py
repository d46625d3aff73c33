"""The requests of MLflow's REST interface that telling needs, with its limits and its ways to fail.

https://mlflow.org/docs/latest/rest-api.html; the limits are those of `mlflow/utils/validation.py`.
"""

import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, NamedTuple

from trainer.experiment.redact import redacted
from trainer.tracking.address import Address

MOST_PARAM_CHARACTERS = 6000
MOST_TAG_CHARACTERS = 8000
MOST_NAME_CHARACTERS = 250
_MOST_METRICS = 800  # to a request, which may have 1,000 of everything, and up to 100 params and 100 tags
_PAGE = 500  # runs to an answer, of 2 KB each
_POINTS_PAGE = 25_000
_TIMEOUT_SECONDS = 10.0
_MOST_BYTES = 64 * 2**20
_CHUNK_BYTES = 65536
_MOST_WORDS = 200  # characters of what the server says
_OF_ONE_RUN = (400, 404, 409)
_ADVICE = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "see that this user may write there, and that the server's --allowed-hosts has this host",
    404: "see that MLFLOW_TRACKING_URI names an MLflow server",
    429: "it has too much to do; this is tried again",
}


class Point(NamedTuple):
    """A metric's value at a step; milliseconds since 1970."""

    name: str
    value: float
    timestamp: int
    step: int


class Failure(Exception):
    """MLflow did not do what it was asked; a sentence without credentials.

    `code` is the answer's, 0 for none; `retry_after` is after how many seconds it wants to be asked again.
    """

    def __init__(self, why: str, code: int = 0, error: str = "", retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.code = code
        self.error = error
        self.retry_after = retry_after

    @property
    def of_one_run(self) -> bool:
        """Whether what was asked is wrong, so that asking for something else may go well."""
        return self.code in _OF_ONE_RUN and bool(self.error)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take credentials elsewhere, and make a GET of a POST."""

    def redirect_request(self, *_: Any) -> None:
        """None: what redirects is an error."""


class Mlflow:
    """An MLflow server. Any number of threads may ask it; each request has a connection of its own.

    What asks it raises Failure.
    """

    def __init__(self, address: Address, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        context = ssl.create_default_context()
        if address.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._address = address
        self._timeout = timeout_seconds
        self._opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))

    def page(self, experiment: str) -> str:
        """Where the runs of an experiment are looked at: without more, MLflow 3 shows what it has for agents."""
        return f"{self._address.url}/#/experiments/{experiment}/runs?workflowType=machine_learning"

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, which is made where there is none."""
        try:
            found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name})
        except Failure as failure:
            if failure.error != "RESOURCE_DOES_NOT_EXIST":
                raise
            try:
                return _text(self._ask("POST", "experiments/create", {"name": name}), "experiment_id")
            except Failure as second:
                if second.error != "RESOURCE_ALREADY_EXISTS":  # another has made it meanwhile
                    raise
            found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name})
        experiment = _part(found, "experiment")
        if experiment.get("lifecycle_stage") == "deleted":
            raise Failure(
                f"its experiment {name!r} was deleted; restore it in MLflow, or set MLFLOW_EXPERIMENT_NAME to another"
            )
        return _text(experiment, "experiment_id")

    def runs(self, experiment: str, tag: str, value: str) -> Iterator[Mapping[str, Any]]:
        """The runs of an experiment that are not deleted and have a tag, as MLflow describes them."""
        asked: dict[str, Any] = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{tag}` = '{value}'",
            "run_view_type": "ACTIVE_ONLY",
            "max_results": _PAGE,
            "order_by": ["attributes.start_time ASC"],
        }
        while True:
            answer = self._ask("POST", "runs/search", asked)
            yield from _parts(answer, "runs")
            token = answer.get("next_page_token")
            if not token or token == asked.get("page_token"):
                return
            asked["page_token"] = token

    def run(self, run: str) -> Mapping[str, Any]:
        """A run by its id, also one that was deleted."""
        return _part(self._ask("GET", "runs/get", {"run_id": run}), "run")

    def create(self, experiment: str, name: str, started: int, tags: Mapping[str, str]) -> str:
        """Makes a run; gives its id."""
        asked = {
            "experiment_id": experiment,
            "run_name": name,
            "start_time": started,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = _part(self._ask("POST", "runs/create", asked), "run")
        return _text(_part(answer, "info"), "run_id")

    def log(self, run: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Adds all of this to a run, at most 100 params and 100 tags; the tags are written last."""
        parts = list(_cut(points, _MOST_METRICS)) or [()]
        for part in parts[:-1]:
            self._ask("POST", "runs/log-batch", {"run_id": run, "metrics": [_metric(each) for each in part]})
        last: dict[str, Any] = {"run_id": run, "metrics": [_metric(each) for each in parts[-1]]}
        last["params"] = [{"key": key, "value": value} for key, value in params.items()]
        last["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        self._ask("POST", "runs/log-batch", last)

    def end(self, run: str, status: str, ended: int | None) -> None:
        """Sets how a run stands, and when it ended."""
        asked = {"run_id": run, "status": status} | ({} if ended is None else {"end_time": ended})
        self._ask("POST", "runs/update", asked)

    def delete(self, run: str) -> None:
        """Deletes a run; MLflow keeps it among the deleted ones."""
        self._ask("POST", "runs/delete", {"run_id": run})

    def points(self, run: str, name: str) -> Iterator[Point]:
        """All values that a run has of a metric."""
        asked = {"run_id": run, "metric_key": name, "max_results": str(_POINTS_PAGE)}
        while True:
            answer = self._ask("GET", "metrics/get-history", asked)
            for each in _parts(answer, "metrics"):
                try:
                    yield Point(name, float(each["value"]), int(each.get("timestamp", 0)), int(each.get("step", 0)))
                except (KeyError, TypeError, ValueError):
                    raise _nonsense("metrics/get-history") from None
            token = answer.get("next_page_token")
            if not token or token == asked.get("page_token"):
                return
            asked["page_token"] = token

    def _ask(self, method: str, path: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        url, body = f"{self._address.url}/api/2.0/mlflow/{path}", None
        headers = {"Accept": "application/json", "User-Agent": "trialrun"}
        if method == "GET":
            url += "?" + urllib.parse.urlencode(asked)
        else:
            body = json.dumps(asked).encode()
            headers["Content-Type"] = "application/json"
        if self._address.authorization:
            headers["Authorization"] = self._address.authorization
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - http or https alone
        until = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = _read(response, until)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, until, path) from None
        except (OSError, HTTPException, ValueError) as error:
            raise Failure(f"it gave no answer ({self._words(_reason(error))})") from None
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise _nonsense(path)
        return answer

    def _refusal(self, error: urllib.error.HTTPError, until: float, path: str) -> Failure:
        """What an answer comes to that says no."""
        try:
            told = json.loads(_read(error, until))
        except (OSError, HTTPException, ValueError, RecursionError):
            told = None
        said, kind = "", ""
        if isinstance(told, dict) and isinstance(told.get("error_code"), str):
            kind, said = told["error_code"], str(told.get("message", ""))
        if 300 <= error.code < 400:
            return Failure(
                f"it redirects ({error.code}), which is not followed; name in MLFLOW_TRACKING_URI where it leads",
                error.code,
            )
        words = f" ({self._words(said)})" if said else ""
        advice = _ADVICE.get(error.code, "") if error.code != 404 or not kind else ""
        after = error.headers.get("Retry-After") or ""
        return Failure(
            f"it answered {error.code}{words} to {path}" + (f"; {advice}" if advice else ""),
            error.code,
            kind,
            min(float(after), 60.0) if after.isdigit() and after.isascii() else 0.0,
        )

    def _words(self, text: str) -> str:
        """Words of the server's or the system's as a line that may be shown."""
        shown = redacted(self._address.hidden(text[:4096]))
        line = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
        return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]}…"


def _read(response: Any, until: float) -> bytes:
    """The whole body of an answer, which may trickle in.

    Raises:
        OSError: it takes too long, or is too long.
    """
    found, size = [], 0
    while chunk := response.read1(_CHUNK_BYTES):
        found.append(chunk)
        size += len(chunk)
        if time.monotonic() > until:
            raise TimeoutError("its answer takes too long")
        if size > _MOST_BYTES:
            raise OSError(0, f"its answer has more than {_MOST_BYTES >> 20} MiB")
    left = getattr(response, "length", None)
    if left:
        raise OSError(0, "its answer ends too early")
    return b"".join(found)


def _reason(error: Exception) -> str:
    """Why a request got no answer."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, OSError):
        error = inner
    if isinstance(error, TimeoutError):
        return "it takes too long"
    return getattr(error, "strerror", None) or str(inner or error) or type(error).__name__


def _nonsense(path: str) -> Failure:
    return Failure(f"its answer to {path} is none of MLflow's; see that MLFLOW_TRACKING_URI names an MLflow server")


def _metric(point: Point) -> dict[str, Any]:
    # JSON has no NaN; MLflow takes these as text.
    value: float | str = point.value
    if point.value != point.value:
        value = "NaN"
    elif point.value in (float("inf"), float("-inf")):
        value = "Infinity" if point.value > 0 else "-Infinity"
    return {"key": point.name, "value": value, "timestamp": point.timestamp, "step": point.step}


def _cut(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), most):
        yield items[first : first + most]


def _part(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise _nonsense(name)
    return found


def _parts(answer: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    found = answer.get(name, [])  # MLflow leaves out what is empty
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _nonsense(name)
    return found


def _text(answer: Mapping[str, Any], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, str) or not found:
        raise _nonsense(name)
    return found
