"""The readiness check for balancers: `GET /ready` says 200 while mail is taken, and 503 with the reason else."""

import asyncio
import logging
from collections.abc import Callable

from mailagent.config.structs import Endpoint
from mailagent.intake.errors import ListenFailed

MAX_HEAD = 8192
ANSWER_S = 5.0
"""For a request to be there, and its answer to be taken."""
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 400: "Bad Request", 503: "Service Unavailable"}

log = logging.getLogger(__name__)


class Readiness:
    """A listener that answers one question per connection. `start`, then `stop`."""

    def __init__(self, why_not: Callable[[], str]) -> None:
        """`why_not` says why no mail is taken now; empty: it is."""
        self._why_not = why_not
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """As really bound."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    async def start(self, endpoint: Endpoint) -> None:
        """Listen.

        Raises:
            ListenFailed: the address cannot be bound.
        """
        try:
            self._server = await asyncio.start_server(self._serve, endpoint.host, endpoint.port, limit=MAX_HEAD)
        except OSError as exc:
            raise ListenFailed(endpoint.host, endpoint.port, exc) from exc
        log.info("readiness at http://%s/ready", endpoint)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_response(400, "too long", body=True))
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone, or never asked
        finally:
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(400, "this is HTTP", body=True)
        method, path = words[0], words[1].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response(405, "GET or HEAD", body=True)
        if path != b"/ready":
            return _response(404, "only /ready is here", body=method == b"GET")
        why = self._why_not()
        return _response(503 if why else 200, why or "ready", body=method == b"GET")


def _response(status: int, text: str, *, body: bool) -> bytes:
    content = f"{text}\n".encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
    )
    allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
    return f"{head}{allow}\r\n".encode("ascii") + (content if body else b"")
