"""Keys and locks: what is executed once, and what others hold."""

from collections.abc import AsyncIterator

import pytest

from mailagent.api.ids import OpId
from mailagent.api.lock import LockTake
from mailctl import ops
from mailctl.fleet import Fleet
from mailctl.ops import LineResult, Options, StepState, Verb
from tests.console.loopback import LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]
NIGHT = Options(key="night-1", reason="cron")


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


async def drain(fleet: Fleet, words: str = "pool:cold", options: Options = NIGHT) -> ops.Report:
    return await ops.execute(fleet, await ops.plan(fleet, Verb.DRAIN, ops.parse(words), options))


async def test_the_same_key_is_executed_once_also_after_an_undo(agents: Agents, fleet: Fleet) -> None:
    first = await drain(fleet)
    assert (first.op_id, first.count(LineResult.APPLIED)) == ("key-night-1", 3)
    assert (await ops.execute(fleet, await ops.plan_undo(fleet, first.op_id))).succeeded
    again = await drain(fleet)
    assert again.counts[LineResult.NOTHING_TO_DO] == 3
    assert "executed already by alice at" in again.lines[0].detail
    assert "undone by" in again.lines[0].detail
    assert not any(agent.live for agent in agents.values())
    assert [agent.executed for agent in agents.values()] == [["drain", "undo"]] * 3


async def test_a_key_goes_on_where_it_was_not_executed(agents: Agents, fleet: Fleet) -> None:
    await drain(fleet, "pool:cold host:mx1")
    assert [line.result for line in (await drain(fleet)).lines] == [
        LineResult.NOTHING_TO_DO,
        LineResult.APPLIED,
        LineResult.APPLIED,
    ]


async def test_a_key_stands_for_one_thing(fleet: Fleet) -> None:
    await drain(fleet)
    other = await drain(fleet, "pool:marketing")
    assert {line.result for line in other.lines} == {LineResult.REFUSED}
    assert "the key stands for drain pool:cold" in other.lines[0].detail
    with pytest.raises(ops.OptionError, match="a key is 1 to 48 letters"):
        await drain(fleet, options=Options(key="a.2"))


async def test_others_lock_refuses_and_may_be_broken(agents: Agents, fleet: Fleet) -> None:
    agents["mx2"].lock_of = "bob"
    plan = await ops.plan(fleet, Verb.DRAIN, ops.parse("pool:cold"), Options())
    assert plan.is_locked
    assert [step.state for step in plan.steps] == [StepState.READY, StepState.REFUSED, StepState.READY]
    assert "locked by bob until 13:00 UTC" in plan.steps[1].detail
    with pytest.raises(ops.OptionError, match="breaking a lock wants a reason"):
        await drain(fleet, options=Options(break_lock=True))
    broken = Options(break_lock=True, reason="outage")
    plan = await ops.plan(fleet, Verb.DRAIN, ops.parse("pool:cold"), broken)
    assert plan.word == "cold"
    assert plan.command == "mailctl drain pool:cold --break-lock --reason outage"
    assert (await ops.execute(fleet, plan)).succeeded


async def test_the_lock_is_taken_on_every_host(agents: Agents, fleet: Fleet) -> None:
    request = LockTake(op_id=OpId(""))
    plan = await ops.plan_request(
        fleet, Verb.LOCK_TAKE, request, ops.parse(""), Options(reason="repair"), subject="lock", words=()
    )
    assert plan.command == "mailctl lock take --reason repair"
    assert (await ops.execute(fleet, plan)).summary == "applied on 3 of 3 hosts"
    assert [one.kind for agent in agents.values() for one in agent.live.values()] == ["lock"] * 3
