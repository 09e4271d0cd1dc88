"""Tables of what hosts report, on the narrowest terminal."""

import pytest

from mailctl import ops
from mailctl.cli import rows
from mailctl.fleet import Fleet
from mailctl.ops import Options, Verb
from mailctl.output.tables import cells
from tests.console.loopback import LoopbackAgent, fleet_config

WIDTH = 80


@pytest.mark.parametrize("engine", ["mailagent", "postfix 3.7.11"])
async def test_every_table_fits_eighty_columns(agents: dict[str, LoopbackAgent], engine: str) -> None:
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
            rows.status(fleet.state, hosts, WIDTH),
            rows.host_table(hosts, WIDTH),
            rows.pool_table(rows.pools(fleet.state, every), WIDTH),
            rows.vmta_table(rows.vmtas(fleet.state, every), WIDTH),
            rows.destination_table(rows.destinations(fleet.state, every), WIDTH),
            rows.directive_table(rows.directives(fleet.state, every), WIDTH),
        ]
    for text in texts:
        assert max(map(cells, text.split("\n"))) <= WIDTH, text
