"""Reads and writes kubeconfig files, and refuses one that does not lead to a test cluster."""

import base64
import re
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - k3d writes the last one
TEST_CONTEXT = re.compile(r"(kind|k3d|trialrun)-.+")


class NotATestCluster(Exception):
    """Tests create and delete whatever they like, so they run only where that does no harm."""


@dataclass(frozen=True)
class Access:
    """How to reach an API server: the current context of a kubeconfig, with its files read."""

    context: str
    server: str
    authority: bytes
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.decode())
        if self.certificate:
            # Python reads a client's certificate from a file only.
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                file.write(self.certificate + b"\n" + self.key)
                file.flush()
                context.load_cert_chain(file.name)
        return context


def read(file: Path) -> Access:
    """The current context of a kubeconfig."""
    config = yaml.safe_load(file.read_text()) or {}
    name = config.get("current-context") or ""
    context = _named(config, "contexts", "context", name, file)
    cluster = _named(config, "clusters", "cluster", context["cluster"], file)
    user = _named(config, "users", "user", context["user"], file)

    def data(holder: dict[str, Any], key: str) -> bytes:
        if inline := holder.get(f"{key}-data"):
            return base64.b64decode(inline)
        return (file.parent / holder[key]).read_bytes() if key in holder else b""

    return Access(name, cluster["server"], data(cluster, "certificate-authority"),
                  data(user, "client-certificate"), data(user, "client-key"), user.get("token", ""))  # fmt: skip


def write(file: Path, access: Access) -> Path:
    """A kubeconfig with one context and no reference to other files, readable by its owner only."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    user: dict[str, str] = {}
    if access.token:
        user["token"] = access.token
    if access.certificate:
        user |= {"client-certificate-data": text(access.certificate), "client-key-data": text(access.key)}
    cluster = {"server": access.server, "certificate-authority-data": text(access.authority)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": access.context,
        "contexts": [{"name": access.context, "context": {"cluster": access.context, "user": access.context}}],
        "clusters": [{"name": access.context, "cluster": cluster}],
        "users": [{"name": access.context, "user": user}],
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    return file


def read_test_cluster(file: Path) -> Access:
    """The current context of a kubeconfig, refused unless its name and its server are those of a test cluster."""
    access = read(file)
    host = urlsplit(access.server).hostname
    if host in LOOPBACK and TEST_CONTEXT.fullmatch(access.context):
        return access
    raise NotATestCluster(
        f"{file}: tests run only on a test cluster: its server must be on this machine ({', '.join(LOOPBACK)}) and"
        f" its context named kind-*, k3d-* or trialrun-*, got server {access.server!r} and context {access.context!r}"
    )


def _named(config: dict[str, Any], kind: str, part: str, name: str, file: Path) -> dict[str, Any]:
    for entry in config.get(kind) or []:
        if entry["name"] == name:
            found: dict[str, Any] = entry[part]
            return found
    raise ValueError(f"{file}: {kind}: the current context needs one named {name!r}, got none")
