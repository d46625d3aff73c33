"""A faulty way to the API server: every run converges, and a watch that stands still is noticed."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.behaviours import Hangs
from cluster.faultyapi import NO_FAULT, NO_WATCH_FAULT, Fault, FaultyApi, Request, WatchFault
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search
from cluster.test_operator_crashes import SEARCH, assert_as_expected, clear, script
from cluster.testcluster import Cluster
from conftest import Sweep
from eventually import eventually

pytestmark = pytest.mark.usefixtures("crds")


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[FaultyApi]:
    with FaultyApi(cluster.access) as proxy:
        yield proxy


class Gremlin:
    """Draws faults from a seed. Requests are drawn for in the order they come, so a seed gives a kind of weather."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.share = self._rng.choice([0.05, 0.15, 0.3])
        self.told = 0

    def on_request(self, request: Request) -> Fault:
        if self._rng.random() > self.share:
            return NO_FAULT
        self.told += 1
        writes = [Fault(status=409)] if request.write else [Fault(status=410)]
        return self._rng.choice(
            [
                Fault(status=500), Fault(status=503), Fault(status=429, retry_after=1), Fault(lost=True),
                Fault(unanswered=True), Fault(delay_seconds=self._rng.uniform(0, 1.5)), *writes,
            ]
        )  # fmt: skip

    def on_event(self, _path: str, _event: dict[str, Any]) -> WatchFault:
        if self._rng.random() > self.share:
            return NO_WATCH_FAULT
        self.told += 1
        return self._rng.choice(
            [
                WatchFault(drop=True), WatchFault(repeat=True), WatchFault(delay_seconds=self._rng.uniform(0, 2)),
                WatchFault(gone=True), WatchFault(cut=True), WatchFault(stalls=True),
            ]
        )  # fmt: skip


@pytest.mark.torture
def test_every_run_with_a_faulty_api_converges(
    cluster: Cluster, namespace: str, account: Path, kubelet: KubeletPlayer, tmp_path: Path, sweep: Sweep
) -> None:
    kubelet.play(namespace, script)
    experiments = Experiments(cluster, namespace)
    for seed in sweep.seeds(sample=1, full=100):
        gremlin = Gremlin(seed)
        with FaultyApi(cluster.access, gremlin.on_request, gremlin.on_event) as proxy:
            began = time.monotonic()
            with OperatorProcess(tmp_path, namespace, proxy.kubeconfig_of(account)) as process:
                experiments.create(SEARCH)
                experiments.finished("search", 300)
                # An answer that got lost may leave a status behind by a beat.
                eventually(lambda: assert_as_expected(experiments, [proxy]) is None, within_seconds=150)
            took = time.monotonic() - began
        print(f"seed {seed}: {gremlin.told} faults ({gremlin.share:.0%}), {process.starts} starts, {took:.0f} s")
        clear(experiments)


def test_a_watch_that_stands_still_is_noticed_within_90_seconds(
    cluster: Cluster, namespace: str, account: Path, proxy: FaultyApi, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments = Experiments(cluster, namespace)
    with OperatorProcess(tmp_path, namespace, proxy.kubeconfig_of(account)) as process:
        process.wait_until_ready()
        eventually(lambda: len(proxy.watches) == 4, within_seconds=60, what="all four kinds are watched")
        proxy.on_event = lambda _path, _event: WatchFault(stalls=True)
        began = time.monotonic()
        experiments.create(a_search(trials=1))
        eventually(
            lambda: len(experiments.jobs()) == 1, within_seconds=90, every_seconds=0.2, what="the LIST sees it"
        )
        print(f"seen by a LIST after {time.monotonic() - began:.0f} s")
        before = dict(proxy.watches)
        proxy.on_event = lambda _path, _event: NO_WATCH_FAULT
        eventually(
            lambda: proxy.watches["hyperparamsearches"] > before["hyperparamsearches"] or proxy.watches != before,
            within_seconds=90 - (time.monotonic() - began) + 60,
            what="the watch is begun anew",
        )
        print(f"watched anew after {time.monotonic() - began:.0f} s")
