"""SampleSource become messages: the other side of `decode`."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.avro import schema_of
from trainer.data.kafka.undecodable import reason_of
from trainer.experiment.training import Data

# Of a number in text: -1.7976931348623157e+308, a comma and a space. In Avro by a schema of the user's it may be a
# long, of up to 10 bytes, in a union.
_BYTES_IN_TEXT, _BYTES_IN_AVRO, _BYTES_AS_FLOAT = 26, 11, 4
_BESIDE = 64 * 1024

Encoder = Callable[[NDArray[np.float32], float, tuple[int, ...]], bytes]


def encoder(data: Data) -> Encoder:
    """What makes a message of a sample's numbers, its label and its shape, in `data.format`.

    JSON gets every digit of each number. DataUnavailable where data.message.avroSchema does not take such a sample.
    """
    if data.format == "JSON":
        return lambda x, label, shape: json.dumps(_record(data, x, label, shape)).encode()
    avro = _avro(data)
    if data.format == "Avro":
        return avro
    envelope = data.message.envelope

    def enclosed(x: NDArray[np.float32], label: float, shape: tuple[int, ...]) -> bytes:
        text = base64.b64encode(avro(x, label, shape)).decode()
        return json.dumps({envelope: {"$binary": {"base64": text, "subType": "00"}}}).encode()

    return enclosed


def largest_message(data: Data) -> int:
    """The most bytes that a message of these samples has: its numbers, and what stands beside them."""
    numbers = data.window * len(data.columns)
    if data.format == "JSON":
        return numbers * _BYTES_IN_TEXT + _BESIDE
    avro = numbers * (_BYTES_AS_FLOAT if data.message.avro_schema is None else _BYTES_IN_AVRO) + _BESIDE
    return avro if data.format == "Avro" else avro * 4 // 3 + _BESIDE


def _record(data: Data, x: NDArray[np.float32], label: float, shape: tuple[int, ...]) -> dict[str, Any]:
    message = data.message
    known = int(label) if data.task == "Classification" else float(label)
    record: dict[str, Any] = {message.data: x.ravel().tolist(), message.label: known}
    if message.preset == "Earlier":
        record |= {message.shape: list(shape), message.meta: ""}
    return record


def _avro(data: Data) -> Encoder:
    import fastavro

    def refused(error: Exception) -> DataUnavailable:
        return DataUnavailable(
            f"data.message.avroSchema: a schema that takes {data.message.data} and {data.message.label} is "
            f"required to publish ({reason_of(error)})"
        )

    try:
        schema = fastavro.parse_schema(schema_of(data.message, data.task))
    except Exception as error:  # fastavro says it in many ways
        raise refused(error) from error

    def encoded(x: NDArray[np.float32], label: float, shape: tuple[int, ...]) -> bytes:
        stream = io.BytesIO()
        try:
            fastavro.schemaless_writer(stream, schema, _record(data, x, label, shape))
        except (ValueError, TypeError, KeyError) as error:
            raise refused(error) from error
        return stream.getvalue()

    return encoded
