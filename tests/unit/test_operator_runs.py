"""An experiment from the moment it is applied to its end, as the cluster has it: jobs, ledger, status, Events."""

from typing import Any

import pytest

from trainer.experiment.baseline import figures
from trainer.experiment.load import load
from trainer.experiment.record import Memory
from trialrun_operator import conditions as c
from trialrun_operator.backends.trainjob import RUNTIMES
from trialrun_operator.names import CONFIG_MAPS, PODS
from unit.builders import a_document
from unit.controllers import has_ended
from unit.fakekube import Document
from unit.lookout import (
    CRASHES,
    EITHER,
    IS_EVICTED,
    NAMESPACE,
    RUNS_OUT_OF_MEMORY,
    Lookout,
    a_search,
    attempt,
    beside_a_proxy,
    succeeds,
)

LEDGER, STATUS, EVENT = "create configmaps", "patch hyperparamsearches/status", "create events"
JOB, DELETED, RUNTIME = "create jobs", "delete jobs", "create trainingruntimes"
pytestmark = EITHER


def applied(backend: str, document: Document | None = None, *, seconds: float = 2.0) -> Lookout:
    """A search of three trials, or another experiment, some time after it was applied."""
    here = Lookout(backend=backend)
    here.apply(document or a_search())
    here.wait(seconds)
    return here


def writes(here: Lookout) -> list[str]:
    """What the operator has tried to write, with one word for all kinds of job."""
    return [each.replace(here.backend.jobs.plural, "jobs") for each in here.kube.writes]


def test_a_search_goes_from_applied_to_finished_and_writes_in_this_order(backend: str) -> None:
    here = applied(backend, a_search(ttlSecondsAfterFinished=0))
    shared = [RUNTIME] if backend == "TrainJob" else []
    assert writes(here) == [STATUS, *shared, JOB, JOB, JOB, STATUS, EVENT], "accepted, then started, then told"
    assert (here.jobs(), here.condition()) == (["0.1", "1.1", "2.1"], ("True", c.RUNNING))
    here.pods_run()
    here.pods_end()
    here.kube.writes.clear()
    here.play()
    assert writes(here) == [LEDGER, STATUS, EVENT, DELETED, DELETED, DELETED], "the ledger before any deletion"
    assert here.records() == {"0.1": "Succeeded", "1.1": "Succeeded", "2.1": "Succeeded"}
    assert (here.status()["phase"], here.status()["done"], here.status()["best"]) == ("Succeeded", "3/3", "1")
    assert (here.condition("Finished"), here.jobs()) == (("True", c.ALL_TRIALS_DONE), [])
    assert here.told() == [c.RUNNING, c.TRIALS_SUCCEEDED]


def test_looking_again_writes_nothing(backend: str) -> None:
    here = applied(backend)
    for _ in range(2):
        before = list(here.kube.writes)
        here.wait(200)
        assert here.kube.writes == before, "three LISTs went by, and whatever was due"
        here.restart()
        here.wait(200)
        assert here.kube.writes == before, "a process that has just started knows no better"
        here.play()


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_never_more_jobs_run_than_parallel_trials(backend: str, parallel: int) -> None:
    here = applied(backend, a_search(7, parallelTrials=parallel))
    for step in range(40):
        here.wait(0.3)
        here.pods_run()
        running = [job for job in here.job_objects() if not has_ended(job)]
        assert len(running) <= parallel
        if step % 2:
            here.pods_end()
    assert (len(here.records()), here.status()["phase"]) == (7, "Succeeded")


@pytest.mark.parametrize(
    ("spec", "ends", "records", "finished", "told"),
    [
        ({}, {"1.1": CRASHES},
         {"0.1": "Succeeded", "1.1": "Crashed", "2.1": "Succeeded"},
         c.ALL_TRIALS_DONE, [c.RUNNING, "TrialFailed", c.TRIALS_SUCCEEDED]),
        ({}, {"1.1": IS_EVICTED},
         {"0.1": "Succeeded", "1.1": "Evicted, again", "1.2": "Succeeded", "2.1": "Succeeded"},
         c.ALL_TRIALS_DONE, [c.RUNNING, "TrialRetried", c.TRIALS_SUCCEEDED]),
        ({}, {f"1.{number}": IS_EVICTED for number in (1, 2, 3)},
         {"0.1": "Succeeded", "1.1": "Evicted, again", "1.2": "Evicted, again", "1.3": "Evicted", "2.1": "Succeeded"},
         c.ALL_TRIALS_DONE, [c.RUNNING, "TrialFailed", *["TrialRetried"] * 2, c.TRIALS_SUCCEEDED]),
        ({"parallelTrials": 1, "maxFailedTrials": 0}, {"0.1": CRASHES},
         {"0.1": "Crashed"},
         c.TOO_MANY_FAILURES, [c.RUNNING, c.TOO_MANY_FAILURES, "TrialFailed"]),
        ({"maxFailedTrials": 3}, {"0.1": CRASHES, "1.1": RUNS_OUT_OF_MEMORY, "2.1": CRASHES},
         {"0.1": "Crashed", "1.1": "HostOOM", "2.1": "Crashed"},
         c.ALL_TRIALS_DONE, [c.NO_TRIAL_SUCCEEDED, c.RUNNING, *["TrialFailed"] * 3]),
    ],
)  # fmt: skip
def test_trials_that_fail_are_recorded_told_and_retried_where_it_was_not_their_doing(
    backend: str, spec: dict[str, Any], ends: dict[str, Any], records: dict[str, str], finished: str, told: list[str]
) -> None:
    here = applied(backend, a_search(**spec))
    here.play(lambda attempt: ends.get(attempt, succeeds()))
    assert here.records() == records
    assert here.jobs() == sorted(records)
    assert here.condition("Finished") == ("True", finished)
    assert here.told() == sorted(told)


def test_finished_jobs_are_kept_for_ten_seconds_and_deleted_once_whether_a_watch_tells_of_that_or_not(
    backend: str,
) -> None:
    here = applied(backend, a_search(ttlSecondsAfterFinished=0))
    here.pods_run()
    here.pods_end()
    here.wait(9)
    assert DELETED not in writes(here)
    here.operators[0].deaf = True
    here.wait(20)
    assert (writes(here).count(DELETED), here.jobs()) == (3, [])


# --- what users change ----------------------------------------------------------------------------------------------


def test_a_suspended_search_starts_nothing_records_what_ends_and_goes_on_when_resumed(backend: str) -> None:
    here = applied(backend, a_search(parallelTrials=1))
    here.change(suspend=True)
    here.play()
    assert (here.jobs(), here.records()) == (["0.1"], {"0.1": "Succeeded"})
    assert (here.condition(), here.status()["phase"]) == (("False", c.SUSPENDED), "Suspended")
    here.change(suspend=False)
    here.play()
    assert (here.jobs(), here.status()["phase"]) == (["0.1", "1.1", "2.1"], "Succeeded")


def test_a_search_applied_suspended_is_accepted_when_it_is_resumed(backend: str) -> None:
    here = applied(backend, a_search(suspend=True))
    assert (here.jobs(), "acceptedAt" in here.status(), here.condition()) == ([], False, ("False", c.SUSPENDED))
    here.change(suspend=False)
    here.play()
    assert here.status()["done"] == "3/3"


def test_a_raised_rerun_runs_what_failed_and_only_that(backend: str) -> None:
    here = applied(backend, a_search(maxFailedTrials=0))
    here.play(lambda attempt: CRASHES if attempt == "1.1" else succeeds())
    assert (here.status()["phase"], here.status()["rerun"]) == ("Failed", 0)
    accepted = here.status()["acceptedAt"]
    here.change(rerun=1)
    here.play()
    assert here.jobs() == ["0.1", "1.1", "1.2", "2.1"]
    assert (here.status()["phase"], here.status()["rerun"]) == ("Succeeded", 1)
    assert here.status()["acceptedAt"] > accepted
    assert [record.accepted_at for record in here.ledger()].count(here.ledger()[0].accepted_at) == 3


def test_a_rerun_is_told_of_though_it_goes_as_the_run_before(backend: str) -> None:
    here = applied(backend, a_search(maxFailedTrials=3))
    here.play(lambda _: CRASHES)
    here.change(rerun=1)
    here.play(lambda _: CRASHES)
    assert here.condition(c.SUCCEEDED) == ("False", c.NO_TRIAL_SUCCEEDED)
    assert here.told().count(c.NO_TRIAL_SUCCEEDED) == 2
    assert here.told().count("TrialFailed") == 6


def test_what_has_ended_before_a_rerun_was_taken_up_counts_for_the_run_before(backend: str) -> None:
    here = applied(backend, a_search(maxFailedTrials=3))
    here.pods_run()
    here.operators.clear()
    here.pods_end(lambda _: CRASHES)
    here.change(rerun=1)
    here.another()
    here.play()
    assert here.records() == {f"{index}.1": "Crashed" for index in range(3)} | {
        f"{index}.2": "Succeeded" for index in range(3)
    }


def test_an_experiment_that_is_invalid_says_so_once_and_runs_when_it_is_mended(backend: str) -> None:
    here = applied(
        backend, a_search(training={"train": {"epochs": 5, "batchSize": 10**9}, "model": {"kind": "no such"}})
    )
    assert (here.jobs(), here.status()["phase"]) == ([], "Invalid")
    assert {here.condition(kind) for kind in (c.ACCEPTED, c.PROGRESSING)} == {("False", c.INVALID)}
    here.wait(200)
    assert here.kube.writes == [STATUS, EVENT]
    here.change(training=None)
    here.play()
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "3/3")


def test_an_experiment_deleted_in_mid_run_takes_all_with_it_and_nothing_comes_back(backend: str) -> None:
    here = applied(backend, a_search(parallelTrials=1))
    here.pods_run()
    here.delete()
    here.play()
    assert [here.of(kind) for kind in (here.backend.jobs, RUNTIMES, PODS, CONFIG_MAPS)] == [[]] * 4


def test_a_search_applied_again_under_its_name_starts_anew_once_the_old_jobs_are_gone(backend: str) -> None:
    here = applied(backend)
    here.play()
    old = here.ledger()
    here.api.ask("DELETE", here.key.path)
    here.apply(a_search())
    here.kube.writes.clear()
    here.wait(2)
    assert writes(here).count(JOB) <= 6, "they are not asked for again and again"
    assert (here.jobs(), here.status()["done"]) == (["0.1", "1.1", "2.1"], "0/3")
    assert here.condition() == ("True", c.NOT_STARTED), "the jobs that are there go by themselves"
    here.api.collect()
    here.play()
    assert (here.jobs(), here.status()["done"]) == (["0.1", "1.1", "2.1"], "3/3")
    assert min(each.accepted_at for each in here.ledger()) > max(each.finished_at for each in old)


# --- what else may be the matter ------------------------------------------------------------------------------------


def test_a_job_deleted_by_hand_returns(backend: str) -> None:
    here = applied(backend)
    here.pods_run()
    here.delete(here.job("1.1"))
    here.play()
    assert here.status()["done"] == "3/3"
    assert writes(here).count(JOB) == 4


def test_without_a_controller_of_jobs_nothing_starts_until_it_is_there(backend: str) -> None:
    here = Lookout(backend=backend)
    here.api.unknown.add(here.backend.jobs.plural)
    here.apply(a_search())
    here.wait(100)
    assert (here.kube.writes, here.condition()) == ([STATUS, EVENT], ("False", c.BACKEND_MISSING))
    here.api.unknown.remove(here.backend.jobs.plural)
    here.restart()  # it ends by itself, to be started anew
    here.play()
    assert here.status()["phase"] == "Succeeded"


def test_a_job_of_somebody_elses_in_the_way_is_named_and_the_trial_runs_once_it_is_gone(backend: str) -> None:
    here = Lookout(backend=backend)
    here.apply(a_search(suspend=True))
    here.wait(2)
    path, theirs = here.backend.jobs.path("team-a"), {"kind": here.backend.jobs.kind, "spec": {}}
    identity = here.status()["trials"][1]["id"]
    here.api.webhooks.clear()  # it need not be one that runs
    here.api.ask("POST", path, theirs | {"metadata": {"name": f"search-{identity}-1", "labels": {"app": "theirs"}}})
    here.change(suspend=False)
    here.wait(2)
    assert here.condition() == ("False", c.NAME_CONFLICT)
    assert writes(here).count(JOB) <= 4, "it is not asked for again and again"
    here.delete(f"{path}/search-{identity}-1")
    here.play()
    assert (here.status()["phase"], here.jobs()) == ("Succeeded", ["0.1", "1.1", "2.1"])


def a_scale_test(**spec: Any) -> Document:
    axes = {"multipliers": [1, 10, 50, 200], "workers": [1]}
    return a_document(name="scale", kind="ScaleTest", axes=axes, parallelTrials=1, **spec)


def test_after_a_cell_that_ran_out_of_memory_the_larger_ones_are_skipped(backend: str) -> None:
    here = applied(backend, a_scale_test())
    here.play(lambda attempt: RUNS_OUT_OF_MEMORY if attempt == "1.1" else succeeds(metrics={}))
    assert here.records() == {"0.1": "Succeeded", "1.1": "HostOOM", "2.1": "Skipped", "3.1": "Skipped"}
    assert (here.jobs(), here.status()["phase"]) == (["0.1", "1.1"], "Succeeded")
    assert (here.status()["largest"], here.status()["oom"]) == ("1x", 1)


def test_cells_run_under_a_limit_that_counts_from_the_floor_which_is_measured_first(backend: str) -> None:
    here = applied(backend, a_scale_test(cell={"memoryAboveFloor": "128Mi"}))
    assert (here.jobs(), here.condition()) == (["floor-1.1"], ("True", c.MEASURING_FLOOR))
    floor = Memory(peak_bytes=800 * 2**20, mean_bytes=700 * 2**20, floor_bytes=300 * 2**20)
    here.play(lambda attempt: succeeds(memory=floor) if attempt == "floor-1.1" else succeeds())
    assert here.jobs() == ["0.1", "1.1", "2.1", "3.1", "floor-1.1"]
    (pod,) = (pod for pod in here.of(PODS) if attempt(pod) == "3.1")
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"memory": str(428 * 2**20)}


def test_a_baseline_is_measured_by_one_pod_after_the_search(backend: str) -> None:
    here = applied(backend, a_search(baseline="Measure"))
    here.pods_run()
    here.pods_end()
    here.wait(2)
    assert here.jobs() == ["0.1", "1.1", "2.1", "baseline.1"]
    assert (here.condition("Finished"), here.condition("Comparable")) == (
        ("True", c.ALL_TRIALS_DONE), ("Unknown", c.BASELINE_RUNNING),
    )  # fmt: skip
    search = load(a_search(baseline="Measure"))
    run = figures(search, here.trials(), here.ledger())
    here.play(lambda _: succeeds(metrics={}, run=run))
    assert here.condition("Comparable")[1] in (c.SAME, c.DIFFERENT)
    assert here.jobs() == ["0.1", "1.1", "2.1", "baseline.1"]
    before = list(here.kube.writes)
    here.restart()
    here.wait(100)
    assert here.kube.writes == before


def test_a_trainer_s_end_is_its_trial_s_whatever_else_runs_in_its_pod(backend: str) -> None:
    here = applied(backend, a_search(6, parallelTrials=2))
    scripts = {"1.1": CRASHES, "2.1": RUNS_OUT_OF_MEMORY}
    here.play(
        lambda attempt: IS_EVICTED if attempt == "3.1" else beside_a_proxy(scripts.get(attempt, succeeds())),
        seconds=400,
    )
    ended = {"1.1": "Crashed", "2.1": "HostOOM", "3.1": "Evicted, again", "3.2": "Succeeded"}
    assert here.records() == dict.fromkeys(("0.1", "4.1", "5.1"), "Succeeded") | ended
    assert (here.status()["phase"], here.jobs(), len(here.of(PODS))) == ("Succeeded", ["3.1"], 1), "none runs on"


def test_a_pod_whose_other_containers_end_soon_after_its_trainer_keeps_its_job(backend: str) -> None:
    here = applied(backend, a_search(1))
    here.pods_run()
    here.pods_end(lambda _: beside_a_proxy(succeeds()))
    here.wait(20)
    assert (here.records(), here.jobs()) == ({"0.1": "Succeeded"}, ["0.1"]), "it is recorded at once"
    for pod in here.of(PODS):
        here.api.ask(
            "PATCH", f"{PODS.path(NAMESPACE, pod['metadata']['name'])}/status", {"status": {"phase": "Succeeded"}}
        )
    here.pods_end(lambda _: None)
    here.wait(100)
    assert (here.condition("Finished"), here.jobs()) == (("True", c.ALL_TRIALS_DONE), ["0.1"])


def test_pods_that_no_cluster_takes_are_told_of_at_once_and_end_the_search(backend: str) -> None:
    here = applied(backend, a_search(18, parallelTrials=2, maxFailedTrials=3))
    why = 'pods "p" is forbidden: no PriorityClass with name missing was found'
    for _ in range(40):
        here.pods_are_refused(why)
        here.wait(1)
    assert set(here.records().values()) == {"InvalidConfig"}
    assert len(here.records()) in (4, 5), "nothing more starts"
    assert (here.condition("Succeeded"), here.jobs()) == (("False", c.TOO_MANY_FAILURES), [])
    (error,) = {record.error for record in here.ledger()}
    assert error == why
