"""The operator is upgraded and rolled back while a search runs: processes and CRDs of both versions, in turns."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import sweptsearch
from cluster.api import ApiError, Json
from cluster.behaviours import Behaviour, Fails, Hangs, IsEvicted, RunsOutOfMemory, Succeeds
from cluster.faultyapi import FaultyApi
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    ROOT,
    Experiments,
    OperatorProcess,
    a_search,
    apply_crds,
    keeps_programs,
    trial_of,
)
from cluster.sweptsearch import Place, assert_nothing_twice, place
from cluster.testcluster import Cluster
from eventually import eventually, unchanged
from trialrun_operator.names import EXPERIMENT_LABEL, PROGRAM_LABEL
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


def install(cluster: Cluster, namespace: str, root: Path) -> None:
    """Applies the CRDs of a version, and returns when they count."""
    apply_crds(cluster, root)
    eventually(lambda: keeps_programs(cluster.api, namespace) == (root == ROOT), what="the CRDs count")


@contextmanager
def operator(
    cluster: Cluster, here: Place, root: Path, folder: str, crds: Path | None = None
) -> Iterator[tuple[FaultyApi, OperatorProcess]]:
    """The operator of a version, installed as the chart does: the CRDs, its own or those given, first.

    It is killed in the end.
    """
    install(cluster, here.namespace, crds or root)
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
            install(cluster, here.namespace, roots[crds])
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


# Trials that are under way when this version is rolled back, and end meanwhile. By then nothing is recorded of the
# program whose code is in a ConfigMap.
HELD = {"search": (5, 6), "program": (3, 4), "coded": (0, 1)}


def a_program(name: str, trials: int, **program: Any) -> Json:
    return a_search(
        name,
        parallelTrials=2,
        maxFailedTrials=3,
        objective={"metric": "loss", "direction": "Minimize"},
        parameters=[{"name": "lr", "choices": [0.1 * (index + 1) for index in range(trials)]}],
        program={"command": ["sh", "-c", "train --lr ${parameters.lr}"]} | program,
    )


def ending(pod: Json) -> Behaviour:
    """Our trainer's is as above. Of one program trial 1 crashes, 2 is evicted once, and 4 runs out of memory."""
    told = trial_of(pod)
    if told["experiment"] == "search":
        return script(pod)
    endings = {(1, 1): Fails(1, "boom"), (2, 1): IsEvicted(), (4, 1): RunsOutOfMemory()}
    if told["experiment"] == "program" and (found := endings.get((told["index"], told["attempt"]))):
        return found
    lines = [{"step": step, "metrics": {"loss": told["index"] + 1 / step}} for step in (1, 2)]
    return Succeeds("\n".join(map(json.dumps, lines)))


def is_held(pod: Json) -> bool:
    told = trial_of(pod)
    return told["attempt"] == 1 and told["index"] in HELD.get(told["experiment"], ())


def held(experiments: Experiments) -> list[Json]:
    return [pod for pod in experiments.pods() if is_held(pod) and pod["status"].get("phase") == "Running"]


def held_or_ending(pod: Json) -> Behaviour:
    return Hangs() if is_held(pod) else ending(pod)


def end_what_is_held(kubelet: KubeletPlayer, experiments: Experiments) -> None:
    for pod in held(experiments):
        kubelet.become(experiments.namespace, pod["metadata"]["name"], ending(pod))


def lines_of(experiments: Experiments, name: str) -> dict[str, str]:
    """The ledger of one experiment."""
    ledgers = experiments.ledgers(**{EXPERIMENT_LABEL: name})
    return {key: line for each in ledgers for key, line in sorted(each["data"].items())}


def run(experiments: Experiments, name: str) -> list[tuple[int, int, str]]:
    """Index, attempt and outcome of what the ledger of one experiment has."""
    records = map(json.loads, lines_of(experiments, name).values())
    return [(each["index"], each["attempt"], each["outcome"]) for each in records]


def made_for(experiments: Experiments, name: str) -> set[str]:
    """The UIDs of the jobs and pods of one experiment."""
    made = [*experiments.jobs(), *experiments.pods()]
    return {each["metadata"]["uid"] for each in made if each["metadata"]["labels"][EXPERIMENT_LABEL] == name}


def codes(experiments: Experiments) -> set[str]:
    """The hashes of the code that trials have run."""
    labels = [job["metadata"]["labels"] for job in experiments.jobs()]
    return {each[PROGRAM_LABEL] for each in labels if each[EXPERIMENT_LABEL] == "coded"}


def said(experiments: Experiments, name: str) -> Json:
    """A status, but for since when its conditions are what they are."""
    status: Json = experiments.get(name)["status"]
    for condition in status["conditions"]:
        del condition["lastTransitionTime"]
    return status


def ends(experiments: Experiments, *names: str) -> None:
    for name in names:
        eventually(
            lambda: experiments.condition(name, "Finished").get("reason") == "AllTrialsDone",  # noqa: B023
            every_seconds=0.1,
            what=f"all trials of {name} are done",
        )


def test_programs_are_left_alone_by_0_1_and_go_on_after_it(
    cluster: Cluster, kubelet: KubeletPlayer, roots: dict[str, Path], tmp_path: Path
) -> None:
    old, new = roots["0.1"], roots["0.2"]
    programs = [a_program("program", 6), a_program("coded", 4, code="configmap/train")]
    with place(cluster, kubelet, tmp_path, held_or_ending) as here:
        experiments = here.experiments
        code = f"/api/v1/namespaces/{here.namespace}/configmaps"
        experiments.api.create(code, {"metadata": {"name": "train"}, "data": {"train.sh": "echo 1"}})
        with operator(cluster, here, old, "0") as (first, _):
            experiments.create(SEARCH)
            eventually(recorded(experiments, 2), what="two attempts are recorded")
        with operator(cluster, here, new, "1") as (upgraded, _):
            for program in programs:
                experiments.create(program)
            eventually(lambda: len(held(experiments)) == 6, what="the trials that are held run")
            eventually(lambda: len(lines_of(experiments, "program")) == 3, what="those before them are recorded")
        before = {name: experiments.get(name)["status"] for name in ("program", "coded")}
        ledger, made = lines_of(experiments, "program"), {name: made_for(experiments, name) for name in before}

        # Rolled back, with this version's CRDs.
        with operator(cluster, here, old, "2", crds=new) as (back, process):
            experiments.create(a_program("late", 1))
            end_what_is_held(kubelet, experiments)
            assert experiments.finished("search")["status"]["done"] == f"{TRIALS}/{TRIALS}"
            for name in (*before, "late"):
                assert experiments.finished(name)["status"]["phase"] == "Invalid"
                assert "spec.program: no such field" in experiments.condition(name, "Accepted")["message"]
            eventually(unchanged(process.writes, seconds=3), what="it comes to rest")
            assert process.starts == 1
        assert not [each for each in back.writes if each.startswith("DELETE")]
        for name, status in before.items():
            writes = [each for each in back.writes if f"/{name}/" in each]
            assert writes == [f"PATCH {experiments.path(name)}/status"]
            assert made_for(experiments, name) == made[name]
            now = experiments.get(name)["status"]
            assert (now["acceptedAt"], now["rerun"]) == (status["acceptedAt"], status["rerun"])
        assert (lines_of(experiments, "program"), lines_of(experiments, "coded")) == (ledger, {})
        assert "acceptedAt" not in experiments.get("late")["status"]

        # This version again. What its user has done to the code meanwhile is not for trials of this search.
        experiments.api.patch(f"{code}/train", {"data": {"train.sh": "echo 2"}})
        with operator(cluster, here, new, "3") as (again, _):
            ends(experiments, "program", "coded", "late")
        assert ledger.items() <= lines_of(experiments, "program").items()
        assert run(experiments, "program") == [
            (0, 1, "Succeeded"), (1, 1, "Crashed"), (2, 1, "Evicted"), (2, 2, "Succeeded"), (3, 1, "Succeeded"),
            (4, 1, "HostOOM"), (5, 1, "Succeeded"),
        ]  # fmt: skip
        assert run(experiments, "coded") == [(index, 1, "Succeeded") for index in range(4)]
        assert codes(experiments) == {before["coded"]["code"]}
        for name, status in before.items():
            now = experiments.get(name)["status"]
            assert (now["phase"], now["acceptedAt"]) == ("Succeeded", status["acceptedAt"])

        # A search that has ended is called invalid by 0.1 as well, and is afterwards as it was.
        ended = {name: (said(experiments, name), lines_of(experiments, name)) for name in before}
        with operator(cluster, here, old, "4", crds=new) as (once_more, _):
            for name in before:
                eventually(lambda: experiments.get(name)["status"]["phase"] == "Invalid")  # noqa: B023
        with operator(cluster, here, new, "5") as (last, process):
            ends(experiments, *before)
            eventually(unchanged(process.writes, seconds=3), what="it comes to rest")
        for name, (status, lines) in ended.items():
            assert (said(experiments, name), lines_of(experiments, name)) == (status, lines)
        created = [
            name
            for each in (first, upgraded, back, again, once_more, last)
            for name in each.created.get("pytorchjobs", ())
        ]
        assert Counter(created) == Counter(job["metadata"]["name"] for job in experiments.jobs())


def test_a_program_that_was_suspended_before_has_nothing_under_way_while_0_1_runs(
    cluster: Cluster, kubelet: KubeletPlayer, roots: dict[str, Path], tmp_path: Path
) -> None:
    with place(cluster, kubelet, tmp_path, held_or_ending) as here:
        experiments = here.experiments

        def is_suspended() -> bool:
            status = experiments.get("coded")["status"]
            return (status["phase"], status.get("running"), status.get("done")) == ("Suspended", 0, "2/4")

        with operator(cluster, here, roots["0.2"], "0"):
            experiments.create(a_program("coded", 4))
            eventually(lambda: len(held(experiments)) == 2, what="two of its trials run")
            experiments.change("coded", suspend=True)
            end_what_is_held(kubelet, experiments)
            # As docs/cluster.md says.
            cluster.kubectl(
                "wait", "-n", here.namespace, "--for=jsonpath={.status.running}=0", "--timeout=1h", "hps/coded"
            )
            eventually(is_suspended, what="they have ended, and it is suspended")
        with operator(cluster, here, roots["0.1"], "1", crds=roots["0.2"]):
            assert experiments.finished("coded")["status"]["phase"] == "Invalid"
        with operator(cluster, here, roots["0.2"], "2"):
            eventually(is_suspended, what="it is suspended as before")
            experiments.change("coded", suspend=False)
            ends(experiments, "coded")
        assert run(experiments, "coded") == [(index, 1, "Succeeded") for index in range(4)]
        assert len(experiments.jobs()) == 4


def test_with_the_crds_of_0_1_a_program_is_gone_for_good_and_0_1_trains_what_is_left(
    cluster: Cluster, kubelet: KubeletPlayer, roots: dict[str, Path], tmp_path: Path
) -> None:
    old, new = roots["0.1"], roots["0.2"]
    # All but the program is something that 0.1 knows.
    search = a_search(trials=2) | {"metadata": {"name": "program"}}
    program = {"command": ["sh", "-c", "train ${parameters.train.learningRate}"]}
    with place(cluster, kubelet, tmp_path) as here:
        experiments = here.experiments
        with operator(cluster, here, new, "0"):
            experiments.create(search | {"spec": search["spec"] | {"program": program}})
            ends(experiments, "program")
        assert len(experiments.jobs()) == 2
        with operator(cluster, here, old, "1"):
            eventually(lambda: len(experiments.entries()) == 4, what="it runs two trials of its own")
        install(cluster, here.namespace, new)
        assert "program" not in experiments.get("program")["spec"], "docs/cluster.md says to keep this version's CRDs"
        with pytest.raises(ApiError, match="cannot change; apply the new one under another name"):
            experiments.change("program", program=program)
