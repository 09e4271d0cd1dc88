"""HTTP for machines that ask a host one thing, as balancers do: one question per connection, and little patience."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple

MAX_HEAD: Final = 8192
MAX_CONNECTIONS: Final = 64
"""At a time; one more ends the oldest, so that silent ones keep nobody out."""
ANSWER_S: Final = 5.0
"""For a request to be there, and its answer to be taken."""
PACE_S: Final = 0.01
"""Between two connections that are taken: who asks in a loop waits in the kernel, and takes no time from mail."""
BACKLOG: Final = 64
"""Connections that may wait there."""
SHORT_S: Final = 1.0
"""Before the next connection is taken when the process had no descriptor for one."""
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

log = logging.getLogger(__name__)


class Response(NamedTuple):
    """What is answered."""

    text: str
    status: int = 200
    kind: str = "text/plain; charset=utf-8"


Answer = Callable[[str], Awaitable[Response]]
"""Makes the response for somebody whose `Accept` says so; empty: it says nothing."""


class HttpListener:
    """Answers GET and HEAD of one path, with HTTP/1.1 and `Connection: close`. `start`, then `stop`."""

    def __init__(
        self,
        path: str,
        answer: Answer,
        *,
        most: int = MAX_CONNECTIONS,
        patience_s: float = ANSWER_S,
        pace_s: float = PACE_S,
    ) -> None:
        self._path = path
        self._answer = answer
        self._most = most
        self._patience_s = patience_s
        self._pace_s = pace_s
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the one that takes connections, and one for each
        self._taken: set[socket.socket] = set()  # connections whose task has not begun
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    @property
    def port(self) -> int:
        """As really bound; 0: it does not listen."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def start(self, address: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family, backlog=BACKLOG)
        self._socket.setblocking(False)
        self._spawn(self._take(self._socket), f"http:{self._path}")

    def stop(self) -> None:
        """Listen no more, and end what is open."""
        for task in self._tasks:
            task.cancel()
        for connection in self._taken:
            connection.close()
        self._taken.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, listening: socket.socket) -> None:
        """Take connections at their pace, for as long as it listens."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # it went away while it waited
            except OSError as exc:
                log.warning("no connection taken path=%s: %s", self._path, exc.strerror or exc)
                await asyncio.sleep(SHORT_S)
                continue
            self._taken.add(connection)
            self._spawn(self._serve(connection), f"http:{self._path}:connection")
            await asyncio.sleep(self._pace_s)

    async def _serve(self, connection: socket.socket) -> None:
        self._taken.discard(connection)
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_HEAD)
        except OSError:
            connection.close()
            return
        if len(self._open) >= self._most:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        writer.transport.set_write_buffer_limits(0)  # `drain` waits until the kernel has all of it
        try:
            async with asyncio.timeout(self._patience_s):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    writer.write(_octets(Response("too long", 400)))
                else:
                    writer.write(await self._answered(head))
                await writer.drain()
            writer.close()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone, never asked, or does not take the answer
        finally:
            self._open.pop(writer, None)
            if not writer.is_closing():
                writer.transport.abort()  # closing would wait for who takes nothing

    async def _answered(self, head: bytes) -> bytes:
        line, *fields = head.split(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _octets(Response("this is HTTP", 400))
        method, path = words[0], words[1].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _octets(Response("GET or HEAD", 405))
        if path != self._path.encode("ascii"):
            response = Response(f"only {self._path} is here", 404)
        else:
            try:
                response = await self._answer(_accepted(fields))
            except Exception:
                log.exception("no answer path=%s", self._path)
                response = Response("this could not be answered; the agent's log says why", 500)
        return _octets(response, body=method == b"GET")


def _accepted(fields: list[bytes]) -> str:
    """The values of all `Accept` fields as one list."""
    pairs = (field.partition(b":") for field in fields)
    return ",".join(value.decode("latin-1").strip() for name, _, value in pairs if name.lower() == b"accept")


def _octets(response: Response, *, body: bool = True) -> bytes:
    text = response.text if response.text.endswith("\n") else f"{response.text}\n"
    content = text.encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}\r\nContent-Type: {response.kind}\r\n"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
    )
    allow = "Allow: GET, HEAD\r\n" if response.status == 405 else ""
    return f"{head}{allow}\r\n".encode("ascii") + (content if body else b"")
