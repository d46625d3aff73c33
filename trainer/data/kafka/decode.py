"""Messages become samples: the common part of all formats, and what every message is held to."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.kafka.framing import Framing
from trainer.data.kafka.undecodable import Undecodable, reason_of, shown
from trainer.experiment.training import Data


class Decoder(ABC):
    """Decodes the messages of one format. A message has window × columns numbers and a label."""

    def __init__(self, data: Data) -> None:
        self.message = data.message
        self.width = data.window * len(data.columns)
        self.target_dtype = np.dtype(np.int64 if data.task == "Classification" else np.float32)
        self._window = data.window
        self._framing = Framing()
        self._classes = data.classes if data.task == "Classification" else 0

    def decode(self, values: Sequence[bytes | None], x: NDArray[np.float32], y: NDArray[Any]) -> None:
        """Fills x [k, width] and y [k] from k messages. Raises Undecodable for the first that is not a sample."""
        with np.errstate(over="ignore"):  # what is too large for 32 bits is not finite, and told below
            for row, value in enumerate(values):
                try:
                    if value is None:
                        raise Undecodable("it has no value")
                    y[row] = self._framing.read(value, partial(self._sample, x=x, row=row))
                except Undecodable as error:
                    raise Undecodable(str(error), row) from error
        finite = np.isfinite(x).all(axis=1)
        if self._classes == 0:
            finite &= np.isfinite(y)
        if not finite.all():
            row = int(np.argmin(finite))
            raise Undecodable("finite 32-bit numbers are required, got one that is not", row)

    @property
    def frames(self) -> tuple[bytes | None, ...]:
        """The frames that its messages have: as Framing, of each layer that may have one."""
        return (self._framing.frame,)

    def _sample(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        """`_one`, of which a failure of any kind is Undecodable: foreign bytes make parsers fail in many ways."""
        try:
            return float(self._one(value, x, row))
        except Undecodable:
            raise
        except Exception as error:
            raise Undecodable(f"it cannot be decoded ({reason_of(error)})") from error

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
                raise Undecodable(f"a {self.message.shape} of {self.width} numbers is required, got {shown(shape)}")
        label = record[self.message.label]
        if isinstance(label, bool) or not isinstance(label, int | float):
            raise Undecodable(f"a number is required in {self.message.label}, got {shown(label)}")
        if self._classes and not (0 <= label < self._classes and label == int(label)):
            raise Undecodable(
                f"a class from 0 to {self._classes - 1} is required in {self.message.label}, got {shown(label)}"
            )
        return label


def decoder(data: Data) -> Decoder:
    """The decoder of `data.format`. DataUnavailable where data.message.avroSchema is no schema for it."""
    from trainer.data.kafka.avro import AvroDecoder, EnvelopeDecoder
    from trainer.data.kafka.text import JsonDecoder

    known: dict[str, type[Decoder]] = {"Avro": AvroDecoder, "JSON": JsonDecoder, "AvroInJSON": EnvelopeDecoder}
    return known[data.format](data)
