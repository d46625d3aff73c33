"""Which trials stop: both rules by hand, and what holds of any course of events."""

import math
import random
import statistics
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.experiment.bounds import EarlyStopping
from trainer.experiment.expand import Trial, expand
from trainer.experiment.moments import mean
from trainer.experiment.rung import RungEntry, decode, encode
from trainer.scheduling.stopping import asha, median
from trainer.scheduling.stopping.rungs import Rungs, replayed
from unit.builders import an_experiment

METRIC = "validMse"


def early(rule: str, first: int, reduction: int | None = None) -> EarlyStopping:
    more = {} if reduction is None else {"reduction": reduction}
    return EarlyStopping.model_validate({"rule": rule, "minStep": first} | more)


def trials(points: int, repeats: int = 1) -> list[Trial]:
    search = an_experiment(
        algorithm="Random",
        trials=points,
        repeats=repeats,
        parameters=[{"name": "train.learningRate", "range": {"min": 0.001, "max": 0.1}}],
    )
    return expand(search)


@dataclass
class Course:
    """A ledger of rungs as a runner keeps it."""

    early: EarlyStopping
    direction: str = "Minimize"
    repeats: int = 1
    entries: list[RungEntry] = field(default_factory=list)
    points: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rungs = self.fresh()

    def fresh(self) -> Rungs:
        rungs = Rungs(self.early, self.direction, self.repeats)  # type: ignore[arg-type]
        for entry in self.entries:
            rungs.enter(entry, self.points[entry.trial])
        return rungs

    def tells(self, trial: Trial, step: int, value: float, attempt: int = 1) -> RungEntry | None:
        entry = self.rungs.entry(trial, attempt, step, {METRIC: value, "other": 1.0}, METRIC)
        if entry is not None:
            self.points[trial.id] = trial.point
            self.entries.append(entry)
            self.rungs.enter(entry, trial.point)
        return entry


ASHA = early("ASHA", 1, 3)
MEDIAN = early("Median", 2)


@pytest.mark.parametrize(
    ("cost", "others", "goes_on"),
    [
        (5.0, [], True),  # the first to come
        (4.0, [5.0], True),
        (6.0, [5.0], False),
        (5.0, [5.0], True),  # equals go on together
        (2.0, [1.0, 3.0, 4.0, 5.0, 6.0], True),  # the second of six
        (3.0, [1.0, 2.0, 4.0, 5.0, 6.0], False),  # the third of six
    ],
)
def test_asha_by_hand(cost: float, others: list[float], goes_on: bool) -> None:
    assert asha.goes_on(cost, others, 3) is goes_on


@pytest.mark.parametrize(
    ("best", "others", "goes_on"),
    [
        (9.0, [1.0, 2.0, 3.0, 4.0], True),  # four others say little
        (3.0, [1.0, 2.0, 3.0, 4.0, 5.0], True),
        (3.1, [1.0, 2.0, 3.0, 4.0, 5.0], False),
        (3.5, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], True),
        (3.6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], False),
        (1e308, [1e308] * 6, True),
        (1.5e-323, [0.0, 0.0, 5e-324, 2.5e-323, 1.0, 1.0], True),  # the median itself, of figures too small to halve
        (2e-323, [0.0, 0.0, 5e-324, 2.5e-323, 1.0, 1.0], False),
    ],
)
def test_median_by_hand(best: float, others: list[float], goes_on: bool) -> None:
    assert median.goes_on(best, others) is goes_on


def test_rungs_of_both_rules() -> None:
    assert Rungs(ASHA, "Minimize", 1).steps(30) == [1, 3, 9, 27]
    assert Rungs(early("ASHA", 4, 2), "Minimize", 1).steps(16) == [4, 8, 16]
    assert Rungs(MEDIAN, "Minimize", 1).steps(7) == [2, 4, 6]
    assert Rungs(early("ASHA", 9), "Minimize", 1).steps(8) == []


@pytest.mark.parametrize(
    ("rule", "step", "rung"),
    [
        (ASHA, 0, None),
        (ASHA, 1, 1),
        (ASHA, 2, 1),
        (ASHA, 3, 3),
        (ASHA, 8, 3),
        (ASHA, 9, 9),
        (early("ASHA", 4, 2), 3, None),
        (early("ASHA", 4, 2), 15, 8),
        (early("ASHA", 4, 2), 16, 16),
        (MEDIAN, 1, None),
        (MEDIAN, 2, 2),
        (MEDIAN, 5, 4),
        (MEDIAN, 6, 6),
    ],
)
def test_a_step_enters_the_highest_rung_that_it_has_come_to(rule: EarlyStopping, step: int, rung: int | None) -> None:
    (one,) = trials(1)
    entry = Course(rule).tells(one, step, 1.0, attempt=3)
    assert (entry and (entry.rung, entry.step, entry.attempt)) == (rung and (rung, step, 3))


@pytest.mark.parametrize(("direction", "sign"), [("Minimize", 1), ("Maximize", -1)])
def test_a_course_of_median_by_hand(direction: str, sign: int) -> None:
    course = Course(MEDIAN, direction)
    a, b, c, d, e, f, g = trials(7)

    def stops(trial: Trial, step: int, value: float) -> bool:
        entry = course.tells(trial, step, sign * value)
        assert entry is not None
        return entry.stop

    assert not any(stops(trial, 2, value) for trial, value in ((a, 1.0), (b, 2.0), (c, 3.0), (d, 4.0)))
    assert not stops(e, 2, 9.0), "four others say little"
    assert not stops(f, 2, 3.0), "the median of 1, 2, 3, 4 and 9"
    assert stops(g, 2, 3.5), "the median of 1, 2, 3, 3, 4 and 9 is 3"
    for trial, value in ((b, 0.5), (c, 0.6), (d, 0.7), (e, 0.8), (f, 0.9)):
        assert not stops(trial, 4, value)
    assert stops(a, 4, 5.0), "its best was 1, the median here is 0.7"
    assert not stops(b, 6, 1.0), "no others here"
    assert not any(stops(trial, 6, value) for trial, value in ((c, 0.5), (d, 0.6), (e, 0.7)))
    assert not stops(f, 6, 0.4)
    assert course.rungs.stopped == {a.point, g.point}


@pytest.mark.parametrize(("direction", "sign"), [("Minimize", 1), ("Maximize", -1)])
def test_median_goes_by_the_best_so_far(direction: str, sign: int) -> None:
    course = Course(MEDIAN, direction)
    first, *others = trials(6)
    course.tells(first, 2, sign * 1.0)
    for trial in others:
        course.tells(trial, 4, sign * 2.0)
    entry = course.tells(first, 4, sign * 8.0)
    assert entry is not None
    assert not entry.stop, "8 is worse than 2, but it has had 1"


@pytest.mark.parametrize(("direction", "sign"), [("Minimize", 1), ("Maximize", -1)])
def test_a_course_by_hand(direction: str, sign: int) -> None:
    course = Course(ASHA, direction)
    a, b, c, d = trials(4)
    assert course.tells(a, 0, sign * 1.0) is None, "the first rung is step 1"
    first = course.tells(a, 1, sign * 2.0)
    assert first is not None
    assert (first.number, first.rung, first.step, first.value, first.stop) == (0, 1, 1, sign * 2.0, False)
    assert first.metrics == {METRIC: sign * 2.0, "other": 1.0}
    assert course.tells(a, 2, sign * 1.9) is None, "no rung"
    worse = course.tells(b, 1, sign * 3.0)
    assert worse is not None
    assert worse.stop
    assert course.rungs.stopped == {b.point}
    assert course.tells(b, 3, sign * 0.1) is None, "it was told to stop"
    late = course.tells(c, 10, sign * 5.0)
    assert late is not None
    assert (late.rung, late.stop) == (9, False), "it enters the highest rung, and is alone there"
    assert course.tells(c, 4, sign * 0.0) is None, "never a lower one"
    assert course.tells(d, 1, sign * 1.5) is not None
    assert course.rungs.count == 4
    assert course.rungs.last(c.id) == late
    assert course.rungs.last("none") is None


def test_a_figure_that_is_none_makes_no_entry() -> None:
    course = Course(ASHA)
    (one,) = trials(1)
    for value in (float("nan"), float("inf"), -float("inf")):
        assert course.tells(one, 1, value) is None
    assert course.rungs.entry(one, 1, 1, {"loss": 1.0}, METRIC) is None
    entry = course.rungs.entry(one, 1, 1, {METRIC: 1.0, "odd": float("nan")}, METRIC)
    assert entry is not None
    assert entry.metrics == {METRIC: 1.0}
    assert decode(encode(entry)) == entry


def test_repeats_are_compared_by_their_mean_once_all_have_come() -> None:
    course = Course(ASHA, repeats=2)
    good, again, bad, worse = trials(2, repeats=2)
    told = [course.tells(good, 1, 1.0), course.tells(bad, 1, 0.5), course.tells(again, 1, 2.0)]
    assert [entry.stop for entry in told if entry is not None] == [False] * 3
    last = course.tells(worse, 1, 3.0)
    assert last is not None
    assert last.stop, "1.75 is worse than 1.5, though one repeat was the best of all"
    assert course.rungs.stopped == {bad.point}


def test_an_attempt_that_passes_a_rung_again_makes_no_entry() -> None:
    course = Course(ASHA)
    (one,) = trials(1)
    assert course.tells(one, 3, 1.0) is not None
    assert course.tells(one, 3, 0.5, attempt=2) is None
    assert course.tells(one, 9, 0.5, attempt=2) is not None


@given(
    seed=st.integers(0, 2**32),
    rule=st.sampled_from(["ASHA", "Median"]),
    direction=st.sampled_from(["Minimize", "Maximize"]),
    repeats=st.sampled_from([1, 2]),
    min_step=st.integers(1, 3),
    reduction=st.sampled_from([2, 3]),
)
def test_any_course_is_decided_alike_again(
    seed: int, rule: str, direction: str, repeats: int, min_step: int, reduction: int
) -> None:
    """Trials interleaved in any way, runners that die and begin anew, attempts that start over."""
    rng = random.Random(seed)
    rule_of = early(rule, min_step, reduction if rule == "ASHA" else None)
    course = Course(rule_of, direction, repeats)
    sign = 1 if direction == "Minimize" else -1
    whole = trials(12, repeats)
    steps, attempts = dict.fromkeys((trial.id for trial in whole), 0), dict.fromkeys((t.id for t in whole), 1)
    for _ in range(400):
        trial = rng.choice(whole)
        if trial.point in course.rungs.stopped:
            continue
        if rng.random() < 0.02:
            steps[trial.id], attempts[trial.id] = 0, attempts[trial.id] + 1
        steps[trial.id] += rng.choice([1, 1, 2, 5])
        value = sign * (trial.point if trial.point else -1) + sign * rng.random() * (trial.point > 0)
        course.tells(trial, steps[trial.id], value, attempts[trial.id])
        if rng.random() < 0.05:
            course.rungs = course.fresh()
    assert replayed(rule_of, direction, repeats, course.entries, course.points) == course.entries  # type: ignore[arg-type]
    assert [entry.number for entry in course.entries] == list(range(len(course.entries)))
    assert len({(entry.trial, entry.rung) for entry in course.entries}) == len(course.entries), "a rung once"
    assert 0 not in course.rungs.stopped, "what is always the best goes on"
    assert course.fresh().stopped == course.rungs.stopped


def test_what_was_decided_stands_whatever_would_be_decided_now() -> None:
    one, two = trials(2)
    rungs = Rungs(ASHA, "Minimize", 1)
    entry = RungEntry(number=0, trial=one.id, attempt=1, rung=1, step=1, value=1.0, stop=True)
    rungs.enter(entry, one.point)
    assert rungs.stopped == {one.point}
    assert rungs.entry(two, 1, 1, {METRIC: 0.5}, METRIC) is not None


def test_a_replay_decides_anew() -> None:
    course = Course(ASHA)
    for value, trial in enumerate(trials(3)):
        course.tells(trial, 1, float(value))
    assert [entry.stop for entry in course.entries] == [False, True, True]
    otherwise = [entry.model_copy(update={"stop": not entry.stop}) for entry in course.entries]
    assert replayed(ASHA, "Minimize", 1, otherwise, course.points) == course.entries


def decided(course: Course, trial: Trial, step: int, value: float) -> tuple[int, bool] | None:
    """The rung that a trial is to enter now, and whether it stops: the rules word by word, from the entries alone."""
    rule, sign = course.early, 1 if course.direction == "Minimize" else -1
    rungs = [rule.min_step * (rule.reduction**k if rule.rule == "ASHA" else k + 1) for k in range(step)]
    reached = [rung for rung in rungs if rung <= step]
    stopped = {course.points[entry.trial] for entry in course.entries if entry.stop}
    if not reached or not math.isfinite(value) or trial.point in stopped:
        return None
    rung = reached[-1]
    if any(entry.trial == trial.id and entry.rung >= rung for entry in course.entries):
        return None

    values: dict[tuple[int, int], list[float]] = {(rung, trial.point): [value]}
    for entry in course.entries:
        values.setdefault((entry.rung, course.points[entry.trial]), []).append(entry.value)
    costs = {where: sign * mean(found) for where, found in values.items() if len(found) == course.repeats}
    here = {point: cost for (at, point), cost in costs.items() if at == rung}
    if trial.point not in here:
        return rung, False
    if rule.rule == "ASHA":
        last = sorted(here.values())[max(1, len(here) // rule.reduction) - 1]
        return rung, here[trial.point] > last
    others = [Fraction(cost) for point, cost in here.items() if point != trial.point]
    best = min(cost for (_, point), cost in costs.items() if point == trial.point)
    return rung, len(others) >= 5 and Fraction(best) > statistics.median(others)


@given(
    rng=st.randoms(use_true_random=True),
    rule=st.sampled_from(["ASHA", "Median"]),
    direction=st.sampled_from(["Minimize", "Maximize"]),
    repeats=st.sampled_from([1, 2, 3]),
    min_step=st.integers(1, 3),
    reduction=st.integers(2, 4),
    unit=st.sampled_from([5e-324, 1.0, 1e307]),
)
def test_any_course_is_decided_as_the_rules_say(
    rng: random.Random, rule: str, direction: str, repeats: int, min_step: int, reduction: int, unit: float
) -> None:
    """With ties, figures that are none, attempts that start over, and runners that begin anew at any moment."""
    course = Course(early(rule, min_step, reduction if rule == "ASHA" else None), direction, repeats)
    whole = trials(10, repeats)
    steps = dict.fromkeys((trial.id for trial in whole), 0)
    for _ in range(120):
        trial = rng.choice(whole)
        steps[trial.id] = 0 if rng.random() < 0.03 else steps[trial.id] + rng.choice([0, 1, 1, 2, 4])
        value = rng.randint(-9, 9) * unit if rng.random() < 0.95 else rng.choice([math.nan, math.inf, -math.inf])
        expected = decided(course, trial, steps[trial.id], value)
        if rng.random() < 0.05:
            course.rungs = course.fresh()
        before = set(course.rungs.stopped), course.rungs.count
        asked = course.rungs.entry(trial, 1, steps[trial.id], {METRIC: value, "other": 1.0}, METRIC)
        assert (set(course.rungs.stopped), course.rungs.count) == before, "asking changes nothing"
        entry = course.tells(trial, steps[trial.id], value)
        assert entry == asked
        assert (entry and (entry.rung, entry.stop)) == expected


class Counted(list[float]):
    """Costs, and how often one of them was looked at."""

    looked_at = 0

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        self.looked_at += 1
        return super().__getitem__(index)


def test_a_decision_looks_at_few_of_ten_thousand() -> None:
    costs = [float(cost) for cost in range(10_000)]
    for cost in (-1.0, 0.0, 3333.5, 9_999.0, 1e9):
        by_asha, by_median = Counted(costs), Counted(costs)
        asha.goes_on(cost, by_asha, 3)
        median.goes_on(cost, by_median)
        assert 0 < by_asha.looked_at <= 14
        assert 0 < by_median.looked_at <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "share"), [(ASHA, 2 / 3), (early("Median", 1), 1 / 2)], ids=["ASHA", "Median"])
def test_ten_thousand_entries(rule: EarlyStopping, share: float) -> None:
    rng, course = random.Random(4), Course(rule)
    for trial in trials(10_000):
        course.tells(trial, 1, rng.random())
    assert [entry.number for entry in course.entries] == list(range(10_000))
    assert replayed(rule, "Minimize", 1, course.entries, course.points) == course.entries
    assert len(course.rungs.stopped) / 10_000 == pytest.approx(share, abs=0.02)
