"""Reading YAML as kubectl does.

What kubectl makes of each text was taken from kubectl 1.34 (`kubectl annotate --local -o json`) and from the module
it reads with, sigs.k8s.io/yaml 1.6.0.
"""

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.yaml_text import MAX_BYTES, parse, plain_scalar

SCALARS: dict[str, Any] = {
    # floats, whole ones come back from the API server as integers
    "1e-4": 0.0001, "1e-5": 0.00001, "1E-6": 0.000001, "1e6": 1_000_000, ".1e1": 1, "1.": 1, "1.e5": 100_000,
    "-0.0": 0, "-.0": 0, "+.5": 0.5, "-.5e1": -5, "12e03": 12_000, "-2E+05": -200_000, "4.9e-324": 5e-324,
    "1e-400": 0, "00.5": 0.5, "01.5": 1.5, "08": 8, "09": 9, "+09": 9, "0888": 888, "0778": 778,
    # integers
    "0": 0, "-0": 0, "+0": 0, "00": 0, "+1": 1, "017": 15, "0o17": 15, "0O17": 15, "-017": -15, "-0o17": -15,
    "0x1F": 31, "0X1F": 31, "+0x1f": 31, "-0x1F": -31, "0b11": 3, "0B11": 3, "-0b11": -3, "0777": 511,
    "9007199254740993": 9007199254740993, "18446744073709551615": 2**64 - 1, "0xFFFFFFFFFFFFFFFF": 2**64 - 1,
    "-9223372036854775808": -(2**63), "18446744073709551616": 2.0**64, "-9223372036854775809": -(2.0**63),
    # underscores
    "1_000": 1000, "1__0": 10, "1_": 1, "-_1": -1, "0x_1": 1, "0o_1": 1, "0_7": 7, "0_8": 8, "1_0.5": 10.5,
    "1_e_2": 100, "1e5_0": 1e50, ".1_0": 0.1, ".1e1_0": 1e9, "+.1_0": 0.1,
    "_1": "_1", "._1": "._1", ".1__0": ".1__0", ".1_": ".1_", ".1_e1": ".1_e1",
    # text that PyYAML, or a reader, may take for something else
    "1:30": "1:30", "190:20:30": "190:20:30", "2024-01-01": "2024-01-01", "02:30:00": "02:30:00",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "0x": "0x", "0b": "0b", "0o8": "0o8", "0b2": "0b2", "0x1g": "0x1g", "0x1p-2": "0x1p-2", "1e": "1e",
    "1e+": "1e+", "e1": "e1", ".e1": ".e1", "+": "+", ".": ".", "..": "..", "--": "--", "1.2.3": "1.2.3",
    "1-2": "1-2", "1,000": "1,000", "1d": "1d", "1f": "1f", "=": "=", "<<": "<<", "1 e-4": "1 e-4", "1 2": "1 2",
    "1e400": "1e400", "-1e400": "-1e400", "1.7976931348623159e308": "1.7976931348623159e308",
    "0xFFFFFFFFFFFFFFFFF": "0xFFFFFFFFFFFFFFFFF", "-0xFFFFFFFFFFFFFFFF": "-0xFFFFFFFFFFFFFFFF",
    "nan": "nan", "NaN": "NaN", "inf": "inf", "Infinity": "Infinity", "+Inf": "+Inf", "nUll": "nUll", "tRUE": "tRUE",
    "٣": "٣", "1٣": "1٣", "０": "０", "²": "²",
    # words
    "y": True, "Y": True, "yes": True, "Yes": True, "on": True, "On": True, "true": True, "TRUE": True,
    "n": False, "N": False, "no": False, "off": False, "OFF": False, "false": False,
    "~": None, "null": None, "Null": None, "NULL": None, "": None,
    # quotes and tags
    '"1"': "1", "'1e-4'": "1e-4", '"yes"': "yes", '""': "", "'it''s'": "it's", r'"\x41\u263A"': "A☺", r'"\0"': "\0",
    "! 12": "12", "!": "", "!!str 1": "1", "!!str yes": "yes", "!!str ~": "~", "!!str": "", "!!int '1'": 1,
    "!!int 0x1F": 31, "!!float 1": 1, "!!float '1e-4'": 0.0001, "!!float 0x10": 16, "!!bool yes": True,
    "!!bool 'true'": True, "!!null ''": None, "!!null": None, "!<tag:yaml.org,2002:int> '3'": 3,
    # what stands around a scalar
    "\t1": 1, "1\t": 1, "b # c": "b", "b#c": "b#c", "http://x": "http://x", "x\u00a0y": "x\u00a0y",
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=map(repr, SCALARS))
def test_a_scalar_means_what_kubectl_makes_of_it(text: str, value: Any) -> None:
    found = parse(f"a: {text}")["a"]
    assert found == value
    # A bool is an int to Python, and 1.0 a 1 to the API server.
    assert isinstance(found, bool) == isinstance(value, bool)


@pytest.mark.parametrize(("text", "sign"), [(".inf", 1), ("+.Inf", 1), ("-.INF", -1), ("!!float .inf", 1)])
def test_infinity_is_read_so_that_load_can_refuse_it_by_its_path(text: str, sign: int) -> None:
    assert parse(f"a: {text}") == {"a": sign * math.inf}


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_nan_is_read_so_that_load_can_refuse_it_by_its_path(text: str) -> None:
    assert math.isnan(parse(f"a: {text}")["a"])


STRUCTURES: dict[str, Any] = {
    "a: {<<: {b: 1}, c: 2}": {"a": {"b": 1, "c": 2}},
    "a: {<<: [{b: 1}, {b: 2, c: 3}]}": {"a": {"b": 1, "c": 3}},
    "x: &x {b: 1, d: 4}\na:\n  <<: *x\n  b: 2": {"x": {"b": 1, "d": 4}, "a": {"b": 2, "d": 4}},
    "a: {<<: {b: 1}, <<: {c: 1}}": {"a": {"b": 1, "c": 1}},
    'a: {"<<": {b: 1}}': {"a": {"<<": {"b": 1}}},
    "a: &x 1\nb: *x": {"a": 1, "b": 1},
    "a: &x 1\nb: &x 2\nc: *x": {"a": 1, "b": 2, "c": 2},
    "&x a: 1\nb: *x": {"a": 1, "b": "a"},
    "a: &x !!str 1\nb: *x": {"a": "1", "b": "1"},
    "2024-01-01: 2": {"2024-01-01": 2},
    "a: {b, c: }": {"a": {"b": None, "c": None}},
    "a: [a: 1]": {"a": [{"a": 1}]},
    "{a:1}": {"a:1": None},
    "? a\n: b": {"a": "b"},
    "a:\n- b\n- c": {"a": ["b", "c"]},
    "a: [1,\t2]": {"a": [1, 2]},
    "a: |\n  x\n  y\n": {"a": "x\ny\n"},
    "a: >-\n  x\n\n  y": {"a": "x\ny"},
    "a: !!map {b: 1}\nc: !!seq [1]": {"a": {"b": 1}, "c": [1]},
    "\ufeffa: 1": {"a": 1},
    "a:\r\n  b: 1\r\n": {"a": {"b": 1}},
    "%YAML 1.1\n---\na: 1": {"a": 1},
    "---\na: 1\n...\n": {"a": 1},
    "a: 1\n---\n# nothing more": {"a": 1},
    "--- {a: 1}": {"a": 1},
    '{"a": [1, {"b": null}]}': {"a": [1, {"b": None}]},
}


@pytest.mark.parametrize(("text", "value"), STRUCTURES.items(), ids=map(repr, STRUCTURES))
def test_a_structure_means_what_kubectl_makes_of_it(text: str, value: Any) -> None:
    assert parse(text) == value


REFUSED: dict[str, str] = {
    # no YAML for kubectl either
    "a: [1,2": "',' or ']' while parsing a flow sequence, begun in line 1",
    "a:\n\tb: 1": "not YAML: line 2, column 1: found character that cannot start any token",
    "\ta: 1": "line 1, column 1: found character",
    "a: x: y": "line 1, column 5: mapping values are not allowed",
    "a: @x": "cannot start any token",
    "a: *b": "line 1, column 4: no anchor &b stands before the alias",
    "a: &a [*a]": "line 1, column 8: the anchor &a contains itself",
    "a: &a {b: *a}": "the anchor &a contains itself",
    "a: &x 1\n---\nb: *x": "line 3, column 4: no anchor &x",
    "a: {<<: 1}": "<< must merge a mapping or a list of mappings",
    "a: {<<: [1]}": "<< must merge a mapping or a list of mappings",
    "a: x\0y": "not YAML: the character 0x00 at offset 4 is not allowed",
    "a: \x07": "not YAML: the character 0x07 at offset 3 is not allowed",
    "a: \ud800": "not YAML: the character 0xd800 at offset 3 is not allowed",
    "%YAML 1.2\n---\na: 1": "kubectl reads YAML 1.1 only",
    "null: 2": "a key must be text, got null",
    ": 2": "did not find expected key",
    "{a: 1}: 2": "a key must be text, got dict",
    "? [a]\n: 2": "a key must be text, got list",
    "a: !!int 1.0": "'1.0' cannot have the tag !!int",
    "a: !!bool 1": "'1' cannot have the tag !!bool",
    "a: !!float x": "'x' cannot have the tag !!float",
    "a: !!null x": "'x' cannot have the tag !!null",
    # kubectl would guess, or drop something
    "a: 1\na: 2": "line 2, column 1: the key 'a' stands twice in one mapping",
    "a: {b: 1, b: 2}": "line 1, column 11: the key 'b' stands twice",
    "a: {<<: {b: 1}, b: 2, b: 3}": "the key 'b' stands twice",
    "a: {b: 3, <<: {b: 1}}": "line 1, column 11: the merge would replace the key 'b'; put << first, and only once",
    "1: 2": "line 1, column 1: a key must be text, got 1; put it in quotes",
    "yes: 2": "a key must be text, got yes; put it in quotes",
    "1e3: 2": "a key must be text, got 1e3; put it in quotes",
    "a: 1\n---\nb: 2": "holds 2 documents; a file is one experiment",
    "a: 1\n---\nb: 2\n---\nc: 3": "holds 3 documents",
    "a: 1\n...\nb: 2": "line 3, column 1: did not find expected <document start>",
    "a: !custom 1": "the tag !custom is not known here; leave it out",
    "a: !custom {b: 1}": "the tag !custom does not fit here; leave it out",
    "a: !!binary aGVsbG8=": "the tag !!binary is not known here",
    "a: !!timestamp 2024-01-01": "the tag !!timestamp is not known here",
    "a: !!set {a, b}": "the tag !!set does not fit here",
    "a: !!str [1]": "the tag !!str does not fit here",
    "a: !!python/object/apply:os.system ['true']": "the tag !!python/object/apply:os.system does not fit here",
    # nothing there
    "": "the file is empty; `python -m trainer init` writes one",
    "# only a comment": "the file is empty",
    "---": "the file is empty",
    "---\n---\n": "the file is empty",
    "~": "the file is empty",
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.items(), ids=map(repr, REFUSED))
def test_a_text_is_refused_in_a_sentence_of_one_line(text: str, sentence: str) -> None:
    with pytest.raises(InvalidExperiment) as refusal:
        parse(text)
    (mistake,) = refusal.value.mistakes
    assert sentence in mistake
    assert mistake.isprintable()


def billion_laughs(doublings: int) -> str:
    """A few lines that stand for 2**doublings values."""
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, doublings))]
    return "\n".join(lines)


HOSTILE: dict[str, tuple[str, str]] = {
    "aliases of aliases": (billion_laughs(100), "more than 10000 values, aliases counted in full"),
    "merges of merges": (
        "a0: &a0 {x: &x [1, 2, 3]}\n"
        + "\n".join(f"a{n}: &a{n} {{b: {{<<: *a{n - 1}}}, c: {{<<: *a{n - 1}}}}}" for n in range(1, 60)),
        "more than 10000 values",
    ),
    "a long list": ("a: [" + "1," * 300_000 + "1]", "more than 10000 values"),
    "nested lists": ("[" * 900_000, "it is nested too deeply"),
    "nested mappings": ("{a: " * 200_000, "it is nested too deeply"),
    "nested lines": ("- " * 400_000, "it is nested too deeply"),
    "nested keys": ("? " * 400_000, "it is nested too deeply"),
    "too many bytes": ("#" * (MAX_BYTES + 1), "must have at most 1000000 bytes"),
}


@pytest.mark.parametrize(("text", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_refused_at_once(text: str, sentence: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidExperiment, match=sentence):
        parse(text)
    assert time.process_time() - began < 0.5


def test_a_number_of_many_digits_is_read_at_once() -> None:
    began = time.process_time()
    for digits in ("1" * 500_000, "0x" + "f" * 500_000, "0b" + "1" * 500_000, "0." + "1" * 500_000, "-" * 500_000):
        plain_scalar(digits)
        plain_scalar("_".join(digits))
    assert time.process_time() - began < 2


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufeff"), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


@given(json_values)
@settings(max_examples=80)
def test_json_is_read_as_json_reads_it(value: Any) -> None:
    assert parse(json.dumps({"a": value}, ensure_ascii=False)) == {"a": value}


@given(st.text(st.sampled_from("01289+-._eExXoObBfF~yYnN"), max_size=12))
@settings(max_examples=200)
def test_a_plain_scalar_is_a_number_a_word_or_the_text_itself(text: str) -> None:
    value = plain_scalar(text)
    assert value is None or isinstance(value, bool | int | float) or value == text


@given(st.text(max_size=60) | st.text(st.sampled_from("ab: \n-[]{},&*!<#'\"|>?%\t1"), max_size=60))
@settings(max_examples=250)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidExperiment):
        parse(text)
