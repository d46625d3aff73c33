"""Messages become samples: the earlier payloads, custom ones, and what is refused; fastavro is the reference."""

import base64
import io
import json
import struct
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka import payloads
from kafka.builders import a_data
from trainer.data.errors import DataUnavailable
from trainer.data.kafka.avro import schema_of
from trainer.data.kafka.checksum import MODULUS, checksum
from trainer.data.kafka.decode import decoder
from trainer.data.kafka.encode import encoder
from trainer.data.kafka.text import parsed
from trainer.data.kafka.undecodable import Undecodable
from trainer.experiment.training import Data

IMAGE = {"window": 784, "classes": 10}


def decoded(data: Data, *values: bytes | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    by = decoder(data)
    x, y = np.empty((len(values), by.width), np.float32), np.empty(len(values), by.target_dtype)
    by.decode(values, x, y)
    return x, y


def written(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return stream.getvalue()


@pytest.mark.parametrize("form", payloads.ALL)
def test_an_image_of_the_earlier_system_decodes_unchanged(form: str) -> None:
    x, y = decoded(a_data(format=form, **IMAGE), payloads.ALL[form])
    assert x[0].tolist() == payloads.NUMBERS
    assert y.tolist() == [payloads.LABEL]


@pytest.mark.parametrize("binary", [
    base64.b64encode(payloads.AVRO).decode(),
    {"$binary": base64.b64encode(payloads.AVRO).decode(), "$type": "00"},
])  # fmt: skip
def test_avro_in_a_document_may_stand_there_in_each_way_that_exports_write_it(binary: object) -> None:
    value = json.dumps({"record": binary}).encode()
    x, y = decoded(a_data(format="AvroInJSON", message={"envelope": "record"}, **IMAGE), value)
    assert (x[0].tolist(), y.tolist()) == (payloads.NUMBERS, [payloads.LABEL])


def test_the_derived_schema_is_that_of_the_earlier_payloads() -> None:
    data = a_data(**IMAGE)
    schema = schema_of(data.message, data.task)
    record = {"data": payloads.NUMBERS, "label": 7, "shape": [28, 28], "meta": payloads.META}
    assert written(schema, record) == payloads.AVRO


@pytest.mark.parametrize("form", payloads.ALL)
@pytest.mark.parametrize("task", ["Classification", "Regression"])
@pytest.mark.parametrize("preset", ["Earlier", "Plain"])
def test_what_is_encoded_decodes_to_the_same_bits(form: str, task: str, preset: str) -> None:
    data = a_data(format=form, task=task, message={"preset": preset, "data": "pixels", "label": "digit"})
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 12)).astype(np.float32)
    y = random.integers(0, 3, 50) if task == "Classification" else random.standard_normal(50).astype(np.float32)
    encode = encoder(data)
    again = decoded(data, *(encode(row, label, (3, 4)) for row, label in zip(x, y.tolist(), strict=True)))
    assert np.array_equal(again[0], x)
    assert np.array_equal(again[1], y)
    assert checksum(*again) == checksum(x, y)


FIELDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "before": ("string", st.text(max_size=10)),
    "number": (["null", "double"], st.none() | st.floats(allow_nan=False)),
    "list": ({"type": "array", "items": "long"}, st.lists(st.integers(-(2**62), 2**62), max_size=4)),
    "bytes": ("bytes", st.binary(max_size=8)),
}


@st.composite
def records(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A schema with the data anywhere among other fields, of 32 or 64 bits or of whole numbers, and records of it."""
    others = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=4))
    items = draw(st.sampled_from(["float", "double", "long", ["float", "long"]]))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = st.integers(-1000, 1000) if items == "long" else numbers
    fields: list[dict[str, Any]] = [{"name": name, "type": FIELDS[name][0]} for name in others]
    fields.insert(draw(st.integers(0, len(fields))), {"name": "data", "type": {"type": "array", "items": items}})
    fields.insert(draw(st.integers(0, len(fields))), {"name": "label", "type": "long"})
    made = []
    for _ in range(draw(st.integers(1, 4))):
        record = {name: draw(FIELDS[name][1]) for name in others}
        record |= {"data": draw(st.lists(values, min_size=12, max_size=12)), "label": draw(st.integers(0, 2))}
        made.append(record)
    return {"type": "record", "name": "Sample", "fields": fields}, made


@given(records())
@settings(max_examples=150)
def test_any_record_decodes_as_fastavro_reads_it(case: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    schema, made = case
    data = a_data(message={"preset": "Plain", "avroSchema": json.dumps(schema)})
    values = [written(schema, record) for record in made]
    x, y = decoded(data, *values)
    parsed = fastavro.parse_schema(schema)
    for row, value in enumerate(values):
        read: Any = fastavro.schemaless_reader(io.BytesIO(value), parsed, None)
        assert x[row].tolist() == np.array(read["data"], np.float64).astype(np.float32).tolist()
        assert y[row] == read["label"]


@given(st.binary(max_size=60) | st.integers(0, 3000).map(lambda end: payloads.AVRO[:end]))
@settings(max_examples=300)
def test_bytes_that_fastavro_cannot_read_are_refused_and_no_others_get_through(value: bytes) -> None:
    data = a_data(window=2)
    try:
        x, y = decoded(data, value)
    except Undecodable:
        return
    stream = io.BytesIO(value)
    read: Any = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema_of(data.message, data.task)), None)
    assert stream.tell() == len(value)
    assert (x[0].tolist(), y[0]) == (read["data"], read["label"])


def test_an_array_may_come_in_several_blocks_with_or_without_their_sizes() -> None:
    numbers = struct.pack("<12f", *range(12))
    # 5 numbers; then -7 and the 28 bytes of 7 numbers; the end.
    value = b"\x0a" + numbers[:20] + b"\x0d\x38" + numbers[20:] + b"\x00" + b"\x02"
    x, y = decoded(a_data(message={"preset": "Plain"}), value)
    assert (x[0].tolist(), y.tolist()) == ([float(i) for i in range(12)], [1])


@given(st.lists(st.floats() | st.integers(-(2**70), 2**70), min_size=1, max_size=20), st.integers(1, 25))
@settings(max_examples=300)
def test_numbers_of_json_are_those_of_the_standard_library(numbers: list[float], digits: int) -> None:
    for text in (json.dumps(numbers), f"[{', '.join(f'{float(number):.{digits}e}' for number in numbers)}]"):
        spelt = text.replace("nan", "NaN").replace("inf", "Infinity")
        assert repr(parsed(spelt.encode())) == repr(json.loads(spelt))


def test_a_nested_list_of_json_counts_as_its_numbers() -> None:
    value = json.dumps({"data": [[1, 2, 3], [4, 5, 6]], "label": 1.0}).encode()
    x, y = decoded(a_data(format="JSON", window=6), value)
    assert (x[0].tolist(), y.tolist()) == ([1, 2, 3, 4, 5, 6], [1])


def a_record(**fields: Any) -> bytes:
    return json.dumps({"data": [0.5] * 12, "label": 1} | fields).encode()


WRONG: dict[str, tuple[str, bytes | None, str]] = {
    "no value": ("JSON", None, "it has no value"),
    "no JSON": ("JSON", b"{", "JSON is required"),
    "no object": ("JSON", b"[1]", "a field label is required"),
    "no data": ("JSON", b'{"label": 1}', "a field data is required"),
    "too few numbers": ("JSON", a_record(data=[1.0]), "12 x 1 numbers are required in data, got 1"),
    "text among numbers": ("JSON", a_record(data=["1"] * 12), "32-bit numbers are required in data"),
    "a hole": ("JSON", a_record(data=[None] * 12), "32-bit numbers are required in data"),
    "a number that is none": ("JSON", a_record(data=[float("nan")] * 12), "finite 32-bit numbers are required"),
    "a number too large": ("JSON", a_record(data=[1e300] * 12), "32-bit numbers are required"),
    "a class too high": ("JSON", a_record(label=3), "a class from 0 to 2 is required in label, got 3"),
    "half a class": ("JSON", a_record(label=0.5), "a class from 0 to 2 is required in label, got 0.5"),
    "a word for a class": ("JSON", a_record(label="one"), 'a number is required in label, got "one"'),
    "another shape": ("JSON", a_record(shape=[3, 3]), r"a shape of 12 numbers is required, got \[3, 3\]"),
    "cut off": ("Avro", b"\x18" + bytes(20), "an Avro record of data.message's schema is required"),
    "an image": ("Avro", payloads.AVRO, "12 x 1 numbers are required in data, got 784"),
    "JSON as Avro": ("Avro", payloads.JSON, "required"),
    "Avro as JSON": ("JSON", payloads.AVRO, "JSON is required"),
    "no base64": ("AvroInJSON", b'{"payload": "&"}', "text in base64 is required in payload"),
    "no payload": ("AvroInJSON", b"{}", "a field payload is required"),
    "a number for a payload": ("AvroInJSON", b'{"payload": 1}', "text in base64 is required in payload, got 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_message_that_is_no_sample_is_refused_with_its_place_and_reason(case: str) -> None:
    form, value, reason = WRONG[case]
    data = a_data(format=form)
    good = encoder(data)(np.zeros(12, np.float32), 1, (12,))
    with pytest.raises(Undecodable, match=reason) as refusal:
        decoded(data, good, good, value, good)
    assert refusal.value.row == 2


def test_bytes_left_over_are_refused() -> None:
    data = a_data()
    with pytest.raises(Undecodable, match="1 bytes are left over"):
        decoded(data, encoder(data)(np.zeros(12, np.float32), 1, (12,)) + b"\0")


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{", "JSON is required"),
        ('"string"', "a record is required"),
        (
            '{"type": "record", "name": "S", "fields": [{"name": "label", "type": "long"}]}',
            "a field data is required",
        ),
        (
            '{"type": "record", "name": "S", "fields": [{"name": "data", "type": "what"}]}',
            "an Avro schema is required",
        ),
        ('{"type": "record"}', "an Avro schema is required"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: str, reason: str) -> None:
    with pytest.raises(DataUnavailable, match=f"data.message.avroSchema: {reason}"):
        decoder(a_data(message={"avroSchema": schema}))


def test_the_checksum_tells_samples_apart_but_not_their_order() -> None:
    random = np.random.default_rng(1)
    x, y = random.random((100, 12), np.float32), random.integers(0, 3, 100)
    whole = checksum(x, y)
    turn = random.permutation(100)
    assert checksum(x[turn], y[turn]) == whole
    assert (checksum(x[:40], y[:40]) + checksum(x[40:], y[40:])) % MODULUS == whole
    assert float(whole) == whole < MODULUS
    others = [checksum(x[:-1], y[:-1]), checksum(np.nextafter(x, np.float32(2)), y), checksum(x, (y + 1) % 3)]
    assert whole not in others


def framed(value: bytes, schema: int = 42) -> bytes:
    """A message as a schema registry's serializer writes it."""
    return b"\0" + struct.pack(">I", schema) + value


def avro_in_json(record: bytes) -> bytes:
    return json.dumps({"payload": base64.b64encode(record).decode()}).encode()


FRAMED = {
    "Avro": ("Avro", framed(payloads.AVRO)),
    "JSON": ("JSON", framed(payloads.JSON)),
    "a document": ("AvroInJSON", framed(payloads.AVRO_IN_JSON)),
    "a record in a document": ("AvroInJSON", avro_in_json(framed(payloads.AVRO))),
    "both": ("AvroInJSON", framed(avro_in_json(framed(payloads.AVRO, 7)))),
}


@pytest.mark.parametrize("case", FRAMED)
def test_messages_framed_by_a_schema_registry_decode_as_without(case: str) -> None:
    form, value = FRAMED[case]
    x, y = decoded(a_data(format=form, **IMAGE), value, value)
    assert x.tolist() == [payloads.NUMBERS] * 2
    assert y.tolist() == [payloads.LABEL] * 2


@pytest.mark.parametrize("schema", [0, 1, 42, 2**31, 2**32 - 1])
def test_any_schema_id_may_stand_in_the_frame(schema: int) -> None:
    assert decoded(a_data(**IMAGE), framed(payloads.AVRO, schema))[1].tolist() == [payloads.LABEL]


MIXED = {
    "framed after unframed": (("", "42"), r"before it are not framed .* this one is \(schema id 42\)"),
    "unframed after framed": (("42", ""), r"before it are framed .*\(schema id 42\), but this one is not framed"),
    "another schema": (("42", "43"), r"before it are framed .*\(schema id 42\), but schema id 43"),
    "long after the first": (("42",) * 9 + ("1",), r"\(schema id 42\), but schema id 1;"),
}


@pytest.mark.parametrize("form", payloads.ALL)
@pytest.mark.parametrize("case", MIXED)
def test_messages_that_are_framed_differently_are_refused_at_the_first_that_is(case: str, form: str) -> None:
    ids, reason = MIXED[case]
    values = [framed(payloads.ALL[form], int(each)) if each else payloads.ALL[form] for each in ids]
    with pytest.raises(Undecodable, match=reason) as refused:
        decoded(a_data(format=form, **IMAGE), *values)
    assert refused.value.row == len(values) - 1


# Two fields as Protobuf writes them, a text and a number, after the index of the message in its schema.
PROTOBUF = b"\0\x0a\x03abc\x10\x07"


FOREIGN = {
    "JSON": (payloads.JSON, r"\(schema id 42\) around what looks like JSON, but inside: "),
    "Protobuf": (PROTOBUF, r"\(schema id 42\) around what looks like Protobuf, which is not read, but inside: "),
    "of another schema": (b"\x02\x08other", r"\(schema id 42\), but inside: .*; and as it stands: "),
    "cut off": (payloads.AVRO[:50], r"\(schema id 42\), but inside: .*; and as it stands: "),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_frame_around_something_else_is_named_with_its_schema(case: str) -> None:
    inside, what = FOREIGN[case]
    with pytest.raises(Undecodable, match="begins as one framed by a schema registry " + what):
        decoded(a_data(**IMAGE), framed(inside))


def by_label_first() -> tuple[Data, dict[str, Any]]:
    """Samples whose label comes first: those of class 0 begin as a frame does."""
    fields = [{"name": "y", "type": "long"}, {"name": "x", "type": {"type": "array", "items": "float"}}]
    schema = {"type": "record", "name": "Sample", "fields": fields}
    return a_data(message={"preset": "Plain", "data": "x", "label": "y", "avroSchema": json.dumps(schema)}), schema


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=6),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=12, max_size=12),
)
@settings(max_examples=100)
def test_unframed_records_that_begin_like_a_frame_are_read_as_they_stand(labels: list[int], x: list[float]) -> None:
    data, schema = by_label_first()
    plain = [written(schema, {"y": label, "x": x}) for label in labels]
    for values in (plain, [framed(each) for each in plain]):
        numbers, found = decoded(data, *values)
        assert found.tolist() == labels
        assert numbers.tolist() == [x] * len(labels)


HUGE = "s3cret " * 100_000
BAD = {
    "JSON text": ("JSON", HUGE.encode()),
    "JSON data": ("JSON", json.dumps({"data": HUGE, "label": 1}).encode()),
    "JSON label": ("JSON", json.dumps({"data": [0.0] * 784, "label": HUGE}).encode()),
    "JSON numbers": ("JSON", json.dumps({"data": [HUGE] * 784, "label": 1}).encode()),
    "JSON mixed": ("JSON", json.dumps({"data": [[HUGE], 1], "label": 1}).encode()),
    "JSON shape": ("JSON", json.dumps({"data": [0.0] * 783, "label": 1, "shape": [HUGE] * 9}).encode()),
    "JSON deep": ("JSON", b"[" * 100_000),
    "JSON long number": ("JSON", json.dumps({"data": [0.0] * 784, "label": 0}).encode()[:-2] + b"9" * 4000 + b"}"),
    "JSON longer number": (
        "JSON",
        json.dumps({"data": [0.0] * 784, "label": 0}).encode()[:-2] + b"9" * 60_000 + b"}",
    ),
    "JSON control characters": ("JSON", json.dumps({"data": "\x1b[2J" * 9999, "label": 1}).encode()),
    "Avro framed": ("Avro", b"\0\0\0\0\x2a" + HUGE.encode()),
    "Avro": ("Avro", HUGE.encode()),
    "envelope": ("AvroInJSON", json.dumps({"data": HUGE}).encode()),
    "envelope's binary": ("AvroInJSON", json.dumps({"data": {"$binary": {"base64": HUGE}}}).encode()),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("preset", ["Earlier", "Plain"])
def test_an_error_is_short_and_printable_whatever_the_message_holds(case: str, preset: str) -> None:
    form, value = BAD[case]
    with pytest.raises(Undecodable) as refused:
        decoded(a_data(format=form, message={"preset": preset}, **IMAGE), value)
    assert len(str(refused.value)) <= 300
    assert str(refused.value).isprintable()
    assert str(refused.value).count("s3cret") * len("s3cret ") <= 80


TEXTS = json.dumps({"type": "record", "name": "S", "fields": [
    {"name": "label", "type": "long"}, {"name": "data", "type": {"type": "array", "items": "string"}}
]})  # fmt: skip


def test_texts_in_place_of_numbers_of_avro_are_not_repeated() -> None:
    data = a_data(message={"preset": "Plain", "avroSchema": TEXTS})
    with pytest.raises(Undecodable, match="numbers are required in data") as refused:
        decoded(data, written(json.loads(TEXTS), {"label": 1, "data": [HUGE] * 12}))
    assert str(refused.value).count("s3cret") * len("s3cret ") <= 80


def test_an_error_of_publishing_repeats_no_sample() -> None:
    data = a_data(window=10_000, message={"preset": "Plain", "avroSchema": TEXTS})
    with pytest.raises(DataUnavailable, match="a schema that takes data and label is required to publish") as refused:
        encoder(data)(np.zeros(10_000, np.float32), 1, (10_000,))
    assert len(str(refused.value)) < 300


SCHEMAS = [None, TEXTS, json.dumps({"type": "record", "name": "S", "fields": [
    {"name": "note", "type": ["null", "string"]},
    {"name": "data", "type": {"type": "array", "items": ["float", "long"]}},
    {"name": "label", "type": ["double", "long", "string"]},
]})]  # fmt: skip


@given(
    st.sampled_from(sorted(payloads.ALL)),
    st.sampled_from(SCHEMAS),
    st.sampled_from(["Classification", "Regression"]),
    st.data(),
)
@settings(max_examples=400)
def test_whatever_bytes_come_they_are_samples_or_refused_in_a_sentence(
    form: str, schema: str | None, task: str, data: st.DataObject
) -> None:
    """Payloads of each format with bytes changed, cut, framed and put together, and bytes that are none."""
    value = bytearray(data.draw(st.sampled_from([*payloads.ALL.values(), framed(payloads.AVRO), framed(PROTOBUF)])))
    for at in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=6)):
        value[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 40))
    message = data.draw(st.sampled_from([bytes(value), bytes(value[cut:]), bytes(value[:cut]), bytes(value) * 2])
                        | st.binary(max_size=60))  # fmt: skip
    settled = {"preset": "Plain", "avroSchema": schema} if schema else {}
    wanted = a_data(format=form, task=task, message=settled, **IMAGE)
    reason = ""
    try:
        x, y = decoded(wanted, message)
    except Undecodable as refused:
        reason = str(refused)
        x, y = np.zeros(1), np.zeros(1)
    assert len(reason) <= 300
    assert reason.isprintable()
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
