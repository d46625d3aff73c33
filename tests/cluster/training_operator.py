"""Kubeflow's training operator, run outside of the cluster that it serves: what it needs there, and its command."""

from dataclasses import replace
from pathlib import Path

from cluster.api import Api
from cluster.component import Component
from cluster.controller import Account, Controller, install_crd, read
from cluster.programs import build
from cluster.testcluster import Cluster

PROGRAM = "training-operator"
ACCOUNT = Account("kubeflow", "training-operator")
WEBHOOK = "validator.training-operator.kubeflow.org"
SECRET = "training-operator-webhook-cert"  # noqa: S105
# Its certificate rotation trusts only an authority of this name.
AUTHORITY = "training-operator-ca"
INIT_CONTAINER = Path(__file__).with_name("init-container.yaml")
# The rotation waits for its Secret to be mounted here; the path is a constant of the program. It only looks whether
# the file is there. The webhook server reads its certificate elsewhere, below TMPDIR.
MOUNTED = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")  # noqa: S108


class TrainingOperator(Controller):
    """It serves PyTorchJobs only; `init_image` is what workers wait in."""

    def __init__(self, workdir: Path, init_image: str | None = None) -> None:
        super().__init__(workdir, PROGRAM, ACCOUNT, service="training-operator", authority=AUTHORITY)
        self._init_image = init_image

    def install(self, api: Api) -> None:
        """Creates its CRD, permissions, webhook configuration and Secret in a new cluster."""
        install_crd(api, build.manifests(PROGRAM) / "crds" / "kubeflow.org_pytorchjobs.yaml")
        self.install_account(api, [read(self.manifest("rbac/role.yaml"))])
        configuration = read(self.manifest("webhook/manifests.yaml"))
        configuration["webhooks"] = [each for each in configuration["webhooks"] if "pytorchjob" in each["name"]]
        self.install_webhooks(api, configuration, WEBHOOK)
        self.install_certificates(api, SECRET)

    def process(self, cluster: Cluster) -> Component:
        if not MOUNTED.exists():
            MOUNTED.parent.mkdir(parents=True, exist_ok=True)
            MOUNTED.touch()
        options = [
            "--enable-scheme=pytorchjob",
            f"--pytorch-init-container-template-file={INIT_CONTAINER}",
            f"--webhook-server-port={self.webhook_port}",
            f"--health-probe-bind-address=127.0.0.1:{self.health_port}",
            "--metrics-bind-address=0",
        ]
        if self._init_image is not None:
            options.append(f"--pytorch-init-container-image={self._init_image}")
        component = self.component(cluster, options)
        return replace(component, environment={**component.environment, "MY_POD_NAMESPACE": ACCOUNT.namespace})
