"""What TPE suggests from a search's lessons, beside plain Optuna, and the process that it runs in."""

import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.bounds import Constraint
from trainer.experiment.constraints import figure, violations
from trainer.experiment.expand import expand
from trainer.experiment.outcome import UNBLAMED, Outcome
from trainer.experiment.record import Memory
from trainer.experiment.space import Point, counts, key
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.lessons import Lesson, as_json, from_json, lesson
from trainer.suggesting.study import Study, Suggested, seed_of
from unit.builders import a_record, an_experiment, four

optuna.logging.set_verbosity(optuna.logging.ERROR)

PLAIN: list[dict[str, Any]] = [
    {"name": "lr", "range": {"min": 1e-5, "max": 1.0, "scale": "Log"}},
    {"name": "width", "range": {"min": 16, "max": 512, "step": 16}},
    {"name": "dropout", "range": {"min": 0.0, "max": 0.9}},
    {"name": "activation", "choices": ["relu", "gelu", "tanh"]},
]
CONDITIONAL: list[dict[str, Any]] = [
    {"name": "lr", "range": {"min": 1e-5, "max": 1.0, "scale": "Log"}},
    {"name": "optimizer", "choices": ["sgd", "adamw", "rmsprop"]},
    {"name": "momentum", "range": {"min": 0.0, "max": 0.99}, "when": {"optimizer": "sgd"}},
    {"name": "beta", "range": {"min": 0.5, "max": 0.999}, "when": {"optimizer": ["adamw", "rmsprop"]}},
    {"name": "layers", "range": {"min": 1, "max": 9, "step": 2}},
]


def a_search(parameters: Sequence[dict[str, Any]] = PLAIN, **spec: Any) -> HyperparamSearch:
    """A learning search of a program."""
    whole: dict[str, Any] = {
        "program": {"command": ["train"]},
        "objective": {"metric": "loss", "direction": "Minimize"},
        "algorithm": "TPE",
        "trials": 1000,
        "parameters": list(parameters),
    }
    made = an_experiment(**(whole | spec))
    assert isinstance(made, HyperparamSearch)
    return made


def loss(point: Point) -> float:
    """A valley in either space, at a learning rate of 0.005 for most."""
    found = (math.log10(float(point["lr"])) + 2.3) ** 2
    for name, best, scale in (
        ("width", 304, 200),
        ("dropout", 0.37, 0.5),
        ("momentum", 0.9, 0.3),
        ("beta", 0.9, 0.3),
    ):
        if name in point:
            found += ((float(point[name]) - best) / scale) ** 2
    worse = {"relu": 0.3, "tanh": 0.6, "sgd": 0.2, "rmsprop": 0.1}
    return found + sum(worse.get(str(value), 0.0) for value in point.values())


def suggested(study: Study, number: int) -> Suggested:
    found = study.suggest(number)
    assert found is not None
    return found


def tried(study: Study, first: int, last: int, value: Callable[[Point], float] = loss) -> list[Lesson]:
    """The lessons of points tried one at a time."""
    found = []
    for number in range(first, last):
        point = suggested(study, number).parameters
        found.append(Lesson(number, point, value(point)))
        study.learn(found[-1:])
    return found


def plain_point(trial: optuna.Trial) -> Point:
    return {
        "lr": trial.suggest_float("lr", 1e-5, 1.0, log=True),
        "width": trial.suggest_int("width", 16, 512, step=16),
        "dropout": trial.suggest_float("dropout", 0.0, 0.9),
        "activation": trial.suggest_categorical("activation", ["relu", "gelu", "tanh"]),
    }


def conditional_point(trial: optuna.Trial) -> Point:
    point: Point = {"lr": trial.suggest_float("lr", 1e-5, 1.0, log=True)}
    point["optimizer"] = trial.suggest_categorical("optimizer", ["sgd", "adamw", "rmsprop"])
    if point["optimizer"] == "sgd":
        point["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
    else:
        point["beta"] = trial.suggest_float("beta", 0.5, 0.999)
    point["layers"] = trial.suggest_int("layers", 1, 9, step=2)
    return point


def of_plain_optuna(ask: Callable[[optuna.Trial], Point], direction: str, points: int) -> list[Point]:
    """The points of a loop over Optuna's own study, its sampler seeded anew for each."""
    study = optuna.create_study(direction=direction)
    found = []
    for number in range(points):
        study.sampler = optuna.samplers.TPESampler(seed=seed_of(7, number))
        trial = study.ask()
        found.append(ask(trial))
        study.tell(trial, loss(found[-1]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["Minimize", "Maximize"])
@pytest.mark.parametrize(("parameters", "ask"), [(PLAIN, plain_point), (CONDITIONAL, conditional_point)])
def test_one_at_a_time_it_suggests_what_plain_optuna_does_also_over_ten_restarts(
    parameters: list[dict[str, Any]], ask: Callable[[optuna.Trial], Point], direction: str
) -> None:
    expected = of_plain_optuna(ask, direction.lower(), 200)
    assert len({key(point) for point in expected}) == 200
    search = a_search(parameters, seed=7, objective={"metric": "loss", "direction": direction})
    whole = [each.parameters for each in tried(Study(search), 0, 200)]
    assert json.dumps(whole) == json.dumps(expected)
    lessons: list[Lesson] = []
    for first in range(0, 200, 20):
        restarted = Study(search)
        restarted.learn(from_json(json.loads(json.dumps(as_json(each)))) for each in lessons)
        lessons += tried(restarted, first, first + 20)
    assert [each.parameters for each in lessons] == expected


def test_eight_at_once_are_suggested_as_plain_optuna_does() -> None:
    study, plain, running = Study(a_search(seed=7)), optuna.create_study(), list[tuple[optuna.Trial, Lesson]]()
    for number in range(60):
        plain.sampler = optuna.samplers.TPESampler(seed=seed_of(7, number))
        trial = plain.ask()
        point = suggested(study, number).parameters
        assert point == plain_point(trial)
        running.append((trial, Lesson(number, point, running=True)))
        study.learn([running[-1][1]])
        if len(running) == 8:
            trial, begun = running.pop((number * 5) % 8)  # they end in another order than they began
            plain.tell(trial, loss(begun.parameters))
            study.learn([Lesson(begun.number, begun.parameters, loss(begun.parameters))])


def test_a_suggestion_depends_on_what_is_known_and_on_nothing_else() -> None:
    search = a_search(CONDITIONAL, seed=3)
    lessons = tried(Study(search), 0, 30)
    lessons[4] = Lesson(4, lessons[4].parameters, violations=(1.0,))
    lessons[9] = Lesson(9, lessons[9].parameters)
    lessons[28] = Lesson(28, lessons[28].parameters, running=True)
    at_once = Study(search)
    at_once.learn(lessons)
    expected = suggested(at_once, 30)
    assert at_once.suggest(30) == expected
    for seed in range(5):
        shuffled, one_by_one, as_it_came = (
            random.Random(seed).sample(lessons, len(lessons)),
            Study(search),
            Study(search),
        )
        for each in shuffled:
            one_by_one.learn([each])
        assert one_by_one.suggest(30) == expected
        as_it_came.learn(Lesson(each.number, each.parameters, running=True) for each in lessons)
        for number in range(30, 33):
            as_it_came.suggest(number)
        for each in shuffled:
            as_it_came.learn([each])
        as_it_came.learn(shuffled)
        assert as_it_came.suggest(30) == expected


def test_what_became_of_a_point_that_had_failed_counts_when_it_is_told_anew() -> None:
    search = a_search(seed=5)
    lessons = tried(Study(search), 0, 20)
    mended, fresh = Study(search), Study(search)
    mended.learn([*lessons[:7], Lesson(7, lessons[7].parameters, violations=(1.0,)), *lessons[8:]])
    mended.learn([Lesson(7, lessons[7].parameters, running=True)])
    mended.learn(lessons[7:8])
    fresh.learn(lessons)
    assert mended.suggest(20) == fresh.suggest(20)


FEW: list[dict[str, Any]] = [
    {"name": "lr", "choices": [0.1, 0.01, 0.001]},
    {"name": "optimizer", "choices": ["sgd", "adam"]},
    {"name": "momentum", "range": {"min": 0.0, "max": 0.9, "step": 0.3}, "when": {"optimizer": "sgd"}},
]


@pytest.mark.parametrize("seed", range(3))
def test_every_point_of_a_finite_space_is_tried_once(seed: int) -> None:
    study = Study(a_search(FEW, seed=seed, points=[{"parameters": {"lr": 0.1, "optimizer": "adam"}}]))
    lessons = tried(study, 1, 15)
    points = {key(each.parameters) for each in lessons}
    assert len(points) == 14
    assert key({"lr": 0.1, "optimizer": "adam"}) not in points
    assert study.suggest(15) is None


def test_points_of_another_search_are_learnt_from_first() -> None:
    search = a_search(seed=1)
    earlier, ran_on = tried(Study(search), 0, 12), Lesson(12, {"lr": 0.1}, running=True)
    study, alone = Study(search, [*earlier, ran_on]), Study(search)
    assert suggested(study, 0).why == "TPE over 12 points"
    # As if they were the first of its own: their numbers are not looked at.
    alone.learn(earlier)
    assert suggested(study, 12) == suggested(alone, 12)
    study.learn([Lesson(0, suggested(study, 0).parameters, 1.0)])
    assert suggested(study, 1).learnt_from == 13


def test_points_of_another_search_are_not_tried_again() -> None:
    search = a_search(FEW, seed=1)
    earlier = tried(Study(search), 0, 12)
    study = Study(search, [*earlier, Lesson(12, {"lr": 0.1, "optimizer": "adam"}, running=True)])
    assert len({key(each.parameters) for each in (*earlier, *tried(study, 0, 3))}) == 15
    assert study.suggest(3) is None


def test_points_whose_parameters_do_not_fit_each_other_are_not_suggested() -> None:
    search = an_experiment(
        algorithm="TPE",
        trials=100,
        parameters=[
            {"name": "model.kind", "choices": ["MLP", "Transformer"]},
            {"name": "model.hiddenSize", "choices": [30, 32, 34]},
            {"name": "model.heads", "choices": [2, 4]},
        ],
    )
    assert isinstance(search, HyperparamSearch)
    study = Study(search)
    found = [each.parameters for each in tried(study, 0, 10, lambda point: float(point["model.hiddenSize"]))]
    assert len({key(point) for point in found}) == 10
    for point in found:
        assert point["model.kind"] == "MLP" or int(point["model.hiddenSize"]) % int(point["model.heads"]) == 0
    assert study.suggest(10) is None


def test_running_points_count() -> None:
    search = a_search(seed=2)
    lessons = tried(Study(search), 0, 20)
    alone, beside = Study(search), Study(search)
    alone.learn(lessons)
    next_one = suggested(alone, 20)
    beside.learn([*lessons, Lesson(20, next_one.parameters, running=True)])
    assert suggested(beside, 21).why == "TPE over 20 points, and 1 that run"
    again = suggested(beside, 20).parameters
    assert again != next_one.parameters


def test_it_says_what_a_suggestion_rests_on() -> None:
    study = Study(a_search(seed=2))
    assert study.suggest(0) == Suggested(
        suggested(study, 0).parameters, 0, "drawn at random: TPE learns once 10 points have ended, and 0 have"
    )
    lessons = tried(study, 0, 20)
    study.learn([Lesson(20, suggested(study, 20).parameters, violations=(1.0,))])
    assert suggested(study, 21).why == "TPE over 21 points, 1 of which failed or broke a constraint"
    assert suggested(study, 21).learnt_from == len(lessons) + 1


def fails(point: Point) -> bool:
    """Where much is kept, or the learning rate is high."""
    return float(point["width"]) * (1 - float(point["dropout"])) > 260 or float(point["lr"]) > 0.03


@pytest.mark.slow
def test_it_keeps_away_from_where_trials_fail() -> None:
    firsts, seconds = [], []
    for seed in range(5):
        study, failed = Study(a_search(seed=seed)), list[bool]()
        for number in range(200):
            point = suggested(study, number).parameters
            failed.append(fails(point))
            value, broken = (None, (1.0,)) if failed[-1] else (loss(point), ())
            study.learn([Lesson(number, point, value, broken)])
        firsts.append(sum(failed[:100]))
        seconds.append(sum(failed[100:]))
    assert statistics.median(seconds) <= statistics.median(firsts) / 2, (firsts, seconds)


def test_it_keeps_to_constraints() -> None:
    def kept(study: Study, tells: bool) -> int:
        widths = []
        for number in range(80):
            point = suggested(study, number).parameters
            widths.append(float(point["width"]))
            study.learn([Lesson(number, point, loss(point), (widths[-1] - 200,) if tells else ())])
        return sum(width <= 200 for width in widths[40:])

    told, untold = (sum(kept(Study(a_search(seed=seed)), tells) for seed in range(3)) for tells in (True, False))
    assert told >= 2 * untold


def test_a_point_outside_the_space_is_refused_and_nothing_taken_in() -> None:
    study, other = Study(a_search(seed=4)), Study(a_search(seed=4))
    lessons = tried(study, 0, 12)
    outside = {**lessons[3].parameters, "width": 600}
    with pytest.raises(ValueError, match=r"point 11 must lie in the space of the search, got .*600"):
        other.learn([*lessons[:11], Lesson(11, outside, 1.0)])
    other.learn(lessons)
    assert other.suggest(12) == study.suggest(12)


limits = st.tuples(st.integers(-50, 50), st.integers(1, 40))
steps = st.sampled_from([1, 2, 0.1, 0.25, 0.3, 1 / 3])


@st.composite
def parameters(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Parameters of every kind, some of which count only for one choice of the first."""
    found: list[dict[str, Any]] = [{"name": "kind", "choices": ["a", "b"]}]
    for number in range(draw(st.integers(1, 4))):
        low, many = draw(limits)
        kind = draw(st.sampled_from(["float", "log", "step", "choices"]))
        made: dict[str, Any] = {"name": f"p{number}"}
        if kind == "choices":
            made["choices"] = draw(st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True))
        elif kind == "step":
            step = draw(steps)
            made["range"] = {"min": low, "max": low + many * step, "step": step}
        else:
            least = 10.0 ** (low / 10) if kind == "log" else float(low)
            made["range"] = {"min": least, "max": least + many, "scale": "Log" if kind == "log" else "Linear"}
        if draw(st.booleans()):
            made["when"] = {"kind": draw(st.sampled_from(["a", "b"]))}
        found.append(made)
    return found


@settings(max_examples=40)
@given(parameters(), st.integers(0, 2**31 - 1))
def test_what_is_suggested_lies_in_the_space_and_is_taken_back(space: list[dict[str, Any]], seed: int) -> None:
    search = a_search(space, seed=seed, trials=1)
    study = Study(search)
    for number in range(14):
        found = study.suggest(number)
        if found is None:
            return
        point: Point = {}
        for parameter in search.spec.parameters:
            assert counts(parameter, point) == (parameter.name in found.parameters)
            if parameter.name not in found.parameters:
                continue
            value = point[parameter.name] = found.parameters[parameter.name]
            if parameter.count is not None:
                assert value in [parameter.at(place) for place in range(parameter.count)]
            else:
                assert parameter.range is not None
                assert type(value) is float
                assert parameter.range.min <= value <= parameter.range.max
        assert list(point) == list(found.parameters)
        study.learn([Lesson(number, json.loads(json.dumps(point)), float(number % 5))])


def test_whole_numbers_of_our_trainer_are_whole() -> None:
    search = an_experiment(
        algorithm="TPE",
        trials=100,
        parameters=[
            {"name": "model.hiddenSize", "range": {"min": 16, "max": 256, "scale": "Log"}},
            {"name": "model.layers", "range": {"min": 1, "max": 6}},
            {"name": "train.learningRate", "range": {"min": 1e-5, "max": 0.1, "scale": "Log"}},
        ],
    )
    assert isinstance(search, HyperparamSearch)
    lessons = tried(Study(search), 0, 25, lambda point: float(point["model.layers"]))
    for each in lessons:
        assert [type(value) for value in each.parameters.values()] == [int, int, float]
    assert {each.parameters["model.layers"] for each in lessons} <= set(range(1, 7))


@pytest.mark.slow
def test_5000_points_are_rebuilt_and_suggested_from() -> None:
    rng, search = random.Random(1), a_search(CONDITIONAL)
    lessons = []
    for number in range(5000):
        point: Point = {"lr": 10 ** rng.uniform(-5, 0), "optimizer": rng.choice(["sgd", "adamw", "rmsprop"])}
        point |= (
            {"momentum": rng.uniform(0, 0.99)} if point["optimizer"] == "sgd" else {"beta": rng.uniform(0.5, 0.99)}
        )
        lessons.append(Lesson(number, point | {"layers": rng.choice([1, 3, 5, 7, 9])}, rng.random()))
    study = Study(search)
    begun = time.process_time()
    study.learn(lessons)
    rebuilt = time.process_time()
    found = [suggested(study, 5000) for _ in range(5)]
    print(
        f"5,000 points: {rebuilt - begun:.2f} s to rebuild, {(time.process_time() - rebuilt) / 5:.3f} s a suggestion"
    )
    assert [each.learnt_from for each in found] == [5000] * 5


REPEATED = expand(four(repeats=3))[:3]


def told_of(*records: Any, constraints: Sequence[Constraint] = ()) -> Lesson:
    """The lesson of the first point of three repeats, by the latest records of these."""
    latest = {record.id: record for record in records}
    return lesson(7, REPEATED, latest, four().spec.objective, constraints)


def test_a_point_counts_with_the_mean_of_its_repeats_once_all_have_ended() -> None:
    ended = [a_record(trial, value=value) for trial, value in zip(REPEATED, (1.0, 2.0, 6.0), strict=True)]
    point = {"model.layers": 1}
    assert told_of() == told_of(*ended[:2]) == Lesson(7, point, running=True)
    again = a_record(REPEATED[2], outcome=Outcome.NODE_LOST, final=False)
    assert told_of(*ended[:2], again) == Lesson(7, point, running=True)
    assert told_of(*ended) == Lesson(7, point, 3.0)
    stopped = a_record(REPEATED[2], outcome=Outcome.STOPPED, metrics={"validMse": 9.0})
    assert told_of(*ended[:2], stopped) == Lesson(7, point, 4.0)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.SUCCEEDED}))
def test_a_point_that_failed_breaks_a_constraint_unless_it_is_not_to_blame(outcome: Outcome) -> None:
    ended = [a_record(trial, value=1.0) for trial in REPEATED]
    found = told_of(*ended[:2], a_record(REPEATED[2], outcome=outcome))
    assert found == Lesson(7, {"model.layers": 1}, violations=() if outcome in UNBLAMED else (1.0,))
    assert found.broke is (outcome not in UNBLAMED)


def test_a_success_without_a_finite_objective_is_a_failure() -> None:
    ended = [a_record(trial, value=1.0) for trial in REPEATED]
    assert told_of(*ended[:2], a_record(REPEATED[2], metrics={"validMae": 1.0})).violations == (1.0,)


def test_constraints_are_broken_by_as_much_as_a_figure_lies_beyond_them() -> None:
    held = [Memory(peak_bytes=peak, mean_bytes=1) for peak in (100, 300, 200)]
    ended = [
        a_record(trial, value=1.0, seconds=seconds, memory=(memory, None), metrics={"validMse": 1.0, "auc": auc})
        for trial, seconds, memory, auc in zip(REPEATED, (1.0, 2.0, 6.0), held, (0.5, 0.7, 0.9), strict=True)
    ]
    constraints = [
        Constraint(metric="peakMemoryBytes", atMost=250),
        Constraint(metric="totalSeconds", atMost=4),
        Constraint(metric="auc", atLeast=0.8, atMost=0.9),
        Constraint(metric="f1", atLeast=0.1),
    ]
    assert violations(constraints, ended) == (50.0, -1.0, pytest.approx(0.1), 1.0)
    found = told_of(*ended, constraints=constraints)
    assert (found.value, found.broke) == (1.0, True)
    assert not told_of(*ended, constraints=constraints[1:2]).broke
    assert from_json(json.loads(json.dumps(as_json(found)))) == found
    assert figure(ended[1], "peakMemoryBytes") == 300
    assert figure(ended[1].model_copy(update={"memory": (None,)}), "peakMemoryBytes") is None
    assert violations(constraints[:1], [*ended[:2], ended[2].model_copy(update={"memory": ()})]) == (1.0,)


class AChild:
    """The process that suggests, at the ends of two pipes."""

    def __init__(self) -> None:
        theirs_in, requests = os.pipe()
        answers, theirs_out = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer.suggesting.child", str(theirs_in), str(theirs_out)],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.PIPE,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.requests, self.answers = os.fdopen(requests, "w", buffering=1), os.fdopen(answers, "r")

    def ask(self, do: str, search: str, **given: Any) -> None:
        self.requests.write(json.dumps({"do": do, "search": search, **given}) + "\n")

    def heard(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.answers.readline())
        return told

    def suggestion(self, search: str, number: int) -> dict[str, Any]:
        self.ask("suggest", search, number=number)
        return self.heard()

    def ended(self) -> tuple[str, int, bytes]:
        """What it tells to its end, how it ended, and what it complained of."""
        with self.requests, self.answers, self.process:
            self.requests.close()
            assert self.process.stderr is not None
            return self.answers.read(), self.process.wait(), self.process.stderr.read()


def test_the_process_suggests_as_the_study_does_and_ends_with_its_requests() -> None:
    one, two = a_search(CONDITIONAL, seed=8), a_search(FEW, seed=9)
    study, child = Study(one), AChild()
    assert child.heard() == {"event": "ready"}
    child.ask("begin", "a/one", experiment=one.document(sparse=True), earlier=[])
    for number in range(14):
        told, expected = child.suggestion("a/one", number), suggested(study, number)
        assert told == {
            "event": "suggested",
            "search": "a/one",
            "number": number,
            "parameters": expected.parameters,
            "learntFrom": expected.learnt_from,
            "why": expected.why,
        }
        known = Lesson(number, told["parameters"], loss(told["parameters"]))
        study.learn([known])
        child.ask("learn", "a/one", lessons=[as_json(Lesson(number, told["parameters"], running=True))])
        child.ask("learn", "a/one", lessons=[as_json(known)])
    earlier = [as_json(each) for each in tried(Study(two), 0, 14)]
    child.ask("begin", "two", experiment=two.document(sparse=True), earlier=earlier)
    last = child.suggestion("two", 0)
    child.ask("learn", "two", lessons=[as_json(Lesson(0, last["parameters"], 1.0))])
    assert child.suggestion("two", 1) == {"event": "exhausted", "search": "two", "number": 1}
    assert child.ended() == ("", 0, b"")


def test_a_request_that_fails_says_so_and_leaves_the_others_alone() -> None:
    search, child = a_search(seed=8), AChild()
    assert child.heard() == {"event": "ready"}
    child.ask("begin", "one", experiment=search.document(sparse=True), earlier=[])
    child.ask("begin", "other", experiment={"kind": "HyperparamSearch"}, earlier=[])
    refused = child.heard()
    assert (refused["event"], refused["search"]) == ("failed", "other")
    assert child.suggestion("other", 0) == {
        "event": "failed",
        "search": "other",
        "error": "search must be one that has begun, got 'other'",
    }
    assert child.suggestion("one", 0)["parameters"] == suggested(Study(search), 0).parameters
    child.ask("forget", "one")
    assert child.suggestion("one", 0)["event"] == "failed"
    child.ask("begin", "one")
    assert child.heard()["error"] == "KeyError: 'experiment'"
    told, code, complaints = child.ended()
    assert (told, code) == ("", 0)
    assert b"KeyError" in complaints


def test_the_process_never_loads_torch() -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-c", "import sys, trainer.suggesting.child; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False\n"
