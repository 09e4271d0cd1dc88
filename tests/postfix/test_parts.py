"""Parts of messages that wait in a real Postfix: the same view, with the same bounds, as on hosts of our own engine."""

import asyncio
import smtplib
from pathlib import Path

import pytest

from mailagent.api.errors import NotFound, Unavailable
from mailagent.api.parts import MessageParts, PartsRequest
from mailagent.config.postfix import Postfix
from mailagent.parts import MOST_BYTES
from mailagent.postfix.commands import Programs
from mailagent.postfix.host import PostfixHost
from mailagent.postfix.texts import Texts
from tests.agent.test_parts import MIXED
from tests.integration.processes import until
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix

pytestmark = pytest.mark.needs("postfix", "root")


def hand_in(own: OwnPostfix, message: bytes) -> str:
    """Its queue id."""
    with smtplib.SMTP("127.0.0.1", own.port, timeout=30) as client:
        client.ehlo("client.example.test")
        client.mail("news@example.test")
        client.rcpt("a@one.test")
        code, said = client.data(message)
        assert code == 250, said
        return said.decode().rpartition(" ")[2]


async def parts(host: PostfixHost, queue_id: str, part: int | None = None) -> MessageParts:
    found = await host.reads["parts"](PartsRequest(message_id=queue_id, part=part))
    assert isinstance(found, MessageParts)
    return found


async def seen(host: PostfixHost, *queue_ids: str) -> None:
    async def there() -> bool:
        host._mirror.look_soon()
        try:
            for one in queue_ids:
                await parts(host, one)
        except NotFound:
            return False
        return True

    await until(there, "the messages are seen")


async def test_parts_of_a_waiting_message_are_listed_and_read_within_bounds(own: OwnPostfix, tmp_path: Path) -> None:
    own.set(message_size_limit="20000000")
    mixed = hand_in(own, MIXED)
    large = hand_in(own, b"Subject: x\r\n\r\n" + (b"y" * 900 + b"\r\n") * (MOST_BYTES // 900))
    await asyncio.to_thread(own.settle, "deferred", 2)
    async with agent(own, tmp_path) as host:
        await seen(host, mixed, large)
        found = await parts(host, mixed, 1)
        assert [(one.kind, one.name) for one in found.parts] == [
            ("text/plain", ""), ("text/html", ""), ("application/pdf", "b.pdf"),
        ]  # fmt: skip
        assert (found.parts[2].octets, found.truncated, found.text.strip()) == (5, False, "hello you")
        assert (await parts(host, mixed, 0)).text.strip() == "grüße"
        found = await parts(host, large, 0)
        assert (found.truncated, found.text_truncated, len(found.text) <= 65_536) == (True, True, True)
        for queue_id, part in ((mixed, 3), ("4XkZ0s1Qz9z9rXH", 0), ("../../etc/passwd", 0)):
            with pytest.raises(NotFound):
                await parts(host, queue_id, part)
        own.run("postsuper", "-d", mixed)
        with pytest.raises(NotFound):  # the listing before has it still
            await parts(host, mixed)
        blind = Texts(Programs(Postfix(command=("/bin/false",))), None, host._spool)
        with pytest.raises(Unavailable, match="cannot be read"):
            await blind.of(large, 10)
