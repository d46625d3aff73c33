"""A cluster to test against, whoever started it: its kubeconfig, and what tests do with one."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cluster import kubeconfig
from cluster.api import Api
from cluster.kubeconfig import Access
from cluster.programs import build
from eventually import PATIENCE_SECONDS, eventually

TOKEN_SECONDS = 24 * 3600


class CommandFailed(Exception):
    """A program ended with an exit code other than 0; what it said is in the message."""

    def __init__(self, command: list[str], exit_code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"{' '.join(command)}: exit code {exit_code}\n{stdout}{stderr}")
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class Cluster:
    """The clients of one API server. Their caches lie in `workdir`, so that clusters never see each other's."""

    def __init__(self, workdir: Path, access: Access) -> None:
        self.workdir = workdir
        self.access = access
        self.kubeconfig = kubeconfig.write(workdir / "kubeconfig", access)
        self.api = Api(access)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints; raises `CommandFailed` when it fails."""
        return self._run("kubectl", arguments, stdin)

    def helm(self, *arguments: str, version: int = 4, stdin: str = "") -> str:
        """What helm (3 or 4) prints; raises `CommandFailed` when it fails."""
        return self._run(f"helm{version}", arguments, stdin)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig that acts as a service account, with a token from the API server that lasts a day."""
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        request = {"spec": {"expirationSeconds": TOKEN_SECONDS}}
        token = self.api.create(f"{account}/token", request)["status"]["token"]
        access = Access(f"{self.access.context}", self.access.server, self.access.authority, token=token)
        return kubeconfig.write(self.workdir / f"kubeconfig-{namespace}-{name}", access)

    @contextlib.contextmanager
    def new_namespace(self) -> Iterator[str]:
        """A namespace to test in; its deletion is not waited for."""
        name = f"test-{secrets.token_hex(4)}"
        self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        eventually(lambda: self.api.get_if_there(account), what="the namespace has its service account")
        try:
            yield name
        finally:
            self.api.delete_if_there(f"/api/v1/namespaces/{name}")

    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to use this cluster, and no other, as its administrator."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.workdir),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.workdir / "kube-cache"),
            "HELM_CACHE_HOME": str(self.workdir / "helm" / "cache"),
            "HELM_CONFIG_HOME": str(self.workdir / "helm" / "config"),
            "HELM_DATA_HOME": str(self.workdir / "helm" / "data"),
        }

    def _run(self, program: str, arguments: tuple[str, ...], stdin: str) -> str:
        command = [str(build.program(program)), *arguments]
        done = subprocess.run(
            command, env=self.environment(), input=stdin, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        if done.returncode:
            raise CommandFailed([program, *arguments], done.returncode, done.stdout, done.stderr)
        return done.stdout
