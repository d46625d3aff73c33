"""Which trials train together, and how packs are dealt to slots."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.experiment.expand import expand
from trainer.scheduling.decide import Start
from trainer.scheduling.packs import Dealer, none_packed, shape, trains_alone
from trainer.scheduling.workload import workload
from unit.builders import an_experiment


def starts(**spec: Any) -> list[Start]:
    return [Start(trial, 1) for trial in expand(an_experiment(**spec))]


def dealt(waiting: list[Start], slots: int, most: int = 1000, alone: set[str] = frozenset()) -> list[list[int]]:  # type: ignore[assignment]
    packs = Dealer(lambda _: most, set(alone)).deal(waiting, slots)
    return [[start.trial.index for start in pack] for pack in packs]


def test_of_the_default_search_the_learning_rates_of_a_shape_train_together() -> None:
    waiting = starts()
    packs, left = list[list[int]](), waiting
    while left:
        packs += dealt(left, slots=1)
        left = [start for start in left if start.trial.index not in packs[-1]]
    assert sorted(map(sorted, packs)) == [[each, each + 6, each + 12] for each in range(6)]
    widths = [waiting[pack[0]].trial.parameters["model.hiddenSize"] for pack in packs]
    assert widths == sorted(widths, reverse=True), "the longest first"
    assert dealt(waiting, slots=2) == packs[:2], "one for each slot; the others wait on"


def test_with_a_budget_the_order_of_the_trials_counts() -> None:
    waiting = starts()
    [first] = Dealer(lambda _: 1000, in_order=True).deal(waiting, 1)
    assert first[0] is waiting[0]
    assert [first] != Dealer(lambda _: 1000).deal(waiting, 1)


def test_what_is_divided_fills_every_slot_as_often() -> None:
    rates = {"name": "train.learningRate", "choices": [0.001 * (1 + i / 50) for i in range(50)]}
    decays = {"name": "train.weightDecay", "choices": [0.0, 0.1, 0.2, 0.3]}
    left, rounds = starts(parameters=[rates, decays]), []
    while left:
        packs = dealt(left, slots=4)
        rounds.append([len(pack) for pack in packs])
        left = [start for start in left if not any(start.trial.index in pack for pack in packs)]
    assert rounds == [[25] * 4] * 2


@pytest.mark.parametrize(("slots", "sizes"), [(1, [32]), (2, [32, 32]), (3, [22, 21, 21])])
def test_a_pack_that_is_all_there_is_is_divided_among_the_slots(slots: int, sizes: list[int]) -> None:
    choices = [0.001 * (1 + i / 100) for i in range(64)]
    waiting = starts(parameters=[{"name": "train.learningRate", "choices": choices}])
    assert [len(pack) for pack in dealt(waiting, slots)] == sizes


def test_packs_have_no_more_members_than_fit_into_memory() -> None:
    choices = [0.001 * (1 + i / 100) for i in range(64)]
    waiting = starts(parameters=[{"name": "train.learningRate", "choices": choices}])
    assert [len(pack) for pack in dealt(waiting, slots=1, most=20)] == [16]
    assert [len(pack) for pack in dealt(waiting, slots=3, most=1)] == [1] * 3


def test_those_that_are_to_train_alone_do() -> None:
    waiting = starts()
    alone = {waiting[0].trial.id, waiting[6].trial.id}
    packs = [pack for pack in dealt(waiting, slots=18, alone=alone) if {0, 6} & set(pack)]
    assert sorted(packs) == [[0], [6]]


@given(
    st.lists(st.sampled_from([16, 32, 64]), min_size=1, max_size=3, unique=True),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_everything_is_started_once_whatever_the_slots(widths: list[int], rates: int, slots: int, most: int) -> None:
    waiting = starts(
        parameters=[
            {"name": "model.hiddenSize", "choices": widths},
            {"name": "train.learningRate", "choices": [0.001 * (i + 1) for i in range(rates)]},
        ]
    )
    left, started = list(waiting), Counter[int]()
    while left:
        packs = dealt(left, slots, most)
        assert 1 <= len(packs) <= slots
        assert all(1 <= len(pack) <= most for pack in packs)
        assert all(len({waiting[i].trial.parameters["model.hiddenSize"] for i in pack}) == 1 for pack in packs)
        started.update(itertools.chain.from_iterable(packs))
        left = [start for start in left if start.trial.index not in started]
    assert set(started.values()) == {1}


OWN = {
    "train.learningRate": 0.5,
    "train.weightDecay": 0.5,
    "train.seed": 3,
    "train.epochs": 7,
    "train.patience": 4,
    "model.dropout": 0.5,
}
SHARED = {
    "train.batchSize": 64,
    "train.optimizer": "SGD",
    "train.precision": "Float64",
    "train.gradientClip": 1.0,
    "train.threads": 2,
    "model.layers": 3,
    "data.window": 30,
    "data.multiplier": 2,
}


@pytest.mark.parametrize(("path", "value"), (OWN | SHARED).items())
def test_what_trials_of_a_pack_may_differ_in(path: str, value: Any) -> None:
    section, field = path.split(".")
    plain, other = (
        expand(an_experiment(parameters=[{"name": "model.hiddenSize", "choices": [64]}], training=training))[0]
        for training in ({}, {section: {field: value}})
    )
    assert (shape(plain.training) == shape(other.training)) == (path in OWN)


@pytest.mark.parametrize(
    ("training", "why"),
    [
        ({"model": {"kind": "LSTM"}}, "model.kind is LSTM"),
        ({"data": {"residency": "Streaming"}}, "data.residency is Streaming"),
        ({"train": {"checkpointEvery": 1}}, "it writes checkpoints"),
    ],
)
def test_what_can_not_train_together_says_why(training: dict[str, Any], why: str) -> None:
    waiting = starts(training=training, packing="Auto")
    assert {trains_alone(start.trial) for start in waiting} == {why}
    assert all(len(pack) == 1 for pack in dealt(waiting, slots=99))


def test_trials_of_several_workers_train_by_themselves() -> None:
    (trial, *_) = expand(an_experiment(workers=2, packing="Auto"))
    assert trains_alone(trial) == "it has 2 workers"


def why_none(**spec: Any) -> str | None:
    return none_packed(workload(an_experiment(packing="Auto", **spec)))


def test_what_those_of_a_pack_share_is_neither_an_objective_nor_bounded() -> None:
    assert why_none() is None
    assert none_packed(workload(an_experiment())) is None
    for metric in ("totalSeconds", "trainSeconds", "dataSeconds"):
        told = f"the objective is {metric}, which those of a pack share"
        assert why_none(objective={"metric": metric}) == told
    for metric in ("trainSeconds", "peakMemoryBytes"):
        told = f"a constraint bounds {metric}, which those of a pack share"
        assert why_none(constraints=[{"metric": metric, "atMost": 1e12}]) == told
    assert why_none(constraints=[{"metric": "validMae", "atMost": 1}]) is None


def test_of_a_search_that_learns_only_repeats_train_together() -> None:
    learns: Any = {"algorithm": "TPE", "trials": 4}
    assert why_none(**learns, repeats=2) is None
    assert "each point has one trial" in str(why_none(**learns))
    assert why_none(**learns, repeats=2, training={"model": {"kind": "LSTM"}}) == "model.kind is LSTM"


def test_packing_changes_no_id() -> None:
    assert [trial.id for trial in expand(an_experiment(packing="Auto"))] == [
        trial.id for trial in expand(an_experiment())
    ]
