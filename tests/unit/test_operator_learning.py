"""A search that learns, on a cluster: who suggests its points, where they are kept, and what becomes of it."""

import json
from collections import Counter
from typing import Any

import pytest

from trainer.experiment.baseline import figures
from trainer.experiment.load import load
from trainer.experiment.space import key
from trainer.scheduling.lessons import from_json
from trialrun_operator import conditions as c
from trialrun_operator.ledger_format import SHARD_TRIALS
from trialrun_operator.names import CONFIG_MAPS, SUGGESTIONS_LABEL, Key, suggestions_name, warm_start_name
from trialrun_operator.workload import NOT_PACKED, NOT_STOPPED
from unit.fakekube import Document, Fault, refused
from unit.lookout import CRASHES, NAMESPACE, SPACE, Lookout, Stage, a_learning_search, measures, succeeds
from unit.replayed import Replayed


def plays(here: Lookout, ends: dict[str, Stage] | None = None, *, seconds: int = 60) -> None:
    here.play(lambda attempt: (ends or {}).get(attempt, measures), seconds=seconds)


def applied(document: Document | None = None) -> Lookout:
    here = Lookout()
    here.apply(document or a_learning_search())
    return here


def assert_follows(here: Lookout, document: Document | None = None, **more: Any) -> Replayed:
    """Every suggestion is what the ledger asked for."""
    seen = [each["object"] for each in here.api.events if each["type"] != "DELETED"]
    return Replayed(document or a_learning_search(), **more).take(seen)


def message(here: Lookout, kind: str) -> str:
    return str(next(each["message"] for each in here.status()["conditions"] if each["type"] == kind))


def test_a_search_learns_from_its_trials_to_its_end() -> None:
    here = applied()
    plays(here, {"2.1": CRASHES})
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "14/14")
    assert here.records() == {f"{index}.1": "Crashed" if index == 2 else "Succeeded" for index in range(14)}
    replayed = assert_follows(here)
    assert [each.number for each in replayed.suggestions] == list(range(14))
    assert replayed.jobs == set(range(14))
    assert "TPE over" in replayed.suggestions[-1].why
    assert "failed or broke a constraint" in replayed.suggestions[-1].why
    assert here.operators[0].studies.begun == [here.api.objects[here.key.path]["metadata"]["uid"]], "told all once"


def test_points_are_suggested_when_there_is_room_for_them_and_no_sooner() -> None:
    here = applied()
    here.wait(3)
    assert (here.jobs(), len(here.suggestions())) == (["0.1", "1.1", "2.1"], 3)
    assert here.status()["done"] == "0/14", "of all that are planned"
    here.wait(100)
    assert len(here.suggestions()) == 3


def test_known_points_go_first() -> None:
    known = [{"parameters": {"train.learningRate": 0.01, "model.hiddenSize": 64}}]
    document = a_learning_search(5, points=known)
    here = applied(document)
    plays(here)
    assert (here.status()["done"], here.status()["best"]) == ("5/5", "0.01")
    assert [each.number for each in assert_follows(here, document).suggestions] == [1, 2, 3, 4]


def test_repeats_of_a_point_count_as_one() -> None:
    document = a_learning_search(6, repeats=2, parallelTrials=4)
    here = applied(document)
    here.wait(3)
    assert (len(here.suggestions()), len(here.jobs())) == (2, 4)
    plays(here)
    assert (here.status()["done"], len(assert_follows(here, document).suggestions)) == ("12/12", 6)


def test_suggestions_are_kept_beside_the_records_200_to_a_config_map() -> None:
    here = applied(a_learning_search(SHARD_TRIALS + 20, parallelTrials=SHARD_TRIALS + 10))
    plays(here, seconds=40)
    uid = here.api.objects[here.key.path]["metadata"]["uid"]
    kept = [each for each in here.of(CONFIG_MAPS) if SUGGESTIONS_LABEL in each["metadata"]["labels"]]
    assert [(each["metadata"]["name"], each["metadata"]["labels"][SUGGESTIONS_LABEL]) for each in kept] == [
        (suggestions_name(here.key, uid, 0), "0"), (suggestions_name(here.key, uid, 1), "1"),
    ]  # fmt: skip
    assert [len(each["data"]) for each in kept] == [SHARD_TRIALS, 20]
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in kept} == {uid}
    assert here.status()["done"] == f"{SHARD_TRIALS + 20}/{SHARD_TRIALS + 20}"


def test_a_search_of_100_points_8_at_once_costs_at_most_two_writes_a_trial() -> None:
    document = a_learning_search(100, parallelTrials=8)
    here = applied(document)
    plays(here, seconds=120)
    assert here.status()["done"] == "100/100"
    writes = Counter(here.kube.writes)
    assert sum(writes.values()) <= 200, writes
    assert b"\ntrialrun_suggestions_total 100.0\n" in here.operators[0].metrics.text()
    assert_follows(here, document)


def test_looking_again_writes_nothing() -> None:
    here = applied()
    plays(here)
    before = list(here.kube.writes)
    here.wait(100)
    here.restart()
    here.wait(100)
    assert here.kube.writes == before


def test_an_operator_that_was_started_anew_goes_on_as_the_one_before_would_have() -> None:
    here = applied()
    for _ in range(30):
        plays(here, {"2.1": CRASHES}, seconds=2)
        here.restart()
    assert here.status()["done"] == "14/14"
    calm = applied()
    plays(calm, {"2.1": CRASHES})
    assert here.suggestions() == calm.suggestions()
    assert_follows(here)


# --- what ends it, and what makes it go on --------------------------------------------------------------------------


def test_raised_trials_are_tried_also_after_the_end() -> None:
    here = applied(a_learning_search(4))
    here.wait(3)
    here.change(trials=6)
    plays(here, seconds=30)
    assert (here.status()["done"], here.condition("Finished")) == ("6/6", ("True", c.ALL_TRIALS_DONE))
    here.change(trials=13)
    here.wait(3)
    assert here.condition("Finished") == ("False", c.UNFINISHED)
    plays(here)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "13/13")
    assert len(assert_follows(here, a_learning_search(13)).suggestions) == 13


@pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
def test_raised_trials_of_a_search_that_does_not_learn_are_tried_too(algorithm: str) -> None:
    here = applied(a_learning_search(4, algorithm=algorithm))
    plays(here, seconds=30)
    assert here.status()["done"] == "4/4"
    here.change(trials=6)
    plays(here, seconds=30)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "6/6")


def test_a_target_ends_it_and_says_so() -> None:
    known = [{"parameters": {"train.learningRate": 0.01, "model.hiddenSize": 64}}]
    here = applied(a_learning_search(14, points=known, budget={"target": 0.02}))
    plays(here)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "3/14"), "what ran then ran to its end"
    assert here.condition("Finished") == ("True", c.BUDGET_USED_UP)
    said = "spec.budget.target 0.02 is reached by trial 0 with 0.01."
    assert message(here, "Finished").startswith(said)
    assert here.status()["summary"]["endedBy"] == said
    before = list(here.kube.writes)
    here.restart()
    here.wait(100)
    assert here.kube.writes == before
    here.change(budget=None)
    plays(here)
    assert here.status()["done"] == "14/14", "without it, it goes on"


def test_while_it_runs_on_after_its_budget_it_says_why_nothing_starts() -> None:
    document = a_learning_search(14, budget={"target": 100})
    here = applied(document)
    here.wait(3)
    here.play(lambda attempt: measures if attempt == "0.1" else None, seconds=6)
    assert here.condition() == ("True", c.BUDGET_USED_UP)
    assert message(here, "Progressing").endswith("No new trial starts, 2 still running.")
    assert here.told() == [c.BUDGET_USED_UP, c.RUNNING]
    plays(here)
    assert (here.status()["done"], len(here.suggestions())) == ("3/14", 3)


def test_seconds_are_those_in_which_trials_ran() -> None:
    here = applied(a_learning_search(14, parallelTrials=1, budget={"maxSeconds": 5}))
    here.wait(100)
    assert here.condition() == ("True", c.RUNNING), "the first has no pod yet"
    for _ in range(10):
        here.pods_run()
        here.wait(4)
        here.pods_end(lambda _: measures)
        here.wait(2)
    assert here.condition("Finished") == ("True", c.BUDGET_USED_UP)
    assert 2 <= len(here.records()) < 14
    assert "spec.budget.maxSeconds 5 is reached" in message(here, "Finished")


def test_when_every_point_was_tried_it_has_finished() -> None:
    few = [{"name": "model.layers", "choices": [1, 2]}, {"name": "model.hiddenSize", "choices": [8, 16]}]
    here = applied(a_learning_search(9, parameters=few))
    here.play(seconds=40)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "4/4")
    assert len({key(each.parameters) for each in here.suggestions()}) == 4
    assert "more than the 4 points" in message(here, "Accepted")


def test_a_suspended_search_is_suggested_nothing() -> None:
    here = applied()
    here.wait(3)
    here.change(suspend=True)
    plays(here, seconds=20)
    assert (len(here.suggestions()), len(here.records())) == (3, 3)
    here.change(suspend=False)
    plays(here)
    assert here.status()["done"] == "14/14"
    assert_follows(here)


def test_early_stopping_has_no_effect_yet_and_says_so() -> None:
    here = applied(a_learning_search(4, earlyStopping={"rule": "ASHA"}))
    plays(here)
    assert set(here.records().values()) == {"Succeeded"}
    assert NOT_STOPPED in message(here, "Accepted")


def test_a_cluster_packs_nothing_and_says_so() -> None:
    here = applied(a_learning_search(4, packing="Auto"))
    plays(here)
    assert set(here.records().values()) == {"Succeeded"}
    assert len(here.jobs()) == 4
    assert NOT_PACKED in message(here, "Accepted")


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_where_nothing_can_be_suggested_it_says_so_and_goes_on_once_it_can() -> None:
    here = applied()
    studies = here.operators[0].studies
    studies.unable = "the process that suggests points ended with exit code 1: No module named 'optuna'"
    here.wait(20)
    assert here.condition() == ("False", c.CANNOT_SUGGEST)
    assert "No module named 'optuna'" in message(here, "Progressing")
    assert (here.jobs(), here.told()) == ([], [c.CANNOT_SUGGEST])
    assert studies.ends <= 7, "not again and again"
    studies.unable = ""
    plays(here, seconds=100)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "14/14")


def test_that_the_process_dies_once_costs_nothing() -> None:
    here = applied()
    plays(here, seconds=4)
    here.operators[0].studies.die()
    plays(here)
    assert here.status()["done"] == "14/14"
    assert c.CANNOT_SUGGEST not in here.told()
    assert len(here.operators[0].studies.begun) == 2
    assert_follows(here)


def test_what_can_not_be_read_stops_it_and_is_not_overwritten() -> None:
    here = applied()
    plays(here, seconds=4)
    uid = here.api.objects[here.key.path]["metadata"]["uid"]
    path = CONFIG_MAPS.path(NAMESPACE, suggestions_name(here.key, uid, 0))
    number = f"{len(here.suggestions()):04d}"
    line = json.dumps({"schema": 2, "number": int(number), "parameters": {}, "of": "another version"})
    here.api.ask("PATCH", path, {"data": {number: line}})
    plays(here, seconds=80)
    assert here.condition() == ("False", c.CANNOT_SUGGEST)
    assert f"key {number}" in message(here, "Progressing")
    assert here.api.objects[path]["data"][number] == line
    here.api.ask("PATCH", path, {"data": {number: None}})
    plays(here, seconds=150)
    assert here.status()["done"] == "14/14"


def test_suggestions_deleted_by_hand_are_written_again() -> None:
    here = applied()
    plays(here, seconds=6)
    before = here.suggestions()
    assert 3 < len(before) < 14
    uid = here.api.objects[here.key.path]["metadata"]["uid"]
    here.delete(CONFIG_MAPS.path(NAMESPACE, suggestions_name(here.key, uid, 0)))
    plays(here, seconds=150)
    assert here.suggestions()[: len(before)] == before
    assert here.status()["done"] == "14/14"


def test_of_two_operators_suggestions_of_a_number_the_first_counts() -> None:
    here = applied()
    late = here.another()
    late.kube.fails["create configmaps"] = [Fault(refused(500))]
    plays(here, seconds=100)
    assert here.status()["done"] == "14/14"
    assert_follows(here)
    assert late.studies.begun, "both have suggested"


def paths(length: int, of: str) -> Document:
    """A parameter whose choices have so many characters."""
    return {"name": "data.path", "choices": [f"{number}{of * (length - 1)}" for number in range(8)]}


def test_points_longer_than_a_suggestion_may_be_are_refused() -> None:
    here = applied(
        a_learning_search(
            4, parameters=[*SPACE, paths(1020, "€")], training={"data": {"source": "csv", "path": "a.csv"}}
        )
    )
    here.wait(3)
    assert here.condition("Accepted") == ("False", c.INVALID)
    said = "spec.parameters: must make points of at most 3072 bytes with algorithm TPE on a cluster, got some of 31"
    assert said in message(here, "Accepted")


# --- warm start -----------------------------------------------------------------------------------------------------


def begun_with(here: Lookout) -> list[Any]:
    """What the search keeps of another's lessons."""
    uid = here.api.objects[here.key.path]["metadata"]["uid"]
    found = here.api.objects.get(CONFIG_MAPS.path(NAMESPACE, warm_start_name(here.key, uid)))
    return (
        [] if found is None else [from_json(json.loads(line)) for line in found["data"]["lessons.jsonl"].splitlines()]
    )


def after_another(**spec: Any) -> Lookout:
    """A search that begins where another of 12 points has ended."""
    here = applied(a_learning_search(12, name="earlier"))
    plays(here, seconds=50)
    assert here.status()["done"] == "12/12"
    here.apply(a_learning_search(4, warmStart="hps/earlier", **spec))
    return here


def test_a_search_begins_with_what_another_has_come_to() -> None:
    here = after_another()
    since = len(here.api.events)
    plays(here, seconds=30)
    assert here.status()["done"] == "4/4"
    lessons = begun_with(here)
    assert [each.number for each in lessons] == list(range(12))
    assert "began with what 12 points of hps/earlier came to" in message(here, "Accepted")
    seen = [each["object"] for each in here.api.events[since:]]
    replayed = Replayed(a_learning_search(4, warmStart="hps/earlier"), earlier=lessons).take(seen)
    assert replayed.suggestions[0].learnt_from == 12
    assert replayed.suggestions[0].why.startswith("TPE over 12 points")


def test_what_it_began_with_stays_though_the_other_goes() -> None:
    here = after_another()
    plays(here, seconds=6)
    lessons = begun_with(here)
    here.delete(Key("HyperparamSearch", NAMESPACE, "earlier").path)
    here.restart()
    plays(here, seconds=60)
    assert (here.status()["done"], begun_with(here)) == ("4/4", lessons)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"warmStart": "runs/earlier"}, "must be hps/NAME on a cluster, a search in the same namespace, got runs/"),
        ({"warmStart": "hps/none"}, "must name a search in namespace team-a, and there is no hps/none"),
        ({"warmStart": "hps/earlier", "objective": {"metric": "validMae"}}, "must name a search with the objective"),
        ({"warmStart": "hps/earlier", "training": {"train": {"epochs": 7}}}, "and of the 12 points"),
    ],
)  # fmt: skip
def test_a_warm_start_that_does_not_fit_is_invalid(spec: dict[str, Any], said: str) -> None:
    here = applied(a_learning_search(12, name="earlier"))
    plays(here, seconds=50)
    here.apply(a_learning_search(4, **spec))
    here.wait(3)
    assert (here.status()["phase"], here.condition("Accepted")) == ("Invalid", ("False", c.INVALID))
    assert "spec.warmStart: " in message(here, "Accepted")
    assert said in message(here, "Accepted")


def test_a_missing_search_to_begin_with_is_waited_for() -> None:
    here = applied(a_learning_search(4, name="later", warmStart="hps/earlier"))
    here.wait(3)
    assert here.status()["phase"] == "Invalid"
    later = here.key
    here.apply(a_learning_search(11, name="earlier"))
    plays(here, seconds=50)
    here.key = later
    plays(here, seconds=100)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "4/4")


# --- its baseline ---------------------------------------------------------------------------------------------------


def told_to_baseline(here: Lookout) -> Document:
    master = here.api.objects[here.job("baseline.1")]["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    variables = {each["name"]: each["value"] for each in master["spec"]["containers"][0]["env"]}
    told: Document = json.loads(variables["TRIALRUN_BASELINE"])
    return told


def test_a_baseline_runs_what_was_suggested_again() -> None:
    document = a_learning_search(12, baseline="Measure")
    here = applied(document)
    here.play(lambda attempt: None if attempt == "baseline.1" else measures, seconds=60)
    assert (here.condition("Finished"), here.condition("Comparable")) == (
        ("True", c.ALL_TRIALS_DONE), ("Unknown", c.BASELINE_RUNNING),
    )  # fmt: skip
    told = told_to_baseline(here)
    assert told["suggested"] == [each.parameters for each in here.suggestions()]
    assert "only" not in told
    run = figures(load(document), here.trials(), here.ledger())
    here.play(lambda _: succeeds(metrics={}, run=run))
    assert here.condition("Comparable")[1] in (c.SAME, c.DIFFERENT)
    assert "other trials" not in message(here, "Comparable")


def test_a_baseline_runs_only_what_the_search_ran() -> None:
    known = [{"parameters": {"train.learningRate": 0.01, "model.hiddenSize": 64}}]
    budget = {"budget": {"target": 0.02}}
    for algorithm in ("TPE", "Random"):
        here = applied(a_learning_search(14, points=known, algorithm=algorithm, baseline="Measure", **budget))
        here.play(lambda attempt: None if attempt == "baseline.1" else measures, seconds=60)
        told = told_to_baseline(here)
        assert "budget" not in told["search"]["spec"]
        ran = {record.index for record in here.ledger()}
        assert len(ran) == 3
        if algorithm == "TPE":
            assert ("only" in told, len(told["suggested"])) == (False, 2)
        else:
            assert told["only"] == sorted(ran)


def test_a_search_of_too_many_points_for_an_order_has_no_baseline() -> None:
    document = a_learning_search(
        150, parameters=[paths(900, "x"), *SPACE], parallelTrials=75, baseline="Measure",
        training={"data": {"source": "csv", "path": "a.csv"}},
    )  # fmt: skip
    here = applied(document)
    plays(here, seconds=40)
    assert here.status().get("done") == "150/150", message(here, "Accepted")
    assert here.condition("Comparable") == ("False", c.BASELINE_TOO_LARGE)
    assert "baseline.1" not in here.jobs()
