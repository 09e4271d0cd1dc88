"""Deferred mail: greylisting, replies at every step, connections cut after the dot, and retry now."""

from pathlib import Path

import pytest

from mailagent.api.errors import Refused
from mailagent.api.targets import MessageFilter
from tests.integration.rig import LATE, MKT1, MKT2, POOLS, rig
from tests.integration.sink import CLOSE, Mail


async def test_a_greylisted_message_comes_back_from_the_same_address_and_is_accepted(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        known: set[tuple[str, str]] = set()

        def greylist(mail: Mail, recipient: str) -> bytes | None:
            if (mail.source, recipient) in known:
                return None
            known.add((mail.source, recipient))
            return b"450 4.2.0 Greylisted, come back later\r\n"

        one.sink.refuse = greylist
        recipients = [f"r{n}@a.example" for n in range(8)]
        await one.accepted(*recipients)
        await one.delivered(*recipients)
        for recipient in recipients:
            first, second = one.sink.attempts(recipient)
            assert first.source == second.source
            assert second.at - first.at > 0.9
        assert one.sink.sources.keys() == {MKT1, MKT2}
        await one.stop()
        assert [line["attempt"] for line in one.accounting() if line["type"] == "delivered"] == [2] * 8


async def test_421_and_4yz_at_the_dot_defer_and_the_next_try_delivers(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        refusals = {
            "r@a.example": b"421 4.7.28 slow down\r\n",
            "r@b.example": b"452 4.3.1 disk full\r\n",
        }
        one.sink.at_dot = lambda mail: refusals.pop(mail.recipients[0], None)
        await one.accepted("r@a.example", "r@b.example")
        await one.delivered("r@a.example", "r@b.example")
        assert one.sink.received == {"r@a.example": 1, "r@b.example": 1}
        assert (await one.call("in_doubt")).rows == ()
        await one.stop()
        lines = [(line["type"], line["recipient"], line["code"], line["smtp_verb"]) for line in one.accounting()]
        assert sorted(lines) == [
            ("deferred", "r@a.example", 421, "."),
            ("deferred", "r@b.example", 452, "."),
            ("delivered", "r@a.example", 250, "."),
            ("delivered", "r@b.example", 250, "."),
        ]


async def test_a_connection_closed_after_the_dot_is_listed_as_in_doubt_and_tried_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        closings = [CLOSE]
        one.sink.at_dot = lambda mail: closings.pop() if closings else None
        await one.accepted("r@a.example")
        await one.holds(lambda: one.sink.received["r@a.example"] == 1, "the first delivery")
        await one.deferred(1)
        assert (await one.explain("r@a.example")).in_doubt
        (entry,) = (await one.call("in_doubt")).rows
        assert (entry.recipient, entry.resolution) == ("r@a.example", "open")
        await one.holds(lambda: one.sink.received["r@a.example"] == 2, "the second delivery")
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        (entry,) = (await one.call("in_doubt")).rows
        assert entry.resolution == "delivered"
        assert entry.vmta in ("mkt-1", "mkt-2")


async def test_retry_now_is_paced_and_takes_only_what_matches(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n"
        paced = [f"r{n}@a.example" for n in range(10)]
        await one.accepted(*paced, "other@b.example")
        await one.deferred(11)
        with pytest.raises(Refused, match="10 recipients match, more than 5"):
            await one.do("retry", filter=MessageFilter(domain="a.example"), max_affected=5)
        one.sink.refuse = lambda mail, recipient: None
        seen = len(one.sink.mails)
        result = await one.do("retry", filter=MessageFilter(domain="a.example"), spread_s=2)
        assert result.impact.messages == 10
        assert not result.undoable
        await one.delivered(*paced)
        times = [mail.at for mail in one.sink.mails[seen:]]
        assert max(times) - min(times) > 1.2  # ten over two seconds: the last is due 1.8 s after the first
        await one.shows(lambda snapshot: snapshot.host.waiting == 1, "all others settled")
        assert [row.recipient for row in await one.waiting()] == ["other@b.example"]
        await one.do("retry", filter=MessageFilter(recipient="other@b.example"), spread_s=0)
        await one.delivered("other@b.example")


async def test_a_peer_that_refuses_connections_is_asked_again_and_costs_no_other_mail(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.dns.add("dead.example", "MX", "10 mx.dead.example.")
        one.dns.add("mx.dead.example", "A", "127.255.255.254")  # nothing listens there
        await one.accepted("r@dead.example")
        await one.deferred(1)
        detail = await one.explain("r@dead.example")
        assert detail.summary.reply is not None
        assert "127.255.255.254" in detail.summary.reply.text
        assert detail.attempts[0].remote == ""
        await one.accepted("r@a.example")
        await one.delivered("r@a.example")
        assert one.sink.received == {"r@a.example": 1}
