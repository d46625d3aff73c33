"""Which trials stop: both rules by hand, and what holds of any course of events."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.bounds import EarlyStopping
from trainer.experiment.expand import Trial, expand
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
    ],
)
def test_median_by_hand(best: float, others: list[float], goes_on: bool) -> None:
    assert median.goes_on(best, others) is goes_on


def test_rungs_of_both_rules() -> None:
    assert Rungs(ASHA, "Minimize", 1).steps(30) == [1, 3, 9, 27]
    assert Rungs(early("ASHA", 4, 2), "Minimize", 1).steps(16) == [4, 8, 16]
    assert Rungs(MEDIAN, "Minimize", 1).steps(7) == [2, 4, 6]
    assert Rungs(early("ASHA", 9), "Minimize", 1).steps(8) == []


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


@settings(deadline=None)
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
