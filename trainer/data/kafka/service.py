"""An export service: publishes a data set to the topic that a request names, and answers with its ranges.

It speaks what `data.export` asks: GET ?collection=…&kafka_brokers=…&send_topic=…, answered by
{"sendTopicStr": …, "offsetsData": ["partition:start:end", …]}. connection_id and mongo_database are not used.
"""

import json
import sys
import threading
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainer.data.kafka.publish import Published, TopicTaken, Unfinished
from trainer.experiment.errors import UserError
from trainer.interrupts import interruptible

# Publishes to these brokers and this topic, which is replaced if the third says so.
Publish = Callable[[str, str, bool], Published]


class Service:
    """One collection that can be asked for. Asked again for the same topic, it answers as before.

    `brokers` are the only ones that it publishes to, None for any.
    """

    def __init__(self, collection: str, brokers: str | None, publish: Publish) -> None:
        self._collection, self._brokers, self._publish = collection, brokers, publish
        self._done: dict[tuple[str, str], Published] = {}
        self._begun: set[tuple[str, str]] = set()
        self._alone = threading.Lock()

    def answer(self, query: dict[str, str]) -> tuple[HTTPStatus, dict[str, Any]]:
        """The status and the document for a request's query."""
        missing = [name for name in ("kafka_brokers", "send_topic") if not query.get(name)]
        if missing:
            return HTTPStatus.BAD_REQUEST, {"error": f"{' and '.join(missing)} must be given, got none"}
        brokers, topic = query["kafka_brokers"], query["send_topic"]
        if self._brokers not in (None, brokers):
            return HTTPStatus.FORBIDDEN, {"error": f"kafka_brokers must be {self._brokers}, got {brokers}"}
        if query.get("collection", self._collection) != self._collection:
            return HTTPStatus.NOT_FOUND, {
                "error": f"collection must be {self._collection}, got {query['collection']}"
            }
        # One at a time: a caller that lost patience asks again while its first request is still at work.
        with self._alone:
            where = brokers, topic
            if where not in self._done:
                try:
                    self._done[where] = self._publish(brokers, topic, where in self._begun)
                except TopicTaken as error:
                    return HTTPStatus.CONFLICT, {"error": str(error)}
                except UserError as error:
                    if isinstance(error, Unfinished):
                        self._begun.add(where)
                    return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)}
            done = self._done[where]
        return HTTPStatus.OK, {"sendTopicStr": done.topic, "offsetsData": list(done.ranges)}


def serve(service: Service, host: str, port: int) -> int:
    """Answers requests until it is interrupted or asked to end. UserError where it cannot listen there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            status, document = service.answer({name: values[-1] for name, values in query.items()})
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"serve-export: {host}:{port} must be free to listen on, got {error}") from error
    server.daemon_threads = True

    with server, suppress(KeyboardInterrupt):
        interruptible()
        print(
            f"serves http://{host}:{server.server_address[1]}/ until it is interrupted", file=sys.stderr, flush=True
        )
        server.serve_forever()
    return 0
