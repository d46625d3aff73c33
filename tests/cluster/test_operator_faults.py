"""A faulty way to the API server: every run converges, and a watch that stands still is noticed."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Hangs
from cluster.faultyapi import FaultyApi, WatchFault
from cluster.gremlin import FAULTS, Gremlin
from cluster.kinds import job_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, trial_of
from cluster.rounds import side_by_side
from cluster.sweptsearch import (
    SEARCH,
    assert_nothing_twice,
    assert_same_outcome,
    finished,
    place,
    script,
)
from cluster.testcluster import Cluster
from conftest import TORTURE, Sweep
from eventually import eventually
from trialrun_operator.backends import BACKENDS

pytestmark = pytest.mark.usefixtures("crds")

# A round mostly waits, for the next LIST or for a watch to be given up.
AT_ONCE = 14
# What the operator says when kopf has ended; another process follows. kopf may also hang as it ends, and then it
# kills the process.
ENDED = "ending to be started anew: watches failed"


@dataclass(frozen=True)
class Weather:
    """What goes wrong in a round, by its seed, and the kind of job that trials run as."""

    seed: int
    kind: str

    def __str__(self) -> str:
        return f"seed {self.seed} with {self.kind}s"


@dataclass(frozen=True)
class Round:
    """What was seen in a round: its length, its faults by name, and the exit codes of processes that kopf ended."""

    seconds: float
    faults: Counter[str]
    exits: Counter[int]


class Ghost:
    """A job that is deleted by hand while no watch tells of it; then they end with 410, and the relist is silent too.

    Its trial hangs until then, so that it has to be run again: as the same attempt, or as the next where a LIST has
    come upon its pod on the way out, which looks as an eviction does.
    """

    def __init__(self) -> None:
        self._uid = ""

    def script(self, pod: Json) -> Behaviour:
        if trial_of(pod)["index"] != 1:
            return script(pod)
        self._uid = self._uid or pod["metadata"]["uid"]
        return Hangs() if pod["metadata"]["uid"] == self._uid else script(pod)

    def appear(self, experiments: Experiments, proxy: FaultyApi, gremlin: Gremlin) -> str:
        """Deletes the job once its pod runs; gives its name."""
        pod = eventually(self._running(experiments), every_seconds=0.5, what="the trial runs")
        name, plural = job_of(pod), experiments.backend.jobs.plural
        job = experiments.api.get(experiments.job_path(name))
        gremlin.hidden = frozenset({plural, "pods"})
        experiments.api.delete(experiments.job_path(name))
        eventually(
            lambda: {job["metadata"]["uid"], self._uid}.isdisjoint(
                each["metadata"]["uid"] for each in (*experiments.jobs(), *experiments.pods())
            ),
            every_seconds=0.5,
            what=f"the job {name} is gone, and its pod",
        )
        proxy.forget(plural, "pods")
        gremlin.hidden = frozenset()
        return name

    @staticmethod
    def laid(found: dict[str, Any]) -> dict[str, Any]:
        """The outcome without the eviction, if there is one."""
        ledger = dict(found["ledger"])
        first, *more = [key for key in ledger if key.startswith("0001-")]
        if len(more) != 1 or (ledger[first]["outcome"], ledger[first]["final"]) != ("Evicted", False):
            return found
        ledger[first] = ledger.pop(more[0]) | {"attempt": 1}
        before, after = (f"search-{ledger[first]['id']}-{attempt}" for attempt in (1, 2))
        rows = [*found["status"]["trials"]]
        rows[1] = rows[1] | {"attempt": 1, "job": before}
        jobs = sorted(before if job == after else job for job in found["jobs"])
        return {"status": found["status"] | {"trials": rows}, "ledger": ledger, "jobs": jobs}

    def _running(self, experiments: Experiments) -> Callable[[], Json | None]:
        return lambda: next(
            (
                pod
                for pod in experiments.pods()
                if pod["metadata"]["uid"] == self._uid and pod["status"]["phase"] == "Running"
            ),
            None,
        )


def run_once(
    cluster: Cluster,
    kubelet: KubeletPlayer,
    workdir: Path,
    undisturbed: dict[str, Any],
    weather: Weather,
) -> Round:
    """Runs the search once in the weather of a seed; every other time a job is deleted behind a 410."""
    gremlin, ghost, haunted = Gremlin(weather.seed), Ghost(), weather.seed % 2 == 1
    undisturbed = undisturbed | {"status": undisturbed["status"] | {"backend": weather.kind}}
    with (
        place(cluster, kubelet, workdir, ghost.script if haunted else script, BACKENDS[weather.kind]) as here,
        FaultyApi(cluster.access, gremlin.on_request, gremlin.on_event) as proxy,
        here.operator(proxy) as process,
    ):
        began = time.monotonic()
        here.experiments.create(SEARCH)
        deleted = [ghost.appear(here.experiments, proxy, gremlin)] if haunted else []
        finished(here.experiments)
        assert_same_outcome(here.experiments, undisturbed, Ghost.laid)
        seconds = time.monotonic() - began
        eventually(
            lambda: (
                process.log.count(ENDED) + process.exits.count(-SIGKILL) == len(process.exits) == process.starts - 1
            ),
            every_seconds=0.5,
            what="kopf has ended each process that has ended, and another was started",
        )
        assert_same_outcome(here.experiments, undisturbed, Ghost.laid)
        assert_nothing_twice(here.experiments, [proxy], deleted)
    return Round(seconds, gremlin.told, Counter(process.exits))


@pytest.mark.torture
@pytest.mark.usefixtures("trainer")
def test_every_run_with_a_faulty_api_converges(
    cluster: Cluster,
    kubelet: KubeletPlayer,
    undisturbed_run: dict[str, Any],
    tmp_path: Path,
    sweep: Sweep,
    say: Callable[[str], None],
) -> None:
    def run(weather: Weather) -> Round:
        return run_once(cluster, kubelet, tmp_path, undisturbed_run, weather)

    weathers = [Weather(seed, kind) for seed in sweep.seeds(sample=2, full=100) for kind in BACKENDS]
    rounds = side_by_side(weathers, run, at_once=AT_ONCE, say=say).values()
    slowest = max(each.seconds for each in rounds)
    faults = sum((each.faults for each in rounds), Counter())
    exits = sum((each.exits for each in rounds), Counter())
    listed = ", ".join(f"{count} {name}" for name, count in sorted(faults.items()))
    say(
        f"{len(rounds)} rounds, half of them with TrainJobs: all converged, slowest {slowest:.0f} s,"
        f" restarts by kopf {exits.total()}, {exits[-SIGKILL]} of them by SIGKILL, 0 jobs twice,"
        f" {faults.total()} faults ({listed})"
    )
    # Of a single seed it may be that no fault meets a watch in a way that kopf gives up.
    assert not TORTURE or (faults.keys() == FAULTS and exits.total() >= len(rounds) / 2)


def test_no_result_is_lost_while_no_watch_tells_of_pods(
    cluster: Cluster,
    experiments: Experiments,
    account: Path,
    kubelet: KubeletPlayer,
    tmp_path: Path,
    undisturbed: dict[str, Any],
) -> None:
    kubelet.play(experiments.namespace, script)

    def on_event(path: str, _event: dict[str, Any]) -> WatchFault:
        return WatchFault(drop=path.endswith("/pods"))

    with (
        FaultyApi(cluster.access, on_event=on_event) as proxy,
        OperatorProcess(tmp_path, experiments.namespace, proxy.kubeconfig_of(account)),
    ):
        experiments.create(SEARCH)
        finished(experiments)
        assert_same_outcome(experiments, undisturbed)


def test_a_watch_that_stands_still_is_noticed_within_90_seconds(
    cluster: Cluster,
    experiments: Experiments,
    account: Path,
    kubelet: KubeletPlayer,
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    stalled: dict[str, float] = {}

    def stall(path: str, _event: dict[str, Any]) -> WatchFault:
        stalled.setdefault(path.rpartition("/")[2], time.monotonic())
        return WatchFault(stalls=True)

    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    with (
        FaultyApi(cluster.access) as proxy,
        OperatorProcess(tmp_path, experiments.namespace, proxy.kubeconfig_of(account)) as process,
    ):
        process.wait_until_ready()
        eventually(lambda: len(proxy.watches) == 5, what="all five kinds are watched")
        before = dict(proxy.watches)
        proxy.on_event = stall
        began = time.monotonic()
        experiments.create(a_search(trials=1))
        eventually(lambda: experiments.jobs(), within_seconds=90, every_seconds=0.2, what="a LIST sees the search")
        seen = time.monotonic() - began
        since = eventually(lambda: stalled.get("hyperparamsearches"), what="its watch stands still")
        eventually(
            lambda: proxy.watches["hyperparamsearches"] > before["hyperparamsearches"],
            within_seconds=since + 90 - time.monotonic(),
            what="its watch is begun anew",
        )
        anew = time.monotonic() - since
        assert process.starts == 1
    say(f"a watch that stands still: a LIST made up for it after {seen:.0f} s, it was begun anew after {anew:.0f} s")
