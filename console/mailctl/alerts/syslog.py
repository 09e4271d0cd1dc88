"""A notice as lines of RFC 5424: datagrams (a Unix socket, RFC 5426), or a stream with octet counts (RFC 6587)."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from mailagent.config.alerts import Syslog
from mailagent.config.endpoint import Endpoint

USUAL = Path("/dev/log")


async def log(syslog: Syslog, lines: Sequence[bytes]) -> None:
    """Hand `lines` over; whether a datagram is read is known of a Unix socket alone.

    Raises:
        OSError: nobody is there.
    """
    if syslog.tcp is not None:
        _, writer = await asyncio.open_connection(syslog.tcp.host, syslog.tcp.port)
        try:
            writer.write(b"".join(b"%d %b" % (len(line), line) for line in lines))
            writer.write_eof()
            await writer.drain()
        finally:
            writer.close()
        await writer.wait_closed()
        return
    loop = asyncio.get_running_loop()
    with await _datagrams(syslog.udp, syslog.socket or USUAL) as sock:
        for line in lines:
            await loop.sock_sendall(sock, line)


async def _datagrams(udp: Endpoint | None, path: Path) -> socket.socket:
    loop = asyncio.get_running_loop()
    family, address = socket.AF_UNIX, str(path)
    if udp is not None:
        family, _, _, _, address = (await loop.getaddrinfo(udp.host, udp.port, type=socket.SOCK_DGRAM))[0]  # type: ignore[assignment]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
