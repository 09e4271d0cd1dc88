"""A receiver that writes down every recipient before it answers the final dot, and refuses what a test wants."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

GREETING = b"220 sink.example ESMTP\r\n"
EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
TAKEN = b"250 2.0.0 taken\r\n"
CLOSE = b""
"""As an answer to the final dot: take the message, and close without a word."""


@dataclass(slots=True)
class Mail:
    """One transaction as the receiver saw it."""

    connection: int
    source: str
    helo: str = ""
    sender: str = ""
    recipients: list[str] = field(default_factory=list)  # accepted ones
    refused: list[str] = field(default_factory=list)
    data: bytes = b""
    taken: bool = False
    at: float = field(default_factory=time.monotonic)  # of MAIL


class Sink:
    """SMTP server on a port of its own; `received` counts messages by recipient, `mails` has every transaction.

    The hooks answer in its place: None is yes, 421 also closes.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.received: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.mails: list[Mail] = []
        self.open = 0
        self.most_open = 0
        self.greet: Callable[[str], bytes | None] = lambda source: None
        self.refuse: Callable[[Mail, str], bytes | None] = lambda mail, recipient: None  # at RCPT
        self.at_dot: Callable[[Mail], bytes | None] = lambda mail: None
        self.gate: asyncio.Event | None = None  # hold the answer to final dots until it is set
        self.at_gate = 0  # final dots that wait for it
        self._host = host
        self._connections = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def sources_of(self, *recipients: str) -> set[str]:
        """Addresses that messages to `recipients` came from."""
        return {mail.source for mail in self.mails if mail.taken and set(mail.recipients) & set(recipients)}

    def attempts(self, recipient: str) -> list[Mail]:
        """Transactions that named `recipient`, in order."""
        return [mail for mail in self.mails if recipient in (*mail.recipients, *mail.refused)]

    async def __aenter__(self) -> "Sink":
        self._server = await asyncio.start_server(self._connected, self._host, 0, limit=2**25)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _turn in range(3):  # asyncio drops what it accepts in the turn of `close` without closing it
            await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # what has not left by now would keep the socket open after the loop
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer), name="sink connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        source = str(writer.get_extra_info("peername")[0])
        try:
            await self._session(reader, writer, source)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
        connection = next(self._connections)
        greeting = self.greet(source) or GREETING
        writer.write(greeting)
        await writer.drain()
        if not greeting.startswith(b"220"):
            return
        helo = ""
        mail = Mail(connection, source)
        while line := await reader.readline():
            verb = line[:4].upper()
            answer = b"250 2.0.0 ok\r\n"
            if verb == b"EHLO":
                helo = line[5:].strip().decode()
                answer = EHLO
            elif verb == b"MAIL":
                mail = Mail(connection, source, helo, _address(line))
                self.mails.append(mail)
            elif verb == b"RCPT":
                recipient = _address(line)
                refusal = self.refuse(mail, recipient)
                (mail.recipients if refusal is None else mail.refused).append(recipient)
                answer = refusal or b"250 2.1.5 ok\r\n"
            elif verb == b"DATA" and not mail.recipients:
                answer = b"503 5.5.1 no recipients\r\n"
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                mail.data = await reader.readuntil(b"\r\n.\r\n")
                answer = await self._take(mail)
                if answer == CLOSE:
                    return
            elif verb == b"QUIT":
                answer = b"221 2.0.0 bye\r\n"
            writer.write(answer)
            await writer.drain()
            if answer.startswith((b"221", b"421")):
                return

    async def _take(self, mail: Mail) -> bytes:
        if self.gate is not None:
            self.at_gate += 1
            try:
                await self.gate.wait()
            finally:
                self.at_gate -= 1
        answer = self.at_dot(mail)
        if answer is None:
            answer = TAKEN
        if answer == CLOSE or answer.startswith(b"2"):
            mail.taken = True
            self.received.update(mail.recipients)
            self.sources[mail.source] += 1
        return answer


def _address(line: bytes) -> str:
    return line[line.index(b"<") + 1 : line.index(b">")].decode()
