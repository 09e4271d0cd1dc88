"""A real Postfix queue, as the console and the commands see it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailagent.api.errors import NotFound
from mailagent.api.ids import MessageId
from mailagent.api.reasons import ReasonKind
from mailagent.api.replies import DeferredGroups, MessagePage
from mailagent.api.requests import MessageRequest, PageRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term
from mailagent.api.views import MessageDetail, MessageSummary
from mailagent.postfix.host import PostfixHost
from tests.integration.processes import until
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix

pytestmark = pytest.mark.needs("postfix", "root")


async def messages(host: PostfixHost, filter: MessageFilter | None = None) -> list[MessageSummary]:
    page = await host.reads["messages"](PageRequest(filter=filter or MessageFilter()))
    assert isinstance(page, MessagePage)
    return list(page.rows)


async def message(host: PostfixHost, queue_id: str) -> MessageDetail:
    found = await host.reads["message"](MessageRequest(message_id=MessageId(queue_id)))
    assert isinstance(found, MessageDetail)
    return found


async def seen(host: PostfixHost, count: int) -> list[MessageSummary]:
    async def there() -> bool:
        host._mirror.look_soon()
        return host._mirror.complete and len(await messages(host)) == count

    await until(there, f"{count} recipients are seen")
    return await messages(host)


async def test_deferred_mail_is_seen_with_its_own_id_its_reply_and_its_next_try(
    own: OwnPostfix, tmp_path: Path
) -> None:
    (queue_id,) = own.send("news@example.test", ["a@one.test", "b@two.test"], subject="hello")
    before = await asyncio.to_thread(own.settle, "deferred", 1)
    async with agent(own, tmp_path) as host:
        rows = await seen(host, 2)
        assert {row.message_id for row in rows} == {queue_id}
        assert [(row.recipient, row.sender, row.domain) for row in rows] == [
            ("a@one.test", "news@example.test", "one.test"),
            ("b@two.test", "news@example.test", "two.test"),
        ]
        assert all(row.reply is not None and row.reply.local and "Connection refused" in row.reply.text for row in rows)
        arrived = datetime.fromtimestamp(before[queue_id].arrival_time, UTC)
        assert rows[0].received_at == arrived
        assert timedelta(minutes=30) < rows[0].next_try_at - arrived < timedelta(hours=3)
        assert rows[0].expires_at == arrived + timedelta(days=5)
        assert rows[0].unknown == ("stream", "pool")
        detail = await message(host, queue_id)
        assert [reason.kind for reason in detail.reasons] == [ReasonKind.SCHEDULE, ReasonKind.REST]
        assert detail.reasons[0].until == rows[0].next_try_at
        assert "Subject: hello" in detail.headers
        groups = await host.reads["deferred"](PageRequest())
        assert isinstance(groups, DeferredGroups)
        assert [group.count for group in groups.groups] == [2]
        found = await messages(host, MessageFilter(terms=(Term(field=Field.MESSAGE, value=f"{queue_id}.1"),)))
        assert [row.recipient for row in found] == ["b@two.test"]

        async def counted() -> bool:
            view = host.snapshot().host
            return (view.waiting, view.deferred, view.accepting) == (2, 2, True)

        await until(counted, "the host counts two recipients")
        assert host.snapshot().host.engine.startswith("postfix 3.")
        with pytest.raises(NotFound):
            await message(host, "4XkZ0s1Qz9z9rXH")


async def test_hold_release_and_delete_by_others_are_followed(own: OwnPostfix, tmp_path: Path) -> None:
    first, second = own.send("news@example.test", ["a@one.test"], count=2)
    await asyncio.to_thread(own.settle, "deferred", 2)
    async with agent(own, tmp_path) as host:
        await seen(host, 2)
        own.run("postsuper", "-h", first)

        async def is_held() -> bool:
            host._mirror.look_soon()
            return [row.message_id for row in await messages(host, MessageFilter(held=True))] == [first]

        await until(is_held, "the message is held")
        detail = await message(host, first)
        assert detail.reasons[0].kind is ReasonKind.HELD
        assert detail.summary.held
        own.run("postsuper", "-H", first)

        async def is_free() -> bool:
            host._mirror.look_soon()
            return not await messages(host, MessageFilter(held=True))

        await until(is_free, "the message is free")
        own.run("postsuper", "-d", second)
        assert [row.message_id for row in await seen(host, 1)] == [first]
        with pytest.raises(NotFound):
            await message(host, second)


async def test_what_was_seen_is_still_there_after_a_restart_and_nothing_is_doubled(
    own: OwnPostfix, tmp_path: Path
) -> None:
    own.send("news@example.test", ["a@one.test"], count=3)
    listed = await asyncio.to_thread(own.settle, "deferred", 3)
    async with agent(own, tmp_path) as host:
        rows = await seen(host, 3)
    async with agent(own, tmp_path) as host:
        assert await messages(host) == rows
        await host._mirror.look()
        await host._mirror.look()
        assert await messages(host) == rows
        assert [row.attempts for row in rows] == [1, 1, 1]
    assert own.queue() == listed
