"""Which trials are ranked together, and what is said beside a best."""

from pathlib import Path
from typing import Any

import pytest

from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import Summary, summarize
from trainer.local.folder import stored_experiment
from trainer.local.ledger import read_ledger
from unit.builders import a_document, a_record, an_experiment, four, load_changed

OF_0_1 = Path(__file__).parents[1] / "data" / "of_0_1"
OLD, NEW = "00000000001d", "0000000000e3"
VARYING = {
    "data.window": [5, 10, 20],
    "data.validFraction": [0.1, 0.2, 0.3],
    "data.testFraction": [0.1, 0.2, 0.3],
    "data.target": ["Close", "Open", "High"],
    "data.period": ["1y", "2y", "5y"],
}
HARMLESS = {
    "model.hiddenSize": [8, 16, 32],
    "train.learningRate": [0.1, 0.01, 0.001],
    "data.multiplier": [1, 2, 3],
    "data.normalize": ["ZScore", "None"],
    "data.residency": ["InMemory", "Streaming"],
}


def over(path: str, choices: list[Any], **spec: Any) -> Experiment:
    return an_experiment(parameters=[{"name": path, "choices": choices}], **spec)


def summary_of(experiment: Experiment, records: list[Record]) -> Summary:
    return summarize(experiment, expand(experiment), records)


def records_of(experiment: Experiment, **evidence: list[str | None]) -> list[Record]:
    """A record for each trial, the first the best; `evidence` by key has one value for each, or None."""
    return [
        a_record(
            trial,
            value=0.001 * (1 + trial.index),
            evidence={key: text for key, each in evidence.items() if (text := each[trial.index]) is not None},
        )
        for trial in expand(experiment)
    ]


@pytest.mark.parametrize("path", VARYING)
def test_trials_that_were_validated_on_different_samples_have_no_best_of_all(path: str) -> None:
    experiment = over(path, VARYING[path])
    records = records_of(experiment, data=[OLD] * 3, validation=["a", "b", "c"])
    summary = summary_of(experiment, records)
    assert summary.best is None
    assert [(group.fields, group.trials) for group in summary.groups] == [
        ({path: choice}, 1) for choice in VARYING[path]
    ]
    assert [group.best.index for group in summary.groups if group.best is not None] == [0, 1, 2]
    assert "validated on 3 different sets" in summary.caveats[0]
    assert ("data.lookback" in summary.caveats[0]) == (path == "data.window")


@pytest.mark.parametrize("path", VARYING)
def test_what_was_validated_on_the_same_samples_is_ranked_whatever_varies(path: str) -> None:
    experiment = over(path, VARYING[path])
    summary = summary_of(experiment, records_of(experiment, data=[OLD] * 3, validation=["a"] * 3))
    assert summary.best is not None
    assert (summary.best.index, summary.groups, summary.caveats) == (0, (), ())


@pytest.mark.parametrize("path", VARYING)
def test_unverified_trials_are_ranked_apart_by_what_their_parameters_say(path: str) -> None:
    experiment = over(path, VARYING[path])
    summary = summary_of(experiment, records_of(experiment))
    assert summary.best is None
    assert len(summary.groups) == 3
    assert summary.unverified == 3


@pytest.mark.parametrize("path", HARMLESS)
def test_what_leaves_the_validation_samples_alone_is_ranked_also_unverified(path: str) -> None:
    experiment = over(path, HARMLESS[path])
    summary = summary_of(experiment, records_of(experiment))
    assert summary.best is not None
    assert summary.best.index == 0
    assert "unverified" in summary.caveats[0]


def test_an_unverified_trial_joins_those_whose_parameters_say_the_same() -> None:
    experiment = four()
    summary = summary_of(experiment, records_of(experiment, data=[None, OLD, OLD, OLD], validation=[None, *"aaa"]))
    assert summary.best is not None
    assert (summary.best.index, summary.unverified) == (0, 1)


def test_times_are_ranked_whatever_was_validated_on() -> None:
    experiment = over("data.window", [5, 10, 20], objective={"metric": "trainSeconds"})
    summary = summary_of(experiment, records_of(experiment, data=[OLD] * 3, validation=["a", "b", "c"]))
    assert summary.best is not None
    assert summary.groups == ()


def test_a_failed_trial_makes_no_group_of_its_own() -> None:
    experiment = four()
    records = records_of(experiment, data=[OLD] * 4, validation=["a"] * 4)
    records[1] = a_record(expand(experiment)[1], outcome=Outcome.CRASHED, evidence={})
    summary = summary_of(experiment, records)
    assert summary.best is not None
    assert (summary.groups, summary.unverified) == ((), 0)


@pytest.mark.parametrize(
    ("contents", "ranked", "other"),
    [
        ([NEW, OLD, OLD, OLD], 1, 1),
        ([NEW, NEW, NEW, OLD], 3, 3),
        ([OLD, NEW, NEW, OLD], 0, 2),
        ([None, NEW, OLD, OLD], 0, 1),
        ([OLD, OLD, OLD, OLD], 0, 0),
    ],
)
def test_the_first_record_fixes_the_content_and_others_are_not_ranked(
    contents: list[str | None], ranked: int, other: int
) -> None:
    experiment = four()
    records = records_of(experiment, data=contents)
    # The trial that is listed last ended first.
    records = [record.model_copy(update={"finished_at": 2_000_000_000_000 - record.index}) for record in records]
    summary = summary_of(experiment, records)
    assert summary.best is not None
    assert (summary.best.index, summary.other_data) == (ranked, other)
    said = [caveat for caveat in summary.caveats if "other data" in caveat]
    assert len(said) == (other > 0)
    assert all("--fresh" in caveat for caveat in said)


def test_an_earlier_attempt_fixes_the_content_too() -> None:
    experiment = four()
    records = records_of(experiment, data=[NEW] * 4)
    lost = records[0].model_copy(
        update={"outcome": Outcome.EVICTED, "final": False, "evidence": {"data": OLD}, "finished_at": 1}
    )
    again = records[0].model_copy(update={"attempt": 2})
    summary = summary_of(experiment, [lost, again, *records[1:]])
    assert (summary.best, summary.other_data) == (None, 4)


def test_each_choice_of_the_content_has_its_own_first() -> None:
    experiment = over("data.period", ["1y", "2y", "5y"])
    summary = summary_of(experiment, records_of(experiment, data=[OLD, NEW, OLD], validation=["a"] * 3))
    assert summary.other_data == 0


def test_on_a_cluster_the_advice_is_another_name() -> None:
    experiment = load_changed(a_document(parameters=[{"name": "model.layers", "choices": [1, 2]}]), uid="a-uid")
    summary = summary_of(experiment, records_of(experiment, data=[OLD, NEW]))
    assert "under another name" in summary.caveats[0]
    assert "--fresh" not in summary.caveats[0]


def test_a_point_whose_repeats_differ_in_their_data_is_not_ranked() -> None:
    experiment = over("model.layers", [1, 2], repeats=2)
    summary = summary_of(experiment, records_of(experiment, data=[OLD, NEW, OLD, OLD]))
    assert summary.best is not None
    assert summary.best.index == 2


def test_cells_of_a_scale_test_that_trained_on_other_data_are_left_out() -> None:
    experiment = an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10, 50]})
    summary = summary_of(experiment, records_of(experiment, data=[OLD, NEW, OLD]))
    assert summary.scale is not None
    assert [cell.multiplier for cell in summary.scale.cells] == [1, 50]
    assert "1 cell (1) trained on other data" in summary.caveats[0]


def naive_records(metric: str, values: list[float], naive: float | None, **more: float) -> list[Record]:
    name = f"naive{metric[0].upper()}{metric[1:]}"
    found = {} if naive is None else {name: naive}
    return [
        a_record(trial, metrics={metric: value, **found, **more})
        for trial, value in zip(expand(four()), values, strict=True)
    ]


@pytest.mark.parametrize(
    ("metric", "values", "naive", "beaten_by", "best_beats"),
    [
        ("validMse", [0.4, 0.3, 0.2, 0.1], 0.25, 2, True),
        ("validMse", [0.4, 0.3, 0.2, 0.1], 0.05, 0, False),
        ("validMae", [0.4, 0.3, 0.2, 0.1], 0.1, 0, False),
        ("validR2", [-0.4, -0.3, -0.2, -0.07], 0.0, 0, False),
        ("validR2", [-0.4, 0.3, 0.2, 0.1], 0.0, 3, True),
        ("validAccuracy", [0.4, 0.5, 0.6, 0.7], 0.55, 2, True),
        ("validLogLoss", [0.8, 0.7, 0.9, 1.0], 0.69, 0, False),
        ("validF1", [0.1, 0.2, 0.3, 0.4], 0.66, 0, False),
    ],
)
def test_trials_that_beat_a_naive_prediction_are_counted(
    metric: str, values: list[float], naive: float, beaten_by: int, best_beats: bool
) -> None:
    task = "Classification" if metric in ("validAccuracy", "validLogLoss", "validF1") else "Regression"
    experiment = four(objective={"metric": metric}, training={"data": {"task": task}})
    records = [
        record.model_copy(update={"id": trial.id})
        for record, trial in zip(naive_records(metric, values, naive), expand(experiment), strict=True)
    ]
    summary = summary_of(experiment, records)
    assert summary.naive is not None
    assert (summary.naive.value, summary.naive.beaten_by, summary.naive.trials, summary.naive.best_beats) == (
        naive, beaten_by, 4, best_beats,
    )  # fmt: skip
    who = {0: "None", 4: "All"}.get(beaten_by, str(beaten_by))
    assert summary.caveats[0].startswith(f"{who} of 4 trials predict")


def test_what_the_best_does_on_test_samples_is_said_beside_the_naive_figure() -> None:
    records = naive_records("validMse", [0.4, 0.3, 0.2, 0.1], 0.25, testMse=0.5, naiveTestMse=0.4)
    summary = summary_of(four(), records)
    assert summary.naive is not None
    assert (summary.naive.best_test_value, summary.naive.test_value) == (0.5, 0.4)
    (said,) = summary.caveats
    assert said == (
        "2 of 4 trials predict better than always predicting the mean of the training targets, which has validMse "
        "0.25; the best has 0.1. On the test samples, by which it was not chosen, the best is no better: testMse 0.5 "
        "against 0.4."
    )


def test_without_naive_figures_nothing_is_said_of_them() -> None:
    summary = summary_of(four(), naive_records("validMse", [0.4, 0.3, 0.2, 0.1], None))
    assert (summary.naive, summary.caveats) == (None, ())


@pytest.mark.parametrize(
    ("values", "ties"),
    [
        ([0.1, 0.1, 0.2, 0.3], (1,)),
        ([0.3, 0.1, 0.1, 0.1], (2, 3)),
        ([0.1, 0.2, 0.3, 0.4], ()),
        ([0.2] * 4, (1, 2, 3)),
    ],
)
def test_points_that_share_the_best_value_are_named(values: list[float], ties: tuple[int, ...]) -> None:
    summary = summary_of(four(), naive_records("validMse", values, None))
    assert summary.best is not None
    assert summary.best.ties == ties
    assert ("is not alone" in " ".join(summary.caveats)) == bool(ties)


def test_a_search_of_version_0_1_keeps_its_best_and_its_data_is_said_to_be_unverified() -> None:
    experiment, records = stored_experiment(OF_0_1 / "search-run"), read_ledger(OF_0_1 / "search-run")
    summary = summary_of(experiment, records)
    succeeded = [record for record in records if record.outcome is Outcome.SUCCEEDED]
    assert summary.best is not None
    assert summary.best.value == min(record.metrics["validMse"] for record in succeeded)
    (said,) = summary.caveats
    assert said.startswith(f"The data of {len(succeeded)} trials is unverified")


def test_a_search_over_the_window_of_version_0_1_is_ranked_by_window() -> None:
    experiment, records = stored_experiment(OF_0_1 / "windows-run"), read_ledger(OF_0_1 / "windows-run")
    summary = summary_of(experiment, records)
    assert summary.best is None
    assert [(group.fields, group.trials) for group in summary.groups] == [
        ({"data.window": 5}, 2),
        ({"data.window": 10}, 2),
    ]
