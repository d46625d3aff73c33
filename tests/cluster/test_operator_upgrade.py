"""The operator is upgraded and rolled back while a search runs: processes and CRDs of both versions, in turns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import sweptsearch
from cluster.api import Json
from cluster.behaviours import Behaviour
from cluster.faultyapi import FaultyApi
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import ROOT, Experiments, OperatorProcess, a_search, apply_crds, trial_of
from cluster.sweptsearch import Place, assert_nothing_twice, place
from cluster.testcluster import Cluster
from eventually import eventually, unchanged
from version_0_1 import Version01

pytestmark = [pytest.mark.usefixtures("crds"), pytest.mark.slow]

TRIALS = 8
SEARCH = a_search(trials=TRIALS, parallelTrials=2, maxFailedTrials=3)
# What a pod of this version tells beside the objective.
BESIDE = {"dataHash": float(0xDA7A), "validationHash": float(0xA11D), "naiveValidMse": 3.5, "undefinedValidR2": 1.0}


def script(pod: Json) -> Behaviour:
    """As sweeps have it; every second pod reports as those of 0.1 do."""
    return sweptsearch.script(pod, BESIDE if trial_of(pod)["index"] % 2 else {}, after_seconds=1.0)


@pytest.fixture
def roots(cluster: Cluster, version_0_1: Version01) -> Iterator[dict[str, Path]]:
    """Where the code of each version lies; the CRDs are this version's again in the end."""
    yield {"0.1": version_0_1.root, "0.2": ROOT}
    apply_crds(cluster)


@contextmanager
def operator(cluster: Cluster, here: Place, root: Path, folder: str) -> Iterator[tuple[FaultyApi, OperatorProcess]]:
    """The operator of a version, installed as the chart does: the CRDs first. It is killed in the end."""
    apply_crds(cluster, root)
    with FaultyApi(cluster.access) as proxy, here.operator(proxy, folder, root) as process:
        process.wait_until_ready()
        yield proxy, process


def recorded(experiments: Experiments, count: int) -> Callable[[], bool]:
    return lambda: len(experiments.entries()) >= count


@pytest.mark.parametrize("turns", [("0.1", "0.2", "0.1"), ("0.2", "0.1", "0.2")], ids=" ".join)
def test_a_search_that_changes_hands_twice_runs_each_attempt_once(
    cluster: Cluster, kubelet: KubeletPlayer, roots: dict[str, Path], turns: tuple[str, ...], tmp_path: Path
) -> None:
    with place(cluster, kubelet, tmp_path, script) as here:
        experiments, proxies = here.experiments, []
        for number, (version, count) in enumerate(zip(turns, (2, 5, TRIALS + 1), strict=True)):
            with operator(cluster, here, roots[version], f"turn-{number}") as (proxy, process):
                if number == 0:
                    experiments.create(SEARCH)
                eventually(recorded(experiments, count), every_seconds=0.1, what=f"{count} attempts are recorded")
                if count > TRIALS:
                    experiments.finished("search")
                assert process.starts == 1
            assert proxy.created["pytorchjobs"], f"{version} had its part in it"
            proxies.append(proxy)
        assert_nothing_twice(experiments, proxies)
        ledger = experiments.entries()

        # Whoever comes after finds nothing to do; where the CRDs leave out what it says, too.
        for version, crds in (("0.1", "0.2"), ("0.2", "0.1"), ("0.1", "0.1"), ("0.2", "0.2")):
            apply_crds(cluster, roots[crds])
            with (
                FaultyApi(cluster.access) as proxy,
                here.operator(proxy, f"{version}-{crds}", roots[version]) as last,
            ):
                last.wait_until_ready()
                eventually(unchanged(last.writes, seconds=3), what="it comes to rest")
            assert not proxy.created.get("pytorchjobs")
            proxies.append(proxy)
        assert experiments.entries() == ledger
        assert_nothing_twice(experiments, proxies)

        status = experiments.get("search")["status"]
        assert (status["phase"], status["done"], status["failed"]) == ("Succeeded", f"{TRIALS}/{TRIALS}", 1)
        assert (status["best"], status["summary"]["unverified"]) == ("1", 4), "0, 2, 4 and 6 told no hashes"
        assert "unverified" in " ".join(status["summary"]["caveats"])


def test_the_crds_of_0_1_take_the_fields_of_this_version_out_of_what_is_stored(
    cluster: Cluster, experiments: Experiments, roots: dict[str, Path]
) -> None:
    search = a_search(suspend=True, training={"data": {"features": "Changes", "window": 20}})
    experiments.create(search)

    def data() -> Json:
        found: Json = experiments.get("search")["spec"]["training"]["data"]
        return found

    assert data() == {"features": "Changes", "window": 20}
    apply_crds(cluster, roots["0.1"])
    eventually(lambda: data() == {"window": 20}, what="the field is gone")
    experiments.change("search", maxFailedTrials=1)
    apply_crds(cluster, roots["0.2"])
    experiments.change("search", maxFailedTrials=2)
    assert data() == {"window": 20}, "it stays away: docs/cluster.md says to keep this version's CRDs"
