"""The parts of `data` that only a Kafka source has: ranges of offsets, a split, messages, an export service."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from trainer.experiment.section import ELSEWHERE, OFFSETS, URL, Section, Text

Format = Literal["Avro", "JSON", "AvroInJSON"]
Compression = Literal["None", "Gzip", "Snappy", "LZ4", "Zstd"]

# What may stand in a topic's name for the field of that name.
_PLACEHOLDERS = frozenset({"format", "compression"})
# Settings of librdkafka that may be passed on: how to reach a broker and to prove who asks.
_PASSED_ON = ("security.protocol", "sasl.", "ssl.", "enable.ssl.", "client.id", "client.rack", "socket.", "broker.")
# Among these, what loads a library or becomes part of a command (kinit), which no experiment file may ask for.
_REFUSED = ("sasl.kerberos.", "ssl.engine", "ssl.providers")
_SECRET = re.compile(r"(password|passphrase|secret|key\.pem)$")


@dataclass(frozen=True)
class OffsetRange:
    """Messages of one partition from offset `start` to `end`, both included."""

    partition: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start + 1

    def __str__(self) -> str:
        return f"{self.partition}:{self.start}:{self.end}"


def offset_range(text: str) -> OffsetRange:
    """The range that `partition:start:end` names.

    Raises:
        ValueError: it is none, or it ends before it starts.
    """
    if re.fullmatch(OFFSETS, text) is None:
        raise ValueError(f"must be partition:start:end, such as 0:0:19999, got {text}")
    found = OffsetRange(*map(int, text.split(":")))
    if found.start > found.end:
        raise ValueError(f"must not end before it starts (the end is included), got {text}")
    return found


def overlap(ranges: Iterable[OffsetRange]) -> tuple[OffsetRange, OffsetRange] | None:
    """Two ranges that share a message, if there are any."""
    ordered = sorted(ranges, key=lambda each: (each.partition, each.start))
    for one, next_one in pairwise(ordered):
        if one.partition == next_one.partition and next_one.start <= one.end:
            return one, next_one
    return None


class SplitPart(Section):
    """One of the parts that each range is split into, in order of offset."""

    rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Its share of each range; the last part may leave it out and has what is left of 1."
    )
    fillup: bool = Field(
        False,
        description="It takes what the other parts leave when their shares are rounded (halves up); "
        "the first part where none says so.",
    )


def rates(parts: Sequence[SplitPart]) -> tuple[Decimal, ...]:
    """The rate of each part, exactly as written."""
    known = [Decimal(repr(part.rate)) for part in parts if part.rate is not None]
    return (*known, 1 - sum(known, Decimal(0))) if len(known) < len(parts) else tuple(known)


class Message(Section):
    """What a message looks like. The defaults are those of the earlier systems."""

    preset: Literal["Earlier", "Plain"] = Field(
        "Earlier", description="Earlier has data, label, shape and meta; Plain only data and label."
    )
    data: Text = Field("data", description="The field with the sample's numbers.")
    label: Text = Field("label", description="The field with its class or number.")
    shape: Text = Field("shape", description="The field with the sample's shape (Earlier).")
    meta: Text = Field("meta", description="A text that is not read (Earlier).")
    envelope: Text = Field(
        "payload", description="The field of a JSON document that holds Avro in base64 (AvroInJSON)."
    )
    avro_schema: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None,
        description="The Avro schema that messages were written with, as JSON; by default it follows from these.",
    )

    def disagreement(self) -> str | None:
        """Each part of a message has a name of its own."""
        names = [self.data, self.label, *((self.shape, self.meta) if self.preset == "Earlier" else ())]
        twice = next((name for name in names if names.count(name) > 1), None)
        return None if twice is None else f"its fields must have different names, got {twice} twice"


class Export(Section):
    """A service that publishes a collection to the topic and answers with a range for each worker."""

    url: Annotated[str, Field(pattern=URL, max_length=1024)] = Field(
        description="What is asked, by GET, such as http://exporter:8080/export/."
    )
    connection_id: Text | None = Field(None, description="Sent as connection_id.")
    mongo_database: Text | None = Field(None, description="Sent as mongo_database.")
    collection: Text | None = Field(None, description="Sent as collection.")
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        60, description="How long each try may take; the service publishes before it answers."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = Field(
        3, description="Tries after a first that got no answer or a 5xx, 1, 2, 4 … s apart."
    )


# Names of settings as librdkafka spells them.
Settings = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=1024)]],
    Field(max_length=32),
]
Secrets = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64)],
        Annotated[str, Field(pattern=ELSEWHERE, max_length=1024)],
    ],
    Field(max_length=8),
]


def topic_problem(topic: str) -> str | None:
    """What is wrong with a topic's name, which may have {format} and {compression} in it."""
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", topic) if name not in _PLACEHOLDERS]
    plain = re.sub(r"\{(format|compression)\}", "", topic)
    if unknown or re.fullmatch(r"[A-Za-z0-9._-]*", plain) is None:
        return f"topic must be letters, digits, '.', '_', '-', {{format}} and {{compression}}, got {topic}"
    return None


def ranges_problem(texts: Sequence[str]) -> str | None:
    """What is wrong with ranges: the first that is none, or two that share a message."""
    try:
        found = [offset_range(text) for text in texts]
    except ValueError as error:
        return f"each of ranges {error}"
    if (both := overlap(found)) is not None:
        return f"ranges must not share a message, got {both[0]} and {both[1]}"
    return None


def split_problem(parts: Sequence[SplitPart]) -> str | None:
    """What is wrong with the parts of a split."""
    if any(part.rate is None for part in parts[:-1]):
        return "only the last of split may leave out its rate"
    if sum(part.fillup for part in parts) > 1:
        return "only one of split may have fillup, got more"
    if not parts:
        return None
    whole = rates(parts)
    if sum(whole) != 1 or min(whole) < 0:
        return f"the rates of split must add up to 1, got {sum(rate for rate in whole if rate >= 0)}"
    return None if whole[0] > 0 else "the first of split is what is trained on and needs a rate above 0, got 0"


def client_problem(client: dict[str, str], secrets: dict[str, str]) -> str | None:
    """What is wrong with the settings of a client: not to be passed on, or a secret in the open."""
    for name in (*client, *secrets):
        if not name.startswith(_PASSED_ON) or name.startswith(_REFUSED):
            return f"client may hold security.protocol and what begins with sasl. and ssl., got {name}"
    for name in client:
        if _SECRET.search(name):
            return (
                f"{name} is a secret and belongs into clientSecrets, as env:VARIABLE or file:PATH, got it in client"
            )
    twice = next((name for name in secrets if name in client), None)
    return None if twice is None else f"client and clientSecrets must not both have {twice}, got both"
