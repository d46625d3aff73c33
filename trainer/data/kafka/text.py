"""JSON messages: an object with a list of numbers, flat or nested, and a label."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from trainer.data.kafka.decode import Decoder
from trainer.data.kafka.undecodable import Undecodable, reason_of, shown
from trainer.experiment.training import Data


def parsed(value: bytes) -> Any:
    """The JSON document of a message, in UTF-8. Raises Undecodable."""
    try:
        # Pydantic's parser: the same values as the standard library's; numbers take it a quarter of the time.
        return from_json(value)
    except ValueError as error:
        raise Undecodable(f"JSON is required, got {len(value)} bytes that are none ({reason_of(error)})") from error


def flat(numbers: Any) -> list[Any]:
    """A list whose members may be lists, without its inner structure."""
    if not isinstance(numbers, list):
        raise Undecodable(f"a list of numbers is required, got {shown(numbers)}")
    members: list[Any] = numbers
    while members and isinstance(members[0], list):
        if not all(isinstance(inner, list) for inner in members):
            raise Undecodable("a list of numbers is required, got lists and numbers mixed")
        members = [number for inner in members for number in inner]
    return members


class JsonDecoder(Decoder):
    """Decodes JSON objects."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        # Takes numbers only, and in half the time that numpy takes for a list.
        self._pack = struct.Struct(f"{self.width}f")

    def _one(self, value: bytes, x: NDArray[np.float32], row: int) -> float:
        record = parsed(value)
        label = self.label(record)
        if self.message.data not in record:
            raise Undecodable(f"a field {self.message.data} is required, got none")
        numbers = flat(record[self.message.data])
        self.check_length(len(numbers))
        try:
            self._pack.pack_into(x[row].data, 0, *numbers)
        except (struct.error, OverflowError) as error:
            raise Undecodable(f"32-bit numbers are required in {self.message.data} ({reason_of(error)})") from error
        return label
