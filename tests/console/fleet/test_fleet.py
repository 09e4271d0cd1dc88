"""A fleet of local agents: links, states, changes and questions."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mailagent.api import requests
from mailagent.api.errors import NotFound, RoleRefused
from mailagent.api.ids import HostName, OpId
from mailagent.api.methods import METHODS
from mailctl.fleet import Fleet, LinkState
from mailctl.fleet.errors import LinkError, LinkLost, NoAnswer, Unreachable
from tests.console.loopback import LoopbackAgent, fleet_config, summary


async def test_every_host_is_live_with_a_snapshot(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(fleet_config(agents)) as fleet:
        state = await fleet.settled(5)
        assert [host.state for host in state.hosts] == [LinkState.LIVE] * 3
        assert state.totals.waiting == 300
        assert str(state.totals.hosts) == "3 of 3 hosts"


async def test_a_host_without_an_agent_is_lost_and_says_why(agents: dict[str, LoopbackAgent], sockets: Path) -> None:
    agents["mx4"] = LoopbackAgent("mx4", 3, sockets / "nothing.sock")
    async with Fleet(fleet_config(agents)) as fleet:
        state = await fleet.settled(5)
        lost = state.host("mx4")
        assert lost is not None
        assert lost.state is LinkState.LOST
        assert "is mailagent running?" in lost.error
        assert lost.next_try_s is not None
        assert str(state.coverage) == "3 of 4 hosts"
        marketing = next(row for row in state.pools if row.name == "marketing")
        assert str(marketing.hosts) == "3 of 4 hosts"
        with pytest.raises(LinkError, match="mx4"):
            await fleet.ask("mx4", "snapshot", requests.Empty())


async def test_changes_reach_the_state_and_its_listeners(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        ticks: list[int] = []
        fleet.on_change(lambda state: ticks.append(state.tick))
        agents["mx2"].waiting = 1000
        agents["mx2"].publish()
        assert await fleet.until(lambda state: state.totals.waiting == 1200, within_s=5)
        assert await fleet.until(lambda _: bool(ticks), within_s=5)


async def test_a_restarted_agent_comes_back_live(sockets: Path) -> None:
    agent = LoopbackAgent("mx1", 0, sockets / "a.sock")
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(AsyncExitStack())
        await running.enter_async_context(agent.running())
        fleet = await stack.enter_async_context(Fleet(fleet_config({"mx1": agent})))
        await fleet.settled(5)
        await running.aclose()
        assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LOST, within_s=5)
        assert fleet.state.hosts[0].snapshot is not None  # what was last known stays visible
        assert fleet.state.totals.waiting == 0  # but is in no sum
        await stack.enter_async_context(agent.running())
        assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LIVE, within_s=10)


async def test_an_agent_of_another_protocol_is_incompatible(agents: dict[str, LoopbackAgent]) -> None:
    agents["mx1"].faults.protocol = 0
    agents["mx2"].faults.protocol = 99
    agents["mx3"].faults.garbage = True
    async with Fleet(fleet_config(agents)) as fleet:
        state = await fleet.settled(5)
        assert [host.state for host in state.hosts[:2]] == [LinkState.INCOMPATIBLE] * 2
        assert "upgrade" in state.hosts[0].error
        assert "upgrade one" in state.hosts[1].error
        assert state.hosts[2].state is LinkState.INCOMPATIBLE
        assert "does not speak our protocol" in state.hosts[2].error


async def test_silence_makes_a_host_late_and_shows_its_age(agents: dict[str, LoopbackAgent]) -> None:
    agents["mx1"].faults.silent = True
    async with Fleet(fleet_config(agents), only=["mx1"], interval_s=0.1) as fleet:
        await fleet.settled(5)
        assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LATE, within_s=5)
        age_s = fleet.state.hosts[0].age_s
        assert age_s is not None
        assert age_s > 0.2
        assert fleet.state.totals.waiting == 100


async def test_a_host_that_stays_silent_is_lost_until_it_speaks_again(agents: dict[str, LoopbackAgent]) -> None:
    faults = agents["mx1"].faults
    faults.silent = True
    async with Fleet(fleet_config(agents), only=["mx1"], interval_s=0.05, silence_s=0.3) as fleet:
        await fleet.settled(5)
        assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LOST, within_s=5)
        assert fleet.state.hosts[0].error == "no news for 0.3 s; the agent hangs or the line is dead"
        assert fleet.state.totals.waiting == 0
        faults.silent = False
        assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LIVE, within_s=5)


async def test_calls_are_pipelined_and_each_has_its_own_deadline(agents: dict[str, LoopbackAgent]) -> None:
    agents["mx1"].faults.mute = {"queues"}
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        slow = asyncio.ensure_future(fleet.ask("mx1", "queues", requests.PageRequest(), deadline_s=0.3))
        quick = await fleet.ask("mx1", "snapshot", requests.Empty())
        assert quick.host.host == "mx1"
        with pytest.raises(NoAnswer, match="no answer to queues within"):
            await slow


async def test_a_connection_that_breaks_fails_its_calls_at_once(agents: dict[str, LoopbackAgent]) -> None:
    agents["mx1"].faults.drop_answer_to = {"snapshot"}
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        with pytest.raises(LinkLost, match="before the answer"):
            await fleet.ask("mx1", "snapshot", requests.Empty(), deadline_s=30)


async def test_one_hosts_error_is_its_part_of_the_answer(agents: dict[str, LoopbackAgent]) -> None:
    agents["mx2"].messages = (summary(7),)
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        answers = await fleet.ask_all("message", requests.MessageRequest(message_id=summary(7).message_id))
        assert isinstance(answers[HostName("mx1")], NotFound)
        assert not isinstance(answers[HostName("mx2")], Exception)


async def test_an_error_of_the_body_is_not_wrapped(agents: dict[str, LoopbackAgent]) -> None:
    with pytest.raises(KeyError):
        async with Fleet(fleet_config(agents)):
            raise KeyError("mine")


async def test_only_named_hosts_are_asked(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(fleet_config(agents), only=["mx2"]) as fleet:
        state = await fleet.settled(5)
        assert [host.name for host in state.hosts] == ["mx2"]
    with pytest.raises(LookupError, match="no host mx9"):
        Fleet(fleet_config(agents), only=["mx9"])


async def test_as_role_lowers_the_role(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(fleet_config(agents), as_role=requests.Role.VIEWER) as fleet:
        state = await fleet.settled(5)
        assert state.hosts[0].hello is not None
        assert state.hosts[0].hello.role is requests.Role.VIEWER


async def test_a_fleet_for_reading_sends_nothing_that_changes_something(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(fleet_config(agents), read_only=True) as fleet:
        await fleet.settled(5)
        for method in (method for method in METHODS.values() if method.mutates):
            with pytest.raises(RoleRefused, match="read-only mode"):
                await fleet.ask("mx1", method.name, requests.Mutation(op_id=OpId("x")))
        assert not agents["mx1"].executed


async def test_another_file_brings_hosts_takes_hosts_and_leaves_the_other_links(
    agents: dict[str, LoopbackAgent], sockets: Path
) -> None:
    first = {name: agents[name] for name in ("mx1", "mx2")}
    async with Fleet(fleet_config(first)) as fleet:
        await fleet.settled(5)
        kept = fleet.state.host("mx2")
        assert kept is not None
        turnover = fleet.take_over(fleet_config({name: agents[name] for name in ("mx2", "mx3")}))
        assert turnover == (("mx3",), ("mx1",), ())
        assert [host.name for host in fleet.state.hosts] == ["mx2", "mx3"]
        assert fleet.state.hosts[0].state is LinkState.LIVE
        state = await fleet.settled(5)
        assert [host.state for host in state.hosts] == [LinkState.LIVE] * 2
        assert state.hosts[0].hello is kept.hello  # nobody said hello again
        assert fleet.state.pool_hosts["marketing"] == ("mx2", "mx3")
        with pytest.raises(Unreachable, match="not in the fleet file"):
            await fleet.ask("mx1", "snapshot", requests.Empty())
        elsewhere = LoopbackAgent("mx3", 2, sockets / "elsewhere.sock")
        async with elsewhere.running():
            moved = fleet.take_over(fleet_config({"mx2": agents["mx2"], "mx3": elsewhere}))
            assert moved == ((), (), ("mx3",))
            state = await fleet.settled(5)
            assert [host.state for host in state.hosts] == [LinkState.LIVE] * 2
            assert fleet.take_over(fleet.config) == ((), (), ())


async def test_a_fleet_that_is_cut_to_a_host_refuses_a_file_without_it(agents: dict[str, LoopbackAgent]) -> None:
    config = fleet_config(agents)
    async with Fleet(config, only=("mx1",)) as fleet:
        await fleet.settled(5)
        with pytest.raises(LookupError, match="no host mx1"):
            fleet.take_over(fleet_config({"mx2": agents["mx2"]}))
        assert fleet.config is config
        assert fleet.take_over(fleet_config(agents)) == ((), (), ())
        assert [host.name for host in fleet.state.hosts] == ["mx1"]
