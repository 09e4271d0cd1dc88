"""The undo journal: the last of mine, and all of mine since a time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from mailagent.api.ids import OpId
from mailctl import ops
from mailctl.fleet import Fleet
from mailctl.ops import LineResult, Options, StepState, Verb
from tests.console.loopback import LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


async def do(fleet: Fleet, verb: Verb, words: str) -> ops.Report:
    report = await ops.execute(fleet, await ops.plan(fleet, verb, ops.parse(words), Options(reason="night")))
    assert report.succeeded
    return report


def hand_over(agents: Agents, op_id: str, author: str) -> None:
    """Let an operation be somebody else's."""
    for agent in agents.values():
        for one, record in agent.records.items():
            if one.startswith(op_id):
                agent.records[one] = msgspec.structs.replace(record, author=author)


def hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


async def test_the_last_goes_one_step_further_back_with_each_call(agents: Agents, fleet: Fleet) -> None:
    first = await do(fleet, Verb.DRAIN, "pool:cold")
    second = await do(fleet, Verb.SUSPEND, "provider:gmail host:mx2")
    bobs = await do(fleet, Verb.DRAIN, "vmta:tx-1")
    hand_over(agents, bobs.op_id, "bob")
    for operation in (second, first):
        undo = await ops.plan_undo_last(fleet)
        assert undo.selection == operation.op_id
        assert (await ops.execute(fleet, undo)).succeeded
    assert [one.op_id for agent in agents.values() for one in agent.live.values()] == [bobs.op_id]
    with pytest.raises(ops.NothingSelected, match="nothing of yours stands"):
        await ops.plan_undo_last(fleet)


async def test_what_a_host_notes_when_an_order_is_through_is_no_act(agents: Agents, fleet: Fleet) -> None:
    since = hour_ago()
    mine = await do(fleet, Verb.DRAIN, "pool:cold")
    for agent in agents.values():
        one = next(iter(agent.records.values()))
        for verb in ("released", "rebound", "evacuate_end"):
            noted = OpId(f"done-{verb}")
            agent.records[noted] = msgspec.structs.replace(
                one, op_id=noted, verb=verb, undoable=False, at=one.at + timedelta(seconds=1)
            )
    assert (await ops.plan_undo_last(fleet)).selection == mine.op_id
    undo = await ops.plan_undo_since(fleet, since)
    assert {step.state for step in undo.steps} == {StepState.READY}
    assert len(undo.steps) == len(agents)


async def test_all_of_mine_is_one_plan_newest_first_and_leaves_others_alone(agents: Agents, fleet: Fleet) -> None:
    await do(fleet, Verb.DRAIN, "pool:cold")
    await do(fleet, Verb.SUSPEND, "provider:gmail host:mx2")
    bobs = await do(fleet, Verb.DRAIN, "vmta:tx-1")
    hand_over(agents, bobs.op_id, "bob")
    undo = await ops.plan_undo_since(fleet, hour_ago())
    assert [(step.host, step.target) for step in undo.steps] == [
        ("mx1", "drain pool:cold"),
        ("mx2", "suspend provider:gmail"),
        ("mx2", "drain pool:cold"),
        ("mx3", "drain pool:cold"),
    ]
    assert undo.command.startswith("mailctl undo --mine --since 20")
    report = await ops.execute(fleet, undo)
    assert report.summary == "applied on 4 of 4 objects"
    assert [one.op_id for agent in agents.values() for one in agent.live.values()] == [bobs.op_id]


async def test_what_cannot_be_undone_is_said_with_the_reason(agents: Agents, fleet: Fleet) -> None:
    await do(fleet, Verb.RETRY, "provider:gmail host:mx1")
    await do(fleet, Verb.DRAIN, "pool:cold host:mx1")
    undo = await ops.plan_undo_since(fleet, hour_ago())
    assert [step.state for step in undo.steps] == [StepState.READY, StepState.REFUSED]
    assert "cannot be made to wait again" in undo.steps[1].detail
    report = await ops.execute(fleet, undo)
    assert [line.result for line in report.lines] == [LineResult.APPLIED, LineResult.REFUSED]
    assert not agents["mx1"].live


async def test_the_past_before_the_time_stays(fleet: Fleet) -> None:
    await do(fleet, Verb.DRAIN, "pool:cold")
    with pytest.raises(ops.NothingSelected, match="nothing of yours since"):
        await ops.plan_undo_since(fleet, datetime.now(UTC) + timedelta(seconds=5))


async def test_the_last_without_a_way_back_is_named_with_the_one_before_it(agents: Agents, fleet: Fleet) -> None:
    await do(fleet, Verb.RETRY, "provider:gmail host:mx1")
    [warning] = (await ops.plan_undo_last(fleet)).warnings
    assert warning.endswith("nothing of yours before it has one either")
    drain = await do(fleet, Verb.DRAIN, "pool:cold")
    await do(fleet, Verb.RETRY, "provider:gmail host:mx1")
    undo = await ops.plan_undo_last(fleet)
    assert not undo.is_possible
    [warning] = undo.warnings
    assert warning.startswith("the last of yours is retry")
    assert "drain pool:cold" in warning
    assert warning.endswith(f"mailctl undo {drain.op_id}")


@pytest.mark.parametrize("is_finished", [True, False])
async def test_the_last_of_which_nothing_is_left_is_named_with_the_one_before_it(
    agents: Agents, fleet: Fleet, *, is_finished: bool
) -> None:
    drain = await do(fleet, Verb.DRAIN, "pool:cold")
    last = await do(fleet, Verb.SUSPEND, "provider:gmail host:mx1")
    records, live = agents["mx1"].records, agents["mx1"].live
    if is_finished:
        records[last.op_id] = msgspec.structs.replace(records[last.op_id], verb="evacuate")
    else:  # its time is over
        for one in records[last.op_id].created:
            del live[one]
    undo = await ops.plan_undo_last(fleet)
    assert undo.selection == last.op_id
    assert not undo.is_possible
    [step], [warning] = undo.steps, undo.warnings
    assert step.state is (StepState.REFUSED if is_finished else StepState.NOTHING_TO_DO)
    assert "of which nothing can be undone any more; the one before it that has: drain pool:cold" in warning
    assert warning.endswith(f"mailctl undo {drain.op_id}")


async def test_an_undo_that_a_lock_stops_names_no_other_act(agents: Agents, fleet: Fleet) -> None:
    await do(fleet, Verb.DRAIN, "pool:cold")
    await do(fleet, Verb.SUSPEND, "provider:gmail host:mx1")
    agents["mx1"].lock_of = "bob"
    undo = await ops.plan_undo_last(fleet)
    assert "locked by bob" in undo.steps[0].detail
    assert undo.warnings == ()
