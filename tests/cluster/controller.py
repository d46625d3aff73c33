"""A controller run outside of the cluster that it serves: its account, its roles, and where its webhooks answer."""

import base64
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from cluster import certificates
from cluster.api import Api, Json
from cluster.component import Component, free_port
from cluster.programs import build
from cluster.testcluster import Cluster
from eventually import eventually

CORE = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@dataclass(frozen=True)
class Account:
    """The service account that a controller acts as."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class Controller:
    """As in a cluster, but for the address: it acts as its own service account, and its webhooks are asked by URL.

    Making one prepares its certificates and needs no API server yet. `authority` is who signs them. A program whose
    certificate rotation looks after them itself keeps them when that is the name it would choose.
    """

    def __init__(self, workdir: Path, program: str, account: Account, *, service: str, authority: str) -> None:
        self.program = program
        self.account = account
        self.folder = workdir / program
        self.webhook_port, self.health_port = free_port(), free_port()
        # Where controller-runtime looks for them, below TMPDIR.
        self.certificates = self.folder / "k8s-webhook-server" / "serving-certs"
        self.certificates.mkdir(parents=True)
        self._authority = certificates.authority(self.folder, authority, rsa=True)
        names = f"DNS:{service}.{account.namespace}.svc,IP:127.0.0.1"
        self._serving = certificates.server(self.folder, self._authority, "webhook", names)
        shutil.copy(self._serving.certificate, self.certificates / "tls.crt")
        shutil.copy(self._serving.key, self.certificates / "tls.key")

    def manifest(self, path: str) -> Path:
        """A file of those that belong to the program."""
        return build.manifests(self.program) / path

    def install_account(self, api: Api, roles: Iterable[Json]) -> None:
        """Creates its namespace, its service account and its roles, each bound to it."""
        namespace, name = self.account.namespace, self.account.name
        api.create(CORE, {"metadata": {"name": namespace}})
        api.create(f"{CORE}/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        for role in roles:
            kind, called = role["kind"], f"{self.program}-{role['metadata']['name']}"
            place, collection = {
                "ClusterRole": (RBAC, "clusterrole"),
                "Role": (f"{RBAC}/namespaces/{namespace}", "role"),
            }[kind]
            api.create(f"{place}/{collection}s", {"metadata": {"name": called}, "rules": role["rules"]})
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": called}
            binding = {"metadata": {"name": called}, "roleRef": reference, "subjects": [subject]}
            api.create(f"{place}/{collection}bindings", binding)

    def install_webhooks(self, api: Api, configuration: Json, name: str) -> None:
        """Creates a webhook configuration, asked by URL."""
        webhooks = configuration["webhooks"]
        for webhook in webhooks:
            webhook["clientConfig"] = self.asked_at(webhook["clientConfig"]["service"]["path"])
        collection = f"{ADMISSION}/{configuration['kind'].lower()}s"
        api.create(collection, {"metadata": {"name": name}, "webhooks": webhooks})

    def install_certificates(self, api: Api, secret: str) -> None:
        """Creates the Secret that a certificate rotation reads and keeps."""
        contents = {
            "ca.crt": self._authority.certificate.read_bytes(),
            "ca.key": certificates.traditional_rsa(self._authority.key),
            "tls.crt": self._serving.certificate.read_bytes(),
            "tls.key": self._serving.key.read_bytes(),
        }
        data = {key: _encoded(content) for key, content in contents.items()}
        api.create(f"{CORE}/{self.account.namespace}/secrets", {"metadata": {"name": secret}, "data": data})

    def asked_at(self, path: str) -> Json:
        """How the API server reaches it: a `clientConfig`."""
        authority = _encoded(self._authority.certificate.read_bytes())
        return {"url": f"https://127.0.0.1:{self.webhook_port}{path}", "caBundle": authority}

    def configuration(self, config: Json) -> Path:
        """A file of its configuration: what `config` says, and where it listens."""
        file = self.folder / "config.yaml"
        listens = {
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self.health_port}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": self.webhook_port},
            "leaderElection": {"leaderElect": False},
        }
        file.write_text(yaml.safe_dump({"kind": "Configuration", **listens, **config}))
        return file

    def component(self, cluster: Cluster, options: Iterable[str], *, ready: str | None = None) -> Component:
        """The process, once everything is installed. It is ready when `ready`, a path of its webhooks, answers."""
        health = f"http://127.0.0.1:{self.health_port}/readyz"
        if ready is not None:
            health = f"https://127.0.0.1:{self.webhook_port}{ready}"
        environment = {
            "KUBECONFIG": str(cluster.kubeconfig_for_service_account(self.account.namespace, self.account.name)),
            "TMPDIR": str(self.folder),
        }
        log = cluster.workdir / f"{self.program}.log"
        return Component(self.program, [str(build.program(self.program)), *options], health, log, environment)


def install_crd(api: Api, file: Path) -> None:
    """Creates the kind. Its file goes as it is: some are of a megabyte, which Python would read for seconds."""
    api.request("POST", CRDS, file.read_bytes(), kind="application/yaml")


def await_kinds(api: Api, files: Iterable[Path]) -> None:
    """Returns when the API server tells of the kinds in the files; a controller that looks for one before ends."""
    for file in files:
        group, _, plural = file.stem.partition("_")
        eventually(partial(_is_told, api, group, plural), what=f"the API server tells of {plural}.{group}")


def _is_told(api: Api, group: str, plural: str) -> bool:
    if (found := api.get_if_there(f"/apis/{group}")) is None:
        return False
    resources = api.get(f"/apis/{found['preferredVersion']['groupVersion']}")["resources"]
    return plural in {each["name"] for each in resources}


def read(file: Path) -> Json:
    """A manifest with one document."""
    (document,) = read_all(file)
    return document


def read_all(file: Path) -> list[Json]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
