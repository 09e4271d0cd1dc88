"""The far side for tests: a scripted SMTP peer, and an owner that writes down what connections tell it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailagent.api.ids import VmtaName
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import Timeouts
from mailagent.delivery import Connection, Source, Transaction, connect
from mailagent.delivery.connect import Security
from mailagent.routing import Hop

SOURCE = Source(vmta=VmtaName("a1"), address=IPv4Address("127.0.0.1"), address6=IPv6Address("::1"), ehlo="a1.example")
BODY = b"Subject: x\r\n\r\nhello\r\n"

Script = Callable[["Dialogue"], Awaitable[None]]


def message(*recipients: bytes, body: bytes = BODY, eightbit: bool = False, token: object = None) -> Transaction:
    return Transaction(
        sender=b"a@b.example",
        recipients=recipients or (b"u@x.example",),
        added=b"X-Added: 1\r\n",
        body=body,
        eightbit=eightbit,
        token=token,
    )


def timeouts(**seconds: float) -> Timeouts:
    return Timeouts(**{name: timedelta(seconds=value) for name, value in seconds.items()})


class Dialogue:
    """The peer's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *lines: str) -> None:
        self.writer.write(b"".join(line.encode() + b"\r\n" for line in lines))
        await self.writer.drain()

    async def hear(self) -> str:
        line = await self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        return line[:-2].decode()

    async def secure(self, context: ssl.SSLContext, *extensions: str) -> None:
        """Take STARTTLS, then EHLO again."""
        assert await self.hear() == "STARTTLS"
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the handshake is not for the reader
        await self.say("220 go ahead")
        await self.writer.start_tls(context)
        assert (await self.hear()).startswith("EHLO ")
        await self.say(*(f"250-{word}" for word in ("peer", *extensions)), "250 OK")

    async def take(self) -> bytes:
        """One message, then QUIT."""
        await self.accept(await self.envelope())
        body = await self.data()
        await self.say("250 2.0.0 kept")
        assert await self.hear() == "QUIT"
        await self.say("221 bye")
        return body

    async def greet(self, *extensions: str) -> None:
        await self.say("220 peer ESMTP")
        assert (await self.hear()).startswith("EHLO ")
        await self.say(*(f"250-{word}" for word in ("peer", *extensions)), "250 OK")

    async def envelope(self) -> list[str]:
        """Lines up to DATA."""
        lines = [await self.hear()]
        while lines[-1] != "DATA":
            lines.append(await self.hear())
        return lines

    async def accept(self, envelope: list[str], *, go: str = "354 go") -> None:
        await self.say(*["250 ok"] * (len(envelope) - 1), go)

    async def data(self) -> bytes:
        """The message, dots still stuffed, without its end."""
        return (await self.reader.readuntil(b"\r\n.\r\n"))[:-3]

    async def closed(self) -> None:
        """Wait for the client to close."""
        while await self.reader.read(65536):
            pass

    def cut(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def peer(script: Script, address: str = "127.0.0.1") -> AsyncIterator[Hop]:
    """A listener that runs `script` for each connection; its faults fail the test."""
    faults: list[BaseException] = []
    done: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        done.add(task)
        try:
            async with asyncio.timeout(10):
                await script(Dialogue(reader, writer))
        except (ConnectionError, EOFError):
            pass
        except Exception as exc:  # noqa: BLE001  # raised where the peer was made
            faults.append(exc)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, address, 0, limit=2**26)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Hop("mx.example", ip_address(address), port)
    finally:
        server.close()
        async with asyncio.timeout(10):
            await asyncio.gather(*done)
        if faults:
            raise faults[0]


class Recorder:
    """An owner: sends what it is given, then quits, and writes everything down."""

    def __init__(self, *messages: Transaction) -> None:
        self.waiting = list(messages)
        self.events: list[tuple[str, object]] = []
        self.connection: Connection | None = None
        self.end: asyncio.Future[tuple[SmtpReply, Transaction | None, bool]] = (
            asyncio.get_running_loop().create_future()
        )
        self.quit_when_done = True
        self.on_before_dot: Callable[[Connection], object] = lambda connection: None
        self.holds_dot = False

    def ready(self, connection: Connection) -> None:
        self.connection = connection
        self.events.append(("ready", None))
        assert not connection.busy
        if self.waiting:
            connection.send(self.waiting.pop(0))
        elif self.quit_when_done:
            connection.quit()

    def before_dot(self, connection: Connection, transaction: Transaction, recipients: Sequence[int]) -> None:
        assert not connection.past_dot
        self.events.append(("before_dot", list(recipients)))
        self.on_before_dot(connection)
        if not self.holds_dot:
            connection.end()

    def settled(
        self, connection: Connection, transaction: Transaction, replies: Sequence[SmtpReply], duration_s: float
    ) -> None:
        assert duration_s >= 0
        assert not connection.past_dot
        self.events.append(("settled", [reply.code for reply in replies]))
        self.replies = list(replies)

    def closed(self, connection: Connection, reply: SmtpReply, transaction: Transaction | None, in_doubt: bool) -> None:
        assert not connection.busy
        self.events.append(("closed", in_doubt))
        self.end.set_result((reply, transaction, in_doubt))

    async def run(
        self, *path: Hop, source: Source = SOURCE, limits: Timeouts | None = None, security: Security | None = None
    ) -> tuple[SmtpReply, Transaction | None, bool]:
        """Connect, do everything, and tell how it ended."""
        async with asyncio.timeout(20):
            await connect(path, source, limits or timeouts(), self, security)
            return await self.end

    def names(self) -> list[str]:
        return [name for name, _ in self.events]
