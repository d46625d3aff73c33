"""Kubeflow Trainer, run outside of the cluster that it serves: what it needs there, and its command."""

from pathlib import Path

from cluster.api import Api
from cluster.component import Component
from cluster.controller import Account, Controller, await_kinds, install_crd, read, read_all
from cluster.programs import build
from cluster.testcluster import Cluster

PROGRAM = "trainer"
ACCOUNT = Account("kubeflow-system", "kubeflow-trainer-controller-manager")
# Its manifests leave to kustomize what the webhook configurations are called, and who may do without.
CONFIGURATIONS = {
    "MutatingWebhookConfiguration": "defaulter.trainer.kubeflow.org",
    "ValidatingWebhookConfiguration": "validator.trainer.kubeflow.org",
}
UNLESS_DISABLED = {
    "matchExpressions": [
        {"key": "trainer.kubeflow.org/webhook-validation", "operator": "NotIn", "values": ["disabled"]}
    ]
}


class Trainer(Controller):
    def __init__(self, workdir: Path) -> None:
        super().__init__(workdir, PROGRAM, ACCOUNT, service=ACCOUNT.name, authority="kubeflow-trainer-ca")

    def install(self, api: Api) -> None:
        """Creates its permissions and webhook configurations."""
        self.install_account(api, [read(self.manifest("rbac/role.yaml"))])
        for configuration in read_all(self.manifest("webhook/manifests.yaml")):
            for webhook in configuration["webhooks"]:
                if "trainingruntime" in webhook["name"]:
                    webhook["objectSelector"] = UNLESS_DISABLED
            self.install_webhooks(api, configuration, CONFIGURATIONS[configuration["kind"]])
        await_kinds(api, _kinds())

    def process(self, cluster: Cluster) -> Component:
        config = {
            "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
            "certManagement": {"enable": False},
        }
        # The last of its webhooks to be there.
        ready = "/validate-trainer-kubeflow-org-v1alpha1-trainjob"
        return self.component(cluster, [f"--config={self.configuration(config)}"], ready=ready)


def install_kinds(api: Api) -> None:
    """Creates its CRDs."""
    for kind in _kinds():
        install_crd(api, kind)


def _kinds() -> list[Path]:
    kinds = ("trainjobs", "trainingruntimes", "clustertrainingruntimes")
    return [build.manifests(PROGRAM) / "crds" / f"trainer.kubeflow.org_{kind}.yaml" for kind in kinds]
