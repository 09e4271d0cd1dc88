"""Streams with rules: what is refused, moved, counted, and asked of DNS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from mailagent.api.ids import HostName, PoolName, StreamName
from mailagent.api.requests import Empty
from mailagent.api.smtp import SmtpReply
from mailagent.config.streams import Check, Checks, Protect, Protection
from mailagent.config.structs import AgentConfig, Dns, Endpoint, Route, Stream
from mailagent.dns import Resolver
from mailagent.intake import guard as guard_module
from mailagent.intake.guard import Guard, WindowCounts
from mailagent.intake.submission import Submission
from tests.agent.dns.responder import Responder, responding

ONE, TWO = StreamName("one"), StreamName("two")
PLAIN = b"From: a@one.test\r\nSubject: x\r\n\r\nText\r\n"
LIST = b"List-Id: <x>\r\n" + PLAIN


def stream(**rules: Any) -> Stream:
    return Stream(pool=PoolName("tx"), **rules)


def config(**streams: Stream) -> AgentConfig:
    route = Route(match="routed.test", to=Endpoint(host="127.0.0.1", port=25))
    return AgentConfig(
        host=HostName("mx1"), streams={StreamName(name): one for name, one in streams.items()}, routes=(route,)
    )


def letter(body: bytes = PLAIN, *recipients: bytes) -> Submission:
    return Submission(
        sender=b"a@one.test",
        recipients=recipients or (b"b@two.test",),
        body=body,
        plain=True,
        eightbit=False,
        headers={},
        job="",
        virtual_mta="",
        client="192.0.2.1",
        helo="c",
        hops=0,
    )


class Bench:
    def __init__(self, responder: Responder, **streams: Stream) -> None:
        self.now = 0.0
        self.keys: bool | None = None
        self.warned = ""
        self.responder = responder
        self.tasks: list[asyncio.Task[None]] = []
        dns = Dns(servers=(Endpoint(host="127.0.0.1", port=responder.port),), timeout=timedelta(seconds=1))
        self.guard = Guard(
            config(**streams),
            signs=lambda pool, value: self.keys,
            resolver=Resolver(dns),
            spawn=lambda work, name: self.tasks.append(asyncio.create_task(work, name=name)),
            clock=lambda: self.now,
        )

    async def judge(self, submission: Submission, name: StreamName = ONE) -> str:
        """The stream it goes to, or the line of its refusal."""
        verdict: asyncio.Future[tuple[StreamName | SmtpReply, str]] = asyncio.get_running_loop().create_future()
        self.guard.judge(name, submission, lambda found, warned: verdict.set_result((found, warned)))
        async with asyncio.timeout(10):
            found, self.warned = await verdict
        return found.line() if isinstance(found, SmtpReply) else found

    async def counts(self) -> list[tuple[str, str, int, int, int]]:
        rows = (await self.guard.checks(Empty())).rows
        return [(row.stream, row.check, row.warned, row.refused, row.moved) for row in rows]


@asynccontextmanager
async def bench(**streams: Stream) -> AsyncIterator[Bench]:
    async with responding() as responder:
        yield Bench(responder, **streams)


async def test_streams_without_rules_go_by() -> None:
    async with bench(one=stream(), two=stream(checks=Checks(date=Check.WARN))) as one:
        assert set(one.guard.streams) == {TWO}


async def test_a_refusal_names_its_check_and_what_to_do() -> None:
    rules = stream(checks=Checks(date=Check.WARN, message_id=Check.REFUSE))
    async with bench(one=rules) as one:
        refused = await one.judge(letter())
        assert refused.startswith("550 5.6.0 check message_id: Message-ID is missing")
        assert await one.counts() == [("one", "date", 1, 0, 0), ("one", "message_id", 0, 1, 0)]
        assert one.warned == "date"


async def test_from_is_compared_with_own_domains_else_with_keys() -> None:
    strict = Checks(aligned=Check.REFUSE)
    async with bench(one=stream(checks=strict), two=stream(checks=strict, from_domains=("One.test",))) as one:
        assert await one.judge(letter()) == "one"  # a pool without keys
        one.keys = False
        assert (await one.judge(letter())).startswith("550 5.7.1 check aligned: ")
        one.keys = True
        assert await one.judge(letter()) == "one"
        assert await one.judge(letter(), TWO) == "two"
        assert (await one.judge(letter(PLAIN.replace(b"a@one", b"a@other")), TWO)).startswith("550 5.7.1 check aligned")


async def test_size_of_a_stream() -> None:
    async with bench(one=stream(max_message_bytes=10)) as one:
        assert (await one.judge(letter())).startswith("552 5.3.4 check size: mail of stream one has at most 10 octets")
        assert await one.judge(letter(b"x\r\n")) == "one"


@pytest.mark.parametrize(
    ("action", "verdict"), [("warn", "one"), ("refuse", "550 5.7.1 check bulk: "), ("move", "two")]
)
async def test_bulk_looking_mail_is_kept_out(action: str, verdict: str) -> None:
    protect = Protection(action=Protect(action), move_to=TWO, recipients=2, same_text=3)
    async with bench(one=stream(protect=protect)) as one:
        assert (await one.judge(letter(LIST))).startswith(verdict)
        assert (await one.judge(letter(PLAIN, b"a@x.test", b"b@x.test", b"c@x.test"))).startswith(verdict)
        assert await one.judge(letter(b"Subject: other\r\n\r\nother\r\n")) == "one"
        found = [(await one.judge(letter(PLAIN + b"%d\r\n" % n)))[:3] for n in range(5)]
        assert found == ["one"] * 5
        same = [await one.judge(letter(b"Message-ID: <%d@x>\r\n\r\nBuy\r\n" % n)) for n in range(4)]
        assert same[:3] == ["one"] * 3
        assert same[3].startswith(verdict)
        ((_, check, *numbers),) = await one.counts()
        assert (check, sum(numbers)) == ("bulk", 3)


async def test_checks_of_the_stream_that_mail_moves_to_hold() -> None:
    protect = Protection(action=Protect.MOVE, move_to=TWO)
    async with bench(one=stream(protect=protect), two=stream(checks=Checks(unsubscribe=Check.REFUSE))) as one:
        assert (await one.judge(letter(LIST))).startswith("550 5.7.1 check unsubscribe: ")
        assert await one.judge(letter()) == "one"


async def test_recipient_domains_that_take_no_mail() -> None:
    """NXDOMAIN, and a null MX (RFC 7505)."""
    rules = stream(checks=Checks(recipient_domain=Check.REFUSE))
    async with bench(one=rules) as one:
        one.responder.add("good.test", "MX", "10 mx.good.test.")
        one.responder.add("null.test", "MX", "0 .")
        good, null, none = b"a@good.test", b"a@null.test", b"a@none.test"
        assert await one.judge(letter(PLAIN, good)) == "one"
        assert (await one.judge(letter(PLAIN, null))).startswith(
            "550 5.1.10 check recipient_domain: null.test takes no"
        )
        assert (await one.judge(letter(PLAIN, none))).startswith("550 5.1.2 check recipient_domain: none.test does not")
        assert await one.judge(letter(PLAIN, b"a@[192.0.2.1]")) == "one"
        assert await one.judge(letter(PLAIN, b"a@routed.test")) == "one"
        assert await one.judge(letter(PLAIN, good, none)) == "one"  # it bounces alone
        assert (await one.judge(letter(PLAIN, none, b"b@None.test", null))).startswith("550 5.1.")
        assert await one.counts() == [("one", "recipient_domain", 1, 3, 0)]


async def test_mail_does_not_wait_long_for_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "DNS_S", 0.01)
    async with bench(one=stream(checks=Checks(recipient_domain=Check.REFUSE))) as one:
        one.responder.silent = True
        assert await one.judge(letter()) == "one"


async def test_rules_change_with_a_reload_and_counts_stay() -> None:
    async with bench(one=stream(checks=Checks(date=Check.WARN))) as one:
        await one.judge(letter())
        one.guard.configure(config(one=stream(checks=Checks(date=Check.REFUSE))))
        assert (await one.judge(letter())).startswith("550 5.6.0 check date")
        assert await one.counts() == [("one", "date", 1, 1, 0)]


async def test_a_client_that_sends_much_looks_like_bulk() -> None:
    async with bench(one=stream(protect=Protection(action=Protect.REFUSE, per_client=2))) as one:
        found = [(await one.judge(letter(PLAIN + b"%d\r\n" % n)))[:3] for n in range(3)]
        assert found == ["one", "one", "550"]
        one.now += 3600
        assert await one.judge(letter()) == "one"


async def test_large_messages_are_judged_like_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "LARGE_BYTES", 10)
    async with bench(one=stream(checks=Checks(date=Check.REFUSE, mime=Check.WARN))) as one:
        assert (await one.judge(letter())).startswith("550 5.6.0 check date")
        assert one.tasks
        assert await one.judge(letter(b"Date: Tue, 01 Jan 2030 00:00:00 +0000\r\n" + PLAIN)) == "one"


async def test_a_large_message_that_cannot_be_checked_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(guard_module, "LARGE_BYTES", 10)
    monkeypatch.setattr(guard_module, "findings", broken)
    async with bench(one=stream(checks=Checks(aligned=Check.REFUSE))) as one:
        assert (await one.judge(letter())).startswith("451 4.3.0")


def test_what_comes_is_counted_within_its_window() -> None:
    counts = WindowCounts()
    assert [counts.add(b"a", 0.0, 600) for _ in range(3)] == [1, 2, 3]
    assert counts.add(b"b", 1.0, 600) == 1
    assert counts.add(b"a", 301.0, 600) == 4
    assert counts.add(b"a", 602.0, 600) == 2
    assert counts.add(b"a", 3000.0, 600) == 1


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "COUNTED", 10)
    counts = WindowCounts()
    for n in range(100):
        counts.add(b"%d" % n, 0.0, 600)
    assert len(counts._now) + len(counts._before) <= 20
