"""Schemaless Avro messages, as bytes or in base64 inside a JSON document: the schema is parsed once.

Avro writes an array of floats as blocks: a count, then the numbers, 4 bytes each in little-endian order, and a count
of 0 at the end. numpy takes these as they are. fastavro decodes the rest of the record, as it stands with the array
left empty, so a message means what fastavro says; equal rests are decoded once.
"""

import base64
import binascii
import io
import json
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.decode import Decoder
from trainer.data.kafka.framing import Framing
from trainer.data.kafka.text import flat, parsed
from trainer.data.kafka.undecodable import Undecodable, reason_of, shown
from trainer.experiment.kafka import Message
from trainer.experiment.training import Data, Task

_MOST_RESTS = 4096
_LONGEST_REST = 1024
_ITEMS: dict[str, np.dtype[Any]] = {"float": np.dtype("<f4"), "double": np.dtype("<f8")}


def schema_of(message: Message, task: Task) -> dict[str, Any]:
    """The Avro schema that messages are written with: the one given, or the one that follows from their parts."""
    if message.avro_schema is not None:
        try:
            given = json.loads(message.avro_schema)
        except ValueError as error:
            raise DataUnavailable(f"data.message.avroSchema: JSON is required ({reason_of(error)})") from error
        if not isinstance(given, dict) or given.get("type") != "record":
            raise DataUnavailable("data.message.avroSchema: a record is required, got something else")
        return given
    fields: list[dict[str, Any]] = [
        {"name": message.data, "type": {"type": "array", "items": "float"}},
        {"name": message.label, "type": "long" if task == "Classification" else "float"},
    ]
    if message.preset == "Earlier":
        fields += [
            {"name": message.shape, "type": {"type": "array", "items": "long"}},
            {"name": message.meta, "type": "string"},
        ]
    return {"type": "record", "name": "Sample", "fields": fields}


class AvroDecoder(Decoder):
    """Decodes Avro records."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        import fastavro

        self._read = fastavro.schemaless_reader
        schema = schema_of(self.message, data.task)
        try:
            self._schema: Any = fastavro.parse_schema(schema)
            names = [field["name"] for field in schema["fields"]]
            place = names.index(self.message.data) if self.message.data in names else len(names)
            # Parsed anew, as parsing notes in a schema that it was.
            before = {**schema, "fields": schema["fields"][:place]}
            self._before: Any = fastavro.parse_schema(before) if place else None
        # fastavro's parser fails in various ways: its own two exceptions are not related.
        except Exception as error:
            raise DataUnavailable(
                f"data.message.avroSchema: an Avro schema is required ({reason_of(error)})"
            ) from error
        if place == len(names):
            raise DataUnavailable(
                f"data.message.avroSchema: a field {self.message.data} is required, as data.message.data says"
            )
        kind = schema["fields"][place]["type"]
        self._item = _ITEMS.get(str(kind.get("items"))) if isinstance(kind, dict) else None
        self._rests: dict[bytes, float] = {}

    def _one(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        try:
            if self._item is None:
                return self._whole(value, x, row)
            rest = self._numbers(value, x, row, self._item)
        except (IndexError, EOFError, ValueError) as error:
            raise _cut(value, reason_of(error)) from error
        label = self._rests.get(rest)
        if label is None:
            label = self.label(self._record(rest))
            if len(rest) <= _LONGEST_REST:
                if len(self._rests) >= _MOST_RESTS:
                    self._rests.clear()
                self._rests[rest] = label
        return label

    def _numbers(self, value: bytes, x: NDArray[np.float32], row: int, item: np.dtype[Any]) -> bytes:
        """Fills x[row] with the array of numbers, and returns the record with an empty one in its place."""
        begin = at = self._begin(value)
        filled = 0
        while True:
            count, at = _long(value, at)
            if count == 0:
                break
            if count < 0:  # then the block's size in bytes follows, which a reader may use to skip it
                count = -count
                _, at = _long(value, at)
            if filled + count > self.width:
                self.check_length(filled + count)
            with np.errstate(over="ignore"):
                x[row, filled : filled + count] = np.frombuffer(value, item, count, at)
            filled += count
            at += count * item.itemsize
        self.check_length(filled)
        return value[:begin] + b"\0" + value[at:]

    def _begin(self, value: bytes) -> int:
        if self._before is None:
            return 0
        stream = io.BytesIO(value)
        try:
            self._read(stream, self._before, None)
        except Exception as error:
            raise _cut(value, reason_of(error)) from error
        return stream.tell()

    def _record(self, value: bytes) -> Any:
        stream = io.BytesIO(value)
        try:
            record = self._read(stream, self._schema, None)
        # Bytes that are not Avro make its reader fail in any way: EOFError, IndexError, UnicodeDecodeError, …
        except Exception as error:
            raise _cut(value, reason_of(error)) from error
        if stream.tell() != len(value):
            raise _cut(value, f"{len(value) - stream.tell()} bytes are left over")
        return record

    def _whole(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        record = self._record(value)
        label = self.label(record)
        numbers = flat(record[self.message.data])
        self.check_length(len(numbers))
        try:
            with np.errstate(over="ignore"):
                x[row] = np.array(numbers, np.float64)
        except (ValueError, TypeError) as error:
            raise Undecodable(f"numbers are required in {self.message.data} ({reason_of(error)})") from error
        return label


class EnvelopeDecoder(AvroDecoder):
    """Decodes JSON documents that hold an Avro record in base64, as MongoDB exports binary values.

    The document and the record may each be framed.
    """

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._inner = Framing()

    @property
    def frames(self) -> tuple[bytes | None, ...]:
        """As Decoder."""
        return (*super().frames, self._inner.frame)

    def _one(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        document = parsed(value)
        field = self.message.envelope
        if not isinstance(document, dict) or field not in document:
            raise Undecodable(f"a field {field} is required, got none")
        held = document[field]
        # {"$binary": {"base64": …, "subType": …}}, and {"$binary": …, "$type": …} as it was before.
        if isinstance(held, dict) and "$binary" in held:
            held = held["$binary"]
            held = held.get("base64") if isinstance(held, dict) else held
        if not isinstance(held, str):
            raise Undecodable(f"text in base64 is required in {field}, got {shown(held)}")
        try:
            inner = base64.b64decode(held, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Undecodable(f"text in base64 is required in {field} ({reason_of(error)})") from error
        return self._inner.read(inner, partial(super()._one, x=x, row=row))


def _long(value: bytes, at: int) -> tuple[int, int]:
    """The zigzag number of variable length at a place, and where it ends. IndexError beyond the last byte."""
    byte = value[at]
    number, shift = byte & 0x7F, 7
    while byte & 0x80:
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
        at += 1
        byte = value[at]
        number |= (byte & 0x7F) << shift
        shift += 7
    return (number >> 1) ^ -(number & 1), at + 1


def _cut(value: bytes, reason: str) -> Undecodable:
    return Undecodable(
        f"an Avro record of data.message's schema is required, got {len(value)} bytes that are none ({reason})"
    )
