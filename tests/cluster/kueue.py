"""Kueue, run outside of the cluster that it serves: what it needs there, and its command."""

from pathlib import Path

from cluster.api import Api, Json
from cluster.component import Component
from cluster.controller import CRDS, Account, Controller, await_kinds, install_crd, read, read_all
from cluster.programs import build
from cluster.testcluster import Cluster

PROGRAM = "kueue"
ACCOUNT = Account("kueue-system", "kueue-controller-manager")
SERVICE = "kueue-webhook-service"
SECRET = "kueue-webhook-server-cert"  # noqa: S105
FRAMEWORKS = (
    "batch/job",
    "kubeflow.org/pytorchjob",
    "trainer.kubeflow.org/trainjob",
    "jobset.x-k8s.io/jobset",
)
# Of its webhooks for others' kinds, those of the frameworks; about any other it would have nothing to say.
ASKED_ABOUT = ("jobs", "pytorchjobs", "trainjobs", "jobsets")
NOT_OURS = ("kube-system", ACCOUNT.namespace)
# Its manifests leave to kustomize which kinds it converts between versions.
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads", "multikueueclusters")


class Kueue(Controller):
    """It rotates its certificate itself, as by default: without that it reads one for metrics from /etc/kueue."""

    def __init__(self, workdir: Path) -> None:
        super().__init__(workdir, PROGRAM, ACCOUNT, service=SERVICE, authority="kueue-ca")

    def install(self, api: Api) -> None:
        """Creates its permissions, webhook configurations and Secret."""
        configurations = read_all(self.manifest("webhook/manifests.yaml"))
        names = {each["metadata"]["name"]: f"kueue-{each['metadata']['name']}" for each in configurations}
        role = read(self.manifest("rbac/role.yaml"))
        for rule in role["rules"]:
            if "resourceNames" in rule:
                rule["resourceNames"] = [names.get(name, name) for name in rule["resourceNames"]]
        self.install_account(api, [role, read(self.manifest("rbac/manager_secrets_role.yaml"))])
        self.install_certificates(api, SECRET)
        for kind in CONVERTED:
            webhook = {"clientConfig": self.asked_at("/convert"), "conversionReviewVersions": ["v1"]}
            conversion = {"strategy": "Webhook", "webhook": webhook}
            api.patch(f"{CRDS}/{kind}.kueue.x-k8s.io", {"spec": {"conversion": conversion}})
        for configuration in configurations:
            configuration["webhooks"] = [each for each in configuration["webhooks"] if _is_kept(each)]
            self.install_webhooks(api, configuration, names[configuration["metadata"]["name"]])
        await_kinds(api, _kinds())

    def process(self, cluster: Cluster) -> Component:
        config = {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "namespace": ACCOUNT.namespace,
            "internalCertManagement": {
                "enable": True,
                "webhookServiceName": SERVICE,
                "webhookSecretName": SECRET,
            },
            "webhook": {"host": "127.0.0.1", "port": self.webhook_port, "certDir": str(self.certificates)},
            "integrations": {"frameworks": list(FRAMEWORKS)},
            "featureGates": {"VisibilityOnDemand": False},
        }
        return self.component(cluster, [f"--config={self.configuration(config)}"])


def install_kinds(api: Api) -> None:
    """Creates its CRDs."""
    for kind in _kinds():
        install_crd(api, kind)


def _kinds() -> list[Path]:
    return sorted((build.manifests(PROGRAM) / "crd" / "bases").glob("*.yaml"))


def _is_kept(webhook: Json) -> bool:
    """Whether Kueue is asked at all; where another's kind is meant, it is told of namespaces to leave alone."""
    (rule,) = webhook["rules"]
    if rule["apiGroups"] == ["kueue.x-k8s.io"]:
        return True
    expression = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(NOT_OURS)}
    webhook["namespaceSelector"] = {"matchExpressions": [expression]}
    return rule["resources"][0] in ASKED_ABOUT
