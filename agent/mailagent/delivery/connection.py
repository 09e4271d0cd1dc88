"""One SMTP connection: a thin transport around the session, with one timer and flow control."""

import asyncio
import itertools
import logging
import math
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, cast

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.delivery.errors import ConnectFailed
from mailagent.delivery.message import wire_blocks
from mailagent.delivery.session import ClientSession, Phase, Starttls
from mailagent.delivery.source import Source
from mailagent.delivery.tls import (
    CLEAR,
    SHUTDOWN_S,
    CertificateRefused,
    Level,
    Step,
    TlsFailed,
    TlsResult,
    describe,
    failure,
    peer_chain,
)
from mailagent.delivery.transaction import Transaction
from mailagent.delivery.waits import Waits
from mailagent.routing.rollup import Hop
from mailagent.telemetry.tap import Tap

log = logging.getLogger(__name__)

_NEVER = math.inf
_IDLE = Phase.IDLE  # asked for with each message, and a member of an enumeration costs more than a global
_RUN = f"{time.time_ns() // 1_000_000:x}-"
_sessions = itertools.count(1)


class Owner(Protocol):
    """Whoever gives work to connections: a ready queue. Calls come on the loop; each may call back at once."""

    def ready(self, connection: "Connection") -> None:
        """The handshake is done or the last transaction settled: `send` the next one, now or later, or `quit`."""

    def before_dot(self, connection: "Connection", transaction: Transaction, recipients: Sequence[int]) -> None:
        """All but the last block is out, for these recipients (indexes): call `end` when that may follow."""

    def settled(
        self, connection: "Connection", transaction: Transaction, replies: Sequence[SmtpReply], duration_s: float
    ) -> None:
        """The transaction is over: one reply for each recipient, in order. `ready` or `closed` follows."""

    def closed(
        self, connection: "Connection", reply: SmtpReply, transaction: Transaction | None, in_doubt: bool
    ) -> None:
        """The connection is gone, once. `transaction` is the one that was not settled, if any; `in_doubt`: its
        final dot was out. `reply` says why: the peer's, or a local one with code 0."""


class Guard(Protocol):
    """Knows messages that want more of a connection than others."""

    def refusal(self, connection: "Connection", transaction: Transaction) -> SmtpReply | None:
        """Why `transaction` may not go over `connection`, if so."""

    @property
    def is_outgrown(self) -> bool:
        """Whether another connection might be good enough for what was refused last: this one ends then."""


class Connection(asyncio.Protocol):
    """A connection to one address of a site, made by `mailagent.delivery.connect`.

    It is idle after `ready` until `send`, then busy until `settled`. Idle has no time-out of its own: that is the
    owner's decision. `quit` waits for the transaction under way, then for the peer's answer, both within time-outs.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_blocks",
        "_end",
        "_last_block",
        "_loop",
        "_owner",
        "_paused",
        "_quitting",
        "_session",
        "_shaken",
        "_since",
        "_started",
        "_step",
        "_timer",
        "_transaction",
        "_transport",
        "_waits",
        "at_dot",
        "connect_s",
        "guard",
        "hop",
        "level",
        "mx",
        "recipients",
        "remote",
        "sent",
        "session_id",
        "source",
        "tap",
        "tls",
        "vmta",
    )

    def __init__(
        self,
        hop: Hop,
        source: Source,
        waits: Waits,
        loop: asyncio.AbstractEventLoop,
        step: Step = CLEAR,
        tap: Tap | None = None,
        connect_s: float = 0.0,
    ) -> None:
        """Raises ValueError for an EHLO name that cannot be sent."""
        address = source.towards(hop.address)
        self.vmta = source.vmta
        self.source = str(address) if address is not None else ""
        self.hop = hop
        self.mx = hop.mx
        self.remote = f"[{hop.address}]:{hop.port}" if hop.address.version == 6 else f"{hop.address}:{hop.port}"
        self.connect_s = connect_s
        """Time that TCP took to connect."""
        self.session_id = f"{_RUN}{next(_sessions):x}"
        """Tells this connection from all others of this host."""
        self.sent = 0
        """Transactions settled so far."""
        self.recipients = 0
        """Recipients of these."""
        self.level = Level.CLEAR
        """How far the peer is known."""
        self.tls = ""
        """Protocol, cipher and level, in words; empty in clear."""
        self.tap = tap
        """Who follows what is said here, if anybody."""
        self.guard: Guard | None = None
        """Who else must agree to each message, if anybody."""
        self.at_dot = False
        """Everything but the last block, with the final dot, is out."""
        self._step = step
        self._waits = waits
        self._loop = loop
        self._session = ClientSession(source.ehlo, self, _starttls(step))
        self._transport: asyncio.Transport | None = None
        self._owner: Owner | None = None
        self._shaken: asyncio.Future[None] = loop.create_future()
        self._transaction: Transaction | None = None
        self._started = 0.0
        self._accepted: Sequence[int] = ()
        self._blocks: Iterator[bytes] | None = None
        self._last_block = b""
        self._paused = False
        self._quitting = False
        self._end: SmtpReply | None = None
        self._since = 0.0  # of the wait for the peer
        self._timer: asyncio.TimerHandle | None = None

    # -- for the owner -------------------------------------------------------------------------------------------

    @property
    def ehlo(self) -> str:
        """The name that it says."""
        return self._session.ehlo

    @property
    def extensions(self) -> str:
        """EHLO keywords of the peer, with commas between them."""
        return self._session.extensions

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._transaction is not None

    @property
    def working_s(self) -> float:
        """How long the transaction under way has taken by now."""
        return self._loop.time() - self._started

    @property
    def past_dot(self) -> bool:
        """Whether the final dot is out and not answered."""
        return self._session.past_dot

    @property
    def dsn(self) -> bool:
        """Whether the peer offers DSN (RFC 3461): it answers for notifications from here on."""
        return self._session.dsn

    async def stand(self) -> None:
        """Wait for greeting, EHLO and TLS; then call `belong_to`.

        Raises:
            TlsFailed: TLS failed, or was required and is not to be had.
            ConnectFailed: the peer refused, broke off, or did not answer in time.
        """
        await self._shaken
        if self._session.phase is Phase.TLS:
            await self._secure()
            await self._shaken
        if self._end is not None:  # it ended in between
            if self._end.verb is Verb.STARTTLS:
                raise TlsFailed(self._end, self.hop, TlsResult.STARTTLS_NOT_SUPPORTED)
            raise ConnectFailed(self._end, self.hop)

    def adopt(self, transport: asyncio.Transport) -> None:
        """Go on where another client has begun TLS and logged in: with EHLO."""
        self._transport = transport
        transport.set_protocol(self)
        self._judge(transport.get_extra_info("ssl_object"))
        self._session.secured()
        self._watch()

    def belong_to(self, owner: Owner) -> None:
        """Tell `owner` that the connection is ready, and all that comes after."""
        self._owner = owner
        self._guarded(partial(owner.ready, self))

    def send(self, transaction: Transaction) -> None:
        """Deliver `transaction`; the connection is idle. The outcome comes as `settled` or `closed`."""
        if self._transaction is not None:
            raise RuntimeError(f"{self.hop}: a transaction is under way")
        self._transaction = transaction
        self._started = self._since = self._loop.time()
        refusal = self._session.refusal(transaction)
        if refusal is None and self.guard is not None:
            refusal = self.guard.refusal(self, transaction)
            if refusal is not None and self.guard.is_outgrown:
                self._loop.call_soon(self._break, refusal)
                return
        if refusal is not None:
            # not at once: an owner that sends from `settled` and `ready` would recurse through all its messages
            self._loop.call_soon(self._refuse, transaction, refusal)
        elif self._session.phase is _IDLE:
            self._session.send(transaction)
        # else the connection ended a moment ago: `closed` is on its way

    def end(self) -> None:
        """Send the last block, with the final dot, if it is due: the owner was told with `before_dot`."""
        if self.at_dot:
            self.at_dot = False
            self._blocks = None
            self._session.dot_written()
            transport: asyncio.Transport = self._transport  # type: ignore[assignment]
            transport.write(self._last_block)
            self._last_block = b""
            self._since = self._loop.time()

    def quit(self) -> None:
        """Take leave, after the transaction under way if there is one."""
        if self._transaction is not None:
            self._quitting = True
        elif self._session.phase is Phase.IDLE:
            self._session.quit()
            self._watch()

    def abort(self, why: str = "cut by this host") -> None:
        """Close at once; `closed` follows."""
        self._break(self._session.failure(why))

    # -- for the session (its Driver) ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send commands."""
        assert self._transport is not None  # noqa: S101  # the session begins with the connection
        if self.tap is not None:
            self.tap.client(data)
        self._transport.write(data)

    def upgrade(self) -> None:
        """Read nothing more in clear; `stand` goes on."""
        cast(asyncio.Transport, self._transport).pause_reading()
        self._shaken.set_result(None)

    def handshaken(self) -> None:
        """The peer is ready for mail."""
        if not self._shaken.done():
            self._shaken.set_result(None)

    def send_body(self, accepted: Sequence[int]) -> None:
        """Send the message, as fast as the peer takes it."""
        transaction: Transaction = self._transaction  # type: ignore[assignment]
        if self.tap is not None:
            self.tap.text(len(transaction.added) + len(transaction.body))
        self._accepted = accepted
        self._blocks, self._last_block = wire_blocks(transaction.added, transaction.body, plain=transaction.plain)
        self._send_blocks()

    def settled(self, replies: Sequence[SmtpReply]) -> None:
        """Every recipient is answered."""
        transaction: Transaction = self._transaction  # type: ignore[assignment]
        self._transaction = self._blocks = None
        self._last_block = b""
        self.sent += 1
        self.recipients += len(transaction.recipients)
        owner: Owner = self._owner  # type: ignore[assignment]
        owner.settled(self, transaction, replies, self._loop.time() - self._started)
        if self._session.phase is _IDLE:
            if self._quitting:
                self.quit()
            else:
                owner.ready(self)

    def ended(self, reply: SmtpReply) -> None:
        """The session is over."""
        self._break(reply)

    # -- for the loop (asyncio.Protocol) -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the greeting."""
        self._transport = cast(asyncio.Transport, transport)
        if self._step.implicit:
            try:
                self._judge(transport.get_extra_info("ssl_object"))
            except CertificateRefused as exc:
                self._break(failure(self.hop, exc, wait_s=0).reply)
                return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self.tap is not None:
            self.tap.server(data)
        session = self._session
        answered = session.answered
        try:
            session.receive(data)
        except Exception as exc:  # noqa: BLE001  logged there
            self._broken(exc)
        if session.answered != answered:
            self._since = self._loop.time()

    def pause_writing(self) -> None:
        """The peer takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """The peer takes more."""
        self._paused = False
        if self._blocks is not None and not self.at_dot:
            self._guarded(self._send_blocks)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, or whoever waits for the handshake."""
        if self._timer is not None:
            self._timer.cancel()
        self._blocks = None
        self.at_dot = False
        if self._end is None:
            step = self._session.awaiting
            where = "while idle" if step is None else f"while waiting for the answer to {step.value}"
            self._end = self._session.failure(f"connection lost {where}" + (f": {exc}" if exc else ""))
        if self.tap is not None:
            self.tap.event(f"closed: {self._end.line()}")
        in_doubt = self._session.past_dot
        self._session.phase = Phase.OVER
        transaction, self._transaction = self._transaction, None
        if self._owner is not None:
            self._owner.closed(self, self._end, transaction, in_doubt)
        elif not self._shaken.done():
            self._shaken.set_result(None)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _secure(self) -> None:
        """Do the handshake that STARTTLS announced, and judge the peer, before anything else is said."""
        assert self._transport is not None  # noqa: S101  # the peer has answered
        self._shaken = self._loop.create_future()
        wait_s = self._waits.by_verb[Verb.STARTTLS]
        try:
            secured = await self._loop.start_tls(
                self._transport,
                self,
                cast(ssl.SSLContext, self._step.context),
                server_hostname=self._step.name or self.mx,
                ssl_handshake_timeout=wait_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
            if secured is None:  # what both loops give when the transport was closed meanwhile
                raise ConnectionResetError("connection lost")
            self._transport = secured
            self._judge(secured.get_extra_info("ssl_object"))
        except BaseException as exc:  # whatever it is, nobody would close the transport
            self._transport.abort()
            if isinstance(exc, OSError | CertificateRefused):
                raise failure(self.hop, exc, wait_s=wait_s) from exc
            raise
        self._session.secured()
        self._since = self._loop.time()

    def _judge(self, ssl_object: ssl.SSLObject) -> None:
        if self._step.check is not None:
            self._step.check(peer_chain(ssl_object), self.mx)
        self.level = self._step.level
        self.tls = describe(ssl_object, self.level)
        if self.tap is not None:
            self.tap.event(self.tls)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do a step in which the owner's callbacks run; a fault in one must not leave the session half way."""
        try:
            step()
        except Exception as exc:  # noqa: BLE001  logged there
            self._broken(exc)

    def _broken(self, exc: Exception) -> None:
        log.error("broken by an internal error vmta=%s remote=%s", self.vmta, self.remote, exc_info=exc)
        self.abort("internal error")

    def _send_blocks(self) -> None:
        """Send blocks until the transport has enough of them, or the last one is left, which waits for `end`."""
        transport: asyncio.Transport = self._transport  # type: ignore[assignment]
        blocks: Iterator[bytes] = self._blocks  # type: ignore[assignment]
        while not self._paused:
            block = next(blocks, None)
            if block is None:
                self.at_dot = True
                owner: Owner = self._owner  # type: ignore[assignment]
                owner.before_dot(self, self._transaction, self._accepted)  # type: ignore[arg-type]
                return
            transport.write(block)
        self._since = self._loop.time()

    def _refuse(self, transaction: Transaction, reply: SmtpReply) -> None:
        if self._transaction is transaction:
            self.settled([reply] * len(transaction.recipients))

    def _break(self, reply: SmtpReply) -> None:
        """Close for `reply`; politely when the peer said so and has read everything."""
        if self._end is None:
            self._end = reply
        self._blocks = None
        self.at_dot = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if reply.local or transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()

    def _wait_s(self) -> float:
        """How long the peer may take for what it owes us now; `_NEVER` when it is our turn."""
        if self._blocks is not None:
            return _NEVER if self.at_dot else self._waits.block
        step = self._session.awaiting
        return _NEVER if step is None else self._waits.by_verb[step]

    def _watch(self) -> None:
        """Look at the clock in time for the step that begins now. Later ones, unless they may take less than all
        others, only note when they began: the timer comes at least as often as the shortest of them ends.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._since = self._loop.time()
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        self._timer = None
        wait_s = self._wait_s()
        left_s = self._since + wait_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(min(left_s, self._waits.shortest), self._look_at_clock)
        elif self._blocks is not None:
            self.abort(f"the peer took nothing of the message for {wait_s:g} s")
        else:
            step = self._session.awaiting or Verb.CONNECT
            what = "greeting" if step is Verb.CONNECT else f"answer to {step.value}"
            self.abort(f"no {what} within {wait_s:g} s")


def _starttls(step: Step) -> Starttls:
    if step.level is Level.CLEAR or step.implicit:
        return Starttls.NEVER
    return Starttls.MUST if step.floor else Starttls.OFFERED
