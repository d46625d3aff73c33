"""Messages become samples: the common part of all formats, and what every message is held to."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.experiment.record import cut_error
from trainer.experiment.training import Data

_MOST_CHARACTERS = 300
_FRAME = 5  # bytes before a message that a schema registry's serializer wrote: a zero, and the schema's id


class Undecodable(Exception):
    """A message that is not what `data` says; the text says what is wrong with it.

    `row` is its place among those that were decoded together.
    """

    def __init__(self, reason: str, row: int = 0) -> None:
        # A payload that stands in the reason may be large, and not for every log to keep.
        printable = "".join(each if each.isprintable() else "." for each in reason)
        super().__init__(cut_error(printable, _MOST_CHARACTERS))
        self.row = row


class Decoder(ABC):
    """Decodes the messages of one format. A message has window × columns numbers and a label."""

    def __init__(self, data: Data) -> None:
        self.message = data.message
        self.width = data.window * len(data.columns)
        self.target_dtype = np.dtype(np.int64 if data.task == "Classification" else np.float32)
        self._window = data.window
        self._is_framed = False
        self._classes = data.classes if data.task == "Classification" else 0

    def decode(self, values: Sequence[bytes | None], x: NDArray[np.float32], y: NDArray[Any]) -> None:
        """Fills x [k, width] and y [k] from k messages. Raises Undecodable for the first that is not a sample."""
        for row, value in enumerate(values):
            try:
                if value is None:
                    raise Undecodable("it has no value")
                y[row] = self._framed(value, x, row)
            except Undecodable as error:
                raise Undecodable(str(error), row) from error
            # What a foreign producer wrote makes parsers fail in any way.
            except Exception as error:
                raise Undecodable(f"it cannot be decoded ({type(error).__name__}: {error})", row) from error
        finite = np.isfinite(x).all(axis=1)
        if self._classes == 0:
            finite &= np.isfinite(y)
        if not finite.all():
            row = int(np.argmin(finite))
            raise Undecodable("finite 32-bit numbers are required, got one that is not", row)

    def _framed(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        """`_one` of a message with a schema registry's framing, or without.

        Unframed comes first: what is valid as it stands is never read otherwise. Once a message had to be read
        without its frame, the others are tried so first.
        """
        if value[:1] != b"\0" or len(value) <= _FRAME:
            return self._one(value, x, row)
        ways = (value[_FRAME:], value) if self._is_framed else (value, value[_FRAME:])
        try:
            return self._one(ways[0], x, row)
        except Undecodable as first:
            try:
                label = self._one(ways[1], x, row)
            except Undecodable:
                schema = int.from_bytes(value[1:_FRAME], "big")
                raise Undecodable(
                    f"{first} (it begins like a message that a schema registry's serializer wrote with schema "
                    f"{schema}; framed messages are read too, if data.message describes what is in the frame)"
                ) from first
        self._is_framed = not self._is_framed
        return label

    @abstractmethod
    def _one(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        """Fills x[row] and returns the label."""

    def check_length(self, found: int) -> None:
        """Raises Undecodable unless a sample has as many numbers as it must."""
        if found != self.width:
            raise Undecodable(
                f"data.window x data.columns = {self._window} x {self.width // self._window} numbers are required in "
                f"{self.message.data}, got {found}"
            )

    def label(self, record: Any) -> float:
        """The label of a decoded record, checked, and its shape where it has one. Raises Undecodable."""
        if not isinstance(record, dict) or self.message.label not in record:
            raise Undecodable(f"a field {self.message.label} is required, got none")
        if self.message.preset == "Earlier" and isinstance(shape := record.get(self.message.shape), list):
            numbers = [size for size in shape if type(size) is int]
            if len(numbers) < len(shape) or math.prod(numbers) != self.width:
                raise Undecodable(
                    f"a {self.message.shape} of {self.width} numbers is required, got {str(shape)[:80]}"
                )
        label = record[self.message.label]
        if isinstance(label, bool) or not isinstance(label, int | float):
            raise Undecodable(
                f"a number is required in {self.message.label}, got {json.dumps(label, default=str)[:80]}"
            )
        if self._classes and not (0 <= label < self._classes and label == int(label)):
            raise Undecodable(
                f"a class from 0 to {self._classes - 1} is required in {self.message.label}, got {label}"
            )
        return label


def decoder(data: Data) -> Decoder:
    """The decoder of `data.format`. DataUnavailable where data.message.avroSchema is no schema for it."""
    from trainer.data.kafka.avro import AvroDecoder, EnvelopeDecoder
    from trainer.data.kafka.text import JsonDecoder

    known: dict[str, type[Decoder]] = {"Avro": AvroDecoder, "JSON": JsonDecoder, "AvroInJSON": EnvelopeDecoder}
    return known[data.format](data)
