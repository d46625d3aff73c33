"""Every outcome, from a pod that ends so to a record that says so and what to do about it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cluster import podstatus
from cluster.api import Json
from cluster.behaviours import (
    Behaviour,
    CannotPullImage,
    Fails,
    Hangs,
    IsCutOff,
    IsEvicted,
    LosesItsNode,
    NodeShutsDown,
    RunsOutOfMemory,
    Stage,
    Succeeds,
    WaitsInInit,
)
from cluster.kinds import over_both, rank_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    Experiments,
    OperatorProcess,
    a_search,
    report,
    trial_of,
)
from cluster.sweptsearch import without_times
from cluster.testcluster import Cluster
from cluster.watch import Watch
from eventually import eventually
from trainer.experiment.outcome import ADVICE, EXIT_CODES, LEFT_OUT, Outcome
from trainer.experiment.record import Record, decode
from trialrun_operator import observe
from trialrun_operator.attempt_state import BACKSTOP_MILLISECONDS
from trialrun_operator.backends import BACKENDS

pytestmark = pytest.mark.usefixtures("operator")


def said(outcome: Outcome, **fields: Any) -> str:
    return json.dumps({"outcome": outcome, "error": f"the trainer says {outcome}", "clock": 1} | fields)


def by_exit_code(outcome: Outcome) -> Callable[[Json], Behaviour]:
    return lambda _: Fails(EXIT_CODES[outcome], said(outcome))


ENDINGS: dict[str, tuple[Outcome, Callable[[Json], Behaviour]]] = {
    "reports its metrics": (Outcome.SUCCEEDED, lambda pod: Succeeds(report(pod))),
    "is killed for memory": (Outcome.HOST_OOM, lambda _: RunsOutOfMemory()),
    "has a child killed for memory": (Outcome.HOST_OOM, lambda pod: RunsOutOfMemory(0, report(pod))),
    "runs out of host memory": (Outcome.HOST_OOM, by_exit_code(Outcome.HOST_OOM)),
    "runs out of device memory": (Outcome.DEVICE_OOM, by_exit_code(Outcome.DEVICE_OOM)),
    "runs longer than its deadline": (Outcome.TIMED_OUT, lambda _: Hangs()),
    "is evicted three times": (Outcome.EVICTED, lambda _: IsEvicted()),
    "loses its node three times": (Outcome.NODE_LOST, lambda _: LosesItsNode()),
    "is cut off three times": (Outcome.NODE_LOST, lambda _: IsCutOff()),
    "is on a node that shuts down, three times": (Outcome.NODE_LOST, lambda _: NodeShutsDown()),
    "cannot pull its image": (Outcome.IMAGE_UNAVAILABLE, lambda _: CannotPullImage()),
    "waits for ever to start": (Outcome.UNSCHEDULABLE, lambda _: WaitsInInit()),
    "finds a bad configuration": (Outcome.INVALID_CONFIG, by_exit_code(Outcome.INVALID_CONFIG)),
    "finds no data": (Outcome.DATA_UNAVAILABLE, by_exit_code(Outcome.DATA_UNAVAILABLE)),
    "diverges": (Outcome.DIVERGED, by_exit_code(Outcome.DIVERGED)),
    "reports nothing": (Outcome.METRICS_MISSING, lambda _: Succeeds("")),
    "reports other metrics": (Outcome.METRICS_MISSING, lambda pod: Succeeds(report(pod, metrics={"loss": 1.0}))),
    "crashes": (Outcome.CRASHED, lambda _: Fails(1, "Traceback (most recent call last): boom")),
    "is killed by a signal": (Outcome.CRASHED, lambda _: Fails(137)),
}


@dataclass(frozen=True)
class IsForgotten:
    """Runs for ever on a node whose kubelet no longer does anything, which nobody has noticed yet."""

    kubelet_answers: bool = False

    def stages(self, pod: Json) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [Stage(0.0, podstatus.running)]


ENDINGS["runs on, and its kubelet does not end it"] = (Outcome.TIMED_OUT, lambda _: IsForgotten())

DEADLINE_SECONDS, PENDING_SECONDS = 25, 20
# Times have whole seconds, records are written once a second, and this machine has other work; alone it is 2 s late.
MARGIN_SECONDS = 60


def lines_of(experiments: Experiments, name: str) -> dict[str, str]:
    """What the ledger of a search holds, by key."""
    (ledger,) = experiments.ledgers(**{"trialrun.dev/experiment": name})
    return dict(ledger["data"])


def records_of(experiments: Experiments, name: str = "search") -> dict[int, list[Record]]:
    """All records of a search by the index of their trial, in the order of the attempts."""
    found: dict[int, list[Record]] = {}
    for line in lines_of(experiments, name).values():
        found.setdefault(decode(line).index, []).append(decode(line))
    return {index: sorted(records, key=lambda record: record.attempt) for index, records in found.items()}


@pytest.mark.usefixtures("trainer", "crds")
def test_every_ending_becomes_its_outcome_with_either_kind_of_job(
    operator: OperatorProcess, cluster: Cluster, namespace: str, kubelet: KubeletPlayer
) -> None:
    assert {outcome for outcome, _ in ENDINGS.values()} == set(Outcome) - LEFT_OUT
    endings = list(ENDINGS.values())
    kubelet.play(namespace, lambda pod: endings[trial_of(pod)["index"]][1](pod))
    both = [Experiments(cluster, namespace, backend) for backend in BACKENDS.values()]
    with Watch(cluster, both[0].job_path()) as one, Watch(cluster, both[1].job_path()) as other:
        for experiments in both:
            experiments.create(
                a_search(
                    name_of(experiments), trials=len(endings), maxFailedTrials=100,
                    deadlineSeconds=DEADLINE_SECONDS, pendingDeadlineSeconds=PENDING_SECONDS,
                )
            )  # fmt: skip
        for experiments, changes in zip(both, (one, other), strict=True):
            assert_ended_as_scripted(experiments, changes)
    assert "Traceback" not in operator.log


def name_of(experiments: Experiments) -> str:
    """The name of the one search that runs as this kind of job."""
    return experiments.backend.jobs.kind.lower()


def assert_ended_as_scripted(experiments: Experiments, changes: Watch) -> None:
    search = name_of(experiments)
    seen = experiments.finished(search)
    assert seen["status"]["backend"] == experiments.backend.jobs.kind
    found = records_of(experiments, search)
    assert {name: found[i][-1].outcome for i, name in enumerate(ENDINGS)} == {
        name: outcome for name, (outcome, _) in ENDINGS.items()
    }
    for i, (name, (outcome, _)) in enumerate(ENDINGS.items()):
        attempts = found[i]
        assert len(attempts) == (3 if "three times" in name else 1), name
        assert [record.final for record in attempts] == [False] * (len(attempts) - 1) + [True], name
        row = seen["status"]["trials"][i]
        assert row["state"] == outcome
        if outcome is not Outcome.SUCCEEDED:
            assert row["error"].endswith(ADVICE[outcome]), name
            assert len(row["error"]) > len(ADVICE[outcome]) + 1, f"{name}: says what happened, too"

    created = {
        change.seen["metadata"]["name"]: observe.milliseconds(change.seen["metadata"]["creationTimestamp"])
        for change in changes.changes
    }
    took = {
        name: (found[i][-1].finished_at - created[seen["status"]["trials"][i]["job"]]) / 1000
        for i, name in enumerate(ENDINGS)
    }
    backstop = BACKSTOP_MILLISECONDS / 1000
    bounds = {Outcome.TIMED_OUT: DEADLINE_SECONDS, Outcome.UNSCHEDULABLE: PENDING_SECONDS}
    for name, (outcome, _) in ENDINGS.items():
        bound = bounds.get(outcome, PENDING_SECONDS) + (backstop if "does not end it" in name else 0)
        assert took[name] <= bound + MARGIN_SECONDS, f"{name}: ends by its deadline"

    forgotten = found[list(ENDINGS).index("runs on, and its kubelet does not end it")][-1]
    assert f"still ran after its deadline of {DEADLINE_SECONDS} s; the operator ended it" in forgotten.error
    assert took["runs on, and its kubelet does not end it"] >= DEADLINE_SECONDS + backstop - 1
    job = f"{search}-{forgotten.id}-1"
    eventually(
        lambda: any(each.kind == "DELETED" and each.seen["metadata"]["name"] == job for each in changes.changes),
        what="the operator deletes the job that its kubelet would never end",
    )


def test_a_trial_that_no_node_has_room_for_is_unschedulable(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod)))
    huge = {"resources": {"requests": {"cpu": "100k"}}}
    experiments.create(a_search(trials=1, pendingDeadlineSeconds=5, pod=huge))
    seen = experiments.finished("search")
    row = seen["status"]["trials"][0]
    assert row["state"] == "Unschedulable"
    assert "nodes are available" in row["error"]
    eventually(lambda: not experiments.jobs(), what="its job, which could start yet, is gone")


def test_a_worker_that_waits_for_a_dead_master_is_cleared_away(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    def dies(pod: Json) -> Behaviour:
        return Fails(1, "master: boom") if rank_of(pod) == 0 else WaitsInInit()

    kubelet.play(experiments.namespace, dies)
    experiments.create(a_search(trials=1, workers=2, maxFailedTrials=3))
    experiments.finished("search")
    (record,) = records_of(experiments)[0]
    assert (record.outcome, record.failed_rank) == (Outcome.CRASHED, 0)
    eventually(lambda: len(experiments.pods()) == 1)
    assert len(experiments.jobs()) == 1, "the job and its master's log stay"


@over_both
def test_the_record_of_several_ranks_waits_for_the_last(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    def loses_a_peer(pod: Json) -> Behaviour:
        if rank_of(pod) == 1:
            return RunsOutOfMemory(after_seconds=2)
        return Fails(1, said(Outcome.CRASHED, lost_peer=True), after_seconds=0)

    kubelet.play(experiments.namespace, loses_a_peer)
    experiments.create(a_search(trials=1, workers=2))
    experiments.finished("search")
    (record,) = records_of(experiments)[0]
    assert (record.outcome, record.failed_rank) == (Outcome.HOST_OOM, 1)


def befalls(pod: Json) -> Behaviour:
    """Of two ranks one crashes, is killed for memory, or loses its node; the other misses it."""
    told, rank = trial_of(pod), rank_of(pod)
    if told["attempt"] > 1:
        return Succeeds(report(pod))
    if rank != (1, 0, 1)[told["index"]]:
        return Fails(1, said(Outcome.CRASHED, lostPeer=True, rank=rank), after_seconds=1)
    return (Fails(3, said(Outcome.CRASHED, rank=rank)), RunsOutOfMemory(), LosesItsNode())[told["index"]]


@pytest.mark.usefixtures("trainer", "crds")
def test_what_befalls_one_of_two_ranks_becomes_the_same_record_with_either_kind_of_job(
    cluster: Cluster, namespace: str, kubelet: KubeletPlayer
) -> None:
    kubelet.play(namespace, befalls)
    found: dict[str, dict[str, Json]] = {}
    for kind, backend in BACKENDS.items():
        experiments = Experiments(cluster, namespace, backend)
        experiments.create(a_search(kind.lower(), trials=3, workers=2, maxFailedTrials=3))
    for kind in BACKENDS:
        assert experiments.finished(kind.lower())["status"]["backend"] == kind
        lines = lines_of(experiments, kind.lower())
        found[kind] = {key: json.loads(line) for key, line in sorted(lines.items())}
    pytorch_jobs, train_jobs = (without_times(each) for each in found.values())
    assert pytorch_jobs == train_jobs
    crashed, killed, lost, again = (decode(json.dumps(line)) for line in found["TrainJob"].values())
    assert [(each.outcome, each.failed_rank, each.exit_code, each.final) for each in (crashed, killed, lost)] == [
        (Outcome.CRASHED, 1, 3, True), (Outcome.HOST_OOM, 0, 137, True), (Outcome.NODE_LOST, 1, None, False),
    ]  # fmt: skip
    assert crashed.error == "rank 1: the trainer says Crashed"
    assert killed.error.startswith("rank 0: ")
    assert killed.evidence == {"exitCode": 137, "containerReason": "OOMKilled"}
    assert (again.attempt, again.outcome) == (2, Outcome.SUCCEEDED)
