"""Runs the operator as it runs in a pod: a process with the chart's permissions, started again whenever it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from cluster.api import Api, ApiError, Json
from cluster.component import free_port
from cluster.controlplane import ControlPlane
from cluster.testcluster import Cluster
from eventually import eventually
from trialrun_operator.backends import BACKENDS, backend_of_pod
from trialrun_operator.backends.backend import Backend
from trialrun_operator.backends.trainjob import RUNTIMES

ROOT = Path(__file__).parents[2]
IMAGE = "trainer:1"
GROUP = "/apis/trialrun.dev/v1alpha1"
PREFERRED = next(iter(BACKENDS.values()))


def install_crds(cluster: Cluster) -> None:
    """Applies the API as the chart does, and waits until it is served and children are collected."""
    if apply_crds(cluster) and isinstance(cluster, ControlPlane):
        cluster.discover_kinds()


def apply_crds(cluster: Cluster, root: Path = ROOT) -> bool:
    """Applies the API of the version in `root` and waits until it is served; whether it was not there before."""
    new = False
    for file in sorted((root / "crds").glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        new = new or cluster.api.get_if_there(path) is None
        cluster.api.apply(path, crd)
        served = f"{GROUP}/{crd['spec']['names']['plural']}"
        eventually(partial(is_served, cluster.api, served), what=f"{served} is served")
    return new


def is_served(api: Api, path: str) -> bool:
    """Whether the API server answers for a kind; one that is new is not known at first, then 429 for a moment."""
    try:
        return api.get_if_there(path) is not None
    except ApiError as error:
        if error.code == 429:
            return False
        raise


def keeps_programs(api: Api, namespace: str) -> bool:
    """Whether `spec.program` is kept: CRDs that were applied count a moment later, and those of 0.1 take it out."""
    search = a_search("asked", program={"command": ["train"]})
    made = api.request("POST", f"{GROUP}/namespaces/{namespace}/hyperparamsearches", search, query={"dryRun": "All"})
    return "program" in made["spec"]


def service_account(
    cluster: Cluster, namespace: str, *, release: str = "trialrun", watched: Sequence[str] | None = None
) -> Path:
    """Gives the chart's roles to the chart's service account in a namespace; a kubeconfig that acts as it.

    It may work in the namespaces `watched`, in all if there are none; by default in its own. `release` begins with
    "trialrun".
    """
    watched = (namespace,) if watched is None else watched
    rendered = cluster.helm(
        "template", release, str(ROOT / "helm" / "trialrun"), "--namespace", namespace,
        "--set-json", f"watch.namespaces={json.dumps(list(watched))}",
        "--show-only", "templates/roles.yaml", "--show-only", "templates/service-account.yaml",
    )  # fmt: skip
    cluster.kubectl("apply", "-f", "-", stdin=rendered)
    account = f"system:serviceaccount:{namespace}:{release}"
    for each in watched or (namespace,):
        eventually(partial(may_work, cluster.api, account, each), what=f"the roles of {account} are known")
    return cluster.kubeconfig_for_service_account(namespace, release)


def may_work(api: Api, account: str, namespace: str) -> bool:
    """Whether the API server has learnt of the role in a namespace; it takes a moment."""
    asked = {"verb": "create", "resource": "events", "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": asked},
    }
    answer = api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


class OperatorProcess:
    """The operator for some namespaces, listed with commas, or all (""). Use as a context manager.

    `allow` lists the chart's switches that are on, `mlflow` is the server that it tells, `log` is what all its
    processes have said, `root` where its code lies.
    """

    def __init__(
        self,
        workdir: Path,
        namespaces: str,
        kubeconfig: Path,
        *,
        allow: str = "",
        restarts: bool = True,
        root: Path = ROOT,
        mlflow: str = "",
    ) -> None:
        self.port = free_port()
        self.starts = 0
        # The exit codes of the processes that ended by themselves, or were killed by a test, and were started again.
        self.exits: list[int] = []
        self._log = workdir / f"operator-{self.port}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(workdir),
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": f"{root / 'operator'}{os.pathsep}{root}",
            "TRIALRUN_NAMESPACES": namespaces,
            "TRIALRUN_TRAINER_IMAGE": IMAGE,
            "TRIALRUN_METRICS_PORT": str(self.port),
            "TRIALRUN_ALLOW": allow,
            "MLFLOW_TRACKING_URI": mlflow,
        }
        self._restarts = restarts
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the first process, without waiting for it."""
        self._spawn()
        self._keeper.start()

    def kill(self) -> None:
        """Ends the process at once, as a lost node does; the next one starts by itself."""
        if self._process is not None:
            self._process.kill()

    def stop(self, within_seconds: float = 120.0) -> int:
        """Asks the process to end, for good; gives its exit code."""
        self._stopping.set()
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def __enter__(self) -> "OperatorProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._keeper.join(10)
        if error is not None:
            error.add_note(f"The log of the operator, from its end:\n{self.log[-20_000:]}")

    def wait_until_ready(self) -> None:
        eventually(lambda: self.ask("readyz")[0] == 200, what="the operator is ready")

    def ask(self, page: str) -> tuple[int, str]:
        """Status and text of a page of its HTTP server; status 0 when there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def figures(self) -> Mapping[str, float]:
        """Its metrics by name and labels, as `trialrun_api_calls_total{code="200",verb="list"}`.

        Waits for them: a process that was killed needs a moment until its successor answers.
        """

        def page() -> str | None:
            status, text = self.ask("metrics")
            return text if status == 200 else None

        told = eventually(page, what="the operator tells its metrics")
        lines = (line for line in told.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def writes(self) -> float:
        """How many writes it has asked the API server for."""
        verbs = ("create", "patch", "delete")
        return sum(
            value
            for name, value in self.figures().items()
            if name.startswith("trialrun_api_calls_total") and any(f'verb="{verb}"' in name for verb in verbs)
        )

    def _spawn(self) -> None:
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("die_with_parent.py")), str(os.getpid())]
        with self._log.open("ab") as log:
            # Not from the current folder: it has the modules of this version, and `root` may be another's.
            self._process = subprocess.Popen(
                [*launcher, sys.executable, "-P", "-m", "trialrun_operator"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self.starts += 1

    def _keep(self) -> None:
        while not self._stopping.is_set():
            assert self._process is not None
            code = self._process.wait()
            if self._stopping.wait(0.2) or not self._restarts:
                return
            self.exits.append(code)
            self._spawn()


class Experiments:
    """The experiments of one namespace, and what they have made.

    `backend` is what their trials run as; it is asked for where it is not what they get without asking.
    """

    def __init__(self, cluster: Cluster, namespace: str, backend: Backend = PREFERRED) -> None:
        self.api = cluster.api
        self.cluster = cluster
        self.namespace = namespace
        self.backend = backend

    def path(self, name: str = "", plural: str = "hyperparamsearches") -> str:
        return f"{GROUP}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, document: Json) -> Json:
        plural = "scaletests" if document["kind"] == "ScaleTest" else "hyperparamsearches"
        return self.api.create(self.path(plural=plural), self.asking(document))

    def asking(self, document: Json) -> Json:
        """An experiment that asks for the kind of job."""
        if self.backend is PREFERRED:
            return document
        return document | {"spec": {"backend": self.backend.jobs.kind} | document["spec"]}

    def get(self, name: str, plural: str = "hyperparamsearches") -> Json:
        return self.api.get(self.path(name, plural))

    def change(self, name: str, **spec: Any) -> Json:
        return self.api.patch(self.path(name), {"spec": spec})

    def jobs(self) -> list[Json]:
        return self.api.list(self.job_path())

    def job_path(self, name: str = "") -> str:
        """The path of all jobs, or of one."""
        return self.backend.jobs.path(self.namespace, name or None)

    def runtimes(self) -> list[Json]:
        """What TrainJobs share; PyTorchJobs share nothing."""
        return [] if self.backend is PREFERRED else self.api.list(RUNTIMES.path(self.namespace))

    def pods(self) -> list[Json]:
        return self.api.list(f"/api/v1/namespaces/{self.namespace}/pods")

    def events(self) -> list[Json]:
        """The Kubernetes Events about experiments."""
        events = self.api.list(f"/api/v1/namespaces/{self.namespace}/events")
        return [
            event for event in events if event["involvedObject"].get("apiVersion", "").startswith("trialrun.dev/")
        ]

    def ledgers(self, **labels: str) -> list[Json]:
        selector = ",".join(["trialrun.dev/ledger", *(f"{name}={value}" for name, value in labels.items())])
        return self.api.list(f"/api/v1/namespaces/{self.namespace}/configmaps", labelSelector=selector)

    def entries(self) -> dict[str, str]:
        """All lines of all ledgers by key."""
        return {key: line for ledger in self.ledgers() for key, line in ledger.get("data", {}).items()}

    def condition(self, name: str, kind: str, plural: str = "hyperparamsearches") -> Json:
        conditions = self.get(name, plural).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == kind), {})

    def finished(self, name: str, plural: str = "hyperparamsearches") -> Json:
        """The experiment once it says that it has finished."""
        eventually(
            lambda: self.condition(name, "Finished", plural).get("status") == "True",
            every_seconds=0.1,
            what=f"{name} has finished",
        )
        return self.get(name, plural)


def a_search(name: str = "search", *, trials: int = 6, **spec: Any) -> Json:
    """A search of so many trials, one parameter each."""
    rates = [round(0.001 * (i + 1), 6) for i in range(trials)]
    whole: Json = {
        "objective": {"metric": "validMse"},
        "parameters": [{"name": "train.learningRate", "choices": rates}],
        "parallelTrials": trials,
    }
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": name},
        "spec": whole | spec,
    }


def a_scale_test(name: str = "scale", *, multipliers: Sequence[int] = (1, 10, 50), **spec: Any) -> Json:
    """A scale test of so many sizes, by one worker and by two."""
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "ScaleTest",
        "metadata": {"name": name},
        "spec": {"axes": {"multipliers": list(multipliers), "workers": [1, 2]}} | spec,
    }


def trial_of(pod: Json) -> Json:
    """What a pod was told: the trial that it is to train."""
    backend = backend_of_pod(pod)
    assert backend is not None, "it is a job's"
    (trainer,) = (each for each in pod["spec"]["containers"] if each["name"] == backend.container)
    variables = {each["name"]: each.get("value", "") for each in trainer["env"]}
    told: Json = json.loads(variables["TRIALRUN_TRIAL"])
    return told


def report(pod: Json, **fields: Any) -> str:
    """The termination message of a trial that went well: its loss is its index plus 1."""
    told = trial_of(pod)
    made = {"clock": int(time.time() * 1000), "metrics": {"validMse": float(told["index"] + 1)}} | fields
    return json.dumps(made)
