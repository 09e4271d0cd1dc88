"""Why mail waits: each reason with its value, origin, last reply, next try, and what would release it."""

import asyncio
from pathlib import Path

import dns.rcode
import pytest

from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.reasons import ReasonKind
from mailagent.api.why import QueueWhy
from tests.integration.client import Client
from tests.integration.processes import until
from tests.integration.rig import LATE, POOLS, SOON, rig

LIMITED = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
pools:
  marketing: {active: [mkt-1]}
streams:
  default: {pool: marketing}
providers:
  big:
    mx: [big.example]
    sites: {big: [mx.big.example]}
    connections: 1
    rate: 1/h
"""


async def test_a_queue_names_its_limits_with_file_and_line_and_what_comes_next(tmp_path: Path) -> None:
    async with rig(tmp_path, LIMITED + LATE) as one:
        recipients = [f"r{n}@big.example" for n in range(5)]
        await Client(one.port, iter(recipients)).run(1)
        await one.holds(lambda: len(one.sink.received) == 1, "the first message")
        found: list[QueueWhy] = []

        async def throttled() -> bool:
            found.append(await one.call("why", queue="big/mkt-1"))
            return any(reason.kind is ReasonKind.THROTTLE for reason in found[-1].reasons)

        await until(throttled, "a throttle")
        why = found[-1]
        assert (why.pool, why.provider, why.ready) == ("marketing", "big", 4)
        reason = next(reason for reason in why.reasons if reason.kind is ReasonKind.THROTTLE)
        text = one.agent.config.read_text(encoding="utf-8").splitlines()
        line = next(number for number, row in enumerate(text, 1) if "rate: 1/h" in row)
        assert (reason.key, reason.value, reason.origin) == ("rate", "1/h", f"agent.yaml:{line}")
        assert reason.until is not None
        assert "raise rate" in reason.release
        limits = {limit.name: (limit.value, limit.origin) for limit in why.limits}
        assert limits["connections"] == ("1", f"agent.yaml:{line - 1}")
        assert limits["messages_per_connection"][1].startswith("providers.yaml:")
        detail = await one.explain("r4@big.example")
        assert detail.reasons[0].kind is ReasonKind.THROTTLE
        whole: QueueWhy = await one.call("why", queue="big/")
        assert (whole.key, whole.vmta, whole.ready, whole.limits) == ("big/", "", 4, ())
        with pytest.raises(NotFound, match="no virtual MTA"):
            await one.call("why", queue="big/absent")
        with pytest.raises(InvalidRequest, match="no queue"):
            await one.call("why", queue="big")


async def test_a_queue_with_nothing_in_memory_tells_what_its_deferred_mail_met(tmp_path: Path) -> None:
    async with rig(tmp_path, LIMITED.replace("    rate: 1/h\n", "") + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"450 4.2.1 busy, come back\r\n"
        await one.accepted("a@big.example", "b@big.example")
        await one.deferred(2)
        why: QueueWhy = await one.call("why", queue="big/mkt-1")
        assert why.deferred == 2
        reason = why.reasons[-1]
        assert (reason.kind, reason.value) == (ReasonKind.SCHEDULE, "2")
        assert reason.reply is not None
        assert "busy, come back" in reason.reply.text
        assert reason.until == why.next_try_at is not None
        assert reason.release == "mailctl retry site:big vmta:mkt-1"
        await one.restart()
        assert (await one.call("why", queue="big/mkt-1")).deferred == 2
        await one.do("suspend", "queue:big/mkt-1", override=True)
        first = (await one.call("why", queue="big/mkt-1")).reasons[0]
        assert (first.kind, first.release) == (ReasonKind.DIRECTIVE, "mailctl resume queue:big/mkt-1")
        await one.do("suspend", "queue:big/", override=True)
        whole: QueueWhy = await one.call("why", queue="big/")
        assert whole.reasons[0].release == "mailctl resume queue:big/"
        assert whole.reasons[-1].release == "mailctl retry site:big"


async def test_a_message_that_dns_holds_says_so_with_its_schedule(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.dns.rcode = dns.rcode.SERVFAIL
        await one.accepted("r@a.example")
        await one.deferred(1)
        schedule, cause = (await one.explain("r@a.example")).reasons
        assert schedule.kind is ReasonKind.SCHEDULE
        assert schedule.until is not None
        assert (cause.kind, cause.release) == (ReasonKind.DNS, "an answer of DNS")
        assert cause.reply is not None
        assert cause.reply.local


async def test_a_queue_whose_peer_is_gone_rests_and_its_message_says_whom_it_could_not_reach(tmp_path: Path) -> None:
    async with rig(tmp_path, LIMITED.replace("    rate: 1/h\n", "") + SOON) as one:
        one.sink.greet = lambda source: b"554 5.7.1 no service here\r\n"
        await one.accepted(*(f"r{n}@big.example" for n in range(8)))

        async def rests() -> bool:
            why: QueueWhy = await one.call("why", queue="big/mkt-1")
            return any(reason.kind is ReasonKind.REST for reason in why.reasons)

        await until(rests, "a rest")
        (reason,) = [
            reason for reason in (await one.call("why", queue="big/mkt-1")).reasons if reason.kind is ReasonKind.REST
        ]
        assert int(reason.value) >= 1
        assert reason.until is not None
        assert reason.reply is not None
        assert "no service here" in reason.reply.text
        await asyncio.sleep(0)
