"""Limits lowered by an operator bind at once, say so, and end by themselves."""

import asyncio
from itertools import pairwise
from pathlib import Path

from mailagent.api.reasons import ReasonKind
from tests.integration.client import Client
from tests.integration.rig import MKT1, SOON, Rig, rig

TEXT = """\
virtual_mtas: {mkt-1: {address: 127.0.1.1}}
pools: {marketing: {active: [mkt-1]}}
streams: {default: {pool: marketing}}
providers:
  big: {mx: [big.example], sites: {big: [mx.big.example]}}
"""


async def earn_connections(one: Rig) -> None:
    """A peer that nothing is known of gets two connections, and more as it answers."""
    recipients = [f"first{n}@big.example" for n in range(40)]
    await one.accepted(*recipients)
    await one.delivered(*recipients)


async def test_lowered_connections_bind_explain_themselves_and_expire(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + SOON) as one:
        await earn_connections(one)
        one.sink.gate = asyncio.Event()
        await one.do("limit", "provider:big", limit="provider_connections", value="2", ttl_s=4)
        one.sink.most_open = 0
        recipients = [f"r{n}@big.example" for n in range(40)]
        await Client(one.port, iter(recipients)).run(4)
        await one.holds(lambda: one.sink.at_gate == 2, "two connections at work")
        (destination,) = (await one.snapshot()).destinations
        assert destination.connection_limit == 2
        assert destination.binding is not None
        reason = (await one.explain("r39@big.example")).reasons[0]
        for binding in (destination.binding, reason):
            assert binding.kind is ReasonKind.LIMIT
            assert (binding.key, binding.value) == ("provider_connections", "2")
            assert "lowered by" in binding.origin
        assert one.sink.most_open == 2
        await one.holds(lambda: one.sink.at_gate > 2, "more connections after the end")
        assert (await one.snapshot()).directives == ()
        one.sink.gate.set()
        await one.delivered(*recipients)


async def test_a_lowered_connection_limit_closes_what_is_above_it(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + SOON) as one:
        await earn_connections(one)
        one.sink.gate = asyncio.Event()
        recipients = [f"r{n}@big.example" for n in range(60)]
        await Client(one.port, iter(recipients)).run(4)
        await one.holds(lambda: one.sink.at_gate >= 4, "several connections")
        await one.do("limit", "vmta:mkt-1", limit="connections", value="1")
        one.sink.gate.set()
        await one.delivered(*recipients)
        last = one.sink.mails[-20:]
        assert {mail.source for mail in last} == {MKT1}
        assert len({mail.connection for mail in last}) == 1
        assert set(one.sink.received.values()) == {1}


async def test_a_lowered_rate_spaces_messages_evenly(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + SOON) as one:
        await one.do("limit", "queue:big/mkt-1", limit="rate", value="10/s")
        recipients = [f"r{n}@big.example" for n in range(12)]
        await Client(one.port, iter(recipients)).run(4)
        await one.delivered(*recipients)
        times = [mail.at for mail in one.sink.mails]
        assert times[-1] - times[0] > 0.9  # eleven gaps of 0.1 s, less what the clocks blur
        assert max(later - earlier for earlier, later in pairwise(times)) < 1


async def test_messages_per_connection_are_counted(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + SOON) as one:
        await one.do("limit", "vmta:mkt-1", limit="messages_per_connection", value="3")
        recipients = [f"r{n}@big.example" for n in range(20)]
        await Client(one.port, iter(recipients)).run(2)
        await one.delivered(*recipients)
        connections = [mail.connection for mail in one.sink.mails]
        assert max(map(connections.count, connections)) <= 3


async def test_idle_connections_give_way_to_other_sites_under_the_same_cap(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT.replace("{mx: [big.example]", "{mx: [big.example, large.example]") + SOON) as one:
        await one.do("limit", "provider:big", limit="provider_connections", value="1")
        for recipient in ("r@big.example", "s@large.example", "t@big.example"):  # two sites, one provider
            await one.accepted(recipient)
            await one.delivered(recipient, timeout_s=5)
        assert one.sink.most_open == 1


async def test_idle_connections_give_way_under_the_cap_of_the_host(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + SOON) as one:
        text = one.agent.config.read_text(encoding="utf-8")
        one.agent.config.write_text(text.replace("delivery: {", "delivery: {max_connections: 3, "), encoding="utf-8")
        await one.do("reload")
        recipients = [f"r@d{n}.example" for n in range(60)]
        await one.accepted(*recipients)
        await one.delivered(*recipients, timeout_s=10)
        assert one.sink.most_open <= 3


ROLLUP = """\
domains:
  a.example: {rollup: joined, connections: 1}
  b.example: {rollup: joined}
"""


async def test_domains_of_a_rollup_share_its_limits_whatever_their_mx(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + ROLLUP + SOON) as one:
        recipients = [f"r{n}@{'ab'[n % 2]}.example" for n in range(40)]
        await Client(one.port, iter(recipients)).run(4)
        await one.delivered(*recipients)
        assert one.sink.most_open == 1
