"""The searches that sweeps disturb in every way, and what must have come of them whatever happened."""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, IsEvicted, Succeeds
from cluster.faultyapi import FaultyApi
from cluster.kinds import PYTORCH_JOBS
from cluster.kubelet import KubeletPlayer, Script
from cluster.operatorprocess import ROOT, Experiments, OperatorProcess, a_search, service_account, trial_of
from cluster.testcluster import Cluster
from cluster.watch import Watch
from eventually import PATIENCE_SECONDS, eventually
from trialrun_operator.backends.backend import Backend
from unit.replayed import Replayed

SEARCH = a_search(trials=6, parallelTrials=3, maxFailedTrials=3)
POINTS = 14  # TPE learns once ten have ended
LEARNING = a_search(
    algorithm="TPE",
    parallelTrials=3,
    maxFailedTrials=3,
    parameters=[
        {"name": "train.learningRate", "range": {"min": 1e-4, "max": 1e-1, "scale": "Log"}},
        {"name": "model.hiddenSize", "range": {"min": 8, "max": 256}},
    ],
)
LEARNING["spec"]["trials"] = POINTS
# What follows from times, and is another one in each run.
_TIMES = {"acceptedAt", "startedAt", "finishedAt", "lastTransitionTime", "seconds", "timing", "remark", "course"}


def script(pod: Json, beside: Mapping[str, float] = {}, after_seconds: float = 0.0) -> Behaviour:
    """All trials go well but the fourth, which crashes, and the fifth, which is evicted once.

    `beside` are metrics that are reported beside the objective.
    """
    told = trial_of(pod)
    if told["index"] == 3:
        return Fails(1, "boom")
    if told["index"] == 4 and told["attempt"] == 1:
        return IsEvicted()
    metrics = {"validMse": told["index"] + 1.0} | beside
    return Succeeds(json.dumps({"clock": 1, "metrics": metrics}), after_seconds=after_seconds)


def learns(pod: Json) -> Behaviour:
    """As above, and the objective is least where the learning rate is 0.01 and the hidden size 64."""
    point = trial_of(pod)["parameters"]
    loss = 0.01 + abs(math.log10(point["train.learningRate"]) + 2) + abs(math.log2(point["model.hiddenSize"]) - 6)
    return script(pod, {"validMse": loss})


@contextlib.contextmanager
def ledger_watched(experiments: Experiments, document: Json = LEARNING) -> Iterator[Callable[[], Replayed]]:
    """Gives what replays the ledger of a search that learns, and the jobs made for it, as written so far."""
    namespace = experiments.namespace
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    with Watch(experiments.cluster, maps) as ledger, Watch(experiments.cluster, experiments.job_path()) as jobs:

        def replayed() -> Replayed:
            changes = sorted([*ledger.changes, *jobs.changes], key=lambda each: each.version)
            return Replayed(document).take(each.seen for each in changes if each.kind != "DELETED")

        yield replayed


def assert_learnt(experiments: Experiments, replayed: Callable[[], Replayed], points: int = POINTS) -> None:
    """Every point follows from the ledger as it was, is tried once, and was written down before."""

    def all_told() -> Replayed | None:
        found = replayed()
        return found if len(found.jobs) == len(found.suggestions) == points else None

    found = eventually(all_told, every_seconds=0.5, what="the test's watches have all of it")
    assert [each.number for each in found.suggestions] == list(range(points))
    status = experiments.get("search")["status"]
    assert (status["phase"], status["done"]) == ("Succeeded", f"{points}/{points}")


@dataclass(frozen=True)
class Place:
    """Where a round takes place: a namespace, the service account that works there, and a folder."""

    experiments: Experiments
    account: Path
    folder: Path

    @property
    def namespace(self) -> str:
        return self.experiments.namespace

    def operator(self, proxy: FaultyApi, folder: str = "", root: Path = ROOT) -> OperatorProcess:
        """An operator that reaches the API server by way of the proxy; a second one needs a folder of its own.

        `root` is where its code lies.
        """
        workdir = self.folder / folder
        workdir.mkdir(exist_ok=True)
        return OperatorProcess(workdir, self.namespace, proxy.kubeconfig_of(self.account), root=root)


@contextlib.contextmanager
def place(
    cluster: Cluster,
    kubelet: KubeletPlayer,
    workdir: Path,
    script: Script = script,
    backend: Backend = PYTORCH_JOBS,
) -> Iterator[Place]:
    """A place for one round, whose pods do as `script` says."""
    with cluster.new_namespace() as namespace:
        kubelet.play(namespace, script)
        folder = workdir / namespace
        folder.mkdir()
        try:
            yield Place(Experiments(cluster, namespace, backend), service_account(cluster, namespace), folder)
        finally:
            kubelet.forget(namespace)


def finished(experiments: Experiments) -> None:
    """Returns when the search says that it has finished."""
    eventually(
        lambda: experiments.condition("search", "Finished").get("status") == "True",
        every_seconds=0.5,
        what="the search has finished",
    )


def outcome(experiments: Experiments) -> dict[str, Any]:
    """What must be the same after every course of events: status, ledger and jobs, without times."""
    search = experiments.get("search")
    uid = search["metadata"]["uid"]
    status = without_times(search["status"])
    for condition in status["conditions"]:
        if condition["type"] == "Comparable":  # its message tells where the time went
            del condition["message"]
    status["ledger"] = [name.replace(uid[:8], "UID") for name in status["ledger"]]
    return {
        "status": status,
        "ledger": {key: without_times(json.loads(line)) for key, line in sorted(experiments.entries().items())},
        "jobs": sorted(job["metadata"]["name"] for job in experiments.jobs()),
    }


def without_times(value: Any) -> Any:
    """A record or a status without what follows from times."""
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in _TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def assert_same_outcome(
    experiments: Experiments,
    undisturbed: dict[str, Any],
    seen: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found,
) -> None:
    """The search ends as an undisturbed run; where an answer was lost, its status comes a beat later.

    `seen` takes out of the outcome what is allowed to differ.
    """

    def same() -> bool:
        found = list(_differences(seen(outcome(experiments)), undisturbed, "outcome"))
        assert not found, "; ".join(found)
        return True

    eventually(same, within_seconds=PATIENCE_SECONDS / 4, every_seconds=0.5, what="it ends as an undisturbed run")


def _differences(found: Any, expected: Any, path: str) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            yield from _differences(found.get(name), expected.get(name), f"{path}.{name}")
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif found != expected:
        yield f"{path} is {found!r}, not {expected!r}"


def assert_expected(found: dict[str, Any]) -> None:
    """What comes of the search when nothing disturbs it."""
    status, ledger = found["status"], found["ledger"].values()
    assert (status["phase"], status["done"], status["failed"], status["running"], status["best"]) == (
        "Succeeded", "6/6", 1, 0, "1",
    )  # fmt: skip
    assert [(each["index"], each["attempt"], each["final"], each["outcome"]) for each in ledger] == [
        (0, 1, True, "Succeeded"), (1, 1, True, "Succeeded"), (2, 1, True, "Succeeded"), (3, 1, True, "Crashed"),
        (4, 1, False, "Evicted"), (4, 2, True, "Succeeded"), (5, 1, True, "Succeeded"),
    ]  # fmt: skip
    assert found["jobs"] == sorted(f"search-{each['id']}-{each['attempt']}" for each in ledger)


def assert_nothing_twice(
    experiments: Experiments, proxies: Sequence[FaultyApi], deleted: Sequence[str] = ()
) -> Counter[str]:
    """No job was created twice, but those that a test deleted by hand; nothing is without its owner; no Event twice.

    Gives the Events of the search by reason.
    """
    jobs = experiments.jobs()
    names = [job["metadata"]["name"] for job in jobs]
    backend = experiments.backend
    created = Counter(name for proxy in proxies for name in proxy.created.get(backend.jobs.plural, []))
    assert created == Counter([*names, *deleted]), "no job was created twice"
    uid = experiments.get("search")["metadata"]["uid"]
    ledgers = experiments.ledgers()
    assert len(ledgers) == 1
    assert {_owner(each) for each in [*jobs, *ledgers, *experiments.runtimes()]} == {uid}
    places = [backend.place(pod["metadata"]) for pod in experiments.pods()]
    assert {each and each.link for each in places} <= {backend.link(job["metadata"]) for job in jobs}
    told = [each for each in experiments.events() if each["involvedObject"].get("uid") == uid]
    # An Event's name follows from what it says, so that a crash can make none twice.
    reasons = Counter(each["reason"] for each in told)
    most = Counter(dict.fromkeys(reasons, 1)) + Counter({"TrialRetried": len(deleted)})
    assert reasons <= most, f"each of these Events can happen once only: {reasons}"
    assert {each.get("count", 1) for each in told} <= {1}
    return reasons


def _owner(child: Json) -> str:
    uid: str = child["metadata"]["ownerReferences"][0]["uid"]
    return uid


def assert_leaves_nothing(experiments: Experiments) -> None:
    """Deletes the search; all that it has made goes with it."""
    experiments.api.delete_if_there(experiments.path("search"))
    eventually(
        lambda: not (experiments.jobs() or experiments.pods() or experiments.ledgers() or experiments.runtimes()),
        every_seconds=0.5,
        what="the search has left nothing",
    )
