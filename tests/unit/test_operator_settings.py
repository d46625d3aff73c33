"""What the operator is told by its environment, and when it asks to be restarted."""

import pytest

from trialrun_operator.backends import BACKENDS
from trialrun_operator.health import MAX_SILENCE_SECONDS, Health
from trialrun_operator.settings import Settings, from_environment


def test_nothing_said_means_all_namespaces() -> None:
    assert from_environment({}) == Settings()
    assert Settings().namespaces == ()


def test_namespaces_are_a_list_with_commas() -> None:
    assert from_environment({"TRIALRUN_NAMESPACES": "a, b,,a"}).namespaces == ("a", "b")


def test_switches_are_a_list_with_commas_and_all_off_where_there_is_none() -> None:
    assert Settings().allowed == from_environment({"TRIALRUN_ALLOW": " "}).allowed == frozenset()
    assert from_environment({"TRIALRUN_ALLOW": "secrets, serviceAccounts"}).allowed == {"secrets", "serviceAccounts"}


def test_kinds_of_job_are_a_list_with_commas_and_all_on_where_there_is_none() -> None:
    assert Settings().backends == from_environment({"TRIALRUN_BACKENDS": " "}).backends == set(BACKENDS)
    assert from_environment({"TRIALRUN_BACKENDS": "TrainJob"}).backends == {"TrainJob"}
    assert from_environment({"TRIALRUN_BACKENDS": "TrainJob, PyTorchJob"}).backends == set(BACKENDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIALRUN_METRICS_PORT", "0"),
        ("TRIALRUN_METRICS_PORT", "eighty"),
        ("TRIALRUN_LOG_LEVEL", "LOUD"),
        ("TRIALRUN_ALLOW", "secret"),
        ("TRIALRUN_BACKENDS", "Auto"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: .*, got {value}"):
        from_environment({name: value})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_lives_as_long_as_resyncs_go_well() -> None:
    clock = Clock()
    health = Health(clock)
    clock.now += MAX_SILENCE_SECONDS + 1
    assert "no resync" in (health.problem(0) or "")
    health.resynced()
    assert health.problem(0) is None


def test_experiments_that_wait_while_no_look_ends_are_a_problem_and_an_empty_queue_is_none() -> None:
    clock = Clock()
    health = Health(clock)
    clock.now += 10 * MAX_SILENCE_SECONDS
    health.resynced()
    assert health.problem(0) is None
    assert health.problem(3) is None, "they have only begun to wait"
    clock.now += MAX_SILENCE_SECONDS + 1
    health.resynced()
    assert "3 experiments wait" in (health.problem(3) or "")
    health.looked(3)
    assert health.problem(3) is None
