"""The frame that a schema registry's serializers put before a message: a zero byte and the schema's id in four bytes.

Messages are read with the schema that `data` gives or implies, framed or not. The messages of a topic must be alike:
all unframed, or all framed with the same schema's id, since another id is another schema.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trainer.data.kafka.undecodable import Undecodable

_FRAME = 5
_LONGEST_FIELD = 2**29 - 1  # the highest number of a field of Protobuf


class Framing:
    """How the messages that came so far are framed. The first tells.

    Where the first is a sample both as it stands and without five bytes, it is unframed: what is valid as it stands
    is never read otherwise.
    """

    def __init__(self) -> None:
        self.frame: bytes | None = None  # empty for messages without one, None before the first

    def read(self, value: bytes, one: Callable[[bytes], float]) -> float:
        """What `one` makes of a message without its frame. Raises Undecodable, also where the others are framed
        otherwise."""
        if self.frame:
            return self._framed(value, one, self.frame)
        try:
            label = one(value)
        except Undecodable as error:
            if not _may_be_framed(value):
                raise
            label = _inside(value, one, error)
            if self.frame is not None:
                raise Undecodable(
                    f"the messages before it are not framed as by a schema registry, this one is ({_named(value)}); "
                    "one topic needs one kind"
                ) from error
            self.frame = value[:_FRAME]
        else:
            self.frame = b""
        return label

    def _framed(self, value: bytes, one: Callable[[bytes], float], frame: bytes) -> float:
        if not value.startswith(frame):
            found = _named(value) if _may_be_framed(value) else "this one is not framed"
            raise Undecodable(
                f"the messages before it are framed by a schema registry ({_named(frame)}), but {found}; one topic "
                "needs one kind"
            )
        try:
            return one(value[_FRAME:])
        except Undecodable as error:
            raise Undecodable(f"framed by a schema registry ({_named(frame)}): {error}") from error


def _inside(value: bytes, one: Callable[[bytes], float], unframed: Undecodable) -> float:
    """What `one` makes of a message without its frame; the error is that of both readings."""
    inside = value[_FRAME:]
    try:
        return one(inside)
    except Undecodable as error:
        raise Undecodable(
            f"it begins as one framed by a schema registry ({_named(value)}){_looks(inside)}, but inside: {error}; "
            f"and as it stands: {unframed}"
        ) from error


def _may_be_framed(value: bytes) -> bool:
    return value[:1] == b"\0" and len(value) > _FRAME


def named(frames: Sequence[bytes | None]) -> str:
    """Frames as an error tells them."""
    framed = [_named(frame) for frame in frames if frame]
    return f"framed by a schema registry ({', '.join(framed)})" if framed else "not framed"


def _named(frame: bytes) -> str:
    return f"schema id {int.from_bytes(frame[1:_FRAME], 'big')}"


def _looks(inside: bytes) -> str:
    """What stands in a frame, where its bytes say so."""
    if inside.lstrip()[:1] in (b"{", b"["):
        return " around what looks like JSON"
    # Protobuf's serializer says first which message of the schema it is: usually the first, one zero byte.
    if inside[:1] == b"\0" and _is_protobuf(inside[1:]):
        return " around what looks like Protobuf, which is not read"
    return ""


def _is_protobuf(value: bytes) -> bool:
    """Whether bytes are fields in Protobuf's encoding, from the first to the last."""
    at: Any = 0
    while at < len(value):
        try:
            key, at = _varint(value, at)
            kind = key & 7
            if not 1 <= key >> 3 <= _LONGEST_FIELD or kind not in (0, 1, 2, 5):
                return False
            if kind == 0:
                _, at = _varint(value, at)
            elif kind == 2:
                size, at = _varint(value, at)
                at += size
            else:
                at += 8 if kind == 1 else 4
        except IndexError:
            return False
    return bool(value) and at == len(value)


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """The number at a place and where it ends. IndexError where it ends too late, or not."""
    number = 0
    for i in range(10):
        number |= (value[at + i] & 0x7F) << 7 * i
        if value[at + i] < 0x80:
            return number, at + i + 1
    raise IndexError(at)
