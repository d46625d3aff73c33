"""Starts a real Kubernetes control plane on 127.0.0.1 in seconds, and stops it: everything but nodes.

    PYTHONPATH=tests python -m cluster.controlplane

starts one by hand; see README.md beside this file.
"""

import argparse
import contextlib
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import yaml

from cluster import audit, certificates, jobset, kubeflow_trainer, kueue, training_operator
from cluster.behaviours import Succeeds
from cluster.component import Component, free_port
from cluster.jobset import JobSet
from cluster.kubeconfig import Access
from cluster.kubeflow_trainer import Trainer
from cluster.kubelet import KubeletPlayer
from cluster.kueue import Kueue
from cluster.programs import build
from cluster.testcluster import Cluster
from cluster.training_operator import TrainingOperator

SERVICE_ADDRESSES = "10.96.0.0/16"
SERVED_NAMES = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1"
)
# Not started: what acts on volumes, metrics and cloud networks, of which there are none here.
NOT_STARTED_WITH_A_NODE = (
    "horizontal-pod-autoscaler-controller",
    "node-ipam-controller",
    "node-route-controller",
    "service-lb-controller",
    "cloud-node-lifecycle-controller",
)
NOT_STARTED = (
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    *NOT_STARTED_WITH_A_NODE,
)
# What they ask for all the time would fill the audit log.
SILENT = tuple(each.ACCOUNT.user for each in (training_operator, jobset, kubeflow_trainer, kueue))


class ControlPlane(Cluster):
    """etcd, API server, controller manager, scheduler and training operator, each a component to stop and start.

    JobSet, Trainer and Kueue are started where they are needed; the kinds of the first two are there from the start.

    Use as `with ControlPlane.start(workdir) as control_plane`. Pods stay Pending until someone plays the kubelet, or
    a real one registers: with `node_address` the API server listens there too, and volumes are bound.
    """

    def __init__(self, workdir: Path, *, port: int | None = None, node_address: str | None = None) -> None:
        """Makes keys and a kubeconfig, starts nothing."""
        folder = workdir / "certificates"
        folder.mkdir()
        self._node_address = node_address
        names = SERVED_NAMES if node_address is None else f"{SERVED_NAMES},IP:{node_address}"
        self.authority = certificates.authority(folder, "trialrun-test-ca")
        self._serving = certificates.server(folder, self.authority, "kube-apiserver", names)
        self._token_key = certificates.signing_key(folder / "service-accounts.key")
        self.audit_log = workdir / "audit.log"
        self.port = port or free_port()
        admin = certificates.client(folder, self.authority, "trialrun-admin", "system:masters")
        self._admin = admin
        super().__init__(
            workdir,
            Access(
                context=f"trialrun-{self.port}",
                server=f"https://127.0.0.1:{self.port}",
                authority=self.authority.certificate.read_bytes(),
                certificate=admin.certificate.read_bytes(),
                key=admin.key.read_bytes(),
            ),
        )
        self.etcd, self._etcd_url = self._make_etcd()
        self.api_server = self._make_api_server()
        self.controller_manager = self._make_controller_manager()
        self.scheduler = self._make_scheduler()
        self.training_operator: Component | None = None
        self.jobset: Component | None = None
        self.trainer: Component | None = None
        self.kueue: Component | None = None

    @classmethod
    def start(
        cls, workdir: Path, *, port: int | None = None, node_address: str | None = None, init_image: str | None = None
    ) -> "ControlPlane":
        """A control plane that is ready for use; `workdir` holds its data and logs.

        `init_image` is what the training operator lets workers wait in.
        """
        build.programs()
        workdir.mkdir(parents=True, exist_ok=True)
        plane = cls(workdir, port=port, node_address=node_address)
        try:
            plane.etcd.start()
            plane.api_server.launch()
            operator = TrainingOperator(workdir, init_image)
            plane.api_server.wait_until_ready()
            plane.scheduler.launch()
            operator.install(plane.api)
            jobset.install_kinds(plane.api)
            kubeflow_trainer.install_kinds(plane.api)
            # Not before the CRDs, or what their objects own would be collected only half a minute from now.
            plane.controller_manager.launch()
            plane.training_operator = operator.process(plane)
            plane.training_operator.start()
            plane.controller_manager.wait_until_ready()
            plane.scheduler.wait_until_ready()
        except BaseException:
            plane.stop()
            raise
        return plane

    @property
    def components(self) -> list[Component]:
        """In the order in which they start."""
        core = [self.etcd, self.api_server, self.controller_manager, self.scheduler]
        controllers = (self.training_operator, self.jobset, self.trainer, self.kueue)
        return [*core, *(each for each in controllers if each)]

    def start_trainer(self) -> None:
        """JobSet and Trainer, unless they were started already; their webhooks answer."""
        if self.trainer is None:
            jobsets, trainer = JobSet(self.workdir), Trainer(self.workdir)
            for each in (jobsets, trainer):
                each.install(self.api)
            self.jobset, self.trainer = jobsets.process(self), trainer.process(self)
            for component in (self.jobset, self.trainer):
                component.launch()
            for component in (self.jobset, self.trainer):
                component.wait_until_ready()

    def start_kueue(self) -> None:
        """Kueue with its kinds, unless it was started already; its webhooks answer."""
        if self.kueue is None:
            controller = Kueue(self.workdir)
            kueue.install_kinds(self.api)
            controller.install(self.api)
            self.kueue = controller.process(self)
            self.kueue.start()
            self.discover_kinds()

    def discover_kinds(self) -> None:
        """Call after installing CRDs: the garbage collector looks for new kinds when it starts, then every 30 s."""
        self.controller_manager.kill()
        self.controller_manager.start()

    def stop(self) -> None:
        """Ends all components and deletes the data; the logs stay."""
        for component in self.components:
            component.kill(wait=False)
        for component in self.components:
            component.kill()
        shutil.rmtree(self.workdir / "etcd", ignore_errors=True)

    def __enter__(self) -> "ControlPlane":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _component(self, name: str, health: str, options: list[str]) -> Component:
        return Component(name, [str(build.program(name)), *options], health, self.workdir / f"{name}.log")

    def _make_etcd(self) -> tuple[Component, str]:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        options = [
            f"--data-dir={self.workdir / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            "--name=etcd",
            f"--initial-cluster=etcd={peer}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ]
        return self._component("etcd", f"{client}/health", options), client

    def _make_api_server(self) -> Component:
        options = [
            f"--etcd-servers={self._etcd_url}",
            *self._addresses(),
            f"--secure-port={self.port}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self._token_key}",
            f"--service-account-signing-key-file={self._token_key}",
            "--allow-privileged=true",
            "--profiling=false",
            *audit.options(self.workdir, self.audit_log, silent=SILENT),
        ]
        component = self._component("kube-apiserver", f"{self.access.server}/readyz", options)
        # Less garbage collection: a sixth less processor time to start, for 150 MiB more memory. At 2 GiB, a heap of
        # 10,000 objects made it collect without a pause.
        return replace(component, environment={"GOGC": "400", "GOMEMLIMIT": "6GiB"})

    def _addresses(self) -> list[str]:
        if self._node_address is None:
            # The Service `kubernetes` cannot have a loopback address as its endpoint.
            return ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        return [
            "--bind-address=0.0.0.0",
            f"--advertise-address={self._node_address}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={self._admin.certificate}",
            f"--kubelet-client-key={self._admin.key}",
        ]

    def _make_controller_manager(self) -> Component:
        port = free_port()
        not_started = NOT_STARTED if self._node_address is None else NOT_STARTED_WITH_A_NODE
        options = [
            f"--kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--leader-elect=false",
            f"--service-account-private-key-file={self._token_key}",
            f"--root-ca-file={self.authority.certificate}",
            "--controllers=" + ",".join(["*", *(f"-{name}" for name in not_started)]),
            # Garbage collection and the deletion of namespaces are part of what tests wait for.
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-gc-syncs=40",
            "--concurrent-namespace-syncs=20",
            "--node-monitor-period=1s",
            "--profiling=false",
        ]
        return self._component("kube-controller-manager", f"https://127.0.0.1:{port}/healthz", options)

    def _make_scheduler(self) -> Component:
        port = free_port()
        config = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(self.kubeconfig), "qps": 1000, "burst": 2000},
            "leaderElection": {"leaderElect": False},
        }
        file = self.workdir / "scheduler.yaml"
        file.write_text(yaml.safe_dump(config))
        options = [f"--config={file}", "--bind-address=127.0.0.1", f"--secure-port={port}"]
        return self._component("kube-scheduler", f"https://127.0.0.1:{port}/healthz", options)


def main() -> None:
    """Starts a control plane and keeps it until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m cluster.controlplane", description=main.__doc__)
    parser.add_argument("--workdir", type=Path, help="where data and logs go (default: a new temporary folder)")
    parser.add_argument("--simulate-pods", action="store_true", help="let every pod run for a second and succeed")
    parser.add_argument("--trainer", action="store_true", help="run JobSet and Kubeflow Trainer too")
    parser.add_argument("--kueue", action="store_true", help="run Kueue too")
    options = parser.parse_args()
    workdir = options.workdir or Path(tempfile.mkdtemp(prefix="trialrun-"))
    began = time.monotonic()
    with contextlib.ExitStack() as running, contextlib.suppress(KeyboardInterrupt):
        plane = running.enter_context(ControlPlane.start(workdir))
        if options.trainer:
            plane.start_trainer()
        if options.kueue:
            plane.start_kueue()
        if options.simulate_pods:
            running.enter_context(KubeletPlayer(plane.access, lambda pod: Succeeds(after_seconds=1)))  # noqa: ARG005
        print(f"ready after {time.monotonic() - began:.1f} s; logs in {workdir}; Ctrl-C ends it")
        print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
