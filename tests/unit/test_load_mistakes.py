"""Every mistake in the spec of a search: where it is, the rule, what was found, the nearest valid name."""

import math
from typing import Any

import pytest

from unit.builders import a_document, mistakes_of

RATES = {"name": "train.learningRate", "choices": [0.1]}
RANDOM = {"algorithm": "Random", "trials": 3}
CONDITIONAL = [
    {"name": "train.optimizer", "choices": ["SGD", "Adam"]},
    {"name": "train.momentum", "choices": [0.5, 0.7, 0.9], "when": {"train.optimizer": "SGD"}},
    {"name": "train.shuffle", "choices": [True], "when": {"train.momentum": [0.5, 0.7]}},
]
CONSTRAINED = "validMse, validMae, validR2, dataSeconds, trainSeconds, totalSeconds, peakMemoryBytes"


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
    "TPE without trials": (
        {"algorithm": "TPE"},
        ["spec.trials: is required with algorithm TPE"],
    ),
    "an algorithm that does not exist says nothing of trials": (
        {"algorithm": "TPEE", "trials": 3},
        ['spec.algorithm: must be one of Grid, Random, Sobol, TPE, got "TPEE"'],
    ),
    "Grid with trials": (
        {"trials": 5},
        ["spec.trials: belongs to algorithms Random, Sobol and TPE; Grid tries every combination, got 5"],
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
    "a step too small to count by": (
        {"parameters": [{"name": "train.learningRate", "range": {"min": 1, "max": 2**50, "step": 1e-310}}]},
        [f"spec.parameters[0].range.step: must divide max - min, got 1e-310 for 1 to {2**50}"],
    ),
    "points outside the space": (
        {
            **RANDOM,
            "parameters": [
                {"name": "train.learningRate", "range": {"min": 0.001, "max": 0.1, "step": 0.001}},
                {"name": "model.layers", "choices": [1, 2]},
            ],
            "points": [
                {"parameters": {"train.learningRate": 0.0105, "model.layers": 1.5}},
                {"parameters": {"train.learningRate": True, "model.layer": 1}},
                {"parameters": {"train.learningRate": -1, "model.layers": [1]}},
            ],
        },
        [
            "spec.points[0].parameters.model.layers: must be among the choices of model.layers, got 1.5",
            ("spec.points[0].parameters.train.learningRate: must be 0.001 plus a multiple of the step, 0.001, got "
            "0.0105"),
            ('spec.points[1].parameters: must have a value for model.layers, got {"train.learningRate": true, '
            '"model.layer": 1}'),
            ("spec.points[1].parameters.model.layer: must name a parameter of the search (did you mean "
            "model.layers?), got model.layer"),
            "spec.points[1].parameters.train.learningRate: must be a number from 0.001 to 0.1, got true",
            "spec.points[2].parameters.model.layers: must be text, a number, true or false, got [1]",
            "spec.points[2].parameters.train.learningRate: must be a number from 0.001 to 0.1, got -1",
        ],
    ),
    "points of values that count with others": (
        {
            **RANDOM,
            "parameters": CONDITIONAL,
            "points": [
                {"parameters": {"train.optimizer": "SGD", "train.momentum": 0.5}},
                {"parameters": {"train.optimizer": "SGD", "train.momentum": 0.9, "train.shuffle": True}},
                {"parameters": {"train.optimizer": "Adam", "train.shuffle": True}},
            ],
        },
        [
            ('spec.points[0].parameters: must have a value for train.shuffle, got {"train.optimizer": "SGD", '
            '"train.momentum": 0.5}'),
            ('spec.points[1].parameters.train.shuffle: must be left out, as train.shuffle only counts with '
            '{"train.momentum": [0.5, 0.7]}, got true'),
            ('spec.points[2].parameters.train.shuffle: must be left out, as train.shuffle only counts with '
            '{"train.momentum": [0.5, 0.7]}, got true'),
        ],
    ),
    "a wrong value in a point says nothing of what counts with it": (
        {
            **RANDOM,
            "parameters": CONDITIONAL,
            "points": [
                {"parameters": {"train.optimizer": "Sgd", "train.momentum": 0.5, "train.shuffle": False}},
                {"parameters": {"train.momentum": 0.8}},
                {"parameters": {"train.optimizer": "Sgd"}},
            ],
        },
        [
            'spec.points[0].parameters.train.optimizer: must be among the choices of train.optimizer, got "Sgd"',
            "spec.points[0].parameters.train.shuffle: must be among the choices of train.shuffle, got false",
            'spec.points[1].parameters: must have a value for train.optimizer, got {"train.momentum": 0.8}',
            "spec.points[1].parameters.train.momentum: must be among the choices of train.momentum, got 0.8",
            'spec.points[2].parameters.train.optimizer: must be among the choices of train.optimizer, got "Sgd"',
        ],
    ),
    "a point twice but for rounding": (
        {
            **RANDOM,
            "parameters": [{"name": "model.dropout", "range": {"min": 0, "max": 0.5, "step": 0.1}}],
            "points": [{"parameters": {"model.dropout": 0.3}}, {"parameters": {"model.dropout": 0.1 + 0.2}}],
        },
        ['spec.points[1]: must stand once, but [0] is the same, got {"model.dropout": 0.30000000000000004}'],
    ),
    "a warm start of what does not learn, from what is no search": (
        {**RANDOM, "warmStart": "sct/a"},
        ['spec.warmStart: belongs to algorithm TPE; Random learns from nothing, got "sct/a"'],
    ),
    "constraints on nothing that there is": (
        {
            "constraints": [
                {"metric": "validMsee", "atMost": 1},
                {"metric": "validF1", "atLeast": 0.5},
                {"metric": "loadSeconds", "atMost": 5},
                {"metric": "a b"},
            ]
        },
        [
            f'spec.constraints[0].metric: must be one of {CONSTRAINED} (did you mean validMse?), got "validMsee"',
            f'spec.constraints[1].metric: must be one of {CONSTRAINED}, got "validF1"',
            f'spec.constraints[2].metric: must be one of {CONSTRAINED}, got "loadSeconds"',
            ("spec.constraints[3].metric: must be letters, digits, '.', '_', '/' and '-', with a letter first, "
            'got "a b"'),
        ],
    ),
    "a constraint on what one of the tasks lacks": (
        {
            "objective": {"metric": "totalSeconds"},
            "parameters": [{"name": "data.task", "choices": ["Regression", "Classification"]}],
            "constraints": [{"metric": "validMse", "atMost": 1}],
        },
        [
            ("spec.constraints[0].metric: must be one of dataSeconds, trainSeconds, totalSeconds, peakMemoryBytes, "
            'got "validMse"')
        ],
    ),
    "constraints that say too much": (
        {
            "constraints": [
                {"metric": "validR2", "atLeast": 1.5},
                {"metric": "totalSeconds", "atMost": 10},
                {"metric": "totalSeconds", "atMost": 10},
                {"metric": "totalSeconds", "atLeast": 20},
            ]
        },
        [
            "spec.constraints[0].atLeast: must be kept by some value of validR2, 1 or less, got 1.5",
            ("spec.constraints[2].atMost: must stand once for a metric, but constraints[1] has it for totalSeconds, "
            "got 10"),
            "spec.constraints[3].atLeast: must leave a value of totalSeconds to atMost 10 of constraints[1], got 20",
        ],
    ),
    "a target that anything reaches": (
        {"objective": {"metric": "validF1"}, "budget": {"target": -0.5}, **over(task="Classification")},
        [
            ("spec.budget.target: must be a value that a trial can reach and can miss, got -0.5, which every "
            "validF1, 0 to 1, reaches with Maximize")
        ],
    ),
    "a target that nothing reaches": (
        {"objective": {"metric": "trainSeconds"}, "budget": {"target": -1}},
        [
            ("spec.budget.target: must be a value that a trial can reach and can miss, got -1, which no "
            "trainSeconds, 0 or more, reaches with Minimize")
        ],
    ),
    "a cost of what costs nothing": (
        {
            "budget": {"maxCost": 2},
            "prices": {"cpuHour": 0, "gpuHour": 1},
            "pod": {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
        },
        [
            ("spec.budget.maxCost: must come with spec.pod.resources that spec.prices give a price above 0, got "
            '["cpu", "memory"] at {"cpuHour": 0, "gpuHour": 1}')
        ],
    ),
    "stopping early with nothing to go by": (
        {
            "objective": {"metric": "dataSeconds"},
            "repeats": 3,
            "parallelTrials": 2,
            "training": {"train": {"epochs": 1}},
            "earlyStopping": {"rule": "Median", "minStep": 5, "reduction": 1},
        },
        [
            ("spec.earlyStopping: must go with an objective that trials report at every step, got dataSeconds, known "
            "when they end"),
            "spec.earlyStopping.reduction: must be >= 2, got 1",
            ("spec.repeats: must be at most parallelTrials, 2, with earlyStopping, which compares points once all "
            "their repeats have reported, got 3"),
        ],
    ),
    "stopping early beyond the last epoch of any trial": (
        {
            "parameters": [
                {"name": "model.layers", "choices": [1, 2]},
                {"name": "train.epochs", "range": {"min": 2, "max": 6, "step": 2}, "when": {"model.layers": 2}},
            ],
            "training": {"train": {"epochs": 7}},
            "earlyStopping": {"rule": "ASHA", "minStep": 7},
        },
        ["spec.earlyStopping.minStep: must be < the most epochs of a trial, 7, got 7"],
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
