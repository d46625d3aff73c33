"""A real Kafka broker on 127.0.0.1: formatted, started, waited for, frozen, and ended by its process id."""

import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import jvm
from cluster import certificates, die_with_parent
from cluster.component import free_port
from kafka.jars import BrokerMissing, jars

# A user that may log in at the listener that asks for it, over TLS.
USER, PASSWORD = "reader", "correct horse"
_AUTHORITY = "authority"
_READY_SECONDS = 180.0

_PROPERTIES = """\
process.roles={roles}
node.id={node}
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{sasl}{listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location={keystore}
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=1000
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
log.cleaner.backoff.ms=100
{more}
"""
_HEAP = ["-Xms256m", "-Xmx768m"]
_LOGGING = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


def _run_once(option: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder), options=(option,))
        broker.start()
        broker.stop()


def _cluster() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


@dataclass
class Broker:
    """A broker with a data folder of its own. `outlives` says whether it goes on when this process ends.

    It is a cluster of its own, or one more broker of the cluster of `first`, which has the only controller. `more` is
    further properties, `options` are Java's, by default one that lets it start quickly.
    """

    folder: Path
    first: "Broker | None" = None
    node: int = 1
    more: str = ""
    port: int = field(default_factory=free_port)
    sasl_port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    outlives: bool = False
    options: tuple[str, ...] = ()
    cluster: str = field(default_factory=_cluster)
    _process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        if self.first is not None:
            self.cluster, self.controller_port = self.first.cluster, self.first.controller_port

    @property
    def address(self) -> str:
        """What clients bootstrap from."""
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_address(self) -> str:
        """The same for clients that log in as `USER`, over TLS with a certificate of `authority`."""
        return f"127.0.0.1:{self.sasl_port}"

    @property
    def authority(self) -> Path:
        """The certificate of whoever vouches for it."""
        return self.folder / f"{_AUTHORITY}.crt"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise BrokerMissing("the broker was not started")
        return self._process.pid

    def start(self) -> None:
        """Formats the data folder where it is new, starts the broker and returns when it takes clients."""
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text(
            _PROPERTIES.format(
                roles="broker,controller" if self.first is None else "broker",
                node=self.node,
                listener=f",CONTROLLER://127.0.0.1:{self.controller_port}" if self.first is None else "",
                more=self.more,
                port=self.port,
                sasl=self.sasl_port,
                controller=self.controller_port,
                data=self.folder / "data",
                keystore=self._keystore(),
                user=USER,
                password=PASSWORD,
            )
        )
        if not (self.folder / "data").exists():
            # An id may begin with a hyphen.
            self._run("kafka.tools.StorageTool", "format", f"--cluster-id={self.cluster}", "-c", str(properties))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._launcher(), *self._java("kafka.Kafka"), str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._takes_clients():
            if self._process.poll() is not None:
                raise BrokerMissing(f"the broker ended with exit code {self._process.returncode}.{self._tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerMissing(f"the broker was not ready within {_READY_SECONDS:g} s.{self._tail()}")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends it at once, as a crash would; what it has acknowledged stays in its folder."""
        if self._process is not None and self.is_running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        os.kill(self.pid, signal.SIGTERM)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Freezes it: it keeps its connections and answers nothing."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def _keystore(self) -> Path:
        """The broker's key and certificate in one file, made where there is none."""
        keystore = self.folder / "keystore.pem"
        if not keystore.exists():
            signer = certificates.authority(self.folder, _AUTHORITY)
            own = certificates.server(self.folder, signer, "broker", "IP:127.0.0.1")
            keystore.write_text(own.key.read_text() + own.certificate.read_text())
        return keystore

    @property
    def _log(self) -> Path:
        return self.folder / "broker.log"

    def _launcher(self) -> list[str]:
        if self.outlives:
            return []
        return [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]

    def _java(self, main: str) -> list[str]:
        java = subprocess.run(["which", "java"], capture_output=True, text=True, check=True).stdout.strip()
        options = self.options or (jvm.archived(f"kafka-{jars().name}", _run_once),)
        return [java, *_HEAP, *jvm.QUICK, *options, _LOGGING, "-cp", f"{jars()}/*", main]

    def _run(self, main: str, *arguments: str) -> None:
        done = subprocess.run([*self._java(main), *arguments], capture_output=True, text=True)
        if done.returncode:
            raise BrokerMissing(f"{main} failed:\n{(done.stdout + done.stderr)[-2000:]}")

    def _takes_clients(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _tail(self, lines: int = 25) -> str:
        last = self._log.read_text(errors="replace").splitlines()[-lines:] if self._log.exists() else []
        return "\n".join([f" The last lines of {self._log}:", *(f"  {line}" for line in last)])
