"""Kubeflow's training operator, run outside of the cluster that it serves: what it needs there, and its command."""

import base64
import shutil
from pathlib import Path

import yaml

from cluster import certificates
from cluster.api import Api, Json
from cluster.certificates import Certificate
from cluster.component import Component, free_port
from cluster.programs import build
from cluster.testcluster import Cluster

NAMESPACE = "kubeflow"
NAME = "training-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{NAME}"
WEBHOOK = "validator.training-operator.kubeflow.org"
SECRET = "training-operator-webhook-cert"  # noqa: S105
# Its certificate rotation trusts only an authority of this name.
AUTHORITY = "training-operator-ca"
INIT_CONTAINER = Path(__file__).with_name("init-container.yaml")
# The rotation waits for its Secret to be mounted here; the path is a constant of the program. It only looks whether
# the file is there. The webhook server reads its certificate elsewhere, below TMPDIR.
MOUNTED = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")  # noqa: S108

CORE = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class TrainingOperator:
    """As in a cluster, but for the address: it acts as its own service account, and its webhook validates by URL.

    It serves PyTorchJobs only; `init_image` is what workers wait in. Making one prepares its certificates and needs
    no API server yet.
    """

    def __init__(self, workdir: Path, init_image: str | None = None) -> None:
        self._init_image = init_image
        self._folder = workdir / NAME
        self._folder.mkdir()
        self._webhook_port = free_port()
        self._authority = certificates.authority(self._folder, AUTHORITY, rsa=True)
        # The service's name is that by which the operator decides to keep the certificate.
        names = f"DNS:{NAME}.{NAMESPACE}.svc,IP:127.0.0.1"
        self._serving = certificates.server(self._folder, self._authority, "webhook", names)
        self._objects = self._describe_objects()

    def install(self, api: Api) -> None:
        """Creates its CRD, permissions, webhook configuration and Secret in a new cluster."""
        for collection, each in self._objects:
            api.create(collection, each)

    def component(self, cluster: Cluster) -> Component:
        """The process, once `install` is done."""
        _keep(self._serving, self._folder / "k8s-webhook-server" / "serving-certs")
        if not MOUNTED.exists():
            MOUNTED.parent.mkdir(parents=True, exist_ok=True)
            MOUNTED.touch()
        health_port, metrics_port = free_port(), free_port()
        options = [
            "--enable-scheme=pytorchjob",
            f"--pytorch-init-container-template-file={INIT_CONTAINER}",
            f"--webhook-server-port={self._webhook_port}",
            f"--health-probe-bind-address=127.0.0.1:{health_port}",
            f"--metrics-bind-address=127.0.0.1:{metrics_port}",
        ]
        if self._init_image is not None:
            options.append(f"--pytorch-init-container-image={self._init_image}")
        environment = {
            "KUBECONFIG": str(cluster.kubeconfig_for_service_account(NAMESPACE, NAME)),
            "MY_POD_NAMESPACE": NAMESPACE,
            "TMPDIR": str(self._folder),
        }
        health = f"http://127.0.0.1:{health_port}/readyz"
        log = cluster.workdir / f"{NAME}.log"
        return Component(NAME, [str(build.program(NAME)), *options], health, log, environment)

    def _describe_objects(self) -> list[tuple[str, Json]]:
        """Each object with the collection that it goes into: those of the operator's own manifests."""
        manifests = build.training_operator_manifests()
        binding = _read(manifests / "rbac" / "cluster-role-binding.yaml")
        binding["subjects"][0]["namespace"] = NAMESPACE
        return [
            (CORE, {"metadata": {"name": NAMESPACE}}),
            (CRDS, _read(manifests / "crds" / "kubeflow.org_pytorchjobs.yaml")),
            (f"{CORE}/{NAMESPACE}/serviceaccounts", _read(manifests / "rbac" / "service-account.yaml")),
            (f"{RBAC}/clusterroles", _read(manifests / "rbac" / "role.yaml")),
            (f"{RBAC}/clusterrolebindings", binding),
            (WEBHOOKS, self._describe_webhook(_read(manifests / "webhook" / "manifests.yaml"))),
            (f"{CORE}/{NAMESPACE}/secrets", self._describe_secret()),
        ]

    def _describe_webhook(self, configuration: Json) -> Json:
        webhooks = [each for each in configuration["webhooks"] if "pytorchjob" in each["name"]]
        for webhook in webhooks:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"]["url"] = f"https://127.0.0.1:{self._webhook_port}{path}"
        return {**configuration, "metadata": {"name": WEBHOOK}, "webhooks": webhooks}

    def _describe_secret(self) -> Json:
        contents = {
            "ca.crt": self._authority.certificate.read_bytes(),
            "ca.key": certificates.traditional_rsa(self._authority.key),
            "tls.crt": self._serving.certificate.read_bytes(),
            "tls.key": self._serving.key.read_bytes(),
        }
        data = {key: base64.b64encode(content).decode() for key, content in contents.items()}
        return {"metadata": {"name": SECRET}, "data": data}


def _keep(serving: Certificate, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(serving.certificate, folder / "tls.crt")
    shutil.copy(serving.key, folder / "tls.key")


def _read(file: Path) -> Json:
    # A CRD of half a megabyte takes seconds without libyaml.
    document: Json = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return document
