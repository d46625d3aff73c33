"""A search as a study of Optuna's: its best, counts and importances are the summary's; Optuna reads it as its own."""

import sqlite3
import statistics
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from trainer.__main__ import main
from trainer.experiment.entries import Entries
from trainer.experiment.outcome import Outcome
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.summary import Summary
from trainer.export.study import distribution, studies, write_studies
from unit.builders import START, a_record, an_experiment
from unit.exported import CASES, HOSTILE, Case, a_search, failing, hostile, many, of_program, repeated, windows

optuna.logging.set_verbosity(optuna.logging.ERROR)
STATES = {TrialState.COMPLETE: "succeeded", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}


def opened(case: Case, folder: Path, name: str | None = None) -> optuna.Study:
    """The study of a run in `folder`, exported and loaded as a user does."""
    file = folder / "study.db"
    if not (folder / "run").exists():
        assert main(["export", str(case.leave(folder / "run")), "--optuna", str(file)]) == 0
    return optuna.load_study(study_name=name or case.experiment.name, storage=f"sqlite:///{file}")


def best(study: optuna.Study) -> FrozenTrial | None:
    try:
        return study.best_trial
    except ValueError:
        return None


def importances(study: optuna.Study) -> dict[str, float]:
    share = study.user_attrs["importanceQuantile"]
    if share is None:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=share))


def assert_says(study: optuna.Study, summary: Summary, *, repeats: int) -> None:
    """That the study says what a summary does."""
    found = best(study)
    if summary.best is None:
        assert found is None
    else:
        assert found is not None
        assert found.value == summary.best.value
        assert found.user_attrs["index"] == summary.best.index
        assert found.params == summary.best.parameters
    states = Counter(trial.state for trial in study.trials)
    if repeats == 1:
        assert {name: states[state] for state, name in STATES.items()} == {
            name: getattr(summary.counts, name) for name in STATES.values()
        }
        assert len(study.trials) == summary.counts.total
    assert study.user_attrs["importance"] == summary.importance
    assert importances(study) == pytest.approx(summary.importance, rel=1e-6, abs=1e-9)
    assert study.user_attrs["caveats"] == list(summary.caveats)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Some regimes")
def test_the_study_says_what_the_summary_does(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    study, summary = opened(case, tmp_path), case.summary()
    assert_says(study, summary, repeats=case.experiment.spec.repeats)
    assert summary.importance or name == "all_breaking" or summary.counts.succeeded < 10
    if summary.counts.succeeded >= 50 and case.experiment.spec.repeats == 1:
        assert get_param_importances(study) == pytest.approx(summary.importance, rel=1e-6, abs=1e-9)
    for trial in study.trials:
        trial._validate()
    assert study.metric_names == [case.experiment.spec.objective.metric]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CASES)
def test_it_is_stored_as_optuna_would_store_it(name: str, tmp_path: Path) -> None:
    (made,) = studies(CASES[name]().run())
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    write_studies(ours, [made])
    study = optuna.create_study(
        study_name="theirs", storage=f"sqlite:///{theirs}", direction=made.direction.name.lower()
    )
    few = [trial for trial in made.trials if trial.number < 6]
    study.add_trials(few)
    assert rows(ours, len(few)) == rows(theirs, len(few))


def rows(file: Path, trials: int) -> dict[str, list[Any]]:
    """What the tables of the first trials hold, without the numbers of rows."""
    tables = {
        "trials": "trial_id, number, state, datetime_start, datetime_complete",
        "trial_params": "trial_id, param_name, param_value, distribution_json",
        "trial_values": "trial_id, objective, value, value_type",
        "trial_intermediate_values": "trial_id, step, intermediate_value, intermediate_value_type",
        "trial_user_attributes": "trial_id, key, value_json",
        "trial_system_attributes": "trial_id, key, value_json",
    }
    with closing(sqlite3.connect(file)) as database:
        return {
            table: sorted(row for row in database.execute(f"SELECT {fields} FROM {table}") if row[0] <= trials)  # noqa: S608
            for table, fields in tables.items()
        }


def test_a_trial_tells_how_it_went(tmp_path: Path) -> None:
    study = opened(failing(), tmp_path)
    states = [trial.state for trial in study.trials[:5]]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
    good, crashed, diverged, again, new = study.trials[:5]
    assert good.intermediate_values == {step: pytest.approx(good.value + 3 - step) for step in (1, 2, 3)}
    assert crashed.user_attrs["outcome"] == "Crashed"
    assert crashed.user_attrs["error"].startswith("=cmd token=")
    assert b"hunter2secret" not in (tmp_path / "study.db").read_bytes()
    assert diverged.user_attrs["metrics.val/accuracy"] == 0.5
    assert again.user_attrs["outcome"] == "Evicted"
    assert set(new.user_attrs) == {"index", "id"}
    assert [("momentum" in trial.params) == (trial.params["optimizer"] == "sgd") for trial in study.trials] == [
        True
    ] * 100


def test_times_are_local_and_of_a_point_with_repeats_from_its_first_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        first = opened(repeated(), tmp_path).trials[0]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert first.datetime_start == datetime(2023, 11, 15, 3, 43, 20)  # noqa: DTZ001 - as Optuna has it
    assert first.duration == timedelta(seconds=6)
    assert START == 1_700_000_000_000, "22:13:20 UTC"


def test_repeats_count_by_their_mean(tmp_path: Path) -> None:
    case = repeated()
    study = opened(case, tmp_path)
    assert len(study.trials) == 40
    values = [record.metrics["loss"] for record in case.entries.records[:3]]
    assert study.trials[0].value == pytest.approx(sum(values) / 3)
    assert study.trials[0].user_attrs["deviation"] == pytest.approx(statistics.stdev(values))
    assert study.trials[1].state is TrialState.FAIL
    assert study.trials[1].user_attrs["outcome"] == "Crashed"


def test_what_was_stopped_is_pruned_with_what_it_told(tmp_path: Path) -> None:
    case = CASES["stopped_and_learnt"]()
    study = opened(case, tmp_path)
    pruned = study.get_trials(states=[TrialState.PRUNED])
    assert len(pruned) == 20
    assert pruned[0].intermediate_values == {1: 7.5}
    assert pruned[0].value == 7.5
    assert study.trials[1].intermediate_values.keys() == {1, 2, 3}


def test_constraints_keep_their_margins(tmp_path: Path) -> None:
    study = opened(CASES["constrained"](), tmp_path)
    first = study.trials[0]
    accuracy = first.user_attrs["metrics.val/accuracy"]
    assert list(first.constraints.values()) == [pytest.approx(accuracy - 0.5), pytest.approx(2.0 - 60)]
    raw = min(study.trials, key=lambda trial: trial.value)
    assert raw.number != study.best_trial.number, "the best of all breaks one"


def test_points_that_may_not_be_ranked_together_are_in_studies_of_their_own(tmp_path: Path) -> None:
    case = windows()
    summary, name = case.summary(), case.experiment.name
    rest = opened(case, tmp_path)
    assert summary.best is None
    assert best(rest) is None
    assert rest.user_attrs["caveats"] == list(summary.caveats)
    for group in summary.groups:
        window = group.fields["data.window"]
        study = opened(case, tmp_path, f"{name} data.window={window}")
        assert group.best is not None
        assert (study.best_trial.user_attrs["index"], study.best_value) == (group.best.index, group.best.value)
        assert {trial.params["data.window"] for trial in study.trials} == {window}
        assert study.trials[0].state is TrialState.FAIL, "it crashed, and would have been of this window"
    other = opened(case, tmp_path, f"{name} data.window=30").trials[5]
    assert (other.state, other.user_attrs["outcome"]) == (TrialState.FAIL, "Succeeded")
    assert "other content" in other.user_attrs["leftOut"]


def test_groups_that_their_parameters_don_t_tell_apart_have_studies_of_their_own_too(tmp_path: Path) -> None:
    experiment = a_search(12)
    records = [
        of_program(trial, evidence={"data": "0da7a0000000", "validation": f"0000000000{trial.index % 2}0"})
        for trial in Entries().trials(experiment)
    ]
    case = Case(experiment, Entries(records), {})
    for number, first in ((1, 0), (2, 1)):
        study = opened(case, tmp_path, f"{experiment.name} set {number}")
        assert [trial.user_attrs["index"] for trial in study.trials] == list(range(first, 12, 2))
        assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_a_study_can_be_gone_on_with_and_is_not_replaced_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES["the_default_search"]()
    study = opened(case, tmp_path)
    words = ["export", str(tmp_path / "run"), "--optuna", str(tmp_path / "study.db")]
    assert main(words) == 0
    study = opened(case, tmp_path)
    study.sampler = optuna.samplers.TPESampler(seed=0)
    trial = study.ask(study.trials[0].distributions)
    study.tell(trial, 0.5)
    assert study.trials[-1].number == 18
    capsys.readouterr()
    assert main(words) == 2
    assert "was not made by this command, and stays" in capsys.readouterr().err


DISTRIBUTIONS = [
    ({"range": {"min": 1e-4, "max": 1.0, "scale": "Log"}}, FloatDistribution(1e-4, 1.0, log=True)),
    ({"range": {"min": 0.0, "max": 0.9}}, FloatDistribution(0.0, 0.9)),
    ({"range": {"min": 0.0, "max": 0.9, "step": 0.3}}, FloatDistribution(0.0, 0.9, step=0.3)),
    ({"range": {"min": 0.0, "max": 1.0, "step": 0.3333333333333333}}, FloatDistribution(0.0, 1.0)),
    ({"range": {"min": 32, "max": 512, "step": 32}}, IntDistribution(32, 512, step=32)),
    ({"choices": ["a", 1, True, 0.5]}, CategoricalDistribution(("a", 1, True, 0.5))),
]


@pytest.mark.parametrize(("given", "expected"), DISTRIBUTIONS)
def test_a_parameter_is_drawn_as_optuna_would(
    given: dict[str, Any], expected: optuna.distributions.BaseDistribution
) -> None:
    search = a_search(parameters=[{"name": "x", **given}])
    assert isinstance(search, HyperparamSearch)
    assert distribution(search.spec, search.spec.parameters[0]) == expected


def test_whole_fields_of_our_trainer_are_drawn_whole() -> None:
    parameters = [{"name": "model.hiddenSize", "range": {"min": 8, "max": 512, "scale": "Log"}}]
    search = an_experiment(algorithm="Random", trials=4, parameters=parameters)
    assert isinstance(search, HyperparamSearch)
    assert distribution(search.spec, search.spec.parameters[0]) == IntDistribution(8, 512, log=True)


def test_text_of_any_kind_comes_through(tmp_path: Path) -> None:
    study = opened(hostile(), tmp_path)
    assert {trial.params["text"] for trial in study.trials} == set(HOSTILE)
    assert {(type(trial.params["mixed"]), trial.params["mixed"]) for trial in study.trials} == {
        (int, 1), (bool, True), (str, "1"), (float, 0.5)
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 18])
def test_with_no_trial_one_or_all_failed_there_is_a_study(count: int, tmp_path: Path) -> None:
    experiment = a_search(18)
    trials = Entries().trials(experiment)
    records = [of_program(trial, outcome=Outcome.CRASHED, error="no") for trial in trials[:count]]
    case = Case(experiment, Entries(records), {})
    study = opened(case, tmp_path)
    assert_says(study, case.summary(), repeats=1)
    assert Counter(trial.state for trial in study.trials)[TrialState.WAITING] == 18 - count


def test_a_scale_test_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = an_experiment(kind="ScaleTest", name="sizes", axes={"multipliers": [1], "workers": [1]})
    run = Case(experiment, Entries([a_record(Entries().trials(experiment)[0])]), {}).leave(tmp_path / "run")
    assert main(["export", str(run), "--optuna", str(tmp_path / "x.db")]) == 2
    assert "sizes: must be a HyperparamSearch" in capsys.readouterr().err
    assert not (tmp_path / "x.db").exists()


@pytest.mark.slow
def test_five_thousand_trials_take_seconds(tmp_path: Path) -> None:
    case = many()
    folder = case.leave(tmp_path / "run")
    begun = time.monotonic()
    write_studies(tmp_path / "study.db", studies(case.run(folder)))
    took = time.monotonic() - begun
    print(f"study {took:.2f} s")
    assert took < 60
    study = optuna.load_study(study_name=case.experiment.name, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert_says(study, case.summary(), repeats=1)
