"""The lock of a host: verbs of others are refused with who, when and why."""

from datetime import timedelta
from typing import Any

import pytest

from mailagent.api import requests
from mailagent.api.directives import DirectiveKind
from mailagent.api.errors import InvalidRequest, Locked
from mailagent.api.ids import OpId
from mailagent.api.lock import LockRelease, LockTake
from mailagent.api.operations import Result
from mailagent.control import flow
from mailagent.control.lock import LockVerbs, holder
from mailagent.control.verbs import AGENT
from tests.agent.control.bench import ALICE, BOB, Bench, User
from tests.agent.control.fleet import target


@pytest.fixture
def bench() -> Bench:
    return Bench()


def take(op: str = "lock1", **more: Any) -> LockTake:
    return LockTake(op_id=OpId(op), reason=more.pop("reason", "moving pools"), **more)


def drain(op: str, on: str = "pool:cold", **more: Any) -> requests.Drain:
    return requests.Drain(op_id=OpId(op), target=target(on), **more)


async def test_verbs_of_others_are_refused_with_who_when_and_why(bench: Bench) -> None:
    assert (await LockVerbs(bench.control).take(take(), ALICE)).impact.messages == 0
    for dry_run in (True, False):
        with pytest.raises(Locked, match=r"locked by alice until .* 12:30 UTC: moving pools \(since 12:00:00 UTC\)"):
            await bench.control.drain(drain("op1", dry_run=dry_run), BOB)
    assert (await bench.control.drain(drain("op2"), ALICE)).result is Result.APPLIED


async def test_verbs_without_a_directive_are_refused_too(bench: Bench) -> None:
    await LockVerbs(bench.control).take(take(), ALICE)
    acted = []

    async def act() -> tuple[bool, str]:
        acted.append(1)
        return True, "done"

    request = requests.Reload(op_id=OpId("op1"))
    with pytest.raises(Locked):
        await bench.control.carry_out("reload", request, BOB, plan=act, act=act)
    assert not acted
    itself = User(AGENT)
    assert (await bench.control.carry_out("reload", request, itself, plan=act, act=act)).result is Result.APPLIED


async def test_breaking_it_wants_a_reason_and_is_in_the_record(bench: Bench) -> None:
    await LockVerbs(bench.control).take(take(), ALICE)
    with pytest.raises(InvalidRequest, match="breaking a lock, wants a reason"):
        await bench.control.drain(drain("op1", break_lock=True), BOB)
    broken = await bench.control.drain(drain("op1", break_lock=True, reason="outage"), BOB)
    assert broken.detail.endswith("(breaks the lock of alice)")
    assert bench.ledger.entries[-1].operation.record.detail == broken.detail
    assert holder(bench.control.state) is not None  # one act passes, the lock stands


async def test_it_ends_by_itself_by_release_and_by_force(bench: Bench) -> None:
    locks = LockVerbs(bench.control)
    (made,) = (await locks.take(take(), ALICE)).directives
    assert (made.kind, made.expires_at) == (DirectiveKind.LOCK, bench.now + timedelta(minutes=30))
    with pytest.raises(Locked):
        await locks.release(LockRelease(op_id=OpId("r0")), BOB)
    await locks.release(LockRelease(op_id=OpId("r1")), ALICE)
    assert (await locks.release(LockRelease(op_id=OpId("r2")), ALICE)).result is Result.NOTHING_TO_DO
    await locks.take(take("lock2"), ALICE)
    await locks.take(take("lock3", break_lock=True), BOB)
    assert (now := holder(bench.control.state)) is not None
    assert now.author == "bob"
    assert len(bench.control.state.directives) == 1
    bench.later(minutes=31)
    await bench.control.expire(bench.now)
    assert holder(bench.control.state) is None
    with pytest.raises(InvalidRequest, match="24 h at most"):
        await locks.take(take("lock4", ttl_s=90_000), ALICE)


async def test_what_was_executed_before_is_answered_and_the_agent_itself_goes_on(bench: Bench) -> None:
    first = await bench.control.drain(drain("op1"), BOB)
    await LockVerbs(bench.control).take(take(), ALICE)
    assert await bench.control.drain(drain("op1"), BOB) == first
    acted = await bench.control.act(
        "shape",
        OpId("auto-1"),
        AGENT,
        lambda at: flow.undrain(at, requests.Undrain(op_id=OpId("u"), target=target("pool:cold"))),
    )
    assert acted is not None


async def test_the_same_op_id_planned_on_another_generation_is_the_same_call(bench: Bench) -> None:
    planned = await bench.control.drain(drain("op1", dry_run=True), ALICE)
    first = await bench.control.drain(drain("op1", expect=planned.generation), ALICE)
    assert await bench.control.drain(drain("op1", expect=first.generation), ALICE) == first
