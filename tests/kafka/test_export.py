"""The export service is asked once, by rank 0, in time; a real one publishes; what is wrong with others is told."""

import json
import signal
import socket
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.component import free_port
from kafka.broker import Broker
from kafka.builders import a_data, document, on, published
from local.cli import ROOT, command, environment
from train.builders import a_training
from train.ranks import on_ranks, run_all, run_in_haste
from trainer.data.errors import DataUnavailable
from trainer.data.kafka.export import exported
from trainer.data.kafka.publish import Published, TopicTaken, Unfinished
from trainer.data.kafka.service import Service
from trainer.experiment.outcome import Outcome
from trainer.experiment.training import Data

Answer = tuple[int, Any]
HASTE_SECONDS = 10


@contextmanager
def answering(*answers: Answer | None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Gives these answers in turn, the last for ever; None hangs. Its address, and what it was told."""
    asked: list[dict[str, str]] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query)))
            answer = answers[min(len(asked), len(answers)) - 1]
            if answer is None:
                over.wait()
                return
            body = answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests say what they have to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/export/", asked
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def asking(url: str, **fields: Any) -> Data:
    return a_data(ranges=[], export={"url": url, "timeoutSeconds": 1, "retries": 1} | fields)


GOOD = {"sendTopicStr": "samples", "offsetsData": ["0:0:9", "1:0:5833"]}


def test_the_call_is_that_of_the_earlier_system() -> None:
    names = {"connectionId": "5", "mongoDatabase": "digits", "collection": "train & test"}
    with answering((200, GOOD)) as (url, asked):
        found = exported(asking(url, **names), 2)
    assert (found.topic, found.ranges) == ("samples", ("0:0:9", "1:0:5833"))
    assert asked == [
        {
            "connection_id": "5",
            "mongo_database": "digits",
            "collection": "train & test",
            "kafka_brokers": "127.0.0.1:1",
            "send_topic": "samples",
        }
    ]


def test_it_is_asked_again_after_a_failure_and_ever_later() -> None:
    waited: list[float] = []
    with answering((500, {}), (503, {}), (200, GOOD)) as (url, asked):
        assert exported(asking(url, retries=3), 2, waited.append).ranges
    assert (len(asked), waited) == (3, [1.0, 2.0])


REFUSED: dict[str, tuple[Answer | None, str]] = {
    "hangs": (None, "within timeoutSeconds = 1 is required, tried 2 times, got no answer in time"),
    "answers 500": ((500, {}), "tried 2 times, got HTTP 500"),
    "answers 404": ((404, {}), "the answer 200 is required, got HTTP 404"),
    "has too few ranges": ((200, GOOD), "a range for each of 3 workers is required, got 2: 0:0:9, 1:0:5833"),
    "has no ranges": (
        (200, {"sendTopicStr": "t", "offsetsData": []}),
        "a range for each of 3 workers is required, got 0",
    ),
    "has ranges that are none": ((200, {"sendTopicStr": "t", "offsetsData": ["0:1"]}), "partition:start:end"),
    "has ranges that overlap": (
        (200, {"sendTopicStr": "t", "offsetsData": ["0:0:9", "0:9:12"]}),
        "ranges must not share a message",
    ),
    "answers no JSON": ((200, b"<html>"), "an answer .* is required, got <html>"),
    "answers something else": ((200, [1]), "an answer .* is required"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_service_that_does_not_give_what_it_must_is_an_error_in_time(case: str) -> None:
    answer, reason = REFUSED[case]
    with answering(answer) as (url, _), pytest.raises(DataUnavailable, match=reason):
        exported(asking(url), 3, lambda _: None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "an answer that ends 98 bytes early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{}", "not whole .IncompleteRead"),
        (b"220 mail.example ready\r\n", "no HTTP or not whole .BadStatusLine"),
    ],
)
def test_an_answer_that_is_not_whole_is_asked_for_again(said: bytes, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                with server.accept()[0] as caller:
                    caller.recv(65_536)
                    caller.sendall(said)

        peer = threading.Thread(target=serve)
        peer.start()
        with pytest.raises(DataUnavailable, match=f"tried 2 times, got .*{reason}"):
            exported(asking(f"http://127.0.0.1:{server.getsockname()[1]}/"), 1, lambda _: None)
        peer.join()


def test_an_address_that_cannot_be_asked_is_an_error() -> None:
    with pytest.raises(DataUnavailable, match=r"data\.export\.url: an address that can be asked is required"):
        exported(asking("http://127.0.0.1:80a/"), 1, lambda _: None)


def test_a_service_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DataUnavailable, match=r"tried 2 times, got .*refused"):
        exported(asking(f"http://127.0.0.1:{free_port()}/"), 1, lambda _: None)


def test_rank_0_asks_and_the_others_receive(broker: Broker, tmp_path: Path) -> None:
    data = on(broker)
    done = published(data, samples=120, partitions=3)
    with answering((200, {"sendTopicStr": data.topic_name, "offsetsData": list(done.ranges)})) as (url, asked):
        fields = document(data) | {"ranges": [], "topic": "another", "export": {"url": url}}
        reports = on_ranks(3, run_all, [tmp_path], tmp_path, [a_training(data=fields)])
    assert [each.error for rank in reports for each in rank] == ["", "", ""]
    assert len(asked) == 1
    assert reports[0][0].metrics["messages"] == 120


def test_the_others_wait_for_rank_0_for_as_long_as_the_service_takes(broker: Broker, tmp_path: Path) -> None:
    data = on(broker)
    done = published(data, samples=120, partitions=2)
    with answering(None, (200, {"sendTopicStr": data.topic_name, "offsetsData": list(done.ranges)})) as (url, _):
        export = {"url": url, "timeoutSeconds": HASTE_SECONDS + 2}
        fields = document(data) | {"ranges": [], "topic": "another", "export": export}
        reports = on_ranks(2, run_in_haste, tmp_path, tmp_path, a_training(data=fields), HASTE_SECONDS)
    assert [report.error for report in reports] == ["", ""]


def test_what_a_service_failed_to_publish_it_publishes_anew_and_nothing_else() -> None:
    asked: list[bool] = []
    endings: list[Exception] = [
        DataUnavailable("no brokers"),
        Unfinished("half"),
        Unfinished("half"),
        TopicTaken("is there"),
    ]

    def publishes(_brokers: str, _topic: str, replace: bool) -> Published:
        asked.append(replace)
        raise endings[len(asked) - 1]

    service = Service("digits", None, publishes)
    query = {"kafka_brokers": "a:9092", "send_topic": "t"}
    answers = [service.answer(query) for _ in endings]
    assert asked == [False, False, True, True]
    assert [(status.value, document["error"]) for status, document in answers] == [
        (500, "no brokers"), (500, "half"), (500, "half"), (409, "is there")
    ]  # fmt: skip


def test_too_few_ranges_are_the_outcome_of_the_set(broker: Broker, tmp_path: Path) -> None:
    data = on(broker)
    with answering((200, {"sendTopicStr": data.topic_name, "offsetsData": ["0:0:9"]})) as (url, _):
        fields = document(data) | {"ranges": [], "export": {"url": url}}
        reports = on_ranks(2, run_all, [tmp_path], tmp_path, [a_training(data=fields)])
    assert reports[0][0].outcome is Outcome.DATA_UNAVAILABLE
    assert "a range for each of 2 workers is required, got 1" in reports[0][0].error
    assert reports[1][0].lost_peer


@contextmanager
def service(*arguments: str) -> Iterator[str]:
    """`data serve-export` as a process, and its address."""
    with subprocess.Popen(
        command("data", "serve-export", "--port", "0", *arguments),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().split()[1] + "export/"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_training_has_its_data_published_by_the_service(broker: Broker, tmp_path: Path) -> None:
    data = on(broker, window=784, classes=10, format="AvroInJSON")
    with service("--samples", "300", "--ranges", "2", "--format", "AvroInJSON", "--brokers", broker.address) as url:
        export = {"url": url, "collection": "random", "timeoutSeconds": 60}
        fields = document(data) | {"ranges": [], "export": export}
        for attempt in ("first", "again"):  # a second training reads what was published for the first
            (tmp_path / attempt).mkdir()
            reports = on_ranks(2, run_all, [tmp_path / attempt], tmp_path, [a_training(data=fields)])
            assert [each.error for rank in reports for each in rank] == ["", ""]
            assert reports[0][0].metrics["messages"] == 300
        refused = on(broker, ranges=[], export={"url": url, "collection": "others", "retries": 0})
        with pytest.raises(DataUnavailable, match="got HTTP 404"):
            exported(refused, 1)
        taken = on(broker, ranges=[], export={"url": url, "collection": "random"})
        published(taken)
        with pytest.raises(DataUnavailable, match=r"got HTTP 409 Conflict: topic .*: it is there already"):
            exported(taken, 1)
        elsewhere = refused.model_copy(update={"brokers": "127.0.0.1:9"})
        with pytest.raises(DataUnavailable, match="got HTTP 403"):
            exported(elsewhere, 1)


def test_a_service_says_where_it_listens_and_ends_when_it_is_told() -> None:
    with service("--samples", "1") as url:
        assert url.startswith("http://127.0.0.1:")
