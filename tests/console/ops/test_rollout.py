"""A roll-out goes host by host, and stops where one is not well."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import HostName
from mailagent.api.requests import Role
from mailctl import ops
from mailctl.fleet import Fleet
from mailctl.ops import Course, LineResult, Options, RolledOut
from mailctl.ops.errors import NothingSelected, OptionError, SelectorError
from tests.console.loopback import LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]
AT_ONCE = Course(pause_s=0, batch="1")
ALL = Options(everything=True, reason="test")


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    async with Fleet(fleet_config(agents), interval_s=0.25) as fleet:
        await fleet.settled(5)
        yield fleet


async def rolled(fleet: Fleet, course: Course = AT_ONCE, words: str = "") -> RolledOut:
    plan, _ = await ops.plan_apply(fleet, ops.parse(words), ALL, course)
    return await ops.roll_out(fleet, plan, course, settle_s=10)


def results(done: RolledOut) -> list[LineResult]:
    return [line.result for line in done.report.lines]


@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.sets(st.integers(1, 40), max_size=3))
def test_batches_have_every_host_once_the_canaries_first(
    hosts: int, size: int, percent: bool, canaries: set[int]
) -> None:
    names = [HostName(f"mx{n + 1}") for n in range(hosts)]
    first = tuple(name for name in names if int(name[2:]) in canaries)
    course = Course(canaries=first, batch=f"{size}%" if percent else str(size))
    batches = course.batches(names)
    assert sorted(host for batch in batches for host in batch) == sorted(names)
    assert batches[0] == (first or (names[0],))
    most = max(1, -(-hosts * size // 100) if percent else size)
    assert all(len(batch) <= most for batch in batches[1:])


@pytest.mark.parametrize("batch", ["0", "-1", "x", "101%", "0%", ""])
def test_a_batch_is_a_number_or_a_share(batch: str) -> None:
    with pytest.raises(OptionError, match="write a number of hosts"):
        Course(batch=batch).check([HostName("mx1")])


async def test_all_hosts_get_their_part_and_a_second_run_finds_nothing(agents: Agents, fleet: Fleet) -> None:
    done = await rolled(fleet)
    assert (results(done), done.stopped) == ([LineResult.APPLIED] * 3, "")
    assert [agent.config.startswith(f"host: {name}\n".encode()) for name, agent in agents.items()] == [True] * 3
    assert all(one.plan is not None and one.plan.same for one in await ops.compare(fleet, ops.parse("")))
    assert results(await rolled(fleet)) == [LineResult.NOTHING_TO_DO] * 3
    assert [agent.executed for agent in agents.values()] == [["config_apply"]] * 3


async def test_a_canary_that_defers_stops_it_and_is_put_back(agents: Agents, fleet: Fleet) -> None:
    agents["mx2"].sick = True
    agents["mx2"].config = b"before"
    course = Course(canaries=("mx2",), pause_s=0, roll_back=True)
    done = await rolled(fleet, course)
    assert results(done) == [LineResult.NOT_REACHED, LineResult.APPLIED, LineResult.NOT_REACHED]
    assert done.stopped == "mx2: 50% of 1000 attempts deferred, 9% before"
    assert done.rolled_back is not None
    assert [(line.host, line.result) for line in done.rolled_back.lines] == [("mx2", LineResult.APPLIED)]
    assert agents["mx2"].config == b"before"
    assert agents["mx1"].executed == agents["mx3"].executed == []


async def test_a_host_that_does_not_answer_stops_it(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].faults.drop_before = {"config_apply"}
    done = await rolled(fleet)
    assert results(done) == [LineResult.FAILED, LineResult.NOT_REACHED, LineResult.NOT_REACHED]
    assert done.stopped.startswith("batch 1 of 3: failed on 1 of 1 host")


async def test_an_answer_that_is_lost_is_asked_for(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].faults.drop_answer_to = {"config_apply"}
    done = await rolled(fleet, words="host:mx1")
    assert results(done) == [LineResult.APPLIED]


async def test_the_files_before_are_put_back_where_they_were_replaced(agents: Agents, fleet: Fleet) -> None:
    done = await rolled(fleet, words="host:mx1 host:mx2")
    assert done.report.undo_command == f"mailctl apply --undo {done.report.op_id}"
    plan = await ops.plan_undo_apply(fleet, done.report.op_id, ops.parse(""), ALL, AT_ONCE)
    assert [step.host for step in plan.steps] == ["mx1", "mx2"]
    back = await ops.roll_out(fleet, plan, AT_ONCE, settle_s=10)
    assert results(back) == [LineResult.APPLIED] * 2
    assert [agent.config for agent in agents.values()] == [b"", b"", b""]


async def test_selections_are_of_hosts_and_not_empty(fleet: Fleet) -> None:
    with pytest.raises(NothingSelected, match="--all"):
        await ops.plan_apply(fleet, ops.parse(""), Options(), AT_ONCE)
    with pytest.raises(SelectorError, match="host: terms only"):
        await ops.compare(fleet, ops.parse("pool:marketing"))
    with pytest.raises(OptionError, match="canary mx9"):
        await ops.plan_apply(fleet, ops.parse(""), ALL, Course(canaries=("mx9",)))


async def test_every_host_is_in_the_report_and_a_second_run_does_what_was_left(sockets: Path) -> None:
    agents = {f"mx{n}": LoopbackAgent(f"mx{n}", n, sockets / f"{n}.sock") for n in range(20)}
    down, refusing = ("mx3", "mx11"), ("mx7",)
    for name in refusing:
        agents[name].faults.role = Role.VIEWER
    async with AsyncExitStack() as stack:
        for name, agent in agents.items():
            if name not in down:
                await stack.enter_async_context(agent.running())
        course = Course(pause_s=0, batch="25%")
        async with Fleet(fleet_config(agents)) as fleet:
            await fleet.settled(5)
            done = await rolled(fleet, course)
        assert [line.host for line in done.report.lines] == list(agents)
        assert done.stopped == ""
        found = {line.host: line.result for line in done.report.lines}
        assert {host for host, result in found.items() if result is LineResult.UNREACHABLE} == set(down)
        assert {host for host, result in found.items() if result is LineResult.REFUSED} == set(refusing)
        assert sum(result is LineResult.APPLIED for result in found.values()) == 17

        for name in refusing:
            agents[name].faults.role = Role.ADMIN
        for name in down:
            await stack.enter_async_context(agents[name].running())
        async with Fleet(fleet_config(agents)) as fleet:
            await fleet.settled(5)
            again = await rolled(fleet, course)
    found = {line.host: line.result for line in again.report.lines}
    assert {host for host, result in found.items() if result is LineResult.APPLIED} == {*down, *refusing}
    assert sum(result is LineResult.NOTHING_TO_DO for result in found.values()) == 17
    assert all(agent.executed == ["config_apply"] for agent in agents.values())
