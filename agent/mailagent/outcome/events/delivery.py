"""Ways to the application: a signed POST, or a line in a file. Both block, for threads."""

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from mailagent.api.events import signature
from mailagent.config.events import EventSink
from mailagent.config.secret_files import read_key
from mailagent.outcome.events.cursor import Cursor
from mailagent.version import __version__

MAX_ANSWER_BYTES = 4096
WHOLE_ANSWER = 3
"""Time for one request, in time-outs of the sink: each of those is for one read, and a peer may send octet by octet."""


class NotTaken(Exception):
    """The application did not acknowledge; the message says why, without the secret."""


class Delivery(Protocol):
    """One way to the application."""

    def deliver(self, lines: Sequence[bytes], after: Cursor) -> None:
        """Hand over `lines`, the same again after a failure.

        Raises:
            NotTaken: they were not acknowledged.
        """

    def close(self) -> None:
        """Let go of what is open."""


def delivery_of(sink: EventSink, host: str) -> Delivery:
    """The way that `sink` asks for.

    Raises:
        NotTaken: its secret or its authorities cannot be used.
    """
    return Webhook(sink, host) if sink.url else EventFile(sink.file or Path())


class Webhook:
    """POSTs batches as JSON: {"sink", "host", "batch", "events": [...]}, over one connection as long as it lasts.

    `X-Mailagent-Signature: t=SECONDS,v1=HEX` is HMAC-SHA256 over `SECONDS.BODY`. `X-Mailagent-Batch` is the same for
    the same events. Any 2xx acknowledges; redirects are not followed.
    """

    def __init__(self, sink: EventSink, host: str) -> None:
        parts = urlsplit(sink.url)
        self._sink = sink
        self._host = host
        self._server = parts.hostname or ""
        self._port = parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = _key_of(sink.secret_file)
        self._context = None if parts.scheme == "http" else _context(sink.ca_file)
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, lines: Sequence[bytes], after: Cursor) -> None:
        """POST them; raises NotTaken."""
        batch = f"{after.number}-{after.offset}"
        head = f'{{"sink":"{self._sink.name}","host":"{self._host}","batch":"{batch}","events":['.encode()
        body = head + b",".join(lines) + b"]}"
        at = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"mailagent/{__version__}",
            "X-Mailagent-Batch": batch,
            "X-Mailagent-Signature": signature(self._secret, at, body),
        }
        fresh = self._connection is None
        try:
            status, reason = self._post(body, headers)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            if fresh:
                raise NotTaken(f"{type(exc).__name__}: {exc}") from exc
            # a connection that was kept may end at any time; what the peer got of it, it gets again
            try:
                status, reason = self._post(body, headers)
            except (OSError, http.client.HTTPException) as again:
                self.close()
                raise NotTaken(f"{type(again).__name__}: {again}") from again
        if status // 100 != 2:
            self.close()
            raise NotTaken(f"answered {status} {reason}")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        if self._connection is None:
            timeout_s = self._sink.timeout.total_seconds()
            if self._context is None:
                self._connection = http.client.HTTPConnection(self._server, self._port, timeout=timeout_s)
            else:
                self._connection = http.client.HTTPSConnection(
                    self._server, self._port, timeout=timeout_s, context=self._context
                )
        connection = self._connection
        patience = threading.Timer(WHOLE_ANSWER * self._sink.timeout.total_seconds(), _cut, (connection,))
        patience.start()
        try:
            connection.request("POST", self._path, body, headers)
            answer = connection.getresponse()
            if len(answer.read(MAX_ANSWER_BYTES + 1)) > MAX_ANSWER_BYTES or answer.will_close:
                self.close()
        finally:
            patience.cancel()
        return answer.status, answer.reason

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class EventFile:
    """Appends lines to a file, which may be renamed away at any time; synced before they count as taken."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, lines: Sequence[bytes], after: Cursor) -> None:  # noqa: ARG002 - a file needs no name of a batch
        """Append them; raises NotTaken."""
        block = memoryview(b"\n".join(lines) + b"\n")
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                size = os.fstat(fd).st_size
                try:
                    while block:
                        block = block[os.write(fd, block) :]
                    os.fdatasync(fd)
                except OSError:
                    os.ftruncate(fd, size)  # no half line stays
                    raise
            finally:
                os.close(fd)
        except OSError as exc:
            raise NotTaken(f"{self._path}: {exc.strerror}") from exc

    def close(self) -> None:
        """Nothing stays open."""


def _cut(connection: http.client.HTTPConnection) -> None:
    """Make whoever reads or writes there fail."""
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _key_of(path: Path | None) -> bytes:
    if path is None:
        raise NotTaken("no secret_file")
    try:
        return read_key(path)
    except OSError as exc:
        raise NotTaken(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise NotTaken(str(exc)) from exc


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:  # SSLError is one
        raise NotTaken(f"{ca_file}: {exc.strerror or exc}") from exc
