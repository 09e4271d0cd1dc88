"""A sending application that writes down every 250 and starts again where it was cut off."""

import asyncio
from collections.abc import Iterator


class Client:
    """Sends one message per recipient over `connections`.

    `acknowledged` are those that got their 250; `repeated` those whose 250 was cut off, so that they were handed in
    again and may arrive twice through no fault of the agent (RFC 1047).
    """

    def __init__(
        self, port: int, recipients: Iterator[str], *, body: bytes = b"Subject: hello\r\n\r\nworld\r\n"
    ) -> None:
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
