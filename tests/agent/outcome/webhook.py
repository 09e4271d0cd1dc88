"""An application that takes events over HTTP, and does what a test wants."""

import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = b"0123456789abcdef-secret"


class Application:
    """`batches` holds what was acknowledged; `answer` says with which status a batch is answered."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda batch: 200
        self.port = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch["events"]]

    def take(self, headers: Any, body: bytes) -> int:
        fields = dict(part.split("=", 1) for part in headers["X-Mailagent-Signature"].split(","))
        expected = hmac.new(SECRET, fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(expected, fields["v1"])
        batch = json.loads(body)
        assert batch["batch"] == headers["X-Mailagent-Batch"]
        self.requests.append(batch)
        status = self.answer(batch)
        if status // 100 == 2:
            self.batches.append(batch)
        return status


@contextmanager
def application(context: ssl.SSLContext | None = None) -> Iterator[Application]:
    """A running one; with `context` behind TLS."""
    app = Application()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = app.take(self.headers, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    app.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield app
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
