"""Waiting ends with the value, or with a sentence that says what was seen last; holding, at the first exception."""

import pytest

from eventually import eventually, throughout, unchanged


def test_it_returns_the_first_value_that_is_true() -> None:
    values = iter([0, None, 7, 8])
    assert eventually(lambda: next(values), every_seconds=0) == 7


def test_a_failed_assertion_means_not_yet() -> None:
    values = iter([1, 2, 3])

    def is_three() -> int:
        value = next(values)
        assert value == 3
        return value

    assert eventually(is_three, every_seconds=0) == 3


def test_any_other_error_ends_the_wait() -> None:
    def mistaken() -> bool:
        raise KeyError("wrong")

    with pytest.raises(KeyError, match="wrong"):
        eventually(mistaken)


def test_after_the_deadline_it_says_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.1 s: the moon is full; last seen: \[\]"):
        eventually(list, within_seconds=0.1, what="the moon is full")


def test_throughout_ends_at_the_first_time_that_it_is_not_so() -> None:
    values = iter([True, True, False, True])
    with pytest.raises(AssertionError, match="not throughout 60 s: it rains"):
        throughout(lambda: next(values), seconds=60, every_seconds=0, what="it rains")
    assert next(values)


def test_unchanged_counts_from_the_last_change() -> None:
    values = iter([1, 1, 2, 2])
    is_unchanged = unchanged(lambda: next(values), seconds=0)
    assert is_unchanged()
    values = iter([1, 2])
    assert not unchanged(lambda: next(values), seconds=60)()
