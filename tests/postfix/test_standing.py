"""Drain, rotate and suspend on a real Postfix: the receiver's own log says from which address each message came."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import pytest

from mailagent.api import requests
from mailagent.api.errors import Refused
from mailagent.api.ids import OpId
from mailagent.api.operations import OperationResult
from mailagent.api.requests import Mutation, Role
from mailagent.api.targets import Target, TargetKind
from mailagent.control.state import host_state
from mailagent.host import Principal
from mailagent.postfix.commands import Programs
from mailagent.postfix.destinations import FILE, Destinations
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.host import PostfixHost
from mailagent.postfix.installing import Installing, SetupFailed
from tests.agent.dns.responder import responding
from tests.integration.processes import until
from tests.integration.sink import Mail, Sink
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

SECTIONS = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  mkt-2: {address: 127.0.1.2}
  mkt-3: {address: 127.0.1.3}
pools: {marketing: {active: [mkt-1, mkt-2], standby: [mkt-3]}}
streams: {marketing: {pool: marketing}}
default_stream: marketing
providers: {big: {mx: [mx.big.example]}}
"""
TWO_POOLS = """\
virtual_mtas: {mkt-1: {address: 127.0.1.1}, tx-1: {address: 127.0.2.1}}
pools: {marketing: {active: [mkt-1]}, tx: {active: [tx-1]}}
streams: {marketing: {pool: marketing, senders: ["*@shop.example"]}, tx: {pool: tx}}
default_stream: tx
"""
MKT1, MKT2, MKT3 = "127.0.1.1", "127.0.1.2", "127.0.1.3"
NEW = OpId("new")
DAVE = Principal("dave", Role.ADMIN)


@dataclass
class Rig:
    """An agent in front of a Postfix that is set up, and the receiver of all its mail."""

    own: OwnPostfix
    host: PostfixHost
    sink: Sink
    ops: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def send(self, *recipients: str) -> None:
        """Hand in a message for each."""
        for recipient in recipients:
            await asyncio.to_thread(self.own.send, "news@shop.example", [recipient])

    async def delivered(self, *recipients: str) -> set[str]:
        """Wait until the receiver has them: the addresses that they came from."""

        async def there() -> bool:
            return all(self.sink.received[one] for one in recipients)

        await until(there, "all are delivered")
        return self.sink.sources_of(*recipients)

    async def settle(self, count: int) -> None:
        """Wait until `count` messages are deferred and none is on its way."""
        await asyncio.to_thread(self.own.settle, "deferred", count)

    async def flush(self) -> None:
        """Have Postfix try everything again."""
        await asyncio.to_thread(self.own.run, "postqueue", "-f")

    async def flushed(self, *recipients: str) -> bool:
        """Flush, and say whether the receiver has them: once, one flush right behind a reload was not enough."""
        await self.flush()
        return all(self.sink.received[one] for one in recipients)

    async def do(self, request: Mutation) -> OperationResult:
        """Order it; nothing is in the way."""
        named = msgspec.structs.replace(request, op_id=OpId(f"op-{next(self.ops)}"), reason="throttled")
        result = await self.host.verbs[type(request).__name__.lower()](named, DAVE)
        assert result.warnings == ()
        return result

    @property
    def log(self) -> str:
        return self.own.log.read_text(encoding="utf-8")


def vmta(name: str) -> Target:
    return Target(kind=TargetKind.VMTA, name=name)


@asynccontextmanager
async def rig(own: OwnPostfix, tmp_path: Path, *, set_up: bool = True, sections: str = SECTIONS) -> AsyncIterator[Rig]:
    async with Sink() as sink, responding() as dns:
        dns.fallback = lambda name, kind: ["10 mx.big.example."] if kind == "MX" and "big" in name else None
        own.set(relayhost=f"[127.0.0.1]:{sink.port}")
        async with agent(own, tmp_path, sections=sections, dns=dns.port) as host:
            if set_up:
                programs = Programs(host.config.postfix, str(own.config_dir))
                installing = Installing(host.config, programs, host_state(host.config, ()))
                await installing.apply(await installing.plan())
            yield Rig(own, host, sink)


async def test_nothing_leaves_from_a_drained_address_and_waiting_mail_leaves_from_the_standby(
    own: OwnPostfix, tmp_path: Path
) -> None:
    async with rig(own, tmp_path) as one:
        first = [f"a{n}@far.example" for n in range(30)]
        await one.send(*first)
        assert await one.delivered(*first) == {MKT1, MKT2}
        drained = await one.do(requests.Drain(op_id=NEW, target=vmta("mkt-1")))
        second = [f"b{n}@far.example" for n in range(30)]
        await one.send(*second)
        assert await one.delivered(*second) == {MKT2}

        def greylisted(mail: Mail, _: str) -> bytes | None:
            return b"450 4.7.1 later\r\n" if mail.source == MKT2 else None

        one.sink.refuse = greylisted
        waiting = [f"c{n}@far.example" for n in range(10)]
        await one.send(*waiting)
        await one.settle(len(waiting))
        await one.do(requests.Rotate(op_id=NEW, target=vmta("mkt-2")))
        await until(partial(one.flushed, *waiting), "what waited left by another address")
        assert await one.delivered(*waiting) == {MKT3}
        await one.do(requests.Undo(op_id=NEW, undoes=drained.op_id))

        async def both() -> bool:
            more = [f"d{next(one.ops)}@far.example" for _ in range(5)]
            await one.send(*more)
            return MKT1 in await one.delivered(*more)

        await until(both, "the address that came back has mail again, without a reload")
        assert "postfix/vmta-mkt-3/smtp[" in one.log


async def test_held_mail_does_not_wait_for_postfix_own_retry_service(own: OwnPostfix, tmp_path: Path) -> None:
    async with rig(own, tmp_path, sections=TWO_POOLS) as one:
        # one failure counts as dead: several that come one by one do not, since Postfix forgets who has no mail left
        own.set(relayhost=f"[127.0.0.1]:{own.nowhere}", initial_destination_concurrency="1")
        await one.do(requests.Suspend(op_id=NEW, target=Target(kind=TargetKind.POOL, name="marketing")))
        await asyncio.to_thread(own.send, "app@tx.example", ["a@far.example"], count=10)
        await one.settle(10)
        await asyncio.to_thread(own.send, "app@tx.example", ["b@far.example"])
        await one.settle(11)
        assert "delivery temporarily suspended" in one.log  # that is what `retry` says, and now it idles
        await one.send("c@far.example")
        await one.settle(12)
        assert "held by mailagent: pool marketing is suspended" in one.log


async def test_a_suspended_provider_waits_by_the_domains_seen_and_new_ones_follow(
    own: OwnPostfix, tmp_path: Path
) -> None:
    async with rig(own, tmp_path) as one:
        await one.send("a@one.big.test", "a@far.example")
        await one.delivered("a@one.big.test", "a@far.example")
        provider = Target(kind=TargetKind.PROVIDER, name="big")
        await until(lambda: _knows(one.host, 1), "the agent has seen the provider's domain")
        await one.do(requests.Suspend(op_id=NEW, target=provider))
        await one.send("b@one.big.test", "b@far.example", "b@two.big.test")
        await one.delivered("b@far.example", "b@two.big.test")  # the first mail to a new domain is on its way
        await until(lambda: _knows(one.host, 2), "and tells the agent of it")
        assert not one.sink.received["b@one.big.test"]
        await until(lambda: _holds(one.host, 2), "and has a row")
        kept = Destinations(one.host.config.state_dir / FILE, lambda: None)
        kept.load()
        assert {place.domain for place in kept} >= {"one.big.test", "two.big.test"}  # for who starts after a kill

        async def held() -> bool:
            await one.send(f"c{next(one.ops)}@two.big.test")
            return any("two.big.test" in line and "held by mailagent" in line for line in one.log.splitlines())

        await until(held, "mail to the new domain waits, without a reload")
        view = one.host.snapshot().host
        assert "2 domains seen so far wait" in view.notice
        reasons = {r.delay_reason for entry in own.queue().values() for r in entry.recipients} - {""}
        assert all(one.startswith("held by mailagent: provider big is suspended by dave") for one in reasons)
        assert "mailctl retry" in one.host.emulated["resume"]
        await one.do(requests.Resume(op_id=NEW, target=provider))

        await asyncio.to_thread(own.run, "postfix", "reload")  # or 10 s later by itself
        await one.flush()
        await one.delivered("b@one.big.test")


async def test_maps_of_another_type_are_read_after_an_apply_and_after_one_that_failed(
    own: OwnPostfix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(own, tmp_path) as one:
        own.set(default_database_type="btree")  # as a release of the system does it that has no `hash` any more
        programs = Programs(one.host.config.postfix, str(own.config_dir))
        installing = Installing(one.host.config, programs, host_state(one.host.config, ()))
        await installing.apply(await installing.plan())
        await one.send("a@far.example")
        await one.delivered("a@far.example")
        own.set(default_database_type="hash")
        plan = await installing.plan()
        with monkeypatch.context() as patch:
            patch.setattr(installing, "_reload", _fails)
            with pytest.raises(SetupFailed):
                await installing.apply(plan)
        own.run("postfix", "reload")
        await one.send("b@far.example")
        await one.delivered("b@far.example")


async def test_rows_of_whole_addresses_are_named_since_a_held_domain_does_not_hold_them(
    own: OwnPostfix, tmp_path: Path
) -> None:
    own.set(transport_maps="inline:{boss@one.big.test=discard:, one.big.test=:}")
    async with rig(own, tmp_path) as one:
        programs = Programs(one.host.config.postfix, str(own.config_dir))
        notes = (await Installing(one.host.config, programs, host_state(one.host.config, ())).plan()).notes
        assert any("rows of whole addresses (boss@one.big.test) go before held domains" in note for note in notes)
        await one.send("a@one.big.test")
        await until(lambda: _knows(one.host, 1), "the agent has seen the provider's domain")
        await one.do(requests.Suspend(op_id=NEW, target=Target(kind=TargetKind.PROVIDER, name="big")))
        await one.send("boss@one.big.test", "b@one.big.test")
        await one.settle(1)
        assert "to=<boss@one.big.test>, relay=none" in one.log
        (entry,) = own.queue().values()
        assert [waits.address for waits in entry.recipients] == ["b@one.big.test"]


async def test_an_order_that_is_given_while_postfix_is_stopped_holds_when_it_starts(
    own: OwnPostfix, tmp_path: Path
) -> None:
    async with rig(own, tmp_path) as one:
        await asyncio.to_thread(own.run, "postfix", "stop")
        await one.do(requests.Drain(op_id=NEW, target=vmta("mkt-1")))
        assert one.host._maps.notices() == []
        await asyncio.to_thread(own.run, "postfix", "start")
        recipients = [f"a{n}@far.example" for n in range(20)]
        await one.send(*recipients)
        assert await one.delivered(*recipients) == {MKT2}


async def test_without_a_setup_orders_are_refused_and_say_what_to_run(own: OwnPostfix, tmp_path: Path) -> None:
    async with rig(own, tmp_path, set_up=False) as one:
        with pytest.raises(Refused, match="run mailagent postfix apply"):
            await one.do(requests.Drain(op_id=NEW, target=vmta("mkt-1")))
        with pytest.raises(Refused, match="drain its pools"):
            await one.do(requests.Drain(op_id=NEW, target=Target(kind=TargetKind.HOST, name="mx1")))
        with pytest.raises(Refused, match="can do nothing about job:spring: Postfix knows no jobs"):
            await one.do(requests.Suspend(op_id=NEW, target=Target(kind=TargetKind.JOB, name="spring")))


async def _fails() -> bool:
    raise PostfixError("no reload")


async def _knows(host: PostfixHost, count: int) -> bool:
    return sum(place.provider == "big" for place in host._destinations) == count


async def _holds(host: PostfixHost, count: int) -> bool:
    return len(host._maps.held) == count
