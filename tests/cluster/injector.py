"""A webhook that puts a container which never ends into every pod that it is asked of, as a service mesh does.

Standard library only: it runs in a test's process or, as `python injector.py CERTIFICATE KEY PORT`, in a pod.
"""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROXY = "proxy"


def beside(container: dict[str, Any]) -> dict[str, Any]:
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


def server(certificate: str, key: str, address: str, port: int) -> ThreadingHTTPServer:
    """The webhook's server, which listens and is not served yet; port 0 takes any."""
    made = ThreadingHTTPServer((address, port), _Webhook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    return made


def registration(namespace: str, authority: bytes, **reached_by: Any) -> dict[str, Any]:
    """What makes the API server ask it of every new pod of a namespace; `reached_by` is a `url` or a `service`."""
    webhook = {
        "name": "injector.trialrun.test",
        "clientConfig": {"caBundle": base64.b64encode(authority).decode(), **reached_by},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    return {"metadata": {"name": namespace}, "webhooks": [webhook]}


if __name__ == "__main__":
    server(sys.argv[1], sys.argv[2], "0.0.0.0", int(sys.argv[3])).serve_forever()  # noqa: S104 - of a pod
