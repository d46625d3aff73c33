"""Which message is which sample: splits, shares and segments, without a broker."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka.builders import a_data
from trainer.data.kafka.layout import Layout, divided, layout, numbers, part_sizes, split_sizes
from trainer.experiment.kafka import OffsetRange, SplitPart, offset_range

RATES = (0.85715, 0.071425, 0.071425)


def parts(*rates: float | None, fillup: int | None = None) -> list[SplitPart]:
    return [SplitPart(rate=rate, fillup=i == fillup) for i, rate in enumerate(rates)]


def test_an_end_is_included() -> None:
    assert len(offset_range("0:0:19999")) == 20_000


@pytest.mark.parametrize("text", ["0:1", "0:5:4", "a:0:1", "0:-1:4", "0:0:1:2", ""])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        offset_range(text)


@pytest.mark.parametrize("last", [RATES[2], None], ids=["all rates given", "the last left out"])
def test_the_split_of_the_earlier_system_comes_out_as_it_was(last: float | None) -> None:
    assert split_sizes(20_000, parts(*RATES[:2], last)) == (17_142, 1_429, 1_429)
    found = layout([offset_range("0:0:19999")], a_data(split=[{"rate": RATES[0]}, {"rate": RATES[1]}, {}]))
    assert [str(each.where) for each in found.segments(range(20_000))] == [
        "0:0:17141",
        "0:17142:18570",
        "0:18571:19999",
    ]


def test_shares_are_rounded_halves_up_and_the_part_that_fills_up_has_the_rest() -> None:
    assert split_sizes(10, parts(0.5, 0.25, 0.25)) == (4, 3, 3)
    assert split_sizes(10, parts(0.5, 0.25, 0.25, fillup=2)) == (5, 3, 2)
    assert split_sizes(1, parts(0.5, 0.25, 0.25)) == (1, 0, 0)
    assert split_sizes(1, parts(0.0001, 0.5, None)) == (0, 1, 0)


def test_without_a_split_the_fractions_decide_as_they_do_with_rows() -> None:
    assert part_sizes(100, a_data(testFraction=0.2, validFraction=0.1)) == (72, 8, 20)


@given(
    st.integers(1, 5000),
    st.lists(st.integers(1, 1000), min_size=1, max_size=3),
    st.integers(0, 2),
)
@settings(max_examples=200)
def test_every_message_is_in_exactly_one_part(messages: int, weights: list[int], filling: int) -> None:
    whole = sum(weights)
    exact = [round(weight / whole, 6) for weight in weights]
    split = [*parts(*exact[:-1], fillup=None), SplitPart(rate=None)]
    if filling < len(split):
        split[filling] = split[filling].model_copy(update={"fillup": True})
    sizes = split_sizes(messages, split)
    assert sum(sizes) == messages
    assert min(sizes) >= 0
    for size, rate in zip(sizes, exact, strict=True):
        assert abs(size - messages * rate) <= len(split)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    found = []
    for partition in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, 50))
        found.append(OffsetRange(partition, start, start + draw(st.integers(0, 80))))
    return layout(draw(st.permutations(found)), a_data(split=[{"rate": 0.7}, {"rate": 0.2}, {"rate": 0.1}]))


@given(layouts(), st.integers(1, 7))
@settings(max_examples=200)
def test_the_ranks_read_each_message_once_and_know_its_place(found: Layout, ranks: int) -> None:
    read: list[tuple[int, int]] = []
    samples: dict[int, list[int]] = {0: [], 1: [], 2: []}
    sizes = []
    for rank in range(ranks):
        segments = found.segments(found.share(rank, ranks))
        sizes.append(sum(map(len, segments)))
        for segment in segments:
            where = segment.where
            read += [(where.partition, offset) for offset in range(where.start, where.end + 1)]
        for part in samples:
            samples[part] += numbers(segments, part).tolist()
    assert max(sizes) - min(sizes) <= 1
    assert read == [(each.partition, offset) for each in found.ranges for offset in range(each.start, each.end + 1)]
    for part, of_part in samples.items():
        assert of_part == list(range(found.count(part)))


@pytest.mark.parametrize(("total", "into"), [(10, 3), (3, 3), (2, 3), (60_000, 7)])
def test_what_is_divided_is_divided_evenly(total: int, into: int) -> None:
    sizes = divided(total, into)
    assert (sum(sizes), len(sizes)) == (total, into)
    assert max(sizes) - min(sizes) <= 1
    assert np.all(np.array(sizes) >= 0)
