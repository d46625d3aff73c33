"""Which kind of job an experiment's trials run as: as it asks, as the cluster has it, and the same for ever after."""

from typing import Any

import pytest

from trialrun_operator import conditions as c
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.backends.trainjob import JOBS as TRAIN_JOBS
from trialrun_operator.backends.trainjob import RUNTIMES
from trialrun_operator.names import PODS
from unit.fakekube import Document, Fault, refused
from unit.lookout import CRASHES, EITHER, Lookout, a_search, succeeds

BOTH = set(BACKENDS)


def a_cluster(*kinds: str, enabled: tuple[str, ...] = tuple(BACKENDS)) -> Lookout:
    """A cluster that has these kinds of job."""
    here = Lookout(enabled=enabled)
    has(here, *kinds)
    return here


def has(here: Lookout, *kinds: str) -> None:
    """Installs kinds of job, and takes the others away."""
    for kind, backend in BACKENDS.items():
        (here.api.unknown.discard if kind in kinds else here.api.unknown.add)(backend.jobs.plural)
    (here.api.unknown.discard if "TrainJob" in kinds else here.api.unknown.add)(RUNTIMES.plural)


def kinds(here: Lookout) -> set[str]:
    return {job["kind"] for job in here.job_objects()}


def said(here: Lookout, kind: str = c.PROGRESSING) -> str:
    return next(str(each["message"]) for each in here.status()["conditions"] if each["type"] == kind)


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("Auto", ("PyTorchJob", "TrainJob"), "PyTorchJob"),
        ("Auto", ("TrainJob",), "TrainJob"),
        ("TrainJob", ("PyTorchJob", "TrainJob"), "TrainJob"),
        ("PyTorchJob", ("PyTorchJob", "TrainJob"), "PyTorchJob"),
    ],
)
def test_trials_run_as_what_was_asked_for_and_the_status_says_so(
    wanted: str, there: tuple[str, ...], chosen: str
) -> None:
    here = a_cluster(*there)
    here.apply(a_search(backend=wanted))
    here.play()
    assert (kinds(here), here.status()["backend"], here.status()["done"]) == ({chosen}, chosen, "3/3")
    for other in BOTH - {chosen}:
        assert f"create {BACKENDS[other].jobs.plural}" not in here.kube.writes


@pytest.mark.parametrize(
    ("wanted", "there", "names"),
    [("Auto", (), BOTH), ("TrainJob", ("PyTorchJob",), {"TrainJob"}), ("PyTorchJob", ("TrainJob",), {"PyTorchJob"})],
)
def test_without_the_kind_the_status_names_how_to_install_it_and_trials_start_once_it_is_there(
    wanted: str, there: tuple[str, ...], names: set[str]
) -> None:
    here = a_cluster(*there)
    here.apply(a_search(backend=wanted))
    here.wait(5)
    assert here.condition() == ("False", c.BACKEND_MISSING)
    for kind in BOTH:
        assert (BACKENDS[kind].install in said(here)) == (kind in names)
        assert (f"{kind} ({BACKENDS[kind].jobs.api_version})" in said(here)) == (kind in names)
    assert "backend" not in here.status(), "nothing is settled yet"
    has(here, *there, max(names))
    here.wait(70)
    here.play()
    assert (here.status()["phase"], here.status()["backend"], kinds(here)) == ("Succeeded", max(names), {max(names)})


def test_what_was_settled_stays_when_another_kind_appears_and_after_a_rerun() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(maxFailedTrials=3, parallelTrials=1, ttlSecondsAfterFinished=0))
    here.wait(3)
    has(here, "PyTorchJob", "TrainJob")
    here.wait(70)
    here.play(lambda name: CRASHES if name == "1.1" else succeeds())
    assert (here.status()["done"], here.jobs()) == ("3/3", []), "no job tells what they were"
    here.restart()
    here.change(rerun=1)
    here.play(seconds=8)
    assert (kinds(here), here.status()["backend"], here.jobs()) == ({"TrainJob"}, "TrainJob", ["1.2"])
    assert here.status()["summary"]["counts"]["succeeded"] == 3


def test_a_kind_that_goes_is_waited_for_and_no_other_takes_its_place() -> None:
    here = a_cluster("TrainJob", "PyTorchJob")
    here.apply(a_search(backend="TrainJob", parallelTrials=1))
    here.wait(3)
    has(here, "PyTorchJob")
    here.wait(70)
    assert here.status()["backend"] == "TrainJob"
    assert here.condition() == ("False", c.BACKEND_MISSING)
    assert here.of(JOBS) == []


@pytest.mark.parametrize("wanted", ["Auto", "TrainJob"])
def test_a_kind_that_the_chart_has_turned_off_is_not_taken_though_it_is_there(wanted: str) -> None:
    here = a_cluster("PyTorchJob", "TrainJob", enabled=("PyTorchJob",))
    here.apply(a_search(backend=wanted))
    here.play()
    if wanted == "Auto":
        assert (kinds(here), here.status()["phase"]) == ({"PyTorchJob"}, "Succeeded")
        return
    assert here.condition() == ("False", c.BACKEND_MISSING)
    assert said(here).startswith("spec.backend: TrainJob is turned off in the values of Trialrun's chart (backends).")
    assert said(here).endswith("with one of PyTorchJob.")
    here.enabled = tuple(BACKENDS)
    here.restart()
    here.play()
    assert (kinds(here), here.status()["phase"]) == ({"TrainJob"}, "Succeeded")


def test_auto_names_no_way_to_install_what_the_chart_has_turned_off() -> None:
    here = a_cluster(enabled=("TrainJob",))
    here.apply(a_search())
    here.wait(3)
    assert BACKENDS["TrainJob"].install in said(here)
    assert BACKENDS["PyTorchJob"].install not in said(here)


@pytest.mark.parametrize(("length", "backend", "phase"), [
    (33, "TrainJob", "Succeeded"), (34, "TrainJob", "Invalid"), (39, "TrainJob", "Invalid"),
    (39, "PyTorchJob", "Succeeded"),
])  # fmt: skip
def test_a_name_too_long_for_the_pods_of_train_jobs_is_invalid(length: int, backend: str, phase: str) -> None:
    here = a_cluster("PyTorchJob", "TrainJob")
    here.apply(a_search(name="a" * length, backend=backend))
    here.play()
    assert here.status()["phase"] == phase
    if phase == "Invalid":
        assert said(here, c.ACCEPTED) == (
            f"metadata.name: must have at most 33 characters where trials run as TrainJobs, got {length}"
        )
        assert here.job_objects() == []
    else:
        assert {len(pod["metadata"]["name"]) <= 63 for pod in here.of(PODS)} == {True}


def test_a_long_name_waits_for_no_kind_that_would_not_take_it_and_runs_once_another_is_there() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(name="a" * 34))
    here.wait(5)
    assert here.status()["phase"] == "Invalid"
    has(here, "PyTorchJob", "TrainJob")
    here.wait(70)
    here.play()
    assert (here.status()["phase"], kinds(here)) == ("Succeeded", {"PyTorchJob"})


@EITHER
def test_a_status_of_version_0_1_has_no_backend_and_what_jobs_there_are_decides(backend: str) -> None:
    here = a_cluster(backend)
    here.apply(a_search(parallelTrials=1))
    here.wait(3)
    here.operators.clear()
    status: dict[str, Any] = here.status()
    here.api.ask("PATCH", f"{here.key.path}/status", {"status": {**status, "backend": None}})
    assert "backend" not in here.status()
    has(here, *BOTH)
    here.another()
    here.play()
    assert (kinds(here), here.status()["backend"], here.status()["phase"]) == ({backend}, backend, "Succeeded")


# --- what TrainJobs share -------------------------------------------------------------------------------------------


def test_a_runtime_is_made_once_and_stays_for_the_experiment() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(6, parallelTrials=2, ttlSecondsAfterFinished=0))
    here.play(seconds=100)
    assert here.status()["phase"] == "Succeeded"
    assert here.kube.writes.count("create trainingruntimes") == 1
    assert (len(here.of(RUNTIMES)), here.jobs()) == (1, [])
    here.restart()
    here.change(rerun=1)
    here.play()
    here.delete()
    assert here.of(RUNTIMES) == []


def test_a_runtime_deleted_by_hand_is_made_anew_when_a_job_needs_it() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(4, parallelTrials=2))
    here.wait(3)
    here.pods_run()
    (runtime,) = here.of(RUNTIMES)
    here.delete(RUNTIMES.path("team-a", runtime["metadata"]["name"]))
    here.play()
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "4/4")
    assert here.kube.writes.count("create trainingruntimes") == 2
    assert c.CREATION_REFUSED not in here.told()


def test_another_pod_after_a_rerun_is_another_runtime_beside_the_first() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(maxFailedTrials=3))
    here.play(lambda name: CRASHES if name == "1.1" else succeeds())
    here.change(pod={"resources": {"limits": {"memory": "2Gi"}}}, rerun=1)
    here.play()
    names = {job["spec"]["runtimeRef"]["name"] for job in here.of(TRAIN_JOBS)}
    assert names == {each["metadata"]["name"] for each in here.of(RUNTIMES)}
    assert len(names) == 2
    (pod,) = (pod for pod in here.of(PODS) if pod["metadata"]["labels"]["trialrun.dev/attempt"] == "2")
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}


def test_a_runtime_that_belongs_to_somebody_else_is_named() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(1))
    here.wait(3)
    (runtime,) = here.of(RUNTIMES)
    path = RUNTIMES.path("team-a", runtime["metadata"]["name"])
    here.operators.clear()
    here.delete(here.job("0.1"))
    here.delete(path)
    theirs: Document = {**runtime, "metadata": {"name": runtime["metadata"]["name"]}}
    here.api.ask("POST", RUNTIMES.path("team-a"), theirs)
    here.another()
    here.wait(5)
    assert here.condition() == ("False", c.NAME_CONFLICT)
    assert f"The TrainingRuntime {runtime['metadata']['name']} exists and belongs to something else" in said(here)
    here.delete(path)
    here.play(seconds=100)
    assert here.status()["phase"] == "Succeeded"


@pytest.mark.parametrize(
    "early",
    [
        "TrainingRuntime not found: specified trainingRuntime must be created before the TrainJob is created",
        """admission webhook "vtrainjob.kb.io" denied the request: runtime 'search-0a0b0c-1' not found""",
    ],
    ids=["Trainer", "Kueue"],
)
def test_a_job_that_comes_before_its_runtime_was_seen_is_tried_again_without_a_word(early: str) -> None:
    here = a_cluster("TrainJob")
    here.kube.fails["create trainjobs"] = [Fault(refused(403, "Forbidden", early))] * 2
    here.apply(a_search())
    here.wait(1)
    assert here.condition()[1] != c.CREATION_REFUSED
    here.play()
    assert here.status()["phase"] == "Succeeded"
    assert c.CREATION_REFUSED not in here.told()


def test_a_train_job_deleted_while_no_operator_ran_is_run_again_and_its_pods_are_no_end_of_it() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(2))
    here.wait(3)
    here.pods_run()
    here.operators.clear()
    here.delete(here.job("0.1"))
    here.another()
    here.play()
    assert here.records() == {"0.1": "Succeeded", "1.1": "Succeeded"}


def test_pods_that_outlive_a_deleted_train_job_are_waited_for() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(1))
    here.wait(3)
    here.pods_run()
    here.api.ask("DELETE", here.job("0.1"))  # the garbage collector has not come by
    here.wait(5)
    assert here.jobs() == []
    here.play()
    assert (here.jobs(), here.records()) == (["0.1"], {"0.1": "Succeeded"})


@EITHER
def test_an_event_about_a_namesake_that_was_deleted_says_nothing_of_a_job(backend: str) -> None:
    here = a_cluster(backend)
    here.apply(a_search(1))
    here.wait(3)
    here.pods_are_refused('pods "p" is forbidden: violates PodSecurity "restricted:latest"')
    here.delete()
    here.wait(2)
    here.apply(a_search(1))
    here.wait(30)
    assert here.records() == {}, "the namespace may allow it by now"
    here.play()
    assert here.records() == {"0.1": "Succeeded"}


def test_a_train_job_that_failed_before_the_ends_of_its_pods_were_seen_waits_for_them() -> None:
    here = a_cluster("TrainJob")
    here.apply(a_search(1, workers=2))
    here.wait(3)
    here.pods_run()
    (operator,) = here.operators
    operator.hear(operator.unheard())
    operator.deaf = True
    here.pods_end(lambda _: CRASHES)
    operator.hear([each for each in operator.unheard() if each["object"]["kind"] == "TrainJob"])
    here.wait(40)
    (record,) = here.ledger()
    assert (record.outcome, "boom" in record.error) == ("Crashed", True), "the pods are read before it is believed"
