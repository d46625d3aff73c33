"""Whatever comes in, `load` gives an experiment or InvalidExperiment, and soon."""

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.training import leaves
from unit.builders import a_document

HOSTILE: dict[str, dict[str, Any]] = {
    "32 parameters of 64 choices": {
        "parameters": [{"name": "train.learningRate", "choices": [n / 100 for n in range(1, 65)]}] * 32
    },
    "32 parameters of huge lists": {
        "parameters": [{"name": "train.learningRate", "choices": list(range(3000))}] * 32
    },
    "lists that just fit": {"parameters": [{"name": "train.learningRate", "choices": list(range(290))}] * 32},
    "only NaN": {"parameters": [{"name": "train.learningRate", "choices": [math.nan] * 64}] * 32},
    "thousands of parameters": {
        "parameters": [{"name": f"train.learningRat{n}", "choices": [n]} for n in range(2000)]
    },
    "thousands of misspelt fields": {f"paralelTrials{n}": 1 for n in range(9000)},
    "thousands of labels": {"pod": {"labels": {f"x{n}": n for n in range(9000)}}},
    "thousands of tolerations": {"pod": {"tolerations": [{"x": 1}] * 4000}},
    "long words": {"parameters": [{"name": "train.learningRate" * 100, "choices": ["x" * 25_000]}] * 32},
    "one long word": {"x" * 900_000: 1},
    "100 points of 32 values": {
        "algorithm": "TPE",
        "trials": 100,
        "parameters": [{"name": f"train.learningRat{n}", "choices": [n / 100 for n in range(64)]} for n in range(32)],
        "points": [{"parameters": {f"train.learningRat{n}": 0.635 for n in range(32)}}] * 100,
    },
    "100 points of 32 names that are nearly right": {
        "algorithm": "TPE",
        "trials": 100,
        "parameters": [{"name": f"train.learningRat{n}", "choices": [n]} for n in range(32)],
        "points": [{"parameters": {f"train.learningRata{i}x{n}": n for n in range(32)}} for i in range(100)],
    },
    "a point of thousands of values": {"points": [{"parameters": {f"model.layer{n}": n for n in range(9000)}}]},
    "thousands of points": {"points": [{"parameters": {"model.layers": n}} for n in range(3000)]},
    "thousands of constraints": {"constraints": [{"metric": f"validMs{n}", "atMost": n} for n in range(3000)]},
    "lists of lists": {"training": [[[[1] * 10] * 10] * 10] * 1000},
}


@pytest.mark.parametrize("spec", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_document_is_refused_soon(spec: dict[str, Any]) -> None:
    document = a_document(**spec)
    fastest = math.inf
    # The least of three: the processor's time, too, grows on a busy machine.
    for _ in range(3):
        began = time.process_time()
        with pytest.raises(InvalidExperiment) as refusal:
            load(document)
        fastest = min(fastest, time.process_time() - began)
    assert all(len(mistake) < 1000 for mistake in refusal.value.mistakes)
    assert fastest < 0.3  # some 50 ms on a machine at rest


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.integers() | st.none(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)
# Junk in the place of something that belongs there finds more than junk alone.
names = st.sampled_from(sorted(leaves())) | st.text(max_size=6)
choices = st.lists(
    st.sampled_from([0, 1, 2, 0.5, -0.0, 1e-5, 2**53 + 1, math.nan, "MLP", "Transformer", "npz", "x", True, "\ud800"])
    | junk,
    max_size=4,
)
ranges = st.fixed_dictionaries(
    {}, optional={"min": st.sampled_from([0, 1, 1e-9, -1]) | junk, "max": junk, "scale": st.sampled_from(["Log", 1])}
)
parameters = st.fixed_dictionaries(
    {}, optional={"name": names | junk, "choices": choices | junk, "range": ranges | junk}
)
sections = st.dictionaries(
    st.sampled_from(sorted({path.split(".")[1] for path in leaves()})) | st.text(max_size=6), junk, max_size=4
)
points = st.fixed_dictionaries(
    {},
    optional={"parameters": st.dictionaries(names, st.sampled_from([0, 1, "MLP", True]) | junk, max_size=3) | junk},
)
constraints = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.sampled_from(["validMse", "peakMemoryBytes", "validF1", "x"]) | junk,
        "atMost": st.integers(-1, 2) | junk,
        "atLeast": st.integers(-1, 2) | junk,
    },
)
stopping = st.fixed_dictionaries(
    {},
    optional={
        "rule": st.sampled_from(["ASHA", "Median"]) | junk,
        "minStep": st.integers(0, 30) | junk,
        "reduction": st.integers(1, 4) | junk,
    },
)
budgets = st.dictionaries(st.sampled_from(["maxSeconds", "maxCost", "target", "plateau"]), st.integers(-1, 5) | junk)
specs = st.fixed_dictionaries(
    {"objective": st.fixed_dictionaries({"metric": st.sampled_from(["validMse", "validF1", "totalSeconds"]) | junk})},
    optional={
        "parameters": st.lists(parameters, max_size=4) | junk,
        "algorithm": st.sampled_from(["Grid", "Random", "Sobol", "TPE"]) | junk,
        "trials": st.integers(-1, 20) | junk,
        "repeats": st.integers(-1, 3) | junk,
        "points": st.lists(points | junk, max_size=3) | junk,
        "warmStart": st.sampled_from(["hps/a", "hps/A", "sct/a", "runs/a"]) | junk,
        "constraints": st.lists(constraints | junk, max_size=3) | junk,
        "earlyStopping": stopping | junk,
        "budget": budgets | junk,
        "parallelTrials": st.integers(0, 4) | junk,
        "prices": st.dictionaries(st.sampled_from(["cpuHour", "gpuHour"]), st.integers(0, 1) | junk) | junk,
        "axes": st.fixed_dictionaries({}, optional={"multipliers": choices | junk, "workers": choices | junk}) | junk,
        "training": st.dictionaries(
            st.sampled_from(["data", "model", "train", "evaluate"]) | st.text(max_size=6), sections | junk, max_size=4
        ),
        "pod": junk,
        "cell": junk,
        "seed": junk,
    },
)
documents = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(["trialrun.dev/v1alpha1"]) | junk,
        "kind": st.sampled_from(["HyperparamSearch", "ScaleTest", "HyperparamSearc"]) | junk,
        "metadata": st.fixed_dictionaries({"name": st.sampled_from(["a", "A", "a" * 40]) | junk}) | junk,
        "spec": specs | junk,
    },
    optional={"status": junk, "x": junk},
)


@given(documents | st.dictionaries(st.text(max_size=6) | st.integers(), junk, max_size=4))
@settings(max_examples=120)
def test_junk_is_an_experiment_or_an_invalid_one(document: dict[Any, Any]) -> None:
    with contextlib.suppress(InvalidExperiment):
        expand(load(document))


@given(specs)
@settings(max_examples=60)
def test_no_path_is_told_of_twice_and_every_sentence_is_one_line(spec: dict[str, Any]) -> None:
    try:
        load(a_document(**spec))
    except InvalidExperiment as refusal:
        told = refusal.mistakes
    else:
        return
    paths = [mistake.partition(": ")[0] for mistake in told]
    assert sorted(set(paths)) == sorted(paths)
    assert all("\n" not in mistake and "\r" not in mistake for mistake in told)


numbers = st.integers(-5, 2**40) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, min_size=1, max_size=4), numbers)
@settings(max_examples=60)
def test_text_and_object_are_taken_or_refused_alike(values: list[float], rate: float) -> None:
    document = a_document(
        parameters=[{"name": "train.learningRate", "choices": values}], training={"model": {"dropout": rate}}
    )

    def outcome(source: Any) -> Any:
        try:
            return expand(load(source))
        except InvalidExperiment as refusal:
            return refusal.mistakes

    assert outcome(document) == outcome(json.dumps(document))
