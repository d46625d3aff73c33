"""How fast a topic loads, beside a plain loop over `consume()`; and Avro beside a schema parsed for each message.

Both read the same topic of one partition on a broker of their own, from the first fetch until every message is
decoded; consumers are set up and connected before. PYTHONPATH=.:tests python -m benchmarks.kafka
"""

import io
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from benchmarks.timing import in_turn, line, median, ratio
from kafka.broker import Broker
from trainer.data.kafka.arrays import made_up
from trainer.data.kafka.avro import schema_of
from trainer.data.kafka.client import described
from trainer.data.kafka.decode import decoder
from trainer.data.kafka.encode import encoder
from trainer.data.kafka.publish import Sending, publish
from trainer.data.kafka.source import laid_out, share
from trainer.experiment.training import Data
from trainer.machine import cpu_model

ROUNDS = 5
MESSAGES = 2_000
_BATCH = 500


def main() -> None:
    """Prints the ratios for 784 numbers in a message."""
    print(f"{cpu_model()}, {platform.platform()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        broker.start()
        try:
            for form in ("Avro", "JSON"):
                for compression in ("LZ4", "None"):
                    _loading(_data(broker.address, form, compression))
        finally:
            broker.kill()
    _decoding(_data("nowhere", "Avro", "None"))


def _data(brokers: str, form: str, compression: str) -> Data:
    fields = {
        "source": "kafka",
        "brokers": brokers,
        "topic": "bench-{format}-{compression}",
        "ranges": [f"0:0:{MESSAGES - 1}"],
        "split": [{"rate": 1}],
        "format": form,
        "compression": compression,
        "window": 784,
        "columns": ["pixel"],
        "task": "Classification",
        "classes": 10,
    }
    return Data.model_validate_json(json.dumps(fields))


def _loading(data: Data) -> None:
    samples = made_up(data, MESSAGES, 0)
    done = publish(data, samples, [MESSAGES], replace=False, sending=Sending(), progress=lambda _done, _all: None)
    taken = in_turn({"ours": lambda: _ours(data), "plain": lambda: _plain(data)}, ROUNDS)
    print(f"{data.format}, compression {data.compression}: {MESSAGES:,} messages, {done.payload_bytes / 1e6:.1f} MB")
    for name, seconds in taken.items():
        rate = f"{MESSAGES / median(seconds):,.0f}, {done.payload_bytes / 1e6 / median(seconds):,.0f} MB/s"
        line(f"messages/s, {name}", rate)
    line("loading / plain consume loop that decodes", f"{ratio(taken['plain'], taken['ours']):.2f}x", "at least 1.0x")


def _ours(data: Data) -> float:
    layout = laid_out(data)
    with share(data, described(data), layout.segments(layout.share(0, 1)), whole=True) as mine:
        began = time.perf_counter()
        figures = mine.read()
        seconds = time.perf_counter() - began
    assert figures.messages == MESSAGES
    return seconds


def _plain(data: Data) -> float:
    """What people write: consume in batches, decode each message, and stack the rows."""
    settings: dict[str, Any] = {"bootstrap.servers": data.brokers, "group.id": "plain", "enable.auto.commit": False}
    consumer = Consumer(settings)
    schema = fastavro.parse_schema(schema_of(data.message, data.task))
    try:
        consumer.get_watermark_offsets(TopicPartition(data.topic_name, 0), timeout=10)
        began = time.perf_counter()
        consumer.assign([TopicPartition(data.topic_name, 0, 0)])
        rows: list[NDArray[np.float32]] = []
        labels: list[int] = []
        while len(rows) < MESSAGES:
            for message in consumer.consume(_BATCH, timeout=1.0):
                value: Any = message.value()
                record: Any
                if data.format == "JSON":
                    record = json.loads(value)
                else:
                    record = fastavro.schemaless_reader(io.BytesIO(value), schema, None)
                rows.append(np.asarray(record["data"], np.float32))
                labels.append(record["label"])
        assert len(np.stack(rows)) == len(np.array(labels)) == MESSAGES
        return time.perf_counter() - began
    finally:
        consumer.close()


def _decoding(data: Data) -> None:
    encode = encoder(data)
    count = 500
    values = [
        encode(row, label, (28, 28))
        for x, y in made_up(data, count, 0).between(0, count)
        for row, label in zip(x, y.tolist(), strict=True)
    ]
    alternatives: dict[str, Callable[[], float]] = {
        "ours": lambda: _timed(lambda: _decoded(data, values)),
        "schema parsed each time": lambda: _timed(lambda: _parsed_each_time(data, values)),
    }
    taken = in_turn(alternatives, ROUNDS)
    print(f"Decoding Avro: {count} messages of 784 numbers")
    for name, seconds in taken.items():
        line(f"microseconds per message, {name}", f"{1e6 * median(seconds) / count:,.1f}")
    faster = ratio(taken["schema parsed each time"], taken["ours"])
    line("Avro decoding / schema parsed for each message", f"{faster:.0f}x", "at least 3x")


def _decoded(data: Data, values: list[bytes]) -> None:
    by = decoder(data)
    by.decode(values, np.empty((len(values), by.width), np.float32), np.empty(len(values), by.target_dtype))


def _parsed_each_time(data: Data, values: list[bytes]) -> None:
    text = json.dumps(schema_of(data.message, data.task))
    for value in values:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value), fastavro.parse_schema(json.loads(text)), None)
        np.asarray(record["data"], np.float32)


def _timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
