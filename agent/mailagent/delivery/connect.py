"""From a path to a connection that is ready for mail, from the virtual MTA's own address or not at all."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import Timeouts
from mailagent.delivery.connection import Connection, Owner
from mailagent.delivery.errors import AddressesExhausted, AddressNotOnHost, BindFailed, ConnectFailed
from mailagent.delivery.session import ehlo_name
from mailagent.delivery.smarthost import log_in, secret_of
from mailagent.delivery.source import Source
from mailagent.delivery.tls import CLEAR, SHUTDOWN_S, Step, TlsFailed
from mailagent.delivery.tls import failure as tls_failure
from mailagent.delivery.waits import Waits, waits_of
from mailagent.routing.rollup import Hop
from mailagent.telemetry.tap import Tap

MAX_HOPS = 5
"""Addresses tried before the attempt counts as failed."""
_IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # Linux; Python names it since 3.12


class Security(Protocol):
    """How far peers must be trusted, and what came of it."""

    async def first(self, hop: Hop) -> Step:
        """How to try `hop`. Raises ConnectFailed when that cannot be found out now."""

    def failed(self, hop: Hop, step: Step, failure: TlsFailed) -> Step | None:
        """TLS with `hop` failed: how to try it once more, None for not at all."""

    def stands(self, connection: Connection) -> None:
        """`connection` is about to belong to its owner."""


async def connect(
    path: Sequence[Hop],
    source: Source,
    timeouts: Timeouts,
    owner: Owner,
    security: Security | None = None,
    tap: Tap | None = None,
) -> Connection:
    """A connection to the first hop that takes it, greeting, EHLO and TLS included; without `security` in clear.

    Hops are tried in order, at most MAX_HOPS, each with its own time-outs. `owner.ready` is called before this
    returns; after that the connection's end is told by `owner.closed`, and before that by the exception.

    Raises:
        ConnectFailed: no hop took it; an SMTP reply is told rather than a network error.
        BindFailed: the source's address cannot be used.
        ValueError: no hops, or an EHLO name that cannot be sent.
    """
    if not path:
        raise ValueError("no hop to connect to")
    ehlo_name(source.ehlo)
    waits = waits_of(timeouts)
    failure: ConnectFailed | None = None
    for hop in path[:MAX_HOPS]:
        try:
            step: Step | None = CLEAR if security is None else await security.first(hop)
            while step is not None:
                try:
                    return await _try(hop, source, waits, owner, step, security, tap)
                except TlsFailed as exc:
                    failure = _worse(failure, exc)
                    if tap is not None:
                        tap.event(f"failed: {exc.reply.line()}")
                    step = None if security is None else security.failed(hop, step, exc)
        except ConnectFailed as exc:
            failure = _worse(failure, exc)
            if tap is not None:
                tap.event(f"failed: {exc.reply.line()}")
    assert failure is not None  # noqa: S101  # there was at least one hop
    raise failure


def _worse(before: ConnectFailed | None, now: ConnectFailed) -> ConnectFailed:
    """The more telling one: what a peer said, before what we saw."""
    return now if before is None or (before.reply.local and not now.reply.local) else before


async def _try(
    hop: Hop, source: Source, waits: Waits, owner: Owner, step: Step, security: Security | None, tap: Tap | None
) -> Connection:
    if tap is not None:
        tap.begin()
        tap.peer = str(hop)
        tap.event(f"connects from {source.towards(hop.address)} as {source.vmta}")
    connection = await _open(hop, source, waits, step, tap)
    try:
        await connection.stand()
    except asyncio.CancelledError:
        connection.abort("no longer wanted")
        raise
    if security is not None:
        security.stands(connection)
    connection.belong_to(owner)
    return connection


async def _open(hop: Hop, source: Source, waits: Waits, step: Step, tap: Tap | None) -> Connection:
    loop = asyncio.get_running_loop()
    address = source.towards(hop.address)
    if address is None:
        raise _failed(hop, f"{source.vmta} has no IPv{hop.address.version} address")
    secret = await secret_of(step.auth, hop) if step.auth is not None else b""
    family = socket.AF_INET if hop.address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as exc:
        raise _failed(hop, f"no socket: {_words(exc)}") from exc
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # without it each connection takes a local port for itself, over all peers
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        try:
            sock.bind((str(address), 0))
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:
                raise AddressNotOnHost(address) from exc
            if exc.errno == errno.EADDRINUSE:
                raise AddressesExhausted(address) from exc
            raise BindFailed(address, _words(exc)) from exc
        began = loop.time()
        try:
            async with asyncio.timeout(waits.connect):
                await loop.sock_connect(sock, (str(hop.address), hop.port))
        except TimeoutError as exc:
            raise _failed(hop, f"no connection within {waits.connect:g} s") from exc
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:  # the port is chosen here, not at bind
                raise AddressesExhausted(address) from exc
            raise _failed(hop, _words(exc)) from exc
        make = partial(Connection, hop, source, waits, loop, step, tap, loop.time() - began)
        if step.auth is not None:
            connection = make()
            await log_in(connection, sock, hop, step, secret, waits)
            return connection
        if not step.implicit:
            _, connection = await loop.create_connection(make, sock=sock)
            return connection
        wait_s = waits.by_verb[Verb.STARTTLS]
        try:
            _, connection = await loop.create_connection(
                make,
                sock=sock,
                ssl=step.context,
                server_hostname=hop.mx,
                ssl_handshake_timeout=wait_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as exc:
            raise tls_failure(hop, exc, wait_s=wait_s) from exc
    except BaseException:
        sock.close()
        raise
    return connection


def _words(exc: OSError) -> str:
    return os.strerror(exc.errno) if exc.errno else str(exc)  # asyncio puts its own words into `strerror`


def _failed(hop: Hop, why: str) -> ConnectFailed:
    reply = SmtpReply(code=0, enhanced="4.4.1", text=f"{hop}: {why}", verb=Verb.CONNECT, local=True)
    return ConnectFailed(reply, hop)
