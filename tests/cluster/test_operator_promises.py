"""What the operator promises about time, rate, memory of the API server, and a cluster that lacks its backend."""

import random
import string
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import ApiError, Json
from cluster.behaviours import Behaviour, Hangs, Succeeds
from cluster.controlplane import ControlPlane
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    Experiments,
    OperatorProcess,
    a_search,
    install_crds,
    is_served,
    report,
    service_account,
)
from cluster.programs import build
from cluster.testcluster import Cluster
from conftest import TORTURE, Sweep
from eventually import eventually
from trainer.experiment.errors import InvalidExperiment
from trialrun_operator.workload import workload


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod), after_seconds=0.2)


def test_when_idle_it_writes_nothing(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(
        experiments.namespace, lambda pod: Hangs() if "running" in pod["metadata"]["name"] else succeeds(pod)
    )
    experiments.create(a_search("over", trials=2))
    experiments.create(a_search("running", trials=2))
    experiments.finished("over")
    eventually(lambda: experiments.get("running")["status"]["running"] == 2, within_seconds=60)
    eventually(lambda: _still(operator, 5), within_seconds=90, what="it comes to rest")
    before = operator.writes()
    idle = 120 if TORTURE else 20
    deadline = time.monotonic() + idle
    eventually(lambda: time.monotonic() > deadline, within_seconds=idle + 5, every_seconds=1)
    assert operator.writes() == before


def _still(operator: OperatorProcess, seconds: float) -> bool:
    before = operator.writes()
    time.sleep(seconds)
    return operator.writes() == before


@pytest.mark.usefixtures("operator")
def test_from_a_pods_end_to_the_status_that_shows_it_p99_is_two_seconds(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    trials = 500 if TORTURE else 60
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod), after_seconds=random.uniform(0, 3)))
    experiments.create(a_search(trials=50, repeats=trials // 50 or 1, parallelTrials=10, maxFailedTrials=0))
    shown: dict[int, float] = {}
    while experiments.condition("search", "Finished").get("status") != "True":
        seen = experiments.get("search").get("status", {}).get("done", "0/")
        shown.setdefault(int(seen.partition("/")[0]), time.time())
        time.sleep(0.02)
    shown.setdefault(int(experiments.get("search")["status"]["done"].partition("/")[0]), time.time())
    uids = {pod["metadata"]["uid"] for pod in experiments.pods()}
    ends = sorted(when for uid, when in kubelet.ended_at.items() if uid in uids)
    counts = sorted(shown)
    waits = []
    for number, end in enumerate(ends, start=1):
        first = next(shown[count] for count in counts if count >= number)
        waits.append(max(0.0, first - end))
    waits.sort()
    p99 = waits[int(0.99 * (len(waits) - 1))]
    print(f"{len(waits)} endings: median {waits[len(waits) // 2]:.2f} s, p99 {p99:.2f} s, most {waits[-1]:.2f} s")
    assert p99 <= 2.0


def test_it_stops_in_order_and_says_that_it_lives(operator: OperatorProcess) -> None:
    assert operator.ask("livez") == (200, "ok")
    figures = operator.figures()
    assert "trialrun_queue_depth" in figures
    assert any(name.startswith("trialrun_api_calls_total") for name in figures)
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < 10
    assert operator.log.rstrip().endswith("stopped")


def test_a_cluster_without_pytorch_jobs_gets_a_condition_and_recovers(tmp_path: Path) -> None:
    build.programs()
    plane = ControlPlane(tmp_path)
    try:
        plane.etcd.start()
        plane.api_server.start()
        install_crds(plane)
        plane.api.create("/api/v1/namespaces", {"metadata": {"name": "bare"}})
        experiments = Experiments(plane, "bare")
        with OperatorProcess(tmp_path, "bare", service_account(plane, "bare")) as process:
            process.wait_until_ready()
            experiments.create(a_search(trials=2))
            eventually(
                lambda: experiments.condition("search", "Progressing").get("reason") == "BackendMissing",
                within_seconds=60,
            )
            assert "kubectl apply" in experiments.condition("search", "Progressing")["message"]
            assert process.starts == 1
            crd = build.training_operator_manifests() / "crds" / "kubeflow.org_pytorchjobs.yaml"
            document = yaml.safe_load(crd.read_text())
            name = document["metadata"]["name"]
            plane.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", document)
            jobs = "/apis/kubeflow.org/v1/pytorchjobs"
            eventually(lambda: is_served(plane.api, jobs), within_seconds=90, what="PyTorchJobs are served")
            eventually(lambda: len(experiments.jobs()) == 2, within_seconds=90, every_seconds=0.5, what="it recovers")
    finally:
        plane.stop()


@pytest.mark.usefixtures("operator")
def test_every_job_passes_pod_security_restricted(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    enforce = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{experiments.namespace}", enforce)
    kubelet.play(experiments.namespace, succeeds)
    experiments.create(a_search(trials=1))
    experiments.create(a_search("both", trials=1, workers=2))
    assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert experiments.finished("both")["status"]["phase"] == "Succeeded"


# --- generated specs ------------------------------------------------------------------------------------------------


class Hostile:
    """Makes searches from a seed: valid ones, careless ones, and malicious ones."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def search(self, name: str) -> Json:
        rng = self.rng
        made = a_search(name, trials=rng.randint(1, 4), parallelTrials=rng.randint(1, 4))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            self._spoil(made["spec"])
        return made

    def _text(self) -> str:
        kinds = [
            "é" * 5,
            "\u202e\u0000x",
            "a" * 10_000,
            "../../etc/passwd",
            "{{ .Values }}",
            "$(reboot)",
            "",
            "🦀",
            "null",
        ]
        letters = "".join(self.rng.choices(string.printable, k=12))
        return self.rng.choice([*kinds, letters])

    def _value(self, depth: int = 0) -> Any:
        rng = self.rng
        makers = [
            self._text,
            lambda: rng.randint(-(2**63), 2**63 - 1),
            lambda: rng.uniform(-1e308, 1e308),
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: [self._text()] * rng.choice([0, 1, 65, 2000]),
        ]
        if depth < 40:
            makers += [lambda: {self._text(): self._value(depth + rng.randint(1, 20))}]
        return rng.choice(makers)()

    def _spoil(self, spec: Json) -> None:
        rng = self.rng
        ways = [
            lambda: spec.update({rng.choice(list(spec)): self._value()}),
            lambda: spec.update(pod={"hostNetwork": True, "securityContext": {"privileged": True}}),
            lambda: spec.update(pod={"labels": {self._text(): self._text()}}),
            lambda: spec.update(pod={"nodeSelector": {"a": self._text()}, "image": self._text() or "x"}),
            lambda: spec.update(pod={"tolerations": [self._value()], "affinity": {"nodeAffinity": self._value()}}),
            lambda: spec.update(pod={"env": [{"name": "TRIALRUN_TRIAL", "value": self._text()}]}),
            lambda: spec.update(pod={"resources": {"limits": {self._text(): "1"}, "requests": {"cpu": "-1"}}}),
            lambda: spec.update(pod={"dataClaim": "../other-namespace/claim", "priorityClassName": self._text()}),
            lambda: spec.update(parameters=[{"name": "data.source", "choices": [self._value() for _ in range(3)]}]),
            lambda: spec.update(parameters=[{"name": "model.layers", "choices": list(range(1, 65))}] * 6),
            lambda: spec.update(algorithm="Random", trials=rng.choice([0, 3, 10**9])),
            lambda: spec.update(parameters=[{"name": "train.learningRate", "range": {"min": 1, "max": 0}}]),
            lambda: spec.update(training={"train": {self._text(): self._value()}}),
            lambda: spec.update(objective={"metric": self._text()}),
            lambda: spec.update(repeats=rng.choice([0, 2, 1000, 1001])),
            lambda: spec.update(deadlineSeconds=rng.choice([-1, 0, 1, 10**12])),
        ]  # fmt: skip
        rng.choice(ways)()


@pytest.mark.torture
def test_generated_specs_are_refused_or_run_and_never_spin(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer, sweep: Sweep
) -> None:
    kubelet.play(experiments.namespace, succeeds)
    fates: Counter[str] = Counter()
    for seed in sweep.seeds(sample=15, full=500):
        name = f"s{seed}"
        search = Hostile(seed).search(name)
        search["spec"].setdefault("pendingDeadlineSeconds", 5)
        fates[_fate(experiments, name, search)] += 1
        experiments.api.delete_if_there(experiments.path(name))
    print(dict(fates))
    assert operator.starts == 1, "no crash"
    assert "Traceback" not in operator.log
    before, began = sum(_calls(operator)), time.monotonic()
    time.sleep(10)
    rate = (sum(_calls(operator)) - before) / (time.monotonic() - began) * 60
    print(f"{rate:.0f} API calls a minute at rest")
    assert rate < 300


def _fate(experiments: Experiments, name: str, search: Json) -> str:
    """What becomes of a search; it must be one of three things."""
    code = 0
    try:
        experiments.create(search)
    except ApiError as error:
        code = error.code
    if code:
        assert 400 <= code < 500, name
        return "refused at admission"
    mistakes: tuple[str, ...] = ()
    trials = 0
    try:
        trials = len(workload(experiments.get(name)).trials)
    except InvalidExperiment as invalid:
        mistakes = invalid.mistakes
    if mistakes:
        assert experiments.finished(name, 30)["status"]["phase"] == "Invalid", name
        message = experiments.condition(name, "Accepted")["message"]
        assert all(mistake in message for mistake in mistakes) or len(message) > 30_000, name
        return "refused by a condition"
    if trials <= 20:
        eventually(lambda: _settled(experiments, name), within_seconds=60, what=f"{name} is settled")
    return "run"


def _calls(operator: OperatorProcess) -> list[float]:
    return [value for name, value in operator.figures().items() if name.startswith("trialrun_api_calls_total")]


def _settled(experiments: Experiments, name: str) -> bool:
    """Whether a search has finished, or says why it cannot go on."""
    reason = experiments.condition(name, "Progressing").get("reason")
    return experiments.condition(name, "Finished").get("status") == "True" or reason == "CreationRefused"
