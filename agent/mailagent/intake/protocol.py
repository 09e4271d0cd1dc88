"""The transport under a session: asyncio (or uvloop) callbacks in, octets out, no coroutine per line."""

import asyncio
import logging
from functools import partial
from typing import Protocol, cast

from mailagent.api.smtp import SmtpReply
from mailagent.intake.patience import Patience
from mailagent.intake.rules import BUSY, Rules, reply_line
from mailagent.intake.session import ServerSession
from mailagent.intake.submission import Gate, Submission

MAX_BACKLOG = 65_536  # octets of a client that runs ahead of its answers
CLOSE_S = 5.0  # for a client to read our last words

log = logging.getLogger(__name__)


class Desk(Protocol):
    """What a connection needs of its intake."""

    rules: Rules
    gate: Gate
    timeout_s: float

    def may_relay(self, client: str) -> bool:
        """Whether `client` lies in a network that may relay."""

    def admit(self, connection: "Connection", *, trusted: bool) -> SmtpReply | None:
        """Count a new connection in, or say why not."""

    def left(self, connection: "Connection") -> None:
        """Count an admitted connection out."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, desk: Desk) -> None:
        self.client = ""
        self._desk = desk
        self._transport: asyncio.Transport
        self._session: ServerSession | None = None  # None: not admitted, or gone
        self._patience: Patience
        self._ticket = 0  # of the submission in flight
        self._advancing = False
        self._writable = True
        self._reading = True
        self._ended = False  # the client sent its last octet
        self._closing_at: float | None = None

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = transport.get_extra_info("peername")
        if not peer:  # gone already
            self.abort()
            return
        self.client = peer[0].partition("%")[0]
        trusted = self._desk.may_relay(self.client)
        refusal = self._desk.admit(self, trusted=trusted)
        if refusal is not None:
            log.debug("connection refused client=%s reply=%s", self.client, refusal.line())
            self._transport.write(reply_line(refusal))
            self._transport.close()
            return
        self._session = ServerSession(self._desk.rules, self._desk.gate, client=self.client, may_relay=trusted)
        self._patience = Patience(self._desk.timeout_s, asyncio.get_running_loop().time())
        self._session.greet()
        self._advance(self._session)

    def data_received(self, data: bytes) -> None:
        """Pass octets on."""
        session = self._session
        if session is not None:
            session.receive(data)
            self._advance(session)

    def eof_received(self) -> bool:
        """Keep the transport for the answer to a submission in flight."""
        self._ended = True
        return self._session is not None and self._session.in_flight

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why does not matter
        """Forget the session; a submission in flight stays with the gate, its answer is dropped."""
        if self._session is not None:
            self._session = None
            self._desk.left(self)

    def pause_writing(self) -> None:
        """Read no more from a client that does not read."""
        self._writable = False
        self._steer()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._steer()

    # -- the intake

    def sweep(self, now: float) -> None:
        """Look at the clock for this connection."""
        session = self._session
        if session is None:
            return
        if self._closing_at is None:
            reason = self._patience.exhausted(session, now)
            if reason:
                self.shut(SmtpReply(code=421, enhanced="4.4.2", text=f"{self._desk.rules.hostname} {reason}"))
        elif now - self._closing_at > CLOSE_S:
            self._transport.abort()

    def part(self, reply: SmtpReply) -> None:
        """Close as soon as no transaction is open."""
        if self._session is not None:
            self._session.part(reply)
            self._advance(self._session)

    def shut(self, reply: SmtpReply) -> None:
        """Close now; what is in flight stays with the gate."""
        if self._session is not None:
            self._session.shut(reply)
            self._advance(self._session)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._transport.abort()

    # -- session to transport

    def _advance(self, session: ServerSession) -> None:
        """Carry out what the session asks for, until it waits for the client or for an answer."""
        if self._advancing:  # called back from within `submit`
            return
        self._advancing = True
        try:
            while (submission := session.take_submission()) is not None:
                self._submit(submission)
        finally:
            self._advancing = False
        if output := session.take_output():
            self._transport.write(output)
        if session.closed or (self._ended and not session.in_flight):
            if self._closing_at is None:
                self._closing_at = asyncio.get_running_loop().time()
                self._transport.close()
        else:
            self._steer()

    def _submit(self, submission: Submission) -> None:
        self._ticket += 1
        done = partial(self._answered, self._ticket)
        try:
            self._desk.gate.submit(submission, done)
        except Exception:
            log.exception("submission failed in the gate client=%s", self.client)
            done(BUSY)

    def _answered(self, ticket: int, reply: SmtpReply) -> None:
        """The gate's answer; only the first one for the submission in flight counts."""
        session = self._session
        if session is None or ticket != self._ticket or not session.in_flight:
            return
        self._ticket += 1
        session.answer(reply)
        self._advance(session)

    def _steer(self) -> None:
        """Read as long as the client takes our replies and does not run too far ahead."""
        session = self._session
        reading = self._writable and (session is None or session.backlog <= MAX_BACKLOG)
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
