"""Data sections, topics and samples for tests with Kafka: small, each field open to change."""

import json
import uuid
from typing import Any

from kafka.broker import Broker
from trainer.data.kafka.arrays import made_up
from trainer.data.kafka.layout import divided
from trainer.data.kafka.publish import Published, Sending, publish
from trainer.experiment.training import Data


def a_data(**fields: Any) -> Data:
    """Three classes of 12 numbers in a topic that need not exist; fields by their YAML names."""
    whole = {
        "source": "kafka",
        "brokers": "127.0.0.1:1",
        "topic": "samples",
        "ranges": ["0:0:99"],
        "window": 12,
        "columns": ["pixel"],
        "task": "Classification",
        "classes": 3,
        "normalize": "None",
        "timeoutSeconds": 60,
    }
    return Data.model_validate_json(json.dumps(whole | fields))


def on(broker: Broker, **fields: Any) -> Data:
    """The same at a broker, in a topic that nobody else uses."""
    return a_data(**({"brokers": broker.address, "topic": f"samples-{uuid.uuid4().hex[:12]}"} | fields))


def published(
    data: Data, *, samples: int = 100, partitions: int = 1, seed: int = 0, replace: bool = False
) -> Published:
    """Made-up samples in the topic of `data`."""
    made = made_up(data, samples, seed)
    counts = divided(samples, partitions)
    return publish(data, made, counts, replace=replace, sending=Sending(), progress=lambda _done, _total: None)


def document(data: Data) -> dict[str, Any]:
    """The `data` section of a training, as a file says it."""
    return data.document(sparse=True)
