"""What an operator can find out about waiting mail."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.reasons import ReasonKind
from mailagent.api.requests import HistoryScope
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term
from mailagent.api.views import MessageSummary
from tests.integration.client import Client
from tests.integration.processes import until
from tests.integration.rig import LATE, POOLS, rig


async def test_a_deferred_message_shows_its_reply_its_attempts_and_its_next_try(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"450 4.2.1 \x1b[31mtoo busy\xff\r\n"
        await one.accepted("r@a.example", headers="X-Job: spring\r\nX-Virtual-MTA: mkt-1\r\n")
        await one.deferred(1)
        await one.do("retry", filter=MessageFilter(recipient="r@a.example"), spread_s=0)
        await one.holds(lambda: len(one.sink.attempts("r@a.example")) == 2, "a second attempt")
        detail = await one.explained("r@a.example", lambda now: len(now.attempts) == 2, "two attempts")
        assert [attempt.number for attempt in detail.attempts] == [1, 2]
        for attempt in detail.attempts:
            assert attempt.reply.code == 450
            assert attempt.reply.enhanced == "4.2.1"
            assert attempt.reply.text.endswith("too busy\\xff")
            assert (attempt.mx, attempt.remote) == ("mx.a.example", f"127.0.0.1:{one.sink.port}")
            assert attempt.source in ("127.0.1.1", "127.0.1.2")
        reason, cause = detail.reasons
        assert reason.kind is ReasonKind.SCHEDULE
        assert (reason.key, reason.origin.partition(":")[0]) == ("retry", "agent.yaml")
        assert (cause.kind, cause.reply) == (ReasonKind.REPLY, detail.summary.reply)
        assert cause.origin == f"mx.a.example (127.0.0.1:{one.sink.port})"
        assert reason.until == detail.summary.next_try_at
        assert detail.summary.next_try_at - datetime.now(UTC) > timedelta(minutes=55)
        assert reason.release == f"mailctl retry message:{detail.summary.message_id}"
        assert detail.job == "spring"
        assert detail.client == "127.0.0.1"
        assert detail.recipients == 1
        assert detail.headers.startswith("Received: from client.example")
        assert "Subject: hello" in detail.headers
        assert "X-Job" not in detail.headers
        assert "X-Virtual-MTA" not in detail.headers
        with pytest.raises(NotFound, match="no message"):
            await one.call("message", message_id="0" * 17)


async def test_the_files_tell_what_became_of_a_recipient_and_lists_are_narrowed_by_terms(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        full_up = b"452 4.2.2 mailbox full\r\n"
        one.sink.refuse = lambda mail, recipient: full_up if recipient.startswith("full") else None
        await one.accepted("full@a.example", headers="X-Job: spring\r\n")
        await one.accepted("there@a.example", headers="X-Job: spring\r\n")
        await one.deferred(1)
        now = datetime.now(UTC)
        about: dict[str, Any] = {"since": now - timedelta(hours=1), "until": now + timedelta(hours=1)}

        async def found(filter: MessageFilter) -> set[tuple[str, str, int]]:
            page = await one.call("find", filter=filter, **about)
            return {(row.recipient, row.state, row.code) for row in page.rows}

        full, there = ("full@a.example", "deferred", 452), ("there@a.example", "delivered", 250)

        async def both() -> bool:
            return await found(MessageFilter(job="spring")) == {full, there}

        await until(both, "a line for each")
        assert await found(MessageFilter(terms=(Term(field=Field.TEXT, value="mailbox full"),))) == {full}
        for field, value, count in (
            (Field.CODE, "4.2.*", 1),
            (Field.CODE, "4.7.*", 0),
            (Field.TEXT, "Mailbox", 1),
            (Field.RECIPIENT, "*@a.example", 1),
            (Field.AGE, ">3600", 0),
        ):
            page = await one.call("messages", filter=MessageFilter(terms=(Term(field=field, value=value),)))
            assert len(page.rows) == count, field
        with pytest.raises(InvalidRequest, match="names a recipient"):
            await found(MessageFilter(provider="gmail"))


async def test_a_resting_queue_says_which_connections_failed(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.greet = lambda source: b"554 5.7.1 your address is blocked\r\n"
        recipients = [f"r{n}@a.example" for n in range(12)]
        await one.accepted(*recipients)
        detail = await one.explained(recipients[-1], lambda now: now.reasons[0].kind is ReasonKind.REST, "a reason")
        assert detail.summary.attempts == 0
        reason = detail.reasons[0]
        assert reason.until is not None
        assert reason.reply is not None
        assert reason.reply.text == "your address is blocked"
        # the address is refused, not the mail: nothing bounces
        assert len(await one.waiting()) == len(recipients)


async def test_deferred_groups_gather_equal_replies_and_select_their_messages(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: (
            f"450 4.2.1 <{recipient}> busy\r\n" if recipient.startswith("busy") else "451 4.3.0 out of disk\r\n"
        ).encode()
        await one.accepted(*(f"busy{n}@a.example" for n in range(5)), *(f"full{n}@b.example" for n in range(3)))
        await one.deferred(8)
        groups = (await one.call("deferred")).groups
        assert [(group.count, group.code, group.enhanced, group.text) for group in groups] == [
            (5, 450, "4.2.1", "<address> busy"),
            (3, 451, "4.3.0", "out of disk"),
        ]
        assert groups[0].sample.startswith("<busy")
        rows = await one.waiting(group=groups[1].key)
        assert {row.recipient for row in rows} == {f"full{n}@b.example" for n in range(3)}
        await one.do("retry", filter=MessageFilter(group=groups[1].key), spread_s=0)
        await one.holds(lambda: len(one.sink.mails) == 11, "three tried again")
        only_busy = await one.call("deferred", filter=MessageFilter(domain="a.example"))
        assert [group.count for group in only_busy.groups] == [5]


async def test_pages_of_messages_hold_each_once_and_history_counts_them(tmp_path: Path) -> None:
    count = 250
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.do("drain", "pool:marketing")
        recipients = [f"r{n}@d{n % 9}.example" for n in range(count)]
        await Client(one.port, iter(recipients)).run(5)
        found: list[MessageSummary] = []
        cursor, pages = "", 0
        while pages == 0 or cursor:
            page = await one.call("messages", cursor=cursor, limit=60)
            assert len(page.rows) <= 60
            found += page.rows
            cursor, pages = page.cursor, pages + 1
        assert pages == 5
        assert sorted(row.recipient for row in found) == sorted(recipients)
        assert [row.received_at for row in found] == sorted(row.received_at for row in found)
        await one.do("undrain", "pool:marketing")
        await one.delivered(*recipients)

        async def counted() -> bool:
            series = await one.call("history", scope=HistoryScope.POOL, name="marketing", seconds=60)
            return (sum(series.received), sum(series.delivered)) == (count, count)

        await until(counted, "all counted")
        flow = (await one.snapshot()).host.flow
        assert (flow.received, flow.delivered, flow.deferred, flow.bounced) == (count, count, 0, 0)
