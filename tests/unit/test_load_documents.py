"""Mistakes in what is no search: scale tests, other kinds, other things; and many mistakes at once."""

import re
from typing import Any

import pytest

from unit.builders import a_document, mistakes_of

SCALETEST: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a multiplier twice": (
        {"axes": {"multipliers": [1, 10, 1.0], "workers": [2, 2]}},
        [
            "spec.axes.multipliers[2]: must stand once, but [0] is the same, got 1",
            "spec.axes.workers[1]: must stand once, but [0] is the same, got 2",
        ],
    ),
    "too many cells": (
        {"axes": {"workers": [1, 2, 3]}, "repeats": 1000},
        ["spec.axes: must make at most 10000 trials, got 15000 (15 points x 1000 repeats)"],
    ),
    "a search's fields": (
        {"objective": {"metric": "validMse"}, "workers": 2},
        [
            'spec.objective: no such field, got {"metric": "validMse"}',
            "spec.workers: no such field, got 2",
        ],
    ),
}


@pytest.mark.parametrize(("spec", "sentences"), SCALETEST.values(), ids=SCALETEST)
def test_a_scale_test_has_mistakes_of_its_own(spec: dict[str, Any], sentences: list[str]) -> None:
    assert mistakes_of(a_document(kind="ScaleTest", **spec)) == tuple(sentences)


DOCUMENTS: dict[str, tuple[Any, list[str]]] = {
    "a list": ("- a", ['the file: must be a mapping with apiVersion, kind and spec, got ["a"]']),
    "text": ("hello", ['the file: must be a mapping with apiVersion, kind and spec, got "hello"']),
    "no mapping at all": ([], ["the file: must be a mapping with apiVersion, kind and spec, got []"]),
    "nothing": ({}, ["kind: must be one of HyperparamSearch, ScaleTest, got null"]),
    "another kind": ({"kind": "Pod"}, ['kind: must be one of HyperparamSearch, ScaleTest, got "Pod"']),
    "only a kind": (
        {"kind": "ScaleTest"},
        ["apiVersion: is required", "metadata: is required", "spec: is required"],
    ),
    "a misspelt kind hides no other mistake": (
        {**a_document(repeats=0), "kind": "HyperparameterSearch"},
        [
            (
                "kind: must be one of HyperparamSearch, ScaleTest (did you mean HyperparamSearch?), "
                'got "HyperparameterSearch"'
            ),
            "spec.repeats: must be >= 1, got 0",
        ],
    ),
    "another version": (
        {**a_document(), "apiVersion": "trialrun.dev/v1"},
        ['apiVersion: must be one of trialrun.dev/v1alpha1, got "trialrun.dev/v1"'],
    ),
    "a name with a dot": (
        a_document(name="SP.500"),
        [
            (
                "metadata.name: must be lower-case letters, digits and '-', with a letter first and no '-' last, "
                'got "SP.500"'
            )
        ],
    ),
    "a name too long": (
        a_document(name="a" * 40),
        [f'metadata.name: must have at most 39 characters, got "{"a" * 40}"'],
    ),
    "a field beside spec": (
        {**a_document(), "specs": {}},
        ["specs: no such field (did you mean spec?), got {}"],
    ),
    "keys that are not text": (
        {**a_document(), 1: 2, "x": {None: 1}},
        [
            "the file: must have text as keys, got 1; put it in quotes",
            "x: must have text as keys, got null; put it in quotes",
        ],
    ),
}


@pytest.mark.parametrize(("document", "sentences"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_is_no_experiment_is_said_to_be_none(document: Any, sentences: list[str]) -> None:
    assert mistakes_of(document) == tuple(sentences)


def test_a_hundred_mistakes_are_told_and_then_that_there_are_more() -> None:
    told = mistakes_of(a_document(**{f"field{n}": n for n in range(150)}))
    assert len(told) == 101
    assert told[-1] == "the file: has more mistakes than these 100"


def test_depth_is_refused_where_it_begins() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"x": deep}
    unknown, told = mistakes_of(a_document(pod={"affinity": deep}))
    assert unknown.startswith("spec.pod.affinity.x: no such field, got ")
    assert re.fullmatch(r"spec\.pod\.affinity(\.x){30}: must be nested at most 32 deep, got more", told)
