"""What a search has come to know: how its best improved, which parameters mattered, what stopping saved."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from trainer.experiment.best import Points
from trainer.experiment.expand import Trial, expand
from trainer.experiment.learnt import FEWEST_POINTS, MOST_IMPROVEMENTS, importance
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RUNG, STEP, STEP_SECONDS, Record, Seconds
from trainer.experiment.rung import RungEntry
from trainer.experiment.saved import Saved
from trainer.experiment.space import Point
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar, SearchSpec
from trainer.experiment.summary import Summary, summarize
from unit.builders import START, a_record, an_experiment, four

PROGRAM = {"command": ["python", "train.py"]}
LAYERS = [{"name": "model.layers", "choices": list(range(1, 7))}]
ONE_CPU = {"resources": {"requests": {"cpu": 1}}}

# What the two sides call the same: a parameter of a file, and Optuna's distribution of it.
SPACE: dict[str, tuple[dict[str, Any], BaseDistribution]] = {
    "lr": ({"range": {"min": 1e-4, "max": 1.0, "scale": "Log"}}, FloatDistribution(1e-4, 1.0, log=True)),
    "dropout": ({"range": {"min": 0.0, "max": 0.9}}, FloatDistribution(0.0, 0.9)),
    "width": ({"range": {"min": 32, "max": 512, "step": 32}}, IntDistribution(32, 512, step=32)),
    "batch": ({"range": {"min": 1, "max": 1000, "step": 1}}, IntDistribution(1, 1000)),
    "optimizer": ({"choices": ["sgd", "adam", "adamw"]}, CategoricalDistribution(["sgd", "adam", "adamw"])),
    "nesterov": ({"choices": [True, False]}, CategoricalDistribution([True, False])),
    "momentum": (
        {"range": {"min": 0.0, "max": 0.99}, "when": {"optimizer": "sgd"}}, FloatDistribution(0.0, 0.99)
    ),
}  # fmt: skip


def a_spec(space: Mapping[str, tuple[dict[str, Any], BaseDistribution]], **spec: Any) -> SearchSpec:
    parameters = [{"name": name, **given} for name, (given, _) in space.items()]
    told = {"metric": "loss", "direction": "Minimize"} | spec.pop("objective", {})
    experiment = an_experiment(
        parameters=parameters, program=PROGRAM, algorithm="Random", trials=50, objective=told, **spec
    )
    assert isinstance(experiment, HyperparamSearch)
    return experiment.spec


def drawn(rng: random.Random, names: Sequence[str]) -> Point:
    point: dict[str, Scalar] = {
        "lr": 10 ** rng.uniform(-4, 0),
        "dropout": rng.uniform(0, 0.9),
        "width": 32 * rng.randint(1, 16),
        "batch": rng.randint(1, 1000),
        "optimizer": rng.choice(["sgd", "adam", "adamw"]),
        "nesterov": rng.choice([True, False]),
    }
    if point["optimizer"] == "sgd":
        point["momentum"] = rng.uniform(0, 0.99)
    return {name: value for name, value in point.items() if name in names}


def loss(point: Point) -> float:
    """Depends on the rate most, then on optimizer and momentum, then on the width."""
    found = (math.log10(float(point["lr"])) + 2) ** 2
    found += {"sgd": 1.2, "adam": 0.0, "adamw": 0.4}[str(point.get("optimizer", "adam"))]
    found += float(point.get("momentum", 0)) ** 2 + abs(float(point.get("width", 256)) - 256) / 800
    return found


def measured(points: Sequence[Point], values: Sequence[float], sign: int = 1) -> Points:
    like = expand(four())[0]
    firsts = {
        number: Trial(number, number, f"{number}", point, 0, like.runs, 1, 0) for number, point in enumerate(points)
    }
    means = dict(enumerate(values))
    return Points(means, means, firsts, sign)


def of_optuna(points: Sequence[Point], values: Sequence[float], sign: int) -> dict[str, float]:
    study = optuna.create_study(direction="minimize" if sign == 1 else "maximize")
    for point, value in zip(points, values, strict=True):
        dists = {name: SPACE[name][1] for name in point}
        study.add_trial(optuna.create_trial(params=dict(point), distributions=dists, value=value))
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


CASES = (
    (list(SPACE), 60, 1),
    (list(SPACE), 300, 1),
    (list(SPACE), 300, -1),
    (["lr", "dropout"], 100, 1),
    (["lr", "optimizer", "momentum"], 57, -1),
    (["lr", "width", "batch", "nesterov"], 1000, 1),
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_importance_is_what_optuna_says(case: tuple[list[str], int, int], seed: int) -> None:
    names, number, sign = case
    rng = random.Random(seed)
    points = [drawn(rng, names) for _ in range(number)]
    values = [sign * loss(point) + rng.gauss(0, 0.05) for point in points]
    ours = importance(a_spec({name: SPACE[name] for name in names}), measured(points, values, sign))
    theirs = of_optuna(points, values, sign)
    assert list(ours) == list(theirs), "the same order"
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)
    assert math.fsum(ours.values()) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore")
def test_whole_numbers_on_a_log_scale_have_as_many_cells_as_optuna_gives_them() -> None:
    experiment = an_experiment(
        parameters=[
            {"name": "model.hiddenSize", "range": {"min": 8, "max": 512, "scale": "Log"}},
            {"name": "train.batchSize", "range": {"min": 16, "max": 256}},
        ],
        algorithm="Random",
        trials=100,
    )
    assert isinstance(experiment, HyperparamSearch)
    rng = random.Random(0)
    points: list[Point] = [
        {"model.hiddenSize": round(8 * 2 ** rng.uniform(0, 6)), "train.batchSize": rng.randint(16, 256)}
        for _ in range(100)
    ]
    values = [abs(math.log2(float(point["model.hiddenSize"])) - 6) + rng.gauss(0, 0.3) for point in points]
    study = optuna.create_study()
    dists = {"model.hiddenSize": IntDistribution(8, 512, log=True), "train.batchSize": IntDistribution(16, 256)}
    for point, value in zip(points, values, strict=True):
        study.add_trial(optuna.create_trial(params=dict(point), distributions=dists, value=value))
    theirs = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    assert importance(experiment.spec, measured(points, values)) == pytest.approx(theirs, rel=1e-6)


def test_importance_is_told_from_ten_points_on_that_differ() -> None:
    spec = a_spec({name: SPACE[name] for name in ("lr", "optimizer")})
    rng = random.Random(0)
    points = [drawn(rng, ["lr", "optimizer"]) for _ in range(FEWEST_POINTS)]
    values = [loss(point) for point in points]
    assert set(importance(spec, measured(points, values))) == {"lr", "optimizer"}
    assert importance(spec, measured(points[1:], values[1:])) == {}
    assert importance(spec, measured(points, [0.5] * FEWEST_POINTS)) == {}


def test_a_parameter_that_never_varies_has_no_share() -> None:
    space = {"lr": SPACE["lr"], "only": ({"choices": ["one"]}, SPACE["optimizer"][1])}
    rng = random.Random(0)
    points = [drawn(rng, ["lr"]) | {"only": "one"} for _ in range(20)]
    found = importance(a_spec(space), measured(points, [loss(point) for point in points]))
    assert found == {"lr": 1.0, "only": 0.0}


def ledger(experiment: Experiment, *values: float | Outcome, **fields: Any) -> list[Record]:
    """Records of the first trials, two seconds each, one after another."""
    return [
        a_record(trial, **({"outcome": value} if isinstance(value, Outcome) else {"value": value}), **fields)
        for trial, value in zip(expand(experiment), values, strict=False)
    ]


def summary_of(experiment: Experiment, records: Sequence[Record], **more: Any) -> Summary:
    return summarize(experiment, expand(experiment), records, **more)


def improvements(summary: Summary) -> list[tuple[int, int, float, float]]:
    return [(each.index, each.trials, each.seconds, each.value) for each in summary.course]


def test_the_course_is_where_the_best_improved() -> None:
    experiment = an_experiment(parameters=LAYERS)
    records = ledger(experiment, 0.5, Outcome.CRASHED, 0.3, 0.3, 0.4, 0.1)
    assert improvements(summary_of(experiment, records)) == [(0, 1, 2.0, 0.5), (2, 3, 6.0, 0.3), (5, 6, 12.0, 0.1)]
    up = an_experiment(parameters=LAYERS, objective={"metric": "validMse", "direction": "Maximize"})
    assert improvements(summary_of(up, ledger(up, 0.5, 0.4, 0.6))) == [(0, 1, 2.0, 0.5), (2, 3, 6.0, 0.6)]


def test_the_course_counts_points_when_all_their_repeats_have_ended_and_leaves_pauses_out() -> None:
    experiment = an_experiment(parameters=LAYERS, repeats=2)
    records = ledger(experiment, 0.5, 0.3, 0.2, 0.2)
    next_day = START + 86_400_000
    records[2:] = [
        record.model_copy(
            update={
                "accepted_at": next_day,
                "started_at": next_day + 1000 * number,
                "finished_at": next_day + 1000 * number + 3000,
            }
        )
        for number, record in enumerate(records[2:])
    ]
    assert improvements(summary_of(experiment, records)) == [(0, 2, 4.0, 0.4), (2, 4, 8.0, 0.2)]


def test_of_many_improvements_some_between_are_left_out() -> None:
    rates = [{"name": "train.learningRate", "choices": [round(0.001 * n, 3) for n in range(1, 61)]}]
    experiment = an_experiment(parameters=[*rates, {"name": "model.layers", "choices": [1, 2]}])
    found = summary_of(experiment, ledger(experiment, *(1 / n for n in range(1, 121)))).course
    assert len(found) == MOST_IMPROVEMENTS
    assert (found[0].index, found[-1].index) == (0, 119)
    assert [each.index for each in found] == sorted({each.index for each in found})


def test_the_leaders_are_the_five_best_points_that_break_no_constraint() -> None:
    experiment = an_experiment(parameters=LAYERS, constraints=[{"metric": "validMae", "atLeast": 4.5}])
    found = summary_of(experiment, ledger(experiment, 0.5, 0.1, 0.3, 0.3, 0.2, 0.4))
    assert [(each.index, each.value) for each in found.leaders] == [(4, 0.2), (2, 0.3), (3, 0.3), (5, 0.4), (0, 0.5)]
    assert found.leaders[0].parameters == {"model.layers": 5}
    assert found.leaders[0].id == expand(experiment)[4].id
    assert improvements(found)[-1][0] == 4


def stopped(experiment: Experiment, index: int, step: int | None, **fields: Any) -> Record:
    """The record of a trial that was stopped after this step."""
    evidence: dict[str, Scalar] = {} if step is None else {STEP: step, RUNG: step}
    return a_record(
        expand(experiment)[index], outcome=Outcome.STOPPED, **{"epochs": step or 0, "evidence": evidence} | fields
    )


def test_what_stopping_saved_are_the_steps_of_the_longest_that_stopped_trials_did_not_run() -> None:
    experiment = four(prices={"cpuHour": 3.6}, pod=ONE_CPU, workers=2, training={"train": {"epochs": 30}})
    records = [
        *ledger(experiment, 0.3, epochs=30),
        *ledger(experiment, 0.3, 0.2, epochs=24)[1:],
        stopped(experiment, 2, 3, seconds=1.5),
        stopped(experiment, 3, 9, seconds=4.5),
    ]
    found = summary_of(experiment, records).saved
    assert found is not None
    # 0.8 of a trial's seconds are training: 0.4 s an epoch for both.
    assert (found.steps, found.of_steps) == (48, 30 + 24 + 60)
    assert found.seconds == pytest.approx(48 * 0.4)
    assert found.cost == pytest.approx(48 * 0.4 * 2 * 3.6 / 3600)


def test_a_trial_that_was_to_train_fewer_epochs_would_not_have_gone_on_to_the_longest() -> None:
    experiment = an_experiment(parameters=[{"name": "train.epochs", "choices": [5, 10, 40]}])
    records = [stopped(experiment, 0, 2), stopped(experiment, 1, 2), *ledger(experiment, 0, 0, 0.3)[2:]]
    found = summary_of(experiment, records).saved
    assert found is not None
    assert (found.steps, found.of_steps, found.cost) == (3 + 8, 5 + 10 + 40, None)


def test_a_program_tells_its_steps_and_where_it_does_not_the_last_rung_counts() -> None:
    experiment = an_experiment(
        parameters=[{"name": "x", "choices": [1, 2, 3, 4]}],
        program=PROGRAM,
        objective={"metric": "loss", "direction": "Minimize"},
    )
    trials = expand(experiment)
    like = a_record(expand(four())[0], epochs=0, seconds=5.0)
    of_program = like.model_copy(update={"seconds": Seconds(start=1.0, total=5.0), "metrics": {"loss": 0.1}})

    def ran(number: int, step: int | None, outcome: Outcome, pace: float | None = None) -> Record:
        told: dict[str, Scalar] = {} if step is None else {STEP: step}
        told |= {} if pace is None else {STEP_SECONDS: pace}
        trial = trials[number]
        return of_program.model_copy(update={"id": trial.id, "index": number, "evidence": told, "outcome": outcome})

    records = [
        ran(0, 100, Outcome.SUCCEEDED, 0.04),
        ran(1, 20, Outcome.STOPPED, 0.2),
        ran(2, None, Outcome.STOPPED),
        ran(3, None, Outcome.STOPPED),
    ]
    entries = [
        RungEntry(number=number, trial=trials[2].id, attempt=1, rung=rung, step=step, value=1.0)
        for number, (rung, step) in enumerate([(0, 10), (1, 40)])
    ]
    found = summary_of(experiment, records, rungs=entries).saved
    # The last tells neither: it counts as stopped before its first step, at the mean pace of those that tell theirs.
    assert found == Saved(steps=80 + 60 + 100, of_steps=400, seconds=80 * 0.2 + (60 + 100) * 0.12, cost=None)


def test_nothing_was_saved_where_nothing_was_stopped_or_nobody_knows_how_far_trials_go() -> None:
    assert summary_of(four(), ledger(four(), 0.1, 0.2)).saved is None
    assert summary_of(four(), [stopped(four(), 0, 3)]).saved is None
