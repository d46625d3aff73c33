"""TrainJobs of a namespace that tests make themselves, and what becomes of them."""

from collections.abc import Mapping
from typing import Any

from cluster.api import Api, ApiError, Json
from cluster.kinds import TRAIN_JOBS
from cluster.testcluster import Cluster
from eventually import eventually

MANAGER = "trialrun.dev/operator"
GROUP = "trainer.kubeflow.org"
STEP = {f"{GROUP}/trainjob-ancestor-step": "trainer"}


class TrainJobs:
    """A TrainJob and its TrainingRuntime have the same name here."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api: Api = cluster.api
        self._place = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}"
        self._core = f"/api/v1/namespaces/{namespace}"

    def start(self, name: str, *, ranks: int = 1, **job: Any) -> None:
        """Creates both; each rank asks for one CPU. `job` is what `train_job` takes."""
        self.api.create(f"{self._place}/trainingruntimes", runtime(name, ranks))

        def is_taken() -> bool:
            try:
                self.create(train_job(name, ranks=ranks, **job))
            except ApiError as error:
                if not TRAIN_JOBS.is_early(str(error)):
                    raise
                return False  # A webhook looks at a cache, which has not heard of the runtime.
            return True

        eventually(is_taken, what=f"TrainJob {name} is taken")

    def create(self, job: Json) -> Json:
        return self.api.create(f"{self._place}/trainjobs", job)

    def get(self, name: str) -> Json:
        return self.api.get(f"{self._place}/trainjobs/{name}")

    def suspend(self, name: str, yes: bool) -> None:
        self.api.patch(f"{self._place}/trainjobs/{name}", {"spec": {"suspend": yes}})

    def delete(self, name: str) -> None:
        self.api.delete(f"{self._place}/trainjobs/{name}")

    def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        """The status and the reason of each condition."""
        return conditions(self.get(name))

    def becomes(self, name: str, condition: str, *, status: str = "True", reason: str | None = None) -> None:
        """Waits for a condition, and this reason, if any: what is told of a job comes after what is done with it."""

        def is_told() -> bool:
            now = self.conditions(name).get(condition, ("", ""))
            return now == (status, now[1] if reason is None else reason)

        eventually(is_told, what=f"{condition} of TrainJob {name} is {status}")

    def pods(self, name: str) -> list[Json]:
        """In the order of their ranks."""
        pods = self.api.list(f"{self._core}/pods", labelSelector=f"jobset.sigs.k8s.io/jobset-name={name}")
        return sorted(
            pods, key=lambda pod: int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"])
        )

    def phases(self, name: str) -> list[str]:
        return [pod["status"]["phase"] for pod in self.pods(name)]

    def run(self, name: str, ranks: int) -> list[Json]:
        """The pods, when that many run and no others are there."""
        eventually(lambda: self.phases(name) == ["Running"] * ranks, what=f"the pods of TrainJob {name} run")
        return self.pods(name)


def runtime(name: str, ranks: int) -> Json:
    """As the operator makes it: what fails is not tried again, and one rank's failure does not end another."""
    container = {"name": "node", "image": "trainer:1", "resources": {"requests": {"cpu": "1"}}}
    # A second is as long as a pod that is deleted may take.
    pods = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    job = {
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 0,
        "template": {"metadata": {"labels": {"of": "the-runtime"}}, "spec": pods},
    }
    replicated = {"name": "node", "template": {"metadata": {"labels": STEP}, "spec": job}}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": name},
        "spec": {
            "mlPolicy": {"numNodes": ranks, "torch": {}},
            "template": {"spec": {"replicatedJobs": [replicated]}},
        },
    }


def train_job(
    name: str,
    *,
    ranks: int = 1,
    labels: Mapping[str, str] | None = None,
    pod_labels: Mapping[str, str] | None = None,
    suspend: bool = False,
) -> Json:
    pods = {"spec": {"template": {"metadata": {"labels": dict(pod_labels or {})}}}}
    template = {"spec": {"replicatedJobs": [{"name": "node", "template": pods}]}}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": name},
            "trainer": {"numNodes": ranks, "numProcPerNode": 1},
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": template}}],
            "suspend": suspend,
        },
    }


def conditions(thing: Json) -> dict[str, tuple[str, str]]:
    """The status and the reason of each condition of an object."""
    found = thing.get("status", {}).get("conditions", [])
    return {each["type"]: (each["status"], each["reason"]) for each in found}
