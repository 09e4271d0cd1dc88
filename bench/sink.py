"""A receiver as a process: takes everything, counts messages, offers STARTTLS, writes down when it answered whom.

    python -m bench.sink PORT [--messages N] [--tls CERT KEY] [--log FILE --match TEXT]

Ends after N messages. The log has a line `<recipient> <monotonic seconds>` for each message to a recipient that
contains TEXT, taken when its final dot is answered. The clock is the machine's: other processes may compare.
smtp-sink is quicker, but has neither TLS nor a log of times.
"""

import argparse
import asyncio
import contextlib
import ssl
import sys
import time
from typing import TextIO, cast

import uvloop

EHLO = (b"sink.example", b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES")
OK = b"250 2.0.0 Ok\r\n"


class Server:
    """What its connections share."""

    def __init__(self, messages: int | None, tls: ssl.SSLContext | None, log: TextIO | None, match: bytes) -> None:
        self.left = messages
        self.tls = tls
        self.log = log
        self.match = match
        self.done = asyncio.Event()

    def taken(self, recipient: bytes) -> None:
        """One message is answered."""
        if self.log is not None and self.match in recipient:
            self.log.write(f"{recipient.decode()} {time.monotonic():.6f}\n")
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.done.set()


class Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._in_data = False
        self._secure = False
        self._recipient = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, unless this is the same connection under TLS."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._secure:
            self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Commands and message texts, as they come."""
        buffer = self._buffer
        buffer += data
        out = bytearray()
        while buffer:
            if self._in_data:
                end = buffer.find(b"\r\n.\r\n")
                if end < 0:
                    del buffer[:-4]
                    break
                del buffer[: end + 5]
                self._in_data = False
                out += OK
                self._transport.write(bytes(out))
                out.clear()
                self._server.taken(self._recipient)
                continue
            end = buffer.find(b"\r\n")
            if end < 0:
                break
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            verb = line[:4].upper()
            if verb == b"RCPT":
                self._recipient = line[9 : line.index(b">")]
                out += OK
            elif verb == b"DATA":
                self._in_data = True
                out += b"354 go on\r\n"
            elif verb == b"EHLO":
                out += self._ehlo()
            elif verb == b"STAR":
                self._transport.write(b"220 2.0.0 go on\r\n")
                task = asyncio.get_running_loop().create_task(self._start_tls(), name="starttls")
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                return
            elif verb == b"QUIT":
                self._transport.write(bytes(out) + b"221 2.0.0 bye\r\n")
                self._transport.close()
                return
            else:
                out += OK
        if out:
            self._transport.write(bytes(out))

    def _ehlo(self) -> bytes:
        words = EHLO if self._server.tls is None or self._secure else (*EHLO, b"STARTTLS")
        lines = [b"250-" + word for word in words[:-1]] + [b"250 " + words[-1]]
        return b"\r\n".join(lines) + b"\r\n"

    async def _start_tls(self) -> None:
        assert self._server.tls is not None
        self._secure = True
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            transport = await loop.start_tls(self._transport, self, self._server.tls, server_side=True)
            if transport is not None:
                self._transport = transport


async def serve(port: int, server: Server) -> None:
    """Take mail until the last expected message."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Receiver(server), "127.0.0.1", port, backlog=1000)
    async with listener:
        await server.done.wait()
        await asyncio.sleep(0)  # the last answer is on its way
    if server.log is not None:
        server.log.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--log", type=argparse.FileType("w", encoding="utf-8"))
    parser.add_argument("--match", default="")
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    uvloop.run(serve(options.port, Server(options.messages, context, options.log, options.match.encode())))
    sys.exit(0)


if __name__ == "__main__":
    main()
