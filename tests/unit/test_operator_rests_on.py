"""What the operator says of results on different data, of naive predictions, and of doubtful experiments."""

import pytest

from trainer.experiment.doubts import doubts
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.record import RankReport
from trialrun_operator import conditions as c
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.names import EVENTS
from unit.fakekube import Document
from unit.lookout import Lookout, a_search, succeeds

SAME = {"dataHash": 29.0, "validationHash": 7.0}
USELESS = {"parameters": [{"name": "train.momentum", "choices": [0.0, 0.5]}]}


def ended(*metrics: dict[str, float], document: Document | None = None) -> Lookout:
    """A search whose trials reported these metrics, one each."""
    here = Lookout()
    here.apply(document or a_search(len(metrics)))
    here.play(lambda attempt: succeeds(metrics=metrics[int(attempt.partition(".")[0])]))
    return here


def said(here: Lookout) -> str:
    """The sentence of the condition Succeeded."""
    return str(next(each["message"] for each in here.status()["conditions"] if each["type"] == "Succeeded"))


def test_how_a_naive_prediction_does_stands_in_status_and_condition() -> None:
    here = ended(*({"validMse": value, "naiveValidMse": 0.25, **SAME} for value in (0.3, 0.2, 0.4)))
    summary = here.status()["summary"]
    assert (summary["naive"]["beatenBy"], summary["naive"]["bestBeats"], here.status()["best"]) == (1, True, "0.2")
    (caveat,) = summary["caveats"]
    assert caveat.startswith("1 of 3 trials predicts better than always predicting the mean")
    assert caveat in said(here)


def test_a_trial_on_other_data_is_not_the_best() -> None:
    here = ended({"validMse": 0.3, **SAME}, {"validMse": 0.2, **SAME}, {"validMse": 0.1, **SAME, "dataHash": 30.0})
    assert (here.status()["best"], here.status()["summary"]["otherData"]) == ("0.2", 1)
    assert "1 trial (2) trained on other data than the first" in said(here)
    assert "under another name" in said(here)


def test_trials_validated_on_different_samples_have_a_best_of_each() -> None:
    windows = a_search(parameters=[{"name": "data.window", "choices": [5, 10]}])
    here = ended({"validMse": 0.3, **SAME}, {"validMse": 0.2, **SAME, "validationHash": 8.0}, document=windows)
    summary = here.status()["summary"]
    assert "best" not in here.status()
    assert [(group["fields"], group["best"]["value"]) for group in summary["groups"]] == [
        ({"data.window": 5}, 0.3), ({"data.window": 10}, 0.2),
    ]  # fmt: skip
    assert "validated on 2 different sets" in said(here)


def test_reports_that_tell_nothing_of_their_data_are_unverified_and_ranked() -> None:
    here = ended({"validMse": 0.3}, {"validMse": 0.2})
    assert (here.status()["best"], here.status()["summary"]["unverified"]) == ("0.2", 2)
    assert "unverified" in said(here)


def test_a_new_experiment_that_cant_mean_what_it_says_is_refused() -> None:
    here = Lookout()
    here.apply(a_search(**USELESS))
    here.wait(5)
    assert (here.status()["phase"], here.of(JOBS)) == ("Invalid", [])
    assert here.condition("Accepted") == ("False", c.INVALID)
    here.restart()
    here.wait(5)
    assert here.of(JOBS) == []


def test_one_that_was_accepted_before_goes_on_and_is_warned() -> None:
    here = Lookout()
    taken = {"type": "Accepted", "status": "True", "reason": "Valid", "message": "All fields are valid."}
    here.apply(a_search(**USELESS))
    here.api.ask("PATCH", f"{here.key.path}/status", {"status": {"conditions": [taken]}})
    here.wait(2)
    assert len(here.of(JOBS)) == 2
    assert here.condition("Accepted") == ("True", c.DOUBTFUL)
    here.play()
    assert (here.status()["phase"], here.condition("Accepted")) == ("Succeeded", ("True", c.DOUBTFUL))


def test_one_that_was_accepted_and_then_made_invalid_is_still_accepted_once_mended() -> None:
    here = Lookout()
    taken = {"type": "Accepted", "status": "True", "reason": "Valid", "message": "All fields are valid."}
    here.apply(a_search(**USELESS))
    here.api.ask("PATCH", f"{here.key.path}/status", {"status": {"conditions": [taken]}})
    here.play()
    here.change(pod={"labels": 1}, rerun=1)
    here.wait(5)
    assert here.condition("Accepted") == ("False", c.INVALID)
    here.change(pod=None)
    here.wait(5)
    assert here.condition("Accepted") == ("True", c.DOUBTFUL)
    assert here.status()["rerun"] == 1


def test_what_no_trial_reads_stands_in_the_condition_and_keeps_nothing_from_running() -> None:
    here = Lookout()
    here.apply(a_search(2, training={"train": {"momentum": 0.9}}))
    here.play()
    assert (here.status()["phase"], here.condition("Accepted")) == ("Succeeded", ("True", c.VALID))
    accepted = next(each["message"] for each in here.status()["conditions"] if each["type"] == "Accepted")
    assert accepted == (
        "All fields are valid.\nspec.training.train.momentum: is without effect, got 0.9: only train.optimizer SGD "
        "has momentum"
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"objective": {"metric": "validR2", "direction": "Minimize"}},
        {"parameters": [{"name": "train.seed", "choices": [0, 1]}], "repeats": 2},
        {"parameters": [{"name": "train.optimizer", "choices": ["Adam", "AdamW"]}]},
        {"training": {"data": {"source": "csv", "path": "./a.csv"}}},
    ],
    ids=str,
)
def test_each_doubt_is_the_same_sentence_here_and_in_the_condition(spec: Document) -> None:
    here = Lookout()
    here.apply(a_search(2, **spec))
    here.wait(5)
    experiment = load(here.api.ask("GET", here.key.path))
    message = next(each["message"] for each in here.status()["conditions"] if each["type"] == "Accepted")
    assert here.status()["phase"] == "Invalid"
    assert message.splitlines() == doubts(experiment, expand(experiment)) != []
    told = [each for each in here.of(EVENTS) if each["reason"] == c.INVALID]
    here.wait(120)
    assert len(told) == 1 == len([each for each in here.of(EVENTS) if each["reason"] == c.INVALID])


def test_a_report_names_its_hashes_where_version_0_1_lets_it() -> None:
    assert set(RankReport(metrics=SAME).document(sparse=True)) == {"metrics"}
