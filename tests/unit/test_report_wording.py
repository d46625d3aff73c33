"""How values are written for people."""

import pytest

from trainer.columns import aligned
from trainer.report.wording import clock, count, duration, memory, number, one_line, setting, short_names


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (187, "3 min 07 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_a_duration_never_shows_sixty_of_anything(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_clock_rounds_up_so_that_it_shows_zero_only_at_the_end() -> None:
    assert [clock(0), clock(0.1), clock(59.5), clock(3661)] == ["0:00:00", "0:00:01", "0:01:00", "1:01:01"]


def test_values_are_spelt_as_the_file_spells_them() -> None:
    assert [setting(value) for value in (0.001, 64, True, "Adam")] == ["0.001", "64", "true", "Adam"]


def test_a_measured_figure_has_five_digits_and_memory_binary_units() -> None:
    assert (number(0.000123456), number(12.0)) == ("0.00012346", "12")
    assert [memory(size) for size in (0, 412 * 2**20, 3 * 2**29)] == ["0 B", "412 MiB", "1.50 GiB"]
    assert [count(1, "trial"), count(10_000, "trial")] == ["1 trial", "10,000 trials"]


def test_a_short_name_is_the_whole_path_where_two_would_read_the_same() -> None:
    assert short_names(["data.seed", "train.seed", "model.layers"]) == {
        "data.seed": "data.seed",
        "train.seed": "train.seed",
        "model.layers": "layers",
    }


def test_one_line_holds_nothing_that_a_terminal_obeys() -> None:
    line = one_line("loss\x1b[31m became\r\n\tnan\x00 \u202eevil\u2028", 100)
    assert line.isprintable()
    assert line == "loss [31m became nan evil"
    assert one_line("x" * 20, 5) == "xxxx…"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")], left=(1,)) == ["  a  bb", "ccc  d"]
    assert aligned([]) == []


def test_wide_letters_take_two_places_and_accents_none() -> None:
    assert aligned([("学习率", "1"), ("abc", "22")], left=(0,)) == ["学习率   1", "abc     22"]
    assert aligned([("e\u0301", "1"), ("abc", "2")]) == ["  e\u0301  1", "abc  2"]
