"""The console over real links to agents: drain and undo at the keyboard, a host that goes away."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from mailagent.api.directives import DirectiveKind
from mailctl.fleet import Fleet
from mailctl.fleet.state import LinkState
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.source import FleetOperator
from mailctl.tui.widgets.table import FleetTable
from tests.console.loopback import LoopbackAgent, fleet_config, three_agents
from tests.console.tui.test_confirm import Clock, said
from tests.console.tui.waiting import is_asked, until


def console(agents: dict[str, LoopbackAgent], clock: Clock) -> ConsoleApp:
    fleet = Fleet(fleet_config(agents))
    return ConsoleApp(fleet, FleetOperator(fleet), clock=clock)


async def live(pilot: Pilot[Any], hosts: int) -> None:
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, lambda: sum(host.state is LinkState.LIVE for host in app.state.hosts) == hosts)


async def answer_yes(pilot: Pilot[Any], clock: Clock) -> None:
    await until(pilot, lambda: is_asked(pilot))
    clock.now += DEAF_S
    await pilot.press("y")
    await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))


async def test_a_pool_is_drained_on_all_hosts_and_undone_with_two_keys_each(agents: dict[str, LoopbackAgent]) -> None:
    clock = Clock()
    async with console(agents, clock).run_test(size=(120, 36)) as pilot:
        await live(pilot, 3)
        await pilot.press("2")
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))
        table = pilot.app.screen.query_one(FleetTable)
        await until(pilot, lambda: table.source.index_of("pool:marketing") is not None)
        table.move_to("pool:marketing")
        await pilot.press("D")
        await answer_yes(pilot, clock)
        await until(pilot, lambda: "applied on 3 of 3 hosts" in said(pilot))
        for agent in agents.values():
            assert [(one.kind, one.target.name) for one in agent.live.values()] == [(DirectiveKind.DRAIN, "marketing")]
        await pilot.press("U")
        await answer_yes(pilot, clock)
        await until(pilot, lambda: "undo" in said(pilot) and "applied on 3 of 3 hosts" in said(pilot))
        assert not any(agent.live for agent in agents.values())


async def test_a_host_that_goes_away_stays_on_the_screen_as_lost(sockets: Path) -> None:
    made = three_agents(sockets)
    async with AsyncExitStack() as stack:
        for name in ("mx1", "mx2"):
            await stack.enter_async_context(made[name].running())
        async with AsyncExitStack() as third:
            await third.enter_async_context(made["mx3"].running())
            app = console(made, Clock())
            async with app.run_test(size=(80, 24)) as pilot:
                await live(pilot, 3)
                await third.aclose()
                await until(pilot, lambda: app.state.coverage.fresh == 2)
                assert pilot.app.screen.query_one(FleetTable).row_count == 3
                await until(pilot, lambda: any(event.subject == "mx3" for event in app.happened))
