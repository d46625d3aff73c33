"""Installs Kubeflow's training operator into a cluster and says how to run it outside of one."""

import base64
import shutil
from pathlib import Path
from typing import Any

import yaml

from cluster import certificates
from cluster.api import Json
from cluster.certificates import Certificate
from cluster.component import Component, free_port
from cluster.programs import build
from cluster.testcluster import Cluster

NAMESPACE = "kubeflow"
ACCOUNT = "training-operator"
WEBHOOK = "validator.training-operator.kubeflow.org"
# Its certificate rotation trusts only an authority of this name.
AUTHORITY = "training-operator-ca"
INIT_CONTAINER = Path(__file__).with_name("init-container.yaml")
# The rotation waits for its Secret to be mounted here; the path is a constant of the program. It only looks whether
# the file is there. The webhook server reads its certificate elsewhere, below TMPDIR.
MOUNTED = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")  # noqa: S108


def training_operator(cluster: Cluster) -> Component:
    """The operator as a process, its CRD, permissions and webhook applied; as in a cluster, but for the address.

    It acts as its own service account, and its validating webhook is asked at an address of this machine. Only
    PyTorchJob is served.
    """
    folder = cluster.workdir / "training-operator"
    folder.mkdir()
    webhook_port, health_port, metrics_port = free_port(), free_port(), free_port()
    _apply_manifests(cluster, webhook_port)
    _apply_webhook_certificate(cluster, folder)
    account = cluster.kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
    command = [
        str(build.program("training-operator")),
        "--enable-scheme=pytorchjob",
        f"--pytorch-init-container-template-file={INIT_CONTAINER}",
        f"--webhook-server-port={webhook_port}",
        f"--health-probe-bind-address=127.0.0.1:{health_port}",
        f"--metrics-bind-address=127.0.0.1:{metrics_port}",
    ]
    return Component(
        "training-operator",
        command,
        health=f"http://127.0.0.1:{health_port}/readyz",
        log=cluster.workdir / "training-operator.log",
        environment={"KUBECONFIG": str(account), "MY_POD_NAMESPACE": NAMESPACE, "TMPDIR": str(folder)},
    )


def _apply_manifests(cluster: Cluster, webhook_port: int) -> None:
    manifests = build.training_operator_manifests()
    api = cluster.api
    api.apply(f"/api/v1/namespaces/{NAMESPACE}", _named("v1", "Namespace", NAMESPACE))
    crd = _read(manifests / "crds" / "kubeflow.org_pytorchjobs.yaml")
    api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)
    account = _read(manifests / "rbac" / "service-account.yaml")
    api.apply(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}", account)
    role = _read(manifests / "rbac" / "role.yaml")
    api.apply(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ACCOUNT}", role)
    binding = _read(manifests / "rbac" / "cluster-role-binding.yaml")
    binding["subjects"][0]["namespace"] = NAMESPACE
    api.apply(f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{ACCOUNT}", binding)
    webhook = _webhook(_read(manifests / "webhook" / "manifests.yaml"), webhook_port)
    api.apply(f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{WEBHOOK}", webhook)


def _webhook(configuration: Json, port: int) -> Json:
    """The operator's own webhook configuration, for PyTorchJobs only and by URL in place of a Service."""
    webhooks = [each for each in configuration["webhooks"] if "pytorchjob" in each["name"]]
    for webhook in webhooks:
        path = webhook["clientConfig"].pop("service")["path"]
        webhook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path}"
    return {**configuration, "metadata": {"name": WEBHOOK}, "webhooks": webhooks}


def _apply_webhook_certificate(cluster: Cluster, folder: Path) -> None:
    """A certificate for 127.0.0.1 and for the Service's name, by which the operator decides to keep it."""
    signer = certificates.authority(folder, AUTHORITY, rsa=True)
    service = f"{ACCOUNT}.{NAMESPACE}.svc"
    serving = certificates.server(folder, signer, "webhook", f"DNS:{service},IP:127.0.0.1")
    _serve_with(serving, folder / "k8s-webhook-server" / "serving-certs")
    if not MOUNTED.exists():
        MOUNTED.parent.mkdir(parents=True, exist_ok=True)
        MOUNTED.touch()
    contents = {
        "ca.crt": signer.certificate.read_bytes(),
        "ca.key": certificates.traditional_rsa(signer.key),
        "tls.crt": serving.certificate.read_bytes(),
        "tls.key": serving.key.read_bytes(),
    }
    name = "training-operator-webhook-cert"
    secret: dict[str, Any] = _named("v1", "Secret", name)
    secret["data"] = {key: base64.b64encode(content).decode() for key, content in contents.items()}
    cluster.api.apply(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}", secret)


def _serve_with(serving: Certificate, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(serving.certificate, folder / "tls.crt")
    shutil.copy(serving.key, folder / "tls.key")


def _read(file: Path) -> Json:
    document: Json = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return document


def _named(version: str, kind: str, name: str) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
