"""Puts a container that never ends into every pod of a namespace, as a service mesh does: by an admission webhook."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cluster import certificates
from cluster.api import Json
from cluster.testcluster import Cluster

PROXY = "proxy"


def beside(container: Json) -> Json:
    """The container to put beside one: of the same image, which the node has, and under the same restrictions."""
    command = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"]
    return {"name": PROXY, "image": container["image"], "imagePullPolicy": container["imagePullPolicy"],
            "command": command, "securityContext": container.get("securityContext", {})}  # fmt: skip


class _Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        # It comes first, as where the others are to wait for it.
        container = beside(asked["object"]["spec"]["containers"][0])
        patch = json.dumps([{"op": "add", "path": "/spec/containers/0", "value": container}])
        answer = {"uid": asked["uid"], "allowed": True, "patchType": "JSONPatch",
                  "patch": base64.b64encode(patch.encode()).decode()}  # fmt: skip
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def injected(cluster: Cluster, namespace: str, folder: Path) -> Iterator[None]:
    """While this runs, new pods of a namespace get the container. The API server must run on this machine."""
    authority = certificates.authority(folder, "injector-ca")
    serving = certificates.server(folder, authority, "injector", "IP:127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Webhook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(serving.certificate, serving.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    cluster.api.create(path, _registration(namespace, server.server_port, authority.certificate.read_bytes()))
    try:
        yield
    finally:
        cluster.api.delete(f"{path}/{namespace}")
        server.shutdown()
        thread.join(10)
        server.server_close()


def _registration(namespace: str, port: int, authority: bytes) -> Json:
    return {
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "injector.trialrun.test",
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}/",
                    "caBundle": base64.b64encode(authority).decode(),
                },
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
            }
        ],
    }
