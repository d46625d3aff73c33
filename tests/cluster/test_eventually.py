"""Waiting ends with the value, or with a sentence that says what was seen last."""

import pytest

from eventually import eventually


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
