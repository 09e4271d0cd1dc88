"""From a path to a connection that is ready for mail, from the virtual MTA's own address or not at all."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import Timeouts
from mailagent.delivery.connection import Connection, Owner, Source, Waits, waits_of
from mailagent.delivery.errors import AddressesExhausted, AddressNotOnHost, BindFailed, ConnectFailed
from mailagent.delivery.session import ehlo_name
from mailagent.routing.rollup import Hop

MAX_HOPS = 5
"""Addresses tried before the attempt counts as failed."""
_IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # Linux; Python names it since 3.12


async def connect(path: Sequence[Hop], source: Source, timeouts: Timeouts, owner: Owner) -> Connection:
    """A connection to the first hop that takes it, greeting and EHLO included.

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
            connection = await _open(hop, source, waits)
            try:
                await connection.handshaken_by(owner)
            except asyncio.CancelledError:
                connection.abort("no longer wanted")
                raise
        except ConnectFailed as exc:
            if failure is None or (failure.reply.local and not exc.reply.local):
                failure = exc
        else:
            return connection
    assert failure is not None  # noqa: S101  # there was at least one hop
    raise failure


async def _open(hop: Hop, source: Source, waits: Waits) -> Connection:
    loop = asyncio.get_running_loop()
    address = source.towards(hop.address)
    if address is None:
        raise _failed(hop, f"{source.vmta} has no IPv{hop.address.version} address")
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
        try:
            async with asyncio.timeout(waits.connect):
                await loop.sock_connect(sock, (str(hop.address), hop.port))
        except TimeoutError as exc:
            raise _failed(hop, f"no connection within {waits.connect:g} s") from exc
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:  # the port is chosen here, not at bind
                raise AddressesExhausted(address) from exc
            raise _failed(hop, _words(exc)) from exc
        _, connection = await loop.create_connection(lambda: Connection(hop, source, waits, loop), sock=sock)
    except BaseException:
        sock.close()
        raise
    return connection


def _words(exc: OSError) -> str:
    return os.strerror(exc.errno) if exc.errno else str(exc)  # asyncio puts its own words into `strerror`


def _failed(hop: Hop, why: str) -> ConnectFailed:
    reply = SmtpReply(code=0, enhanced="4.4.1", text=f"{hop}: {why}", verb=Verb.CONNECT, local=True)
    return ConnectFailed(reply, hop)
