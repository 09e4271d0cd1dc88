"""A sending application that writes down every 250 and starts again where it was cut off."""

import asyncio
from collections.abc import Iterator

BODY = b"Subject: hello\r\n\r\nworld\r\n"


class Session:
    """One SMTP connection of a client that goes step by step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> tuple["Session", str]:
        """The connection and its greeting."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        session = cls(reader, writer)
        return session, await session.reply()

    async def say(self, line: str) -> str:
        """Send a command (or a text and its end): the reply."""
        self._writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def reply(self) -> str:
        """The last line of the next reply."""
        async with asyncio.timeout(30):
            while True:
                line = await self._reader.readuntil(b"\r\n")
                if line[3:4] != b"-":
                    return line.decode().strip()

    async def close(self) -> None:
        """Leave without a word."""
        self._writer.close()
        await self._writer.wait_closed()


async def hand_in(
    port: int, *recipients: str, sender: str = "a@sender.example", headers: str = "", body: str = BODY.decode()
) -> str:
    """One message over a connection of its own; the reply to its final dot, or the first one that refused.

    `headers` go before those of `body`, which is as it stands on the wire.
    """
    session, reply = await Session.open(port)
    try:
        for line in (
            "EHLO client.example",
            f"MAIL FROM:<{sender}>",
            *(f"RCPT TO:<{recipient}>" for recipient in recipients),
            "DATA",
            f"{headers}{body}.",
        ):
            if reply[0] not in "23":
                break
            reply = await session.say(line)
    finally:
        await session.close()
    return reply


class Client:
    """Sends one message per recipient over `connections`.

    `acknowledged` are those that got their 250; `repeated` those whose 250 was cut off, so that they were handed in
    again and may arrive twice through no fault of the agent (RFC 1047).
    """

    def __init__(self, port: int, recipients: Iterator[str], *, body: bytes = BODY) -> None:
        self.acknowledged: set[str] = set()
        self.repeated: set[str] = set()
        self.refused: list[bytes] = []
        self._port = port
        self._recipients = recipients
        self._body = body

    async def run(self, connections: int) -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(connections):
                group.create_task(self._send_all(), name=f"client:{n}")

    async def _send_all(self) -> None:
        recipient: str | None = None
        while True:
            try:
                async with asyncio.timeout(60):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            dot = False
            try:
                async with asyncio.timeout(60):
                    if not await self._expect(reader, b"220"):
                        continue
                    writer.write(b"EHLO client.example\r\n")
                    await self._expect(reader, b"250")
                while True:
                    if recipient is None:
                        recipient = next(self._recipients, None)
                    if recipient is None:
                        writer.write(b"QUIT\r\n")
                        await self._expect(reader, b"221")
                        return
                    async with asyncio.timeout(60):
                        writer.write(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient.encode())
                        replies = [await self._expect(reader, code) for code in (b"250", b"250", b"354")]
                        if not all(replies):
                            return
                        writer.write(self._body + b".\r\n")
                        dot = True
                        if await self._expect(reader, b"250"):
                            self.acknowledged.add(recipient)
                            recipient = None
                        dot = False
            except (ConnectionError, asyncio.IncompleteReadError):
                if dot and recipient is not None:
                    self.repeated.add(recipient)
                continue
            finally:
                writer.close()

    async def _expect(self, reader: asyncio.StreamReader, code: bytes) -> bool:
        while True:
            line = await reader.readuntil(b"\r\n")
            if line[3:4] != b"-":
                if not line.startswith(code):
                    self.refused.append(line)
                return line.startswith(code)
