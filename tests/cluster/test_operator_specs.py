"""Generated specs, valid, careless and malicious ones: each is refused or run, and none makes the operator spin."""

import json
import re
import ssl
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import unquote

import pytest

from cluster.api import ApiError, Json
from cluster.behaviours import Succeeds
from cluster.faultyapi import NO_FAULT, Fault, FaultyApi, Request
from cluster.hostile import Hostile
from cluster.kinds import TRAIN_JOBS
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, report, service_account, trial_of
from cluster.rounds import side_by_side
from cluster.testcluster import Cluster
from cluster.watch import Watch
from conftest import Sweep
from eventually import eventually, throughout
from trainer.experiment.errors import InvalidExperiment
from trialrun_operator.backends import BACKENDS, backend_of_pod
from trialrun_operator.permits import not_permitted
from trialrun_operator.store import experiment_object
from trialrun_operator.workload import workload

pytestmark = pytest.mark.usefixtures("crds", "trainer")

AT_ONCE = 8
# One write of the status and one of the ledger each second, and some reads; each job is created, told of and deleted.
CALLS_A_MINUTE, CALLS_A_JOB = 150, 4
# A search at rest is looked at after each LIST, and when what was refused is tried again.
LOOKS_A_MINUTE = 10
# Larger searches are not waited for.
FEW_TRIALS = 20
API_SERVER_TAKES = 3 * 2**20
# The chart's switches that are on. Without the third no pod has an account.
ALLOWED = ("secrets", "volumes")
# What a TrainJob's pods are told by a label of theirs.
RANKS = ("RANK", "PET_NODE_RANK", "JOB_COMPLETION_INDEX")
# Why a search may go no further, and what became of it then.
WAITING = {
    "CreationRefused": "refused with its jobs, by a condition",
    "CodeUnavailable": "without its code, by a condition",
}


class RunProgress:
    """Counts the operator's API calls by the search that they are about."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._calls: dict[str, list[tuple[float, bool]]] = defaultdict(list)

    def on_request(self, request: Request) -> Fault:
        said = f"{request.path} {unquote(request.query)} {request.body[:2000].decode(errors='replace')}"
        if about := re.search(r"\bh\d+\b|(?<=uid=)[-0-9a-f]{36}", said):
            is_job = request.kind in ("POST pytorchjobs", "POST trainjobs")
            self._calls[about.group()].append((time.monotonic(), is_job))
        return NO_FAULT

    def busiest_minutes(self) -> dict[str, tuple[int, int]]:
        """Of each search the minute with the most calls, those that its jobs take aside: its calls, and its jobs."""
        by_name: dict[str, list[tuple[float, bool]]] = defaultdict(list)
        for about, calls in self._calls.items():
            by_name[self.names.get(about, about)] += calls
        return {name: max(_minutes(sorted(calls)), key=_beyond) for name, calls in by_name.items()}


def _minutes(calls: Iterable[tuple[float, bool]]) -> Iterable[tuple[int, int]]:
    minute: deque[tuple[float, bool]] = deque()
    for call in calls:
        minute.append(call)
        while minute[0][0] < call[0] - 60:
            minute.popleft()
        yield len(minute), sum(is_job for _, is_job in minute)


def _beyond(minute: tuple[int, int]) -> int:
    return minute[0] - CALLS_A_JOB * minute[1]


@pytest.mark.torture
def test_generated_specs_are_refused_or_run_and_never_spin(
    cluster: Cluster,
    experiments: Experiments,
    other_namespace: str,
    kubelet: KubeletPlayer,
    tmp_path: Path,
    sweep: Sweep,
    say: Callable[[str], None],
) -> None:
    here, progress = experiments.namespace, RunProgress()
    elsewhere = Experiments(cluster, other_namespace)
    kubelet.play(here, lambda pod: Succeeds(_told_by(pod), after_seconds=0.2))
    for place, name in ((here, "code"), (other_namespace, "theirs")):
        code = {"metadata": {"name": name}, "data": {"train.py": f"print('{name}')"}}
        cluster.api.create(f"/api/v1/namespaces/{place}/configmaps", code)
    # Of tests that are over: nothing new can come about in them, but the watch tells of what still goes.
    over = {
        each["metadata"]["name"]
        for each in cluster.api.list("/api/v1/namespaces")
        if "deletionTimestamp" in each["metadata"]
    }
    # The operator may work in the other namespace too, so that nothing but itself keeps it from there.
    account = service_account(cluster, here, watched=(here, other_namespace))
    with (
        FaultyApi(cluster.access, progress.on_request) as proxy,
        Watch(cluster, "/api/v1/pods") as pods,
        OperatorProcess(
            tmp_path, f"{here},{other_namespace}", proxy.kubeconfig_of(account), allow=",".join(ALLOWED)
        ) as operator,
    ):
        operator.wait_until_ready()

        def run(seed: int) -> str:
            kind = list(BACKENDS)[seed % len(BACKENDS)]
            return _fate(experiments, Hostile(seed, other_namespace, kind).search(f"h{seed}"), f"h{seed}", progress)

        fates = side_by_side(sweep.seeds(sample=40, full=500), run, at_once=AT_ONCE, say=say)
        looks = _looks(operator)
        throughout(lambda: operator.starts == 1, seconds=20)
        looks = (_looks(operator) - looks) * 3
        kept = len(experiments.api.list(experiments.path()))
        assert operator.starts == 1, "no crash"
        assert "Traceback" not in operator.log
    busiest = progress.busiest_minutes()
    assert {each: minute for each, minute in busiest.items() if _beyond(minute) > CALLS_A_MINUTE} == {}
    assert looks <= LOOKS_A_MINUTE * kept
    ours = [
        pod
        for change in pods.changes
        if _is_of_a_job(pod := change.seen) and pod["metadata"]["namespace"] not in over
    ]
    assert ours
    assert {pod["metadata"]["namespace"] for pod in ours} == {here}
    assert not {pod["metadata"]["name"]: rights for pod in ours if (rights := _privileges(pod))}
    assert not [*elsewhere.jobs(), *elsewhere.pods(), *elsewhere.ledgers(), *elsewhere.events()]
    others = Experiments(cluster, other_namespace, TRAIN_JOBS)
    assert not [*others.jobs(), *others.runtimes()]
    assert _copies(elsewhere) == {}
    copies = _copies(experiments)
    assert {file for files in copies.values() for file in files.values()} <= {"print('code')"}
    name = max(busiest, key=lambda each: busiest[each][0])
    counts = ", ".join(f"{count} {fate}" for fate, count in sorted(Counter(fates.values()).items()))
    say(
        f"{len(fates)} specs: {counts}; 0 crashes; busiest minute: {busiest[name][0]} API calls for the"
        f" {busiest[name][1]} jobs of {name}; {kept} at rest: {looks / kept:.1f} looks a minute at each;"
        f" {len(ours)} changes of pods, none privileged or in another namespace; {len(copies)} copies of code"
    )


def _fate(experiments: Experiments, text: bytes, name: str, progress: RunProgress) -> str:
    """What becomes of a search; it must be one of three things."""
    try:
        made = experiments.api.request("POST", experiments.path(), text)
    except ApiError as refused:
        if refused.code not in (400, 413, 422) and "too large" not in str(refused):
            raise
        return "refused at admission"
    except (ConnectionError, ssl.SSLError):
        if len(text) < API_SERVER_TAKES:
            raise
        return "refused at admission"
    progress.names[made["metadata"]["uid"]] = name
    try:
        # Judged as the operator sees it: annotations, which may hold anything, say nothing to it.
        work = workload(experiment_object(experiments.get(name)).document)
        mistakes, trials = (*not_permitted(work.experiment, ALLOWED), *work.doubts), len(work.trials)
    except InvalidExperiment as invalid:
        mistakes, trials = invalid.mistakes, 0
    if mistakes:
        _is_told(experiments, name, mistakes)
        return "refused by a condition"
    small = trials <= FEW_TRIALS
    eventually(
        lambda: _settled(experiments, name) or (not small and _has_begun(experiments, name)),
        every_seconds=0.5,
        what=f"{name}, {trials} trials, is settled",
    )
    if not small:
        experiments.api.delete(experiments.path(name))
        return "run"
    return WAITING.get(experiments.condition(name, "Progressing").get("reason", ""), "run")


def _is_told(experiments: Experiments, name: str, mistakes: Iterable[str]) -> None:
    eventually(
        lambda: experiments.get(name).get("status", {}).get("phase") == "Invalid",
        every_seconds=0.5,
        what=f"{name} is invalid",
    )
    message = experiments.condition(name, "Accepted")["message"]
    assert all(mistake in message for mistake in mistakes) or len(message) > 30_000, name


def _settled(experiments: Experiments, name: str) -> bool:
    """Whether a search has finished, or says why it cannot go on."""
    reason = experiments.condition(name, "Progressing").get("reason")
    return experiments.condition(name, "Finished").get("status") == "True" or reason in WAITING


def _has_begun(experiments: Experiments, name: str) -> bool:
    return bool(experiments.get(name).get("status", {}).get("summary", {}).get("counts", {}).get("done"))


def _looks(operator: OperatorProcess) -> float:
    return sum(value for name, value in operator.figures().items() if name.startswith("trialrun_reconciles_total"))


def _told_by(pod: Json) -> str:
    """What a pod leaves that goes well: our trainer's report, or a program's."""
    if "trialrun.dev/program" not in pod["metadata"]["labels"]:
        return report(pod)
    return json.dumps({"metrics": {"loss": float(trial_of(pod)["index"])}})


def _copies(experiments: Experiments) -> dict[str, Json]:
    """The files of the code that was copied in a namespace, by the copy's name."""
    maps = experiments.api.list(f"/api/v1/namespaces/{experiments.namespace}/configmaps")
    return {each["metadata"]["name"]: each["data"] for each in maps if "-code-" in each["metadata"]["name"]}


def _is_of_a_job(pod: Json) -> bool:
    return backend_of_pod(pod) is not None


def _privileges(pod: Json) -> list[str]:
    """What a trial's pod may do and must not."""
    spec = pod["spec"]
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "hostAliases") if spec.get(name)]
    if (
        spec.get("automountServiceAccountToken") is not False
        or spec.get("serviceAccountName", "default") != "default"
    ):
        found.append("an account")
    for volume in spec.get("volumes", ()):
        found += sorted(volume.keys() - {"name", "emptyDir", "persistentVolumeClaim", "configMap", "secret"})
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        rights = container.get("securityContext", {})
        if rights.get("privileged") or rights.get("allowPrivilegeEscalation") is not False:
            found.append("more rights than its parent")
        if rights.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
        if rights.get("runAsUser") == 0:
            found.append("root")
        found += ["a port of the node" for port in container.get("ports", ()) if "hostPort" in port]
        chosen = [each for each in container.get("env", ()) if each["name"] not in RANKS]
        sources = {source for variable in chosen for source in variable.get("valueFrom", ())}
        found += sorted(sources - {"secretKeyRef", "configMapKeyRef"})
    if not (spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"]):
        found.append("root")
    return found
