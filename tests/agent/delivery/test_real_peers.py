"""Against servers that others wrote: aiosmtpd, and Postfix's smtp-sink."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailagent.delivery import ConnectFailed
from mailagent.routing import Hop
from tests.agent.delivery.peer import BODY, Recorder, message, timeouts
from tests.conftest import program
from tests.integration.processes import free_port


class Mailbox:
    """An aiosmtpd handler that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], bytes]] = []

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("unknown"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.messages.append((list(envelope.rcpt_tos), content))
        return "250 2.0.0 kept"


async def test_aiosmtpd_gets_the_message_byte_for_byte() -> None:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="peer.example", loop=loop), "127.0.0.1", 0)
    hop = Hop("peer.example", ip_address("127.0.0.1"), server.sockets[0].getsockname()[1])
    body = BODY + b".\r\n..\r\n.x\r\n" + "grüße\r\n".encode()
    owner = Recorder(
        message(b"unknown@x.example"),
        message(b"u@x.example", b"unknown@x.example", body=body, eightbit=True),
        message(b"v@x.example"),
    )
    reply, _, _ = await owner.run(hop)
    server.close()
    assert reply.code == 221
    assert [codes for name, codes in owner.events if name == "settled"] == [[550], [250, 550], [250]]
    added = b"X-Added: 1\r\n"
    assert mailbox.messages == [(["u@x.example"], added + body), (["v@x.example"], added + BODY)]


@asynccontextmanager
async def smtp_sink(*options: str) -> AsyncIterator[Hop]:
    """A running smtp-sink on a free port."""
    sink = program("smtp-sink")
    assert sink is not None
    user = ("-u", "nobody") if os.geteuid() == 0 else ()  # it refuses to run as root
    for _ in range(3):
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sink, *user, *options, f"127.0.0.1:{port}", "64", stderr=asyncio.subprocess.DEVNULL
        )
        hop = Hop("sink.example", ip_address("127.0.0.1"), port)
        try:
            while process.returncode is None:  # else the port was taken meanwhile
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                await writer.wait_closed()
                yield hop
                return
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    raise RuntimeError("smtp-sink found no port")


@pytest.mark.needs("smtp-sink")
@pytest.mark.parametrize("options", [(), ("-p",), ("-e",), ("-8",)], ids=["esmtp", "no pipelining", "helo", "no 8bit"])
async def test_smtp_sink_takes_a_hundred_messages_on_one_connection(options: tuple[str, ...]) -> None:
    async with smtp_sink(*options) as hop:
        owner = Recorder(*[message(body=BODY * 500)] * 100)
        reply, _, _ = await owner.run(hop)
    assert owner.events.count(("settled", [250])) == 100
    assert reply.code == 221


@pytest.mark.needs("smtp-sink")
@pytest.mark.parametrize(
    ("option", "expected"),
    [("mail", [500, 500]), ("rcpt", [500, 500]), ("data", [500, 500]), (".", [500, 500])],
)
async def test_smtp_sink_refusing_a_step_is_survived(option: str, expected: list[int]) -> None:
    async with smtp_sink("-f", option) as hop:
        owner = Recorder(message(b"u@x.example", b"v@x.example"), message(b"u@x.example", b"v@x.example"))
        reply, _, _ = await owner.run(hop)
    assert [codes for name, codes in owner.events if name == "settled"] == [expected, expected]
    assert reply.code == 221


@pytest.mark.needs("smtp-sink")
@pytest.mark.parametrize(("option", "in_doubt"), [("mail", False), ("rcpt", False), ("data", False), (".", True)])
async def test_smtp_sink_dropping_the_connection_is_told(option: str, in_doubt: bool) -> None:
    async with smtp_sink("-q", option) as hop:
        owner = Recorder(message())
        _, transaction, doubt = await owner.run(hop)
    assert transaction is not None
    assert doubt is in_doubt


@pytest.mark.needs("smtp-sink")
async def test_smtp_sink_refusing_the_session_fails_the_connect() -> None:
    async with smtp_sink("-f", "connect") as hop:
        with pytest.raises(ConnectFailed) as failed:
            await Recorder().run(hop, limits=timeouts(greeting=5))
    assert not failed.value.reply.is_success
