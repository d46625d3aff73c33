"""A queue of Kueue for a test's namespace, what waits in it, and work that is more urgent."""

from cluster.api import Api, Json
from cluster.trainjobs import conditions
from eventually import eventually

KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"


class Queue:
    """A queue with a quota of some CPUs, and the Workloads in it. All that it needs has the namespace's name."""

    def __init__(self, api: Api, namespace: str, cpus: int = 2) -> None:
        self._api = api
        self._place = f"{KUEUE}/namespaces/{namespace}"
        self._jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.name = namespace
        self.labels = {QUEUE: namespace}
        self.urgent = {**self.labels, PRIORITY: namespace}
        quota = {"name": namespace, "resources": [{"name": "cpu", "nominalQuota": str(cpus)}]}
        cluster_queue = {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [quota]}],
        }
        # All are of the cluster but the last.
        self._made = [
            self._create("ResourceFlavor", f"{KUEUE}/resourceflavors", namespace),
            self._create("WorkloadPriorityClass", f"{KUEUE}/workloadpriorityclasses", namespace, value=1000),
            self._create("ClusterQueue", f"{KUEUE}/clusterqueues", namespace, spec=cluster_queue),
            self._create("LocalQueue", f"{self._place}/localqueues", namespace, spec={"clusterQueue": namespace}),
        ]
        eventually(
            lambda: conditions(api.get(self._made[2])).get("Active", ("",))[0] == "True", what="the queue is active"
        )

    def delete(self) -> None:
        for path in reversed(self._made):
            self._api.delete_if_there(path)

    def add_local(self, name: str) -> None:
        """Another name for it."""
        self._create("LocalQueue", f"{self._place}/localqueues", name, spec={"clusterQueue": self.name})

    def start_urgent(self, name: str, cpus: int) -> None:
        """A plain Job of so many pods, each with a CPU, which goes before what is not urgent."""
        container = {"name": "urgent", "image": "urgent:1", "resources": {"requests": {"cpu": "1"}}}
        pods = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}
        spec = {"parallelism": cpus, "completions": cpus, "suspend": True, "template": {"spec": pods}}
        self._api.create(self._jobs, {"metadata": {"name": name, "labels": self.urgent}, "spec": spec})

    def workloads(self) -> list[Json]:
        return self._api.list(f"{self._place}/workloads")

    def conditions(self, job: str) -> dict[str, tuple[str, str]]:
        """The status and the reason of each condition of the Workload that a job owns."""
        for workload in self.workloads():
            if workload["metadata"]["ownerReferences"][0]["name"] == job:
                return conditions(workload)
        return {}

    def is_admitted(self, job: str) -> bool:
        return self.conditions(job).get("Admitted", ("",))[0] == "True"

    def _create(self, kind: str, collection: str, name: str, **fields: object) -> str:
        version = "kueue.x-k8s.io/v1beta2"
        self._api.create(collection, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields})
        return f"{collection}/{name}"
