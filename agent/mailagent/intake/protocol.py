"""The transport under a session: asyncio (or uvloop) callbacks in, octets out, no coroutine per line."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from mailagent.api.smtp import SmtpReply
from mailagent.config.intake import ListenerAuth, ListenerKind, ListenerTls
from mailagent.config.structs import Listener
from mailagent.intake.patience import Patience
from mailagent.intake.proxy import BadProxyHeader, read_header
from mailagent.intake.rules import BUSY, Rules, reply_line
from mailagent.intake.sasl import Login
from mailagent.intake.session import ServerSession
from mailagent.intake.submission import Gate, Submission
from mailagent.intake.tls import TlsLayer
from mailagent.intake.users import BAD, User
from mailagent.telemetry.tap import Sink, Tap

MAX_BACKLOG = 65_536  # octets of a client that runs ahead of its answers
CLOSE_S = 5.0  # for a client to read our last words
OPENING_S = 10.0  # for a PROXY header or a TLS handshake

_LOGIN_BUSY = SmtpReply(code=454, enhanced="4.7.0", text="Temporary authentication failure", local=True)

log = logging.getLogger(__name__)


class Desk(Protocol):
    """What a connection needs of its intake."""

    tapped: "Tapped | None"
    rules: Rules
    gate: Gate
    timeout_s: float

    def may_relay(self, client: str) -> bool:
        """Whether `client` lies in a network that may relay."""

    def is_balancer(self, listener: Listener, client: str) -> bool:
        """Whether connections from `client` begin with a PROXY header."""

    def tls_context(self, listener: Listener) -> ssl.SSLContext:
        """The certificate as it is now."""

    def admit(self, connection: "Connection", *, trusted: bool) -> SmtpReply | None:
        """Count a new connection in, or say why not."""

    def rename(self, connection: "Connection", client: str, *, trusted: bool) -> SmtpReply | None:
        """Count an admitted connection as one of `client`, or say why not."""

    def left(self, connection: "Connection") -> None:
        """Count an admitted connection out."""


Tapped = Callable[["Connection"], Tap | None]
"""Gives a client the tap that it needs."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, desk: Desk, listener: Listener) -> None:
        self.client = ""
        self.listener = ""
        """Address and port that it came to."""
        self.tap: Tap | None = None
        """Who follows what is said here, if anybody."""
        self._desk = desk
        self._listener = listener
        self._transport: asyncio.Transport
        self._session: ServerSession | None = None  # None: not admitted, or gone
        self._admitted = False
        self._patience: Patience
        self._layer: Callable[[bytes], bytes] | None = None  # what is received goes through it to the session
        self._tls: TlsLayer | None = None
        self._header = b""  # of PROXY, as far as it came
        self._open_by: float | None = None  # deadline of the layer's beginning
        self._write: Callable[[bytes], None]
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
        self._write = self._transport.write
        peer = transport.get_extra_info("peername")
        if not peer:  # gone already
            self.abort()
            return
        self.client = peer[0].partition("%")[0]
        proxied = bool(self._listener.proxy_from) and self._desk.is_balancer(self._listener, self.client)
        trusted = self._desk.may_relay(self.client)
        refusal = self._desk.admit(self, trusted=trusted or proxied)
        self._admitted = refusal is None
        if refusal is not None:
            self._refuse(refusal)
        elif proxied:
            self._layer = self._read_proxy
            self._open_by = asyncio.get_running_loop().time() + OPENING_S
        else:
            self._begin(trusted=trusted)

    def data_received(self, data: bytes) -> None:
        """Pass octets on."""
        if self._layer is not None and not (data := self._layer(data)):
            return
        session = self._session
        if session is not None:
            if self.tap is not None:
                self.tap.client(data)
            session.receive(data)
            self._advance(session)

    def eof_received(self) -> bool:
        """Keep the transport for the answer to a submission in flight."""
        self._ended = True
        return self._session is not None and self._session.in_flight

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why does not matter
        """Forget the session; a submission in flight stays with the gate, its answer is dropped."""
        self._session = None
        if self.tap is not None:
            self.tap.event("closed")
        if self._admitted:
            self._admitted = False
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
        if self._open_by is not None:
            if now > self._open_by:
                self._transport.abort()
        elif session is None:
            return
        elif self._closing_at is None:
            reason = self._patience.exhausted(session, now)
            if reason:
                self.shut(SmtpReply(code=421, enhanced="4.4.2", text=f"{self._desk.rules.hostname} {reason}"))
        elif now - self._closing_at > CLOSE_S:
            self._transport.abort()

    def part(self, reply: SmtpReply) -> None:
        """Close as soon as no transaction is open."""
        if self._open_by is not None:
            self._transport.abort()
        elif self._session is not None:
            self._session.part(reply)
            self._advance(self._session)

    def shut(self, reply: SmtpReply) -> None:
        """Close now; what is in flight stays with the gate."""
        if self._open_by is not None:
            self._transport.abort()
        elif self._session is not None:
            self._session.shut(reply)
            self._advance(self._session)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._transport.abort()

    def follow(self, sinks: tuple[Sink, ...], tapped: "Tapped") -> None:
        """Others follow what is said here from now on, in whatever the client is just saying; or nobody."""
        if self.tap is not None:
            self.tap.sinks = sinks
            self.tap = self.tap if sinks else None
        elif sinks and self._session is not None and (tap := tapped(self)) is not None:
            tap.begin(in_text=self._session.data_octets is not None, in_login=self._session.in_login)
            tap.event("followed from here on")
            self.tap = tap

    # -- before the session, and under it

    def _refuse(self, refusal: SmtpReply) -> None:
        log.debug("connection refused client=%s reply=%s", self.client, refusal.line())
        if self._listener.tls is not ListenerTls.IMPLICIT:
            self._transport.write(reply_line(refusal))
        self._transport.close()

    def _begin(self, *, trusted: bool) -> None:
        """The client is known: greet it, or wait for its TLS."""
        self._layer = self._open_by = None
        self._session = ServerSession(
            self._desk.rules,
            self._desk.gate,
            client=self.client,
            may_relay=trusted,
            offers_tls=self._listener.tls is ListenerTls.STARTTLS,
            auth=self._listener.auth if self._listener.kind is ListenerKind.SUBMISSION else ListenerAuth.OFF,
        )
        self._patience = Patience(self._desk.timeout_s, asyncio.get_running_loop().time())
        self.listener = _name_of(self._transport)
        if self._desk.tapped is not None and (tap := self._desk.tapped(self)) is not None:
            self.tap = tap
            tap.event("connected")
        if self._listener.tls is ListenerTls.IMPLICIT:
            self._start_tls()
        else:
            self._session.greet()
            self._advance(self._session)

    def _read_proxy(self, data: bytes) -> bytes:
        """What is left of `data` behind the header that names the client."""
        self._header += data
        try:
            proxied = read_header(self._header)
        except BadProxyHeader as exc:
            log.warning("connection cut, its balancer sent no good PROXY header balancer=%s error=%s", self.client, exc)
            self._transport.abort()
            return b""
        if proxied is None:
            return b""
        client = proxied.client or self.client
        trusted = self._desk.may_relay(client)
        refusal = self._desk.rename(self, client, trusted=trusted or not proxied.client)
        if refusal is not None:
            self._layer = self._open_by = None
            self._refuse(refusal)
            return b""
        self._begin(trusted=trusted)
        return proxied.rest if self._layer is None or not proxied.rest else self._layer(proxied.rest)

    def _start_tls(self) -> None:
        self._tls = TlsLayer(self._desk.tls_context(self._listener))
        self._layer = self._decrypt
        self._open_by = asyncio.get_running_loop().time() + OPENING_S

    def _decrypt(self, data: bytes) -> bytes:
        tls, session = cast(TlsLayer, self._tls), self._session
        try:
            plain = tls.receive(data)
        except ssl.SSLError as exc:
            log.debug("TLS failed client=%s reason=%s", self.client, exc.reason)
            self._transport.write(tls.pending())
            self._transport.close()
            return b""
        if pending := tls.pending():
            self._transport.write(pending)
        if self._open_by is not None and tls.established and session is not None:
            self._open_by = None
            self._write = self._encrypt
            session.secured(tls.version)
            if self.tap is not None:
                self.tap.event(tls.version)
            if self._listener.tls is ListenerTls.IMPLICIT:
                session.greet()
                self._advance(session)
        if tls.ended:
            self._ended = True
            if session is not None and not plain:
                self._advance(session)
        return plain

    def _encrypt(self, data: bytes) -> None:
        try:
            self._transport.write(cast(TlsLayer, self._tls).send(data))
        except ssl.SSLError:  # the client broke TLS while its answer was under way: the gate must not hear of it
            self._transport.abort()

    # -- session to transport

    def _advance(self, session: ServerSession) -> None:
        """Carry out what the session asks for, until it waits for the client or for an answer."""
        if session.submission is not None and not self._advancing:  # else called back from within `submit`
            self._advancing = True
            try:
                while (submission := session.take_submission()) is not None:
                    self._submit(submission)
            finally:
                self._advancing = False
        if output := session.take_output():
            if self.tap is not None:
                self.tap.server(output)
            self._write(output)
        if session.login is not None:
            login, session.login = session.login, None
            self._authenticate(login)
        if session.wants_tls:
            session.wants_tls = False
            self._start_tls()
        if session.closed or (self._ended and not session.in_flight):
            if self._closing_at is None:
                self._closing_at = asyncio.get_running_loop().time()
                if self._tls is not None:
                    self._transport.write(self._tls.goodbye())
                self._transport.close()
        elif session.backlog or not self._reading:
            self._steer()

    def _authenticate(self, login: Login) -> None:
        self._ticket += 1
        done = partial(self._authenticated, self._ticket, login.bearer)
        try:
            self._desk.gate.authenticate(login, self.client, done)
        except Exception:
            log.exception("login failed in the gate client=%s", self.client)
            done(_LOGIN_BUSY)

    def _authenticated(self, ticket: int, bearer: bool, result: User | SmtpReply) -> None:
        """The gate's answer to a login; only the first one counts."""
        session = self._session
        if session is None or ticket != self._ticket or not session.in_flight:
            return
        self._ticket += 1
        session.authenticated(result, bearer=bearer and result is BAD)
        self._advance(session)

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


def _name_of(transport: asyncio.Transport) -> str:
    """The listener's address and port; empty when the socket has gone."""
    own = transport.get_extra_info("sockname")
    return f"{own[0]}:{own[1]}" if own else ""
