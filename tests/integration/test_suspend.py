"""Suspensions hold exactly what they name."""

import asyncio
from pathlib import Path

from mailagent.api.reasons import ReasonKind
from tests.integration.rig import LATE, MKT2, rig

TEXT = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  mkt-2: {address: 127.0.1.2}
  tx-1: {address: 127.0.2.1}
pools:
  marketing: {active: [mkt-1, mkt-2]}
  tx: {active: [tx-1]}
streams:
  default: {pool: marketing}
  news: {pool: marketing}
  tx: {pool: tx}
providers:
  big: {mx: [big.example], sites: {big: [mx.big.example]}}
"""


async def test_each_kind_of_suspension_holds_its_own_mail_and_no_other(tmp_path: Path) -> None:
    held_and_free = {
        "provider:big": (("big.example", "default"), ("a.example", "default")),
        "stream:news": (("a.example", "news"), ("a.example", "default")),
        "pool:marketing": (("a.example", "default"), ("a.example", "tx")),
        "queue:big/": (("big.example", "tx"), ("a.example", "tx")),
        "queue:big/tx-1": (("big.example", "tx"), ("a.example", "tx")),
        "vmta:tx-1": (("a.example", "tx"), ("a.example", "default")),
    }
    async with rig(tmp_path, TEXT + LATE) as one:
        for n, (target, (held, free)) in enumerate(held_and_free.items()):
            await one.do("suspend", target, override=True, reason="test")
            domain, stream = held
            await one.accepted(f"held{n}@{domain}", headers=f"X-Virtual-MTA: {stream}\r\n")
            other_domain, other_stream = free
            await one.accepted(f"free{n}@{other_domain}", headers=f"X-Virtual-MTA: {other_stream}\r\n")
            await one.delivered(f"free{n}@{other_domain}")
            detail = await one.explain(f"held{n}@{domain}")
            assert detail.reasons[0].kind is ReasonKind.DIRECTIVE, target
            assert detail.reasons[0].until is not None
            assert detail.reasons[0].release == f"mailctl resume {target}"
            assert detail.summary.attempts == 0
            assert f"held{n}@{domain}" not in one.sink.received, target
            await one.do("resume", target)
            await one.delivered(f"held{n}@{domain}")
        assert set(one.sink.received.values()) == {1}


async def test_a_suspended_queue_of_one_virtual_mta_leaves_its_mail_to_the_other(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + LATE) as one:
        await one.do("suspend", "queue:big/mkt-1")
        recipients = [f"r{n}@big.example" for n in range(6)]
        await one.accepted(*recipients)
        await one.delivered(*recipients)
        assert one.sink.sources_of(*recipients) == {MKT2}


async def test_a_suspension_expires_and_its_mail_leaves(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + LATE) as one:
        await one.do("suspend", "provider:big", ttl_s=1)
        await one.accepted("r@big.example", "s@big.example")
        await one.delivered("r@big.example", "s@big.example")
        assert (await one.snapshot()).directives == ()


async def test_mail_in_ready_queues_goes_back_when_its_stream_is_suspended_and_leaves_once_after(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path, TEXT + LATE) as one:
        one.sink.gate = asyncio.Event()
        await one.do("limit", "vmta:mkt-1", limit="connections", value="1")
        await one.do("limit", "vmta:mkt-2", limit="connections", value="1")
        news = [f"news{n}@a.example" for n in range(20)]
        await one.accepted(*news, headers="X-Virtual-MTA: news\r\n")
        await one.accepted("other@a.example")  # behind them in the same ready queues
        await one.holds(lambda: one.sink.at_gate == 2, "two dots in flight")
        await one.do("suspend", "stream:news")
        one.sink.gate.set()
        await one.delivered("other@a.example")
        assert sum(recipient.startswith("news") for recipient in one.sink.received) == 2
        snapshot = await one.shows(lambda now: now.directives[-1].waiting == len(news) - 2, "the rest is held")
        assert snapshot.host.deferred == 0
        await one.do("resume", "stream:news")
        await one.delivered(*news)
        assert set(one.sink.received.values()) == {1}
