"""JobSet, run outside of the cluster that it serves: what it needs there, and its command."""

from pathlib import Path

from cluster.api import Api
from cluster.component import Component
from cluster.controller import Account, Controller, await_kinds, install_crd, read, read_all
from cluster.programs import build
from cluster.testcluster import Cluster

PROGRAM = "jobset"
ACCOUNT = Account("jobset-system", "jobset-controller-manager")
# Its manifests leave to kustomize which pods it is asked about: those of a JobSet.
OF_A_JOBSET = {"matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]}


class JobSet(Controller):
    def __init__(self, workdir: Path) -> None:
        super().__init__(workdir, PROGRAM, ACCOUNT, service="jobset-webhook-service", authority="jobset-ca")

    def install(self, api: Api) -> None:
        """Creates its permissions and webhook configurations."""
        self.install_account(api, [read(self.manifest("rbac/role.yaml"))])
        for configuration in read_all(self.manifest("webhook/manifests.yaml")):
            for webhook in configuration["webhooks"]:
                if webhook["rules"][0]["resources"] == ["pods"]:
                    webhook["objectSelector"] = OF_A_JOBSET
            self.install_webhooks(api, configuration, f"jobset-{configuration['metadata']['name']}")
        await_kinds(api, [_kind()])

    def process(self, cluster: Cluster) -> Component:
        config = {
            "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
            "internalCertManagement": {"enable": False},
        }
        # The last of its webhooks to be there.
        return self.component(cluster, [f"--config={self.configuration(config)}"], ready="/validate--v1-pod")


def install_kinds(api: Api) -> None:
    """Creates its CRD. It has one version, so that what converts between versions is left out."""
    install_crd(api, _kind())


def _kind() -> Path:
    return build.manifests(PROGRAM) / "crd" / "bases" / "jobset.x-k8s.io_jobsets.yaml"
