"""Drains by the table of the design, on a whole agent."""

import asyncio
import itertools
import signal
from pathlib import Path

import pytest

from mailagent.api.errors import GuardRefused
from mailagent.api.operations import Result
from mailagent.api.reasons import ReasonKind
from mailagent.api.views import EngineState, MemberState, PoolState, Snapshot
from tests.integration.client import Client, Session
from tests.integration.rig import MARKETING, MKT1, MKT2, TX1, Rig, rig


async def test_a_drained_pool_keeps_its_mail_while_others_go_on_and_undo_delivers_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.accepted("before@a.example")
        await one.delivered("before@a.example")
        result = await one.do("drain", "pool:marketing", reason="incident")
        assert result.result is Result.APPLIED
        seen = len(one.sink.mails)
        held = [f"r{n}@a.example" for n in range(5)] + ["r@b.example"]
        await one.accepted(*held)
        await one.accepted("other@a.example", sender="x@tx.example")
        await one.delivered("other@a.example")
        assert {mail.source for mail in one.sink.mails[seen:]} == {TX1}
        snapshot = await one.shows(is_empty, "drain is empty")
        (view,) = snapshot.directives
        pool = next(pool for pool in snapshot.pools if pool.name == "marketing")
        assert pool.state is PoolState.DRAINING
        assert view.directive.reason == "incident"
        await one.shows(lambda now: now.directives[0].waiting == len(held), "six held")
        for recipient in ("r0@a.example", "r@b.example"):
            detail = await one.explain(recipient)
            (reason,) = detail.reasons
            assert reason.kind is ReasonKind.DIRECTIVE
            assert reason.release == "mailctl undrain pool:marketing"
            assert detail.summary.attempts == 0
        await one.do("undo", undoes=result.op_id)
        await one.delivered(*held)
        assert one.sink.sources_of(*held) <= MARKETING
        assert set(one.sink.received.values()) == {1}


async def test_a_drain_under_load_ends_all_sending_and_loses_nothing(tmp_path: Path) -> None:
    total = 600
    async with rig(tmp_path) as one:
        recipients = [f"r{n}@d{n % 7}.example" for n in range(total)]
        client = Client(one.port, iter(recipients))
        sending = asyncio.create_task(client.run(10), name="client")
        await one.holds(lambda: len(one.sink.received) >= 100, "a hundred delivered")
        result = await one.do("drain", "pool:marketing")
        await one.shows(is_empty, "drain is empty")
        seen, received = len(one.sink.mails), one.sink.received.total()
        await sending
        await one.accepted("other@a.example", sender="x@tx.example")
        await one.delivered("other@a.example")
        assert {mail.source for mail in one.sink.mails[seen:]} == {TX1}
        assert len(client.acknowledged) == total
        await one.shows(lambda now: now.host.waiting == total - received, "the rest waits")
        await one.do("undo", undoes=result.op_id)
        await one.delivered(*recipients)
        assert set(one.sink.received.values()) == {1}


async def test_a_pool_drained_with_refuse_answers_451_until_it_is_undrained(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.do("drain", "pool:marketing", refuse=True)
        assert (await one.send("r@a.example")).startswith("451 4.3.2")
        assert (await one.send("r@a.example", sender="x@tx.example")).startswith("250")
        await one.do("undrain", "pool:marketing")
        assert (await one.send("s@a.example")).startswith("250")
        await one.delivered("r@a.example", "s@a.example")


async def test_mail_of_a_drained_virtual_mta_moves_and_the_last_eligible_one_is_guarded(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        numbers = itertools.count()
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n" if mail.source == MKT1 else None
        await one.do("suspend", "vmta:mkt-2")
        await one.accepted("moves@a.example")
        await one.deferred(1)  # affinity would bring it back to mkt-1
        await one.do("resume", "vmta:mkt-2")
        await one.do("drain", "vmta:mkt-1")
        await one.delivered("moves@a.example")
        recipients = [f"r{next(numbers)}@a.example" for _ in range(6)]
        await one.accepted(*recipients)
        await one.delivered(*recipients)
        assert one.sink.sources_of("moves@a.example", *recipients) == {MKT2}
        with pytest.raises(GuardRefused, match="no eligible IP of pool marketing"):
            await one.do("drain", "vmta:mkt-2")
        overridden = await one.do("drain", "vmta:mkt-2", override=True, reason="all of it")
        assert overridden.warnings
        await one.accepted("waits@a.example")
        (reason,) = (await one.explain("waits@a.example")).reasons
        assert reason.kind is ReasonKind.DIRECTIVE
        await one.restart(signal.SIGKILL)
        snapshot = await one.snapshot()
        assert {vmta.name for vmta in snapshot.vmtas if vmta.state is MemberState.DRAINING} == {"mkt-1", "mkt-2"}
        assert [row.recipient for row in await one.waiting()] == ["waits@a.example"]
        await one.do("undrain", "vmta:mkt-2", op_id="after-kill")
        await one.delivered("waits@a.example")
        assert one.sink.sources_of("waits@a.example") == {MKT2}


async def test_a_drained_host_refuses_new_mail_and_is_empty_when_the_spool_is(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.gate = asyncio.Event()
        await one.accepted("r@a.example", "s@b.example")
        session, _ = await Session.open(one.port)
        await session.say("EHLO client.example")
        drained = await one.do("drain", "host:mx1")
        assert (await session.say("MAIL FROM:<a@sender.example>")).startswith("450 4.3.2")
        await session.close()
        refused, greeting = await Session.open(one.port)
        assert greeting.startswith("421 4.3.2")
        await refused.close()
        snapshot = await one.snapshot()
        assert snapshot.host.state is EngineState.DRAINING
        assert not snapshot.host.accepting
        assert not is_empty(snapshot)
        one.sink.gate.set()
        await one.delivered("r@a.example", "s@b.example")
        await one.shows(is_empty, "host is empty")
        await one.do("undo", undoes=drained.op_id)
        await one.accepted("t@a.example")
        await one.delivered("t@a.example")


async def test_a_drain_survives_restart_and_kill_and_expires_by_itself(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.do("drain", "pool:marketing", ttl_s=3600)
        await one.accepted("r@a.example")
        for how in (signal.SIGTERM, signal.SIGKILL):
            await one.restart(how)
            snapshot = await one.snapshot()
            assert [str(view.directive.target) for view in snapshot.directives] == ["pool:marketing"]
            assert one.sink.received == {}
        await one.stop()
        one.expire_orders()
        await one.start()
        await one.delivered("r@a.example")
        assert (await one.snapshot()).directives == ()
        last = [(row.verb, row.author) for row in (await one.call("operations")).rows[:2]]
        assert ("expire", "mailagent") in last


async def test_a_drain_ends_sessions_that_are_not_past_the_final_dot(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.gate = asyncio.Event()
        await one.accepted("past@a.example")
        await one.holds(lambda: one.sink.at_gate == 1, "a dot in flight")
        await one.do("drain", "pool:marketing")
        assert not is_empty(await one.snapshot())
        one.sink.gate.set()
        await one.delivered("past@a.example")
        await one.shows(is_empty, "drain is empty")
        await spool_is_empty(one)
        assert one.sink.received == {"past@a.example": 1}


def is_empty(snapshot: Snapshot) -> bool:
    progress = [view.progress for view in snapshot.directives]
    return bool(progress) and all(one is not None and one.empty for one in progress)


async def spool_is_empty(one: Rig) -> None:
    await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
