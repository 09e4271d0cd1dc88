"""A receiver that writes down every recipient before it answers the final dot."""

import asyncio
from collections import Counter
from collections.abc import Callable

GREETING = b"220 sink.example ESMTP\r\n"
EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"


class Sink:
    """SMTP server on a port of its own; `received` counts messages by recipient, `refuse` may answer RCPT."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.open = 0
        self.most_open = 0
        self.refuse: Callable[[str], bytes | None] = lambda recipient: None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> "Sink":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        source = str(writer.get_extra_info("peername")[0])
        try:
            await self._session(reader, writer, source)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
        writer.write(GREETING)
        recipients: list[str] = []
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(EHLO)
            elif verb == b"RCPT":
                recipient = line[line.index(b"<") + 1 : line.index(b">")].decode()
                refusal = self.refuse(recipient)
                if refusal is None:
                    recipients.append(recipient)
                writer.write(refusal or b"250 2.1.5 ok\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n" if recipients else b"503 5.5.1 no recipients\r\n")
                if recipients:
                    await reader.readuntil(b"\r\n.\r\n")
                    self.received.update(recipients)
                    self.sources[source] += 1
                    recipients = []
                    writer.write(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                await writer.drain()
                return
            else:
                recipients = []
                writer.write(b"250 2.0.0 ok\r\n")
            await writer.drain()
