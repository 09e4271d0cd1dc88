"""One connection: lines in, lines out, bounded in every direction."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from mailagent.api import codec
from mailagent.api.codec import Request
from mailagent.api.errors import ApiError, InvalidRequest
from mailagent.api.methods import MAX_REPLY_BYTES, MAX_REQUEST_BYTES, METHODS, TRACE
from mailagent.api.views import Snapshot
from mailagent.rpc.calls import Calls, Conversation
from mailagent.rpc.peer import Connected, Peer
from mailagent.rpc.subscriptions import Differ
from mailagent.witness import Looker

log = logging.getLogger(__name__)

PARALLEL_CALLS: Final = 8
"""Calls of one connection under way at a time; further lines wait unread."""
HELLO_S: Final = 10.0
"""Longest silence before the first call."""
STALLED_S: Final = 30.0
"""A peer that takes nothing of what is written for so long is cut off."""


class Session(asyncio.Protocol):
    """Drives `Calls` from the bytes of one connection.

    Calls are answered as they are done, not in order; only `hello` is waited for. A peer that does not read is not
    read from, and gets no changes until it has taken the last ones.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        peer_of: Callable[[Connected], Peer],
        opened: Callable[["Session"], bool],
        closed: Callable[["Session"], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"],
    ) -> None:
        self._calls = calls
        self._peer_of = peer_of
        self._opened = opened
        self._closed = closed
        self._spawn = spawn
        self._transport: asyncio.Transport | None = None
        self._talk: Conversation | None = None
        self._buffer = bytearray()
        self._running: dict[asyncio.Task[None], bool] = {}  # -> whether it changes something
        self._eof = False
        self._choked = False  # the peer does not read
        self._unsent = 0
        self._opened_at = self._moved_at = asyncio.get_running_loop().time()

    # -- from the transport ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is."""
        self._transport = cast(asyncio.Transport, transport)
        try:
            self._talk = Conversation(peer=self._peer_of(transport.get_extra_info("socket")))
        except OSError:
            log.exception("rpc connection refused: the kernel does not say who calls")
            self._transport.abort()
            return
        if not self._opened(self):
            self._part(ApiError("too many connections to this agent; close some"))

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._buffer += data
        self._read_lines()

    def eof_received(self) -> bool:
        """The peer has said all (`nc -N`): answer what is left, then close."""
        self._eof = True
        self._read_lines()
        return True

    def pause_writing(self) -> None:
        """The peer does not read: stop listening to it."""
        self._choked = True
        self._pace()

    def resume_writing(self) -> None:
        """It reads again."""
        self._choked = False
        self._read_lines()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what only reads; verbs under way come to their end, the peer can ask for it by op_id."""
        if exc is not None:
            log.debug("rpc connection lost: %s", exc)
        self._closed(self)
        if self._talk is not None:
            self._talk.gone = True
            self._talk.end_stream()
        self._buffer.clear()
        for task, mutates in self._running.items():
            if not mutates:
                task.cancel()

    @property
    def looker(self) -> Looker | None:
        """Who follows the host's state here."""
        if self._talk is None or self._talk.subscription is None or not self._is_open:
            return None
        return Looker(self._talk.user, self._opened_at)

    # -- from the server -------------------------------------------------------------------------------------------

    def tick(self, now: float, snapshot: Callable[[], Snapshot], differ: Differ) -> None:
        """Send changes when they are due and the last ones are taken; part from a peer that is stuck."""
        if self._transport is None or self._transport.is_closing() or self._talk is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._moved_at = now
        self._unsent = unsent
        if unsent and now - self._moved_at > STALLED_S:
            log.warning("rpc connection cut: user=%s took nothing for %g s", self._talk.user, STALLED_S)
            self._transport.abort()
            return
        if not self._talk.greeted and not self._running and now - self._opened_at > HELLO_S:
            self._part(InvalidRequest(f"no hello within {HELLO_S:g} s"))
            return
        if not unsent and self._talk.stream is not None and (batch := self._talk.stream.batch()) is not None:
            self._transport.write(codec.notification(TRACE, batch))
            if batch.ended:
                self._talk.stream = None
        subscription = self._talk.subscription
        if subscription is None or unsent or now < subscription.due_at:
            return
        new = snapshot()
        line = differ.line(subscription.snapshot, new)
        if len(line) > MAX_REPLY_BYTES:
            self._part(ApiError(f"changes of {len(line)} bytes are over the limit of {MAX_REPLY_BYTES}"))
            return
        subscription.snapshot = new
        subscription.due_at = max(subscription.due_at + subscription.interval_s, now)
        self._transport.write(line)

    def close(self) -> None:
        """End the connection after what is written."""
        if self._transport is not None:
            self._transport.close()

    # -- lines -----------------------------------------------------------------------------------------------------

    def _read_lines(self) -> None:
        while self._is_open and not self._is_busy:
            end = self._buffer.find(b"\n")
            if end > MAX_REQUEST_BYTES or (end < 0 and len(self._buffer) > MAX_REQUEST_BYTES):
                self._part(InvalidRequest(f"a call is longer than {MAX_REQUEST_BYTES} bytes"))
                return
            if end < 0:
                break
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if line.strip():
                self._take(line)
        if self._eof and not self._running and self._is_open:
            self.close()
        self._pace()

    @property
    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def _is_busy(self) -> bool:
        """Whether the next line has to wait."""
        at_most = PARALLEL_CALLS if self._talk is not None and self._talk.greeted else 1
        return self._choked or len(self._running) >= at_most

    def _pace(self) -> None:
        """Read from the peer only while a further call would be taken."""
        if self._transport is None or not self._is_open or self._eof:
            return
        if self._is_busy:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _take(self, line: bytes) -> None:
        try:
            call = codec.parse_call(line)
        except InvalidRequest as exc:
            self._part(exc)
            return
        task = self._spawn(self._answer(call), f"rpc:{call.method[:40]}")
        method = METHODS.get(call.method)
        self._running[task] = method is not None and method.mutates
        task.add_done_callback(self._answered)

    async def _answer(self, call: Request) -> None:
        assert self._talk is not None and self._transport is not None  # noqa: S101, PT018  set before the first line
        line = await self._calls.answer(self._talk, call)
        if not self._transport.is_closing():
            self._transport.write(line)

    def _answered(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("rpc task=%s failed", task.get_name(), exc_info=error)
        self._read_lines()

    def _part(self, error: ApiError) -> None:
        """Say why, and close: what follows on this connection cannot be trusted."""
        if self._transport is not None and self._is_open:
            self._transport.write(codec.failure(None, error))
            self._transport.close()
