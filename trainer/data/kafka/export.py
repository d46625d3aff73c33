"""Asks the export service to publish a collection, and takes the topic and the ranges it answers with."""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from trainer.data.errors import DataUnavailable
from trainer.experiment.kafka import Export, ranges_problem, topic_problem
from trainer.experiment.training import Data

_FIRST_WAIT_SECONDS = 1.0
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Exported:
    """What the service has published: the topic, and ranges for the workers."""

    topic: str
    ranges: tuple[str, ...]


def exported(data: Data, ranks: int, sleep: Callable[[float], None] = time.sleep) -> Exported:
    """The answer of `data.export`, with at least one range for each of `ranks`.

    A try that gets no answer in time, a refused connection or a 5xx is repeated after 1, 2, 4, … seconds, as often as
    `retries` says. DataUnavailable says what the last one got.
    """
    assert data.export is not None  # noqa: S101
    where = address(data.export, data)
    tries = data.export.retries + 1
    for attempt in range(1, tries + 1):
        try:
            return _checked(_body(where, data.export.timeout_seconds), ranks)
        except _Unanswered as error:
            problem = error
        if attempt < tries:
            sleep(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
    raise DataUnavailable(
        f"data.export: an answer of {data.export.url} within timeoutSeconds = {data.export.timeout_seconds} is "
        f"required, tried {tries} times, got {problem}; start the service, or raise timeoutSeconds or retries"
    )


def address(export: Export, data: Data) -> str:
    """What is asked: the service's address with the query that it takes."""
    asked = {
        "connection_id": export.connection_id,
        "mongo_database": export.mongo_database,
        "collection": export.collection,
        "kafka_brokers": data.brokers,
        "send_topic": data.topic_name,
    }
    query = urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{export.url}{'&' if '?' in export.url else '?'}{query}"


class _Unanswered(Exception):
    """A try that another one may mend."""


def _body(where: str, timeout_seconds: float) -> bytes:
    deadline = time.monotonic() + timeout_seconds
    try:
        with urllib.request.urlopen(where, timeout=timeout_seconds) as answer:  # noqa: S310 - http(s) by its pattern
            if answer.status != HTTPStatus.OK:
                raise _refused(answer.status, answer.reason)
            parts = []
            # The timeout counts anew for each piece; a service that drips must not keep a trial for ever.
            while piece := answer.read1(65_536):
                parts.append(piece)
                if time.monotonic() > deadline:
                    raise _Unanswered("no end of the answer in time")
                if sum(map(len, parts)) > _MOST_BYTES:
                    raise DataUnavailable(
                        f"data.export: an answer of at most {_MOST_BYTES} bytes is required, got more"
                    )
            if answer.length:
                raise _Unanswered(f"an answer that ends {answer.length} bytes early")
            return b"".join(parts)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error.code, error.reason, _reason(error)) from error
    except http.client.InvalidURL as error:
        raise DataUnavailable(f"data.export.url: an address that can be asked is required ({error})") from error
    except http.client.HTTPException as error:
        raise _Unanswered(f"an answer that is no HTTP or not whole ({type(error).__name__})") from error
    except TimeoutError as error:
        raise _Unanswered("no answer in time") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise _Unanswered("no answer in time" if isinstance(reason, TimeoutError) else str(reason)) from error


def _reason(answer: urllib.error.HTTPError) -> str:
    """What the service says is wrong, where it says so as ours does."""
    try:
        return str(json.loads(answer.read(_MOST_BYTES))["error"])[:500]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _refused(status: int, reason: str, error: str = "") -> Exception:
    found = f"HTTP {status} {reason}".rstrip() + (f": {error}" if error else "")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _Unanswered(found)
    return DataUnavailable(f"data.export: the answer 200 is required, got {found}; correct what is asked for")


def _checked(body: bytes, ranks: int) -> Exported:
    try:
        answer: Any = json.loads(body)
        topic, ranges = answer["sendTopicStr"], answer["offsetsData"]
        whole = isinstance(topic, str) and isinstance(ranges, list) and all(isinstance(each, str) for each in ranges)
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise DataUnavailable(
            'data.export: an answer {"sendTopicStr": …, "offsetsData": ["partition:start:end", …]} is required, got '
            f"{body[:80].decode(errors='replace')}"
        )
    if (problem := topic_problem(topic) or ranges_problem(ranges)) is not None:
        raise DataUnavailable(f"data.export: in the service's answer {problem}")
    if len(ranges) < ranks:
        raise DataUnavailable(
            f"data.export: a range for each of {ranks} workers is required, got {len(ranges)}: "
            f"{', '.join(ranges) or 'none'}; let the service export for as many, or use fewer workers"
        )
    return Exported(topic, tuple(ranges))
