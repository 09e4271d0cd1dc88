"""Tables of what hosts report, on the narrowest terminal."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from mailagent.api.ids import HostName
from mailctl import ops
from mailctl.cli import rows
from mailctl.cli.timeline import timeline_table
from mailctl.fleet import Fleet
from mailctl.ops import Options, Verb
from mailctl.ops.timeline import EventKind, TimelineEvent
from mailctl.output.tables import cells
from tests.console.loopback import LoopbackAgent, fleet_config


@pytest.mark.parametrize("width", [80, 60, 40])
@pytest.mark.parametrize("engine", ["mailagent", "postfix 3.7.11"])
async def test_every_table_fits_narrow_terminals(agents: dict[str, LoopbackAgent], engine: str, width: int) -> None:
    for agent in agents.values():
        agent.engine = engine
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        plan = await ops.plan(fleet, Verb.SUSPEND, ops.parse("pool:marketing"), Options(reason="a long reason " * 9))
        await ops.execute(fleet, plan)
        await fleet.settled(5)
        every = ops.parse(())
        hosts = rows.hosts(fleet.state, every, view="status")
        texts = [
            rows.status(fleet.state, hosts, width),
            rows.host_table(hosts, width),
            rows.pool_table(rows.pools(fleet.state, every), width),
            rows.vmta_table(rows.vmtas(fleet.state, every), width),
            rows.destination_table(rows.destinations(fleet.state, every), width),
            rows.directive_table(rows.directives(fleet.state, every), width),
        ]
    for text in texts:
        assert max(map(cells, text.split("\n"))) <= width, text
    assert len({text.split("\n")[0].split()[0] for text in texts} & {"HOST", "POOL", "VMTA", "PROVIDER", "ORDER"}) == 5


@pytest.mark.parametrize("width", [80, 60])
def test_a_terminal_shows_when_what_and_about_what_happened(width: int) -> None:
    event = TimelineEvent(
        at=datetime(2026, 9, 1, 12, 0, 7, tzinfo=UTC),
        kind=EventKind.AUTOMATION,
        hosts=(HostName("mx1"),),
        by="automation",
        subject="cell:gmail/mkt-1",
        text="shape: provider_rate 60/m -> 30/m: 421 4.7.28 unusual rate of mail",
    )
    later = msgspec.structs.replace(event, at=event.at + timedelta(days=1))
    one = timeline_table([event], width).split("\n")
    assert one[1].startswith("12:00:07    ")
    assert "cell:gmail/mkt-1  shape: provider" in one[1]
    assert max(map(cells, one)) <= width
    assert timeline_table([event, later], width).split("\n")[2].startswith("09-02 12:00:07")


async def test_at_60_columns_the_fleet_keeps_what_waits_and_what_is_deferred(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        shown = rows.status(fleet.state, rows.hosts(fleet.state, ops.parse(()), view="status"), 60)
    kept = shown.split("\n")[0].split()
    assert [name for name in ("HOST", "LINK", "WAITING", "DEFERRED", "DEFERRALS") if name not in kept] == []
    assert ("SENT/MIN" in kept, "SENT/MIN" in shown) == (False, True)
