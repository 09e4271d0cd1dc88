"""Verbs on waiting mail of a real Postfix: they do what they say, to the messages that were meant."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailagent.api import mail, requests
from mailagent.api.errors import Refused
from mailagent.api.ids import OpId
from mailagent.api.operations import OperationRecord, OperationResult
from mailagent.api.targets import MessageFilter
from mailagent.host import Principal
from mailagent.postfix import frozen_acts, orders
from mailagent.postfix.host import PostfixHost
from mailagent.spool import frozen
from tests.integration.processes import until
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix

pytestmark = pytest.mark.needs("postfix", "root")

ALICE = Principal(user="alice", role=requests.Role.OPERATOR)
KINDS: dict[str, type[requests.Mutation]] = {
    "hold": mail.Hold,
    "release": mail.Release,
    "bounce": mail.Bounce,
    "delete": mail.Delete,
    "requeue": mail.Requeue,
    "retry": requests.Retry,
    "undo": requests.Undo,
}
ONE, TWO = MessageFilter(domain="one.test"), MessageFilter(domain="two.test")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "RETRY_S", 0.01)
    monkeypatch.setattr(frozen_acts, "TICK_S", 0.01)


class Desk:
    """Gives orders to a host, and waits for what becomes of them."""

    def __init__(self, own: OwnPostfix, host: PostfixHost) -> None:
        self.own = own
        self.host = host
        self.ops = 0

    async def do(self, verb: str, filter: MessageFilter | None = None, **fields: Any) -> OperationResult:
        self.ops += 1
        if filter is not None:
            fields["filter"] = filter
        request = KINDS[verb](op_id=OpId(f"op{self.ops}"), **fields)
        return await self.host.verbs[verb](request, ALICE)

    async def seen(self, count: int, filter: MessageFilter | None = None) -> None:
        """Wait until so many recipients are mirrored."""

        async def there() -> bool:
            self.host._mirror.look_soon()
            return self.host._mirror.complete and await self.host._spool.count(filter or MessageFilter()) == count

        await until(there, f"{count} recipients are seen")

    async def send(self, recipients: Sequence[str], count: int) -> list[str]:
        """Messages that are deferred."""
        return await asyncio.to_thread(self.own.send, "news@example.test", recipients, count=count)

    async def idle(self) -> None:
        async def over() -> bool:
            self.host._mail.look()
            return not (self.host._control.state.directives or self.host._mail._orders)

        await until(over, "no order is left")

    async def grace_over(self) -> None:
        await self.host._control.expire(datetime.now(UTC) + timedelta(minutes=6))
        await self.idle()

    async def record(self, verb: str) -> OperationRecord:
        rows = (await self.host._spool.operations("", 50)).rows
        return next(row for row in rows if row.verb == verb)

    async def folders(self, ids: Sequence[str]) -> list[str]:
        listed = await asyncio.to_thread(self.own.queue)
        return [listed[one].queue_name if one in listed else "" for one in ids]


async def test_hold_and_undo_leave_what_others_hold(own: OwnPostfix, place: Path) -> None:
    mine = own.send("news@example.test", ["a@one.test"], count=3)
    theirs = own.send("news@example.test", ["a@two.test"], count=2)
    await asyncio.to_thread(own.settle, "deferred", 5)
    own.run("postsuper", "-h", theirs[0])
    async with agent(own, place) as host:
        desk = Desk(own, host)
        await desk.seen(5)
        held = await desk.do("hold", MessageFilter())
        assert held.impact.messages == 4
        await until(lambda: _are(desk, mine, "hold"), "they are on hold")
        assert await desk.folders([*mine, *theirs]) == ["hold"] * 5
        view = next(one for one in host.snapshot().directives if one.directive.id == held.directives[0].id)
        assert view.mail is not None
        assert (view.mail.held, view.mail.settled, view.mail.note) == (4, True, "")
        own.run("postsuper", "-H", mine[0])
        own.run("postsuper", "-d", mine[1])
        await desk.do("undo", undoes=held.op_id)
        await desk.idle()
        assert await desk.folders([*mine, *theirs]) == ["deferred", "", "deferred", "hold", "deferred"]
        assert (await desk.record("freed")).detail == (
            "all mail: 2 messages free again; 1 message not in the queue any more;"
            " 1 message left alone: somebody else has held or released it"
        )
        await desk.seen(1, MessageFilter(held=True))
        released = await desk.do("release", MessageFilter())
        assert released.impact.messages == 1
        assert await desk.folders([theirs[0]]) == ["deferred"]


async def test_bounce_and_delete_come_after_their_grace(own: OwnPostfix, place: Path) -> None:
    bounced = own.send("news@example.test", ["a@one.test"], count=3)
    deleted = own.send("news@example.test", ["a@two.test"], count=3)
    both = own.send("news@example.test", ["a@one.test", "b@two.test"], count=1)
    await asyncio.to_thread(own.settle, "deferred", 7)
    async with agent(own, place) as host:
        desk = Desk(own, host)
        await desk.seen(8)
        taken_back = await desk.do("delete", TWO)
        assert taken_back.impact.messages == 3
        assert await desk.folders([*deleted, *both]) == ["hold"] * 3 + ["deferred"]
        await desk.do("undo", undoes=taken_back.op_id)
        await desk.idle()
        assert await desk.folders(deleted) == ["deferred"] * 3
        own.run("postconf", "-e", "enable_long_queue_ids=no")  # a reload would rename all queue files
        with pytest.raises(Refused, match=r"postconf -c .* -e enable_long_queue_ids=yes"):
            await desk.do("delete", TWO)
        own.run("postconf", "-e", "enable_long_queue_ids=yes")
        await desk.do("delete", TWO)
        await desk.do("bounce", ONE)
        await desk.grace_over()
        await until(_gone(own, [*bounced, *deleted]), "they have left")
        assert await desk.folders(both) == ["deferred"]
        log = own.log.read_text()
        assert all(f"{one}: sender non-delivery notification" in log for one in bounced)
        assert not any(f"{one}: sender non-delivery notification" in log for one in deleted)
        assert "3 messages returned to the sender; 1 message left alone" in (await desk.record("bounced")).detail
        named = await desk.do("delete", MessageFilter(message_id=both[0]), dry_run=True)
        assert named.impact.messages == 2


def _gone(own: OwnPostfix, ids: Sequence[str]) -> Callable[[], Any]:
    async def gone() -> bool:
        listed = await asyncio.to_thread(own.queue)
        return not any(one in listed for one in ids)

    return gone


async def test_retry_and_requeue_end_themselves(own: OwnPostfix, place: Path) -> None:
    tried = own.send("news@example.test", ["a@one.test"], count=5)
    requeued = own.send("news@example.test", ["a@two.test"], count=2)
    await asyncio.to_thread(own.settle, "deferred", 7)
    before = own.log.read_text().count("status=deferred")
    async with agent(own, place) as host:
        desk = Desk(own, host)
        await desk.seen(7)
        await desk.do("retry", ONE, spread_s=1)
        await desk.idle()
        assert "5 messages tried again" in (await desk.record("retried")).detail

        async def attempted() -> bool:
            return own.log.read_text().count("status=deferred") >= before + len(tried)

        await until(attempted, "each was tried once more")
        await desk.do("requeue", TWO)
        await desk.idle()
        assert (await desk.record("requeued")).detail == "domain:two.test: 2 messages requeued"
        assert await desk.folders(requeued) == ["maildrop"] * 2  # where they are taken up within a minute


async def test_a_postfix_that_is_stopped_can_hold_and_says_that_it_cannot_try(own: OwnPostfix, place: Path) -> None:
    ids = own.send("news@example.test", ["a@one.test"], count=2)
    await asyncio.to_thread(own.settle, "deferred", 2)
    async with agent(own, place) as host:
        desk = Desk(own, host)
        await desk.seen(2)
        own.run("postfix", "stop")
        await desk.do("retry", ONE, spread_s=1)
        await desk.idle()
        assert "2 messages not done; postqueue: exit code 69" in (await desk.record("retried")).detail
        await desk.do("hold", ONE)
        own.run("postfix", "start")
        assert await desk.folders(ids) == ["hold", "hold"]


async def test_the_helper_holds_for_an_agent(own: OwnPostfix, place: Path) -> None:
    ids = own.send("news@example.test", ["a@one.test"], count=2)
    await asyncio.to_thread(own.settle, "deferred", 2)
    command = [
        sys.executable,
        "-m",
        "mailagent",
        "postfix",
        "helper",
        "--config",
        str(own.config_dir),
        "--user",
        "root",
    ]
    async with agent(own, place, more=f", helper: {json.dumps(command)}") as host:
        desk = Desk(own, host)
        await desk.seen(2)
        await desk.do("hold", ONE)
        await until(lambda: _are(desk, ids, "hold"), "they are on hold")
    script = ["setpriv", "--reuid=65534", "--clear-groups", "--", *command[:-1], "postfix"]
    asked = json.dumps({"act": "delete", "ids": ids}) + "\n"
    refused = await asyncio.to_thread(subprocess.run, script, input=asked, capture_output=True, text=True, check=False)
    assert "user 65534 may not ask; postfix may" in refused.stdout
    assert sorted(own.queue()) == sorted(ids)


async def _are(desk: Desk, ids: Sequence[str], folder: str) -> bool:
    return await desk.folders(ids) == [folder] * len(ids)


async def test_orders_go_on_after_a_restart(own: OwnPostfix, place: Path) -> None:
    ids = own.send("news@example.test", ["a@one.test"], count=2)
    await asyncio.to_thread(own.settle, "deferred", 2)
    async with agent(own, place) as host:
        desk = Desk(own, host)
        await desk.seen(2)
        held = await desk.do("delete", ONE)
    assert {one.queue_name for one in own.queue().values()} == {"hold"}
    async with agent(own, place) as host:
        desk = Desk(own, host)
        desk.ops = 10
        await desk.do("undo", undoes=held.op_id)
        await desk.idle()
        assert await desk.folders(ids) == ["deferred", "deferred"]
        assert not await host._spool.on_held(frozen.tallies)
