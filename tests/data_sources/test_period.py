"""How far back `data.period` reaches."""

from datetime import date

import pytest

from trainer.data.period import first_day_after


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ("1d", date(2018, 12, 30)),
        ("2wk", date(2018, 12, 17)),
        ("1mo", date(2018, 11, 30)),
        ("10mo", date(2018, 2, 28)),
        ("5y", date(2013, 12, 31)),
        ("ytd", date(2017, 12, 31)),
        ("max", None),
        ("9999y", None),
        ("9999wk", date(1827, 5, 14)),
    ],
)
def test_a_period_counts_back_from_the_last_row(period, expected):
    assert first_day_after(date(2018, 12, 31), period) == expected


def test_a_leap_day_becomes_the_last_of_february():
    assert first_day_after(date(2020, 2, 29), "1y") == date(2019, 2, 28)
