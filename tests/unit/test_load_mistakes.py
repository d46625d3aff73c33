"""Every mistake in the spec of a search: where it is, the rule, what was found, the nearest valid name."""

import math
from typing import Any

import pytest

from unit.builders import a_document, mistakes_of

RATES = {"name": "train.learningRate", "choices": [0.1]}
RANDOM = {"algorithm": "Random", "trials": 3}


def over(*, source: str = "sp500", **section: Any) -> dict[str, Any]:
    return {"training": {"data": {"source": source, **section}}}


# The fields of a search's spec that are replaced, and all the sentences that must come of it.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a misspelt field": (
        {"paralelTrials": 4},
        ["spec.paralelTrials: no such field (did you mean parallelTrials?), got 4"],
    ),
    "a misspelt field further down": (
        {"training": {"train": {"learningrate": 1, "batchsize": 2}}},
        [
            "spec.training.train.batchsize: no such field (did you mean batchSize?), got 2",
            "spec.training.train.learningrate: no such field (did you mean learningRate?), got 1",
        ],
    ),
    "a wrong type": (
        {"training": {"train": {"epochs": "20", "shuffle": 1, "learningRate": "1 e-4"}, "model": [1]}},
        [
            "spec.training.model: must be a mapping, got [1]",
            'spec.training.train.epochs: must be a whole number, got "20"',
            'spec.training.train.learningRate: must be a number, got "1 e-4"',
            "spec.training.train.shuffle: must be true or false, got 1",
        ],
    ),
    "half a whole number": (
        {"repeats": 1.5},
        ["spec.repeats: must be a whole number, got 1.5"],
    ),
    "zero and negative counts": (
        {"repeats": 0, "parallelTrials": -1, "training": {"train": {"epochs": 0, "batchSize": -32}}},
        [
            "spec.parallelTrials: must be >= 1, got -1",
            "spec.repeats: must be >= 1, got 0",
            "spec.training.train.batchSize: must be >= 1, got -32",
            "spec.training.train.epochs: must be >= 1, got 0",
        ],
    ),
    "NaN and infinity": (
        {
            "training": {"train": {"epochs": math.nan, "learningRate": math.inf}},
            "parameters": [{"name": "model.dropout", "choices": [0.1, -math.inf, 0.1]}],
        },
        [
            "spec.parameters[0].choices[1]: must be a finite number, got -inf",
            "spec.parameters[0].choices[2]: must stand once, but [0] is the same, got 0.1",
            "spec.training.train.epochs: must be a finite number, got nan",
            "spec.training.train.learningRate: must be a finite number, got inf",
        ],
    ),
    "NaN in a range": (
        {**RANDOM, "parameters": [{"name": "model.dropout", "range": {"min": math.nan, "max": 0.5}}]},
        ["spec.parameters[0].range.min: must be a finite number, got nan"],
    ),
    "a number beyond 2^53": (
        {"seed": 2**53 + 1, "training": {"train": {"learningRate": 1e22}}},
        [
            "spec.seed: must lie within ±2^53, got 9007199254740993",
            "spec.training.train.learningRate: must lie within ±2^53, got 1e+22",
        ],
    ),
    "a number of a thousand digits": (
        {"seed": 10**1000},
        ["spec.seed: must lie within ±2^53, got 1" + "0" * 76 + "..."],
    ),
    "empty choices": (
        {"parameters": [{"name": "model.layers", "choices": []}]},
        ["spec.parameters[0].choices: must have at least 1 entry, got []"],
    ),
    "no parameters": (
        {"parameters": []},
        ["spec.parameters: must have at least 1 entry, got []"],
    ),
    "a parameter twice": (
        {"parameters": [RATES, RATES]},
        ["spec.parameters[1].name: must name a field once, but parameters[0] has it too, got train.learningRate"],
    ),
    "a path that does not exist": (
        {"parameters": [{"name": "train.learning_rate", "choices": [1]}, {"name": "model", "choices": [1]}]},
        [
            ("spec.parameters[0].name: must be the path of a field of training (did you mean train.learningRate?), "
            "got train.learning_rate"),
            "spec.parameters[1].name: must be the path of a field of training, got model",
        ],
    ),
    "choices and a range": (
        {"parameters": [{**RATES, "range": {"min": 0.1, "max": 1}}]},
        [
            "spec.parameters[0]: must have choices or a range, got both",
            (
                "spec.parameters[0].range: must have a step with algorithm Grid, or choices in its place, "
                'got {"min": 0.1, "max": 1}'
            ),
        ],
    ),
    "neither choices nor a range": (
        {"parameters": [{"name": "model.layers"}]},
        ["spec.parameters[0]: must have choices or a range, got neither"],
    ),
    "choices that are no scalars": (
        {"parameters": [{"name": "model.layers", "choices": [[1], None, {"a": 1}]}]},
        [
            "spec.parameters[0].choices[0]: must be text, a number, true or false, got [1]",
            "spec.parameters[0].choices[1]: must be text, a number, true or false, got null",
            'spec.parameters[0].choices[2]: must be text, a number, true or false, got {"a": 1}',
        ],
    ),
    "choices that do not fit their field": (
        {
            "parameters": [
                {"name": "model.layers", "choices": [1, 0, "2", 1.5]},
                {"name": "data.path", "choices": [""]},
            ]
        },
        [
            "spec.parameters[0].choices[1]: must be >= 1 as a value of model.layers, got 0",
            'spec.parameters[0].choices[2]: must be a whole number as a value of model.layers, got "2"',
            "spec.parameters[0].choices[3]: must be a whole number as a value of model.layers, got 1.5",
            'spec.parameters[1].choices[0]: must have at least 1 character as a value of data.path, got ""',
        ],
    ),
    "a choice twice in other words": (
        {"parameters": [{"name": "model.layers", "choices": [1, 2, 1.0]}]},
        ["spec.parameters[0].choices[2]: must stand once, but [0] is the same, got 1"],
    ),
    "ranges that are none": (
        {
            **RANDOM,
            "parameters": [
                {"name": "model.dropout", "range": {"min": 0.5, "max": 0.5}},
                {"name": "train.learningRate", "range": {"min": 0, "max": 1, "scale": "Log"}},
                {"name": "model.kind", "range": {"min": 0, "max": 1}},
                {"name": "model.layers", "range": {"min": 0.5, "max": 300}},
            ],
        },
        [
            "spec.parameters[0].range: must have min < max, got min 0.5 and max 0.5",
            "spec.parameters[1].range.min: must be > 0 with scale Log, got 0",
            ("spec.parameters[2].range: belongs to a field that is a number; give choices for model.kind, "
            'got {"min": 0, "max": 1}'),
            "spec.parameters[3].range.max: must be <= 256 as a value of model.layers, got 300",
            "spec.parameters[3].range.min: must be a whole number as a value of model.layers, got 0.5",
        ],
    ),
    "an unknown metric": (
        {"objective": {"metric": "validMsee"}},
        [
            ("spec.objective.metric: must be one of validMse, validMae, validR2, dataSeconds, trainSeconds, "
            'totalSeconds (did you mean validMse?), got "validMsee"')
        ],
    ),
    "a metric of the wrong task": (
        {"objective": {"metric": "validF1"}},
        [
            ("spec.objective.metric: must be measured by Regression (validMse, validMae, validR2, dataSeconds, "
            "trainSeconds, totalSeconds), got validF1")
        ],
    ),
    "a metric of the wrong task for one of the choices": (
        {"parameters": [{"name": "data.task", "choices": ["Regression", "Classification"]}]},
        [
            ("spec.parameters[0].choices[1]: must be the task that measures validMse, Regression, "
            "got Classification")
        ],
    ),
    "a task that does not exist says nothing of the metric": (
        over(task="Regresion"),
        ['spec.training.data.task: must be one of Regression, Classification, got "Regresion"'],
    ),
    "a validation metric without a validation set": (
        over(validFraction=0),
        ["spec.training.data.validFraction: must be > 0 to measure validMse, got 0"],
    ),
    "a validation metric without a validation set for one of the choices": (
        {"parameters": [{"name": "data.validFraction", "choices": [0, 0.1]}], **over(validFraction=0)},
        ["spec.parameters[0].choices[0]: must be > 0 to measure validMse, got 0"],
    ),
    "Random without trials": (
        {"algorithm": "Random"},
        ["spec.trials: is required with algorithm Random"],
    ),
    "Grid with trials": (
        {"trials": 5},
        ["spec.trials: belongs to algorithm Random; Grid tries every combination, got 5"],
    ),
    "more draws than points": (
        {
            "algorithm": "Random",
            "trials": 7,
            "parameters": [
                {"name": "model.layers", "range": {"min": 1, "max": 3}},
                {"name": "train.epochs", "choices": [1, 2]},
            ],
        },
        ["spec.trials: must be at most the 6 points that the parameters make, got 7"],
    ),
    "too many trials": (
        {"repeats": 1000},
        ["spec.parameters: must make at most 10000 trials, got 18000 (18 points x 1000 repeats)"],
    ),
    "too many draws": (
        {
            "algorithm": "Random",
            "trials": 6000,
            "repeats": 2,
            "parameters": [{"name": "model.dropout", "range": {"min": 0, "max": 0.5}}],
        },
        ["spec.trials: must make at most 10000 trials, got 12000 (6000 points x 2 repeats)"],
    ),
    "seeds beyond the largest": (
        {"repeats": 3, "training": {"train": {"seed": 2**31 - 2}}},
        ["spec.repeats: must keep train.seed + repeats at most 2147483648, got 2147483646 + 3"],
    ),
    "seeds of a parameter beyond the largest": (
        {"repeats": 2, "parameters": [{"name": "train.seed", "choices": [0, 2**31 - 1]}]},
        ["spec.repeats: must keep train.seed + repeats at most 2147483648, got 2147483647 + 2"],
    ),
    "fields that do not fit each other": (
        {"training": {"data": {"source": "csv"}, "model": {"kind": "Transformer", "hiddenSize": 30}}},
        [
            "spec.training.data: path is required with source csv, got none",
            "spec.training.model: heads must divide hiddenSize, got heads 4 and hiddenSize 30",
        ],
    ),
    "a period in words": (
        over(period="5 years"),
        [
            ("spec.training.data.period: must be a number of d, wk, mo or y without a space, such as 90d or 5y, "
            'or ytd or max, got "5 years"')
        ],
    ),
    "a quantity with a unit Kubernetes does not know": (
        {"pod": {"resources": {"limits": {"memory": "1GB", "cpu": 0.5}}, "env": [{"name": "1A"}]}},
        [
            "spec.pod.env[0].name: must be letters, digits and '_', with no digit first, got \"1A\"",
            "spec.pod.resources.limits.cpu: must be text; put it in quotes, got 0.5",
            'spec.pod.resources.limits.memory: must be a Kubernetes quantity, such as 500m, 2, 1.5 or 1Gi, got "1GB"',
        ],
    ),
    "labels whose keys are the names of types": (
        {"pod": {"labels": {"int": 1, "str": 2, "a b": 3, "": "x"}}},
        [
            'spec.pod.labels: must have at least 1 character in a key, got ""',
            "spec.pod.labels.int: must be text; put it in quotes, got 1",
            "spec.pod.labels.str: must be text; put it in quotes, got 2",
            'spec.pod.labels["a b"]: must be text; put it in quotes, got 3',
        ],
    ),
    "text that no encoding takes": (
        over(target="Close\udc80", columns=["Close\0"]),
        [
            'spec.training.data.columns[0]: must be text of Unicode characters other than NUL, got "Close\\u0000"',
            'spec.training.data.target: must be text of Unicode characters other than NUL, got "Close\\udc80"',
        ],
    ),
    "what is no value of YAML": (
        {"repeats": {1, 2}, "seed": b"0"},
        [
            'spec.repeats: must be text, a number, true or false, got "{1, 2}"',
            "spec.seed: must be text, a number, true or false, got \"b'0'\"",
        ],
    ),
    "entries in the order of their numbers": (
        {"parameters": [{"name": "model.layers", "choices": [-n for n in range(11)]}]},
        [f"spec.parameters[0].choices[{n}]: must be >= 1 as a value of model.layers, got {-n}" for n in range(11)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "sentences"), WRONG.values(), ids=WRONG)
def test_each_mistake_is_one_sentence_and_all_come_at_once(spec: dict[str, Any], sentences: list[str]) -> None:
    assert mistakes_of(a_document(**spec)) == tuple(sentences)
