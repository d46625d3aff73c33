"""A real container that never ends beside the trainer, as a service mesh's: the trial ends with its trainer."""

from pathlib import Path

from cluster import certificates, injector
from cluster.operatorprocess import Experiments, a_search
from cluster.testcluster import Cluster
from eventually import eventually
from node import pods
from node.conftest import restricted_namespace

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
PORT = 8443


def inject(experiments: Experiments, folder: Path) -> None:
    """From now on new pods of the namespace get the container: a webhook that runs in a pod there sees to it."""
    cluster, namespace = experiments.cluster, experiments.namespace
    where = f"/api/v1/namespaces/{namespace}"
    authority = certificates.authority(folder, "injector-ca")
    serving = certificates.server(folder, authority, "injector", f"DNS:injector.{namespace}.svc")
    files = {"injector.py": Path(injector.__file__), "tls.crt": serving.certificate, "tls.key": serving.key}
    command = ["python3", "/given/injector.py", "/given/tls.crt", "/given/tls.key", str(PORT)]
    pods.start(experiments, command, {name: file.read_text() for name, file in files.items()})
    ports = [{"port": 443, "targetPort": PORT}]
    service = {"metadata": {"name": "injector"}, "spec": {"selector": {"app": pods.NAME}, "ports": ports}}
    cluster.api.create(f"{where}/services", service)
    pods.running(experiments)
    reached_by = {"service": {"namespace": namespace, "name": "injector"}}
    made = injector.registration(namespace, authority.certificate.read_bytes(), **reached_by)
    cluster.api.create(WEBHOOKS, made)


def test_a_search_ends_with_its_trainers_and_what_runs_on_beside_them_is_ended(
    cluster: Cluster, tmp_path: Path
) -> None:
    with restricted_namespace(cluster) as experiments:
        inject(experiments, tmp_path)
        experiments.create(a_search(trials=2, training=pods.a_small_training()))
        theirs = eventually(lambda: trainers(experiments) if len(trainers(experiments)) == 2 else None)
        assert theirs == [(injector.PROXY, "pytorch")] * 2
        status = experiments.finished("search")["status"]
        assert (status["done"], status["phase"]) == ("2/2", "Succeeded")
        assert [record.attempt for record in pods.records(experiments, "search")] == [1, 1]
        eventually(lambda: not trainers(experiments), within_seconds=120, what="nothing runs on")
        cluster.api.delete(f"{WEBHOOKS}/{experiments.namespace}")


def trainers(experiments: Experiments) -> list[tuple[str, ...]]:
    """The containers of each pod but the webhook's."""
    found = [pod for pod in experiments.pods() if pod["metadata"]["name"] != pods.NAME]
    return [tuple(each["name"] for each in pod["spec"]["containers"]) for pod in found]
