"""Which of two searches' bests is better: by how much, how surely, and where that can't be said."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from trainer.experiment.entries import Entries
from trainer.experiment.expand import Trial, expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Experiment
from trainer.report.compare import Bests, Side, bests, side
from unit.builders import a_record, an_experiment

LAYERS = [{"name": "model.layers", "choices": [1]}]
PROGRAM = {"command": ["python", "train.py"]}
X = [{"name": "x", "choices": [1]}]


def searched(values: Sequence[float], evidence: dict[str, Any] | None = None, **spec: Any) -> Side:
    """A search of one point whose repeats measured these values."""
    experiment = an_experiment(**({"parameters": LAYERS, "repeats": len(values)} | spec))
    return a_side(
        experiment, [a_told(trial, value, evidence) for trial, value in zip(expand(experiment), values, strict=True)]
    )


def a_told(trial: Trial, value: float, evidence: dict[str, Any] | None) -> Record:
    """The record of a trial, our trainer's or a program's."""
    told = {"id": trial.id, "index": trial.index, "parameters": trial.parameters, "repeat": trial.repeat}
    more = {} if evidence is None else {"evidence": evidence}
    return a_record(value=value).model_copy(
        update={**told, **more, "metrics": {"validMse": value, "validMae": value, "x": value}}
    )


def a_side(experiment: Experiment, records: Sequence[Record]) -> Side:
    return side("here", experiment, Entries(records))


def said_of(a: Side, b: Side) -> tuple[str | None, bool | None]:
    found = bests(a, b)
    return found.better, found.told_apart


LOW, HIGH = (1.0, 1.1, 0.9, 1.05, 0.95), (2.0, 2.1, 1.9, 2.05, 1.95)


def test_bests_whose_interval_leaves_out_zero_are_told_apart() -> None:
    found = bests(searched(HIGH), searched(LOW))
    assert (found.a, found.b, found.better, found.told_apart) == (2, 1, "b", True)
    assert found.difference is not None
    assert found.difference.interval is not None
    # scipy.stats.ttest_ind(LOW, HIGH, equal_var=False).confidence_interval()
    assert found.difference.value == pytest.approx(-1)
    assert (found.difference.interval.low, found.difference.interval.high) == pytest.approx(
        (-1.1153002, -0.8846998), abs=1e-6
    )
    assert found.reasons == ()
    assert said_of(searched(LOW), searched(HIGH)) == ("a", True)


def test_where_more_is_better_the_higher_best_leads() -> None:
    maximal = {"objective": {"metric": "x", "direction": "Maximize"}, "program": PROGRAM, "parameters": X}
    assert said_of(searched([1.0], **maximal), searched([2.0], **maximal)) == ("b", None)


def test_an_interval_that_holds_zero_names_nobody() -> None:
    found = bests(searched((1.0, 3.0, 2.0)), searched((1.5, 2.5, 3.5)))
    assert (found.better, found.told_apart) == (None, False)
    assert found.reasons == (
        "The interval of the difference holds 0: it may be chance, or the repeats too few to tell.",
    )


@pytest.mark.parametrize(
    ("a", "b", "who"), [([2.0], [1.0], "Each best is"), ([2.0], LOW, "A's best is"), (HIGH, [1.0], "B's best is")]
)
def test_a_single_run_does_not_rule_chance_out(a: Sequence[float], b: Sequence[float], who: str) -> None:
    found = bests(searched(a), searched(b))
    assert (found.better, found.told_apart) == ("b", None)
    assert found.difference is not None
    assert (found.difference.value, found.difference.interval) == (-1, None)
    assert found.reasons == (f"{who} a single run, so chance is not ruled out: `repeats: 5` would tell.",)


def test_without_scipy_the_difference_has_no_interval_and_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.packages.find_spec", lambda name: None if name == "scipy" else sys)
    found = bests(searched(HIGH), searched(LOW))
    assert (found.better, found.told_apart) == ("b", None)
    assert found.difference is not None
    assert found.difference.interval is None
    (reason,) = found.reasons
    assert reason.startswith(
        "Chance is not ruled out. Comparing treatments: the package scipy is required, found none;"
    )
    assert reason.endswith("install it with `pip install 'trialrun[statistics]'`.")


def test_equal_bests_are_said_to_be_equal_and_nothing_else() -> None:
    found = bests(searched([1.0]), searched([1.0]))
    assert (found.better, found.reasons) == (None, ())
    assert found.difference is not None
    assert found.difference.value == 0


def test_repeats_that_do_not_vary_have_no_interval() -> None:
    found = bests(searched((2.0, 2.0)), searched((1.0, 1.0)))
    assert (found.better, found.told_apart) == ("b", None)
    assert found.reasons == ("The repeats of each best are all equal, so the difference has no interval.",)


def can_not_be_said(a: Side, b: Side) -> str:
    found = bests(a, b)
    assert (found.better, found.told_apart, found.difference) == (None, None, None)
    (reason,) = found.reasons
    return reason


def test_searches_by_other_metrics_or_directions_say_nothing_about_each_other() -> None:
    by_mae = searched([1.0], objective={"metric": "validMae"})
    assert can_not_be_said(searched([1.0]), by_mae) == "A is a search by validMse, B by validMae."
    assert bests(searched([1.0]), by_mae).metric is None
    down, up = (
        searched([1.0], program=PROGRAM, parameters=X, objective={"metric": "x", "direction": better})
        for better in ("Minimize", "Maximize")
    )
    assert can_not_be_said(down, up) == "By A's file less of x is better, by B's it is worse."


def test_a_side_without_a_best_is_named_with_the_reason() -> None:
    failed = a_side(
        experiment := an_experiment(parameters=LAYERS, repeats=2),
        [a_record(trial, outcome=Outcome.CRASHED) for trial in expand(experiment)],
    )
    assert can_not_be_said(searched([1.0]), failed) == (
        "B: there is no best, as no trial has measured validMse in all its repeats."
    )
    windows = an_experiment(parameters=[{"name": "data.window", "choices": [20, 60]}])
    groups = a_side(
        windows,
        [
            a_record(trial, evidence={"data": "0da7a0000000", "validation": f"{trial.index:012x}"})
            for trial in expand(windows)
        ],
    )
    assert can_not_be_said(groups, searched([1.0])) == (
        "A: there is no best of all, as its trials were validated on different samples."
    )


def test_bests_that_were_validated_on_other_samples_are_not_compared() -> None:
    told = {"data": "0da7a0000000", "validation": "0000000000ff"}
    assert can_not_be_said(searched([1.0]), searched([2.0], told)) == (
        "The two bests were validated on other samples, 0a11d0000000 and 0000000000ff."
    )
    by_time = {"objective": {"metric": "trainSeconds"}}
    assert bests(searched([1.0], **by_time), searched([2.0], told, **by_time)).difference is not None


def test_without_word_of_the_samples_the_files_decide_whether_they_are_the_same() -> None:
    other = searched([2.0], {}, training={"data": {"window": 20}})
    assert can_not_be_said(searched([1.0], {}), other) == (
        "The two bests were validated on other samples by what their files say of data, and the records don't tell."
    )
    assert said_of(searched([1.0], {}), searched([2.0], {})) == ("a", None)
    same = {"validation": "0a11d0000000"}
    assert said_of(searched([1.0], same), searched([2.0], same, training={"data": {"window": 20}})) == ("a", None)


def test_the_same_choice_of_data_with_other_content_is_not_compared_another_choice_is() -> None:
    other = {"data": "00000000abcd", "validation": "0a11d0000000"}
    assert can_not_be_said(searched([1.0]), searched([2.0], other)) == (
        "The two bests trained on other data, 0da7a0000000 and 00000000abcd, though both files name the same."
    )
    chosen = {"data": {"source": "synthetic", "rows": 500}}
    assert said_of(searched([1.0]), searched([2.0], other, training=chosen)) == ("a", None)


def test_programs_that_read_other_inputs_are_compared_only_where_both_tell_the_same_samples() -> None:
    def of(inputs: str, **more: str) -> Side:
        named = {"objective": {"metric": "x", "direction": "Minimize"}, "parameters": X}
        return searched([1.0], {"inputs": inputs, "code": inputs, **more}, program=PROGRAM, **named)

    assert can_not_be_said(of("a"), of("b")) == "The two bests read other data, a and b."
    assert bests(of("a", validation="v"), of("b", validation="v")).difference is not None


def naive(values: Sequence[float], naive_value: float) -> Side:
    experiment = an_experiment(parameters=LAYERS, repeats=len(values))
    return a_side(
        experiment,
        [
            a_record(trial, metrics={"validMse": value, "naiveValidMse": naive_value})
            for trial, value in zip(expand(experiment), values, strict=True)
        ],
    )


def test_where_no_best_beats_a_naive_prediction_none_is_better() -> None:
    found = bests(naive(HIGH, 0.5), naive(LOW, 0.5))
    assert (found.better, found.told_apart) == (None, True)
    assert found.reasons == (
        "Neither best beats a naive prediction (0.5 in A, 0.5 in B), so neither has learnt anything yet.",
    )


def test_a_best_behind_a_naive_prediction_is_named() -> None:
    found = bests(naive(HIGH, 1.5), naive(LOW, 1.5))
    assert found.better == "b"
    assert found.reasons == ("A's best does not beat a naive prediction, which has 1.5.",)


def of_points(values: Sequence[float], points: int) -> Side:
    experiment = an_experiment(parameters=[{"name": "model.layers", "choices": list(range(1, points + 1))}])
    return a_side(
        experiment, [a_record(trial, value=value) for trial, value in zip(expand(experiment), values, strict=False)]
    )


def reasons(found: Bests) -> str:
    return " ".join(found.reasons)


def test_a_best_of_many_points_is_said_to_look_better_than_it_is() -> None:
    assert "A's best was chosen among 3 points, B's among 2, by this same figure" in reasons(
        bests(of_points((1, 2, 3), 3), of_points((3, 4), 2))
    )
    assert "Each best was chosen among 2 points by this same figure" in reasons(
        bests(of_points((1, 2), 2), of_points((3, 4), 2))
    )


def test_a_search_with_trials_yet_to_run_may_have_another_best() -> None:
    assert "B has 2 trials yet to run: its best may change." in reasons(
        bests(of_points((1, 2), 2), of_points((3,), 3))
    )


def test_where_records_tell_nothing_of_the_samples_that_is_said() -> None:
    said = "Whether both were validated on the same samples is unverified: their records don't tell."
    assert said in bests(searched([1.0], {}), searched([2.0], {})).reasons
    assert said in bests(searched([1.0], {}), searched([2.0])).reasons
    assert said not in bests(searched([1.0]), searched([2.0])).reasons
    by_time = {"objective": {"metric": "trainSeconds"}}
    assert said not in bests(searched([1.0], {}, **by_time), searched([2.0], {}, **by_time)).reasons
