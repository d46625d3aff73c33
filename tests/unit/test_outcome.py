"""The closed set of outcomes: each has advice, and an exit code that no operator takes for another."""

import re

from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.outcome import ADVICE, EXIT_CODES, RETRIED, Outcome, advice
from trainer.experiment.record import Seconds


def test_the_set_is_closed() -> None:
    assert {str(outcome) for outcome in Outcome} == {
        "Succeeded", "HostOOM", "DeviceOOM", "TimedOut", "Evicted", "NodeLost", "Unschedulable", "ImageUnavailable",
        "InvalidConfig", "DataUnavailable", "Diverged", "MetricsMissing", "Crashed", "Skipped", "Stopped",
    }  # fmt: skip


def test_every_outcome_has_a_sentence_of_advice() -> None:
    assert set(ADVICE) == set(Outcome)
    told = [advice(outcome, program=program) for outcome in Outcome for program in (False, True)]
    assert all(sentence.endswith(".") and sentence[0].isupper() for sentence in told)


def test_a_program_is_not_told_of_fields_that_it_does_not_have() -> None:
    assert not [outcome for outcome in Outcome if re.search(r"train\.|data\.|epoch", advice(outcome, program=True))]


def test_exit_codes_are_distinct_and_below_128() -> None:
    codes = list(EXIT_CODES.values())
    assert len(set(codes)) == len(codes)
    assert all(0 <= code < 128 for code in codes)


def test_only_what_the_machines_did_is_tried_again() -> None:
    assert {Outcome.EVICTED, Outcome.NODE_LOST} == RETRIED


def test_no_objective_is_a_test_metric() -> None:
    assert not [name for name in OBJECTIVES if name.startswith("test")]


def test_every_time_that_can_be_an_objective_is_in_a_record() -> None:
    times = [name.removesuffix("Seconds") for name, metric in OBJECTIVES.items() if metric.part == "seconds"]
    assert times
    assert set(times) <= set(Seconds.model_fields)
