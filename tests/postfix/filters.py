"""A content filter as amavis is one: takes mail by SMTP, hands it back on another port before it answers, and passes on
who sent it (XFORWARD, https://www.postfix.org/XFORWARD_README.html)."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Filter:
    """`back` is where mail is handed back. `refusal` is answered in its place; `forwards`: XFORWARD is offered."""

    back: int
    forwards: bool = True
    refusal: bytes = b""
    port: int = 0
    seen: list[str] = field(default_factory=list)  # lines of XFORWARD

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients, forward = "", list[str](), list[str]()
        answer = b"220 filter.example.test ESMTP\r\n"
        while True:
            writer.write(answer)
            await writer.drain()
            line = (await reader.readline()).decode()
            verb, answer = line[:4].upper(), b"250 2.0.0 ok\r\n"
            if verb == "EHLO":
                offer = b"250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n" if self.forwards else b""
                answer = b"250-filter.example.test\r\n" + offer + b"250 8BITMIME\r\n"
            elif verb == "XFOR":
                forward.append(line.strip())
            elif verb == "MAIL":
                sender, recipients = line[line.index("<") + 1 : line.index(">")], []
            elif verb == "RCPT":
                recipients.append(line[line.index("<") + 1 : line.index(">")])
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                data = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
                answer = self.refusal or await asyncio.to_thread(self._hand_back, sender, recipients, forward, data)
                self.seen += forward
                forward = []
            elif verb == "QUIT" or not line:
                break
        writer.close()

    def _hand_back(self, sender: str, recipients: list[str], forward: list[str], data: bytes) -> bytes:
        with smtplib.SMTP("127.0.0.1", self.back, timeout=30) as client:
            client.ehlo("filter.example.test")
            for line in forward:
                client.docmd(line)
            client.mail(sender)
            for recipient in recipients:
                client.rcpt(recipient)
            code, said = client.data(data)
        return f"{code} 2.0.0 from MTA(smtp:[127.0.0.1]:{self.back}): {code} {said.decode()}\r\n".encode()


@asynccontextmanager
async def content_filter(back: int, *, forwards: bool = True) -> AsyncIterator[Filter]:
    """One that listens on 127.0.0.1 at a port of its own."""
    one = Filter(back, forwards)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        await server.wait_closed()
