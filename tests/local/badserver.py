"""A server on this machine that answers as no MLflow does: never, in part, with errors, or with something else."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cluster.certificates import Certificate

NONSENSE = {"experiment": {"experiment_id": 7}, "runs": [[]], "run": "no"}


class BadServer:
    """Behaves as `does` says, which may change while it runs. `asked` are the paths that were asked for."""

    def __init__(self, does: str, tls: Certificate | None = None) -> None:
        self.does = does
        self.asked: list[str] = []
        self.authorizations: set[str] = set()
        self._ended = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer(self)

            do_POST = do_GET  # noqa: N815 - what the standard library looks for

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http{'' if tls is None else 's'}://127.0.0.1:{self.port}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "BadServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        authorization = request.headers.get("Authorization", "")
        self.authorizations.add(authorization)
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        request.close_connection = True
        if self.does == "hangs":
            self._ended.wait()
        elif self.does == "hangs midway":
            self._send(request, 200, b'{"experiment"', length=5000)
            self._ended.wait()
        elif self.does == "trickles":
            self._send(request, 200, b"{", length=10**6)
            while not self._ended.wait(0.5):
                request.wfile.write(b" ")
        elif self.does == "closes midway":
            self._send(request, 200, b'{"experiment"', length=5000)
        elif self.does == "closes":
            request.connection.close()
        elif self.does == "answers HTML":
            self._send(request, 200, b"<html><title>Sign in</title></html>")
        elif self.does == "answers nonsense":
            self._send(request, 200, json.dumps(NONSENSE).encode())
        elif self.does == "answers deep JSON":
            self._send(request, 200, b"[" * 10**6)
        elif self.does == "redirects":
            self._send(request, 302, b"", location="http://127.0.0.1:1/login")
        elif self.does == "speaks no HTTP":
            request.wfile.write(b"\x00\x01\x02" * 1000)
        else:
            said = {"error_code": "UNKNOWN", "message": f"no\x1b[2J\r\n{authorization}"}
            self._send(request, int(self.does), json.dumps(said).encode())

    def _send(
        self, request: BaseHTTPRequestHandler, code: int, body: bytes, *, length: int = -1, location: str = ""
    ) -> None:
        request.send_response(code)
        request.send_header("Content-Length", str(length if length >= 0 else len(body)))
        if location:
            request.send_header("Location", location)
        request.end_headers()
        request.wfile.write(body)
        request.wfile.flush()
