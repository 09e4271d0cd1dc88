"""The JSON-RPC client of one connection: calls by id, each with a deadline, and notifications.

The client is driven by whatever carries its bytes: an asyncio transport (a local socket) or an SSH channel.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from mailagent.api import codec, replies, requests
from mailagent.api.errors import ApiError, InvalidRequest, RoleRefused, VersionMismatch
from mailagent.api.methods import MAX_REPLY_BYTES, METHODS, PROTOCOL_VERSION, TRACE
from mailagent.api.words import asked
from mailctl.fleet.errors import Incompatible, LinkError, LinkLost, NoAnswer, SocketMissing, SocketRefused, Unreachable

CALL_DEADLINE_S = 10.0
"""What a call may take unless the caller says otherwise."""

logger = logging.getLogger(__name__)


class Channel(Protocol):
    """What the client needs of a transport."""

    def write(self, data: bytes) -> None:
        """Send `data`, without waiting."""

    def close(self) -> None:
        """Close after what is written."""


class Client:
    """Calls to one agent over one channel. `lost` is done when the channel is gone; its result says why."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.lost: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()
        self._given_up = False  # a call without an answer
        self.on_changes: Callable[[msgspec.Raw], None] = lambda _: None
        self.on_trace: Callable[[msgspec.Raw], None] = lambda _: None
        self._channel: Channel | None = None
        self._pending: dict[int, asyncio.Future[codec.Frame]] = {}
        self._next_id = 0
        self._buffer = bytearray()

    @property
    def is_owed(self) -> bool:
        """Whether an answer has not come: its call may still be on its way."""
        return self._given_up or bool(self._pending)

    async def call(self, method: str, params: msgspec.Struct, *, deadline_s: float = CALL_DEADLINE_S) -> Any:
        """The decoded result of `method`.

        Raises:
            ApiError: the agent's answer is an error.
            Unreachable: there is no connection; nothing was sent.
            NoAnswer: nothing came within `deadline_s`; whether the call took effect is unknown.
            LinkLost: the connection broke; whether the call took effect is unknown.
            Incompatible: the result is not of the shape that the method table has.
        """
        if self._channel is None or self.lost.done():
            raise Unreachable(self.host, self.lost.result().reason if self.lost.done() else "not connected")
        self._next_id += 1
        call_id = self._next_id
        answer: asyncio.Future[codec.Frame] = asyncio.get_running_loop().create_future()
        self._pending[call_id] = answer
        try:
            self._channel.write(codec.call(method, params, call_id))
            async with asyncio.timeout(deadline_s):
                frame = await answer
        except TimeoutError:
            raise NoAnswer(self.host, f"no answer to {asked(method, params)} within {deadline_s:g} s") from None
        except BrokenPipeError as exc:  # an SSH channel that is closing
            raise Unreachable(self.host, "connection lost before the call") from exc
        finally:
            del self._pending[call_id]
            self._given_up = self._given_up or not answer.done() or answer.cancelled()
        if frame.error is not None:
            raise codec.to_exception(frame.error)
        try:
            return codec.decode(frame.result, METHODS[method].result)
        except InvalidRequest as exc:
            raise Incompatible(
                self.host, f"answer to {asked(method, params)} is not what we expect: {exc.message}"
            ) from exc

    async def hello(self, as_role: requests.Role | None, *, deadline_s: float = CALL_DEADLINE_S) -> replies.Hello:
        """Introduce ourselves; the first call of each connection.

        Raises:
            Incompatible: another protocol version.
            SocketRefused: the agent gives this user no role.
        """
        params = requests.HelloRequest(protocol=PROTOCOL_VERSION, client="mailctl", as_role=as_role)
        try:
            hello: replies.Hello = await self.call("hello", params, deadline_s=deadline_s)
        except VersionMismatch as exc:
            raise Incompatible(self.host, exc.message) from exc
        except RoleRefused as exc:
            raise SocketRefused(self.host, f"the agent refuses this user: {exc.message}") from exc
        except ApiError as exc:
            raise Incompatible(self.host, f"the agent refuses our hello: {exc.message}") from exc
        except (LinkLost, Unreachable) as exc:
            raise self.lost.result() if self.lost.done() else exc from exc
        if hello.protocol != PROTOCOL_VERSION:
            raise Incompatible(
                self.host,
                f"agent {hello.version} speaks protocol {hello.protocol}, this console {PROTOCOL_VERSION}; upgrade one",
            )
        return hello

    def close(self) -> None:
        """Close the channel; calls under way end with LinkLost."""
        if self._channel is not None:
            self._channel.close()
        self._end(LinkLost(self.host, "closed"))

    # Calls of the transport

    def connection_made(self, channel: Channel) -> None:
        """Take the channel."""
        self._channel = channel

    def data_received(self, data: bytes) -> None:
        """Take bytes and act on each whole line."""
        buffer = self._buffer
        searched = len(buffer)
        buffer += data
        start = 0
        while (end := buffer.find(b"\n", max(start, searched))) >= 0:
            self._line(bytes(buffer[start:end]))
            start = end + 1
        del buffer[:start]
        if len(buffer) > MAX_REPLY_BYTES:
            self._break(f"the peer sent a line of more than {MAX_REPLY_BYTES} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        self._end(Unreachable(self.host, str(exc) if exc else "the agent closed the connection"))

    def _line(self, line: bytes) -> None:
        try:
            frame = codec.parse_frame(line)
        except InvalidRequest as exc:
            self._break(f"the peer does not speak our protocol: {exc.message}")
            return
        if frame.method == TRACE:
            self.on_trace(frame.params)
        elif frame.method:
            self.on_changes(frame.params)
        elif isinstance(frame.id, int) and (answer := self._pending.get(frame.id)) and not answer.done():
            answer.set_result(frame)
        elif frame.id is None and frame.error is not None:
            self._break(frame.error.message)

    def _break(self, reason: str) -> None:
        logger.warning("host=%s connection given up: %s", self.host, reason)
        self._buffer.clear()
        self._end(Incompatible(self.host, reason))
        if self._channel is not None:
            self._channel.close()

    def _end(self, why: LinkError) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(LinkLost(self.host, f"connection lost before the answer: {why.reason}"))


@dataclass(frozen=True, slots=True)
class LocalLink:
    """A client on a socket of this machine."""

    client: Client

    async def close(self) -> None:
        """Close it."""
        self.client.close()


async def connect_local(host: str, path: Path, *, deadline_s: float = CALL_DEADLINE_S) -> LocalLink:
    """A link to the Unix socket at `path` of this machine.

    Raises:
        SocketMissing: nothing there, or nobody listens.
        SocketRefused: no permission.
        NoAnswer: the deadline passed.
    """
    client = Client(host)
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.get_running_loop().create_unix_connection(lambda: _Driven(client), str(path))
    except PermissionError as exc:
        raise SocketRefused(host, f"no permission for {path}; join a group of the agent's rpc.roles") from exc
    except FileNotFoundError as exc:
        raise SocketMissing(host, f"no agent socket at {path}; is mailagent running?") from exc
    except TimeoutError as exc:
        raise NoAnswer(host, f"{path} does not accept a connection within {deadline_s:g} s") from exc
    except OSError as exc:
        raise SocketMissing(host, f"nobody listens at {path} ({exc.strerror or exc}); is mailagent running?") from exc
    return LocalLink(client)


class _Driven(asyncio.Protocol):
    """A client behind an asyncio transport."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client.connection_made(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._client.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.connection_lost(exc)
