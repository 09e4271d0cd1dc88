"""The safety budget: what acts on single virtual MTAs and hosts must leave in the fleet."""

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from mailagent.api.ids import HostName, PoolName
from mailagent.api.targets import Target, TargetKind
from mailagent.config.structs import FleetConfig
from mailctl import ops
from mailctl.fleet import Fleet, LinkState
from mailctl.fleet.state import FleetState
from mailctl.ops import LineResult, Options, StepState, Verb
from mailctl.ops.budget import Taken, breaches, is_about_the_fleet
from tests.console.loopback import LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]
MARKETING = PoolName("marketing")


def least(config: FleetConfig, number: int) -> FleetConfig:
    """The fleet file with a least number for marketing."""
    pool = msgspec.structs.replace(config.pools[MARKETING], min_active=number)
    return msgspec.structs.replace(config, pools=config.pools | {MARKETING: pool})


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    async with Fleet(least(fleet_config(agents), 2)) as fleet:
        await fleet.settled(5)
        yield fleet


def taken(*names: str) -> list[Taken]:
    """`mx1/vmta:mkt-1`, `mx2/host:mx2`."""
    found = []
    for text in names:
        host, _, target = text.partition("/")
        kind, _, name = target.partition(":")
        found.append(Taken(HostName(host), Target(kind=TargetKind(kind), name=name)))
    return found


def texts(fleet: Fleet, verb: Verb, *names: str, state: FleetState | None = None) -> set[str]:
    found = breaches(fleet.config, state or fleet.state, verb, taken(*names))
    return {text for one in found.values() for text in one}


async def test_a_pool_keeps_its_least_number_of_members(fleet: Fleet) -> None:
    assert not texts(fleet, Verb.DRAIN, "mx1/vmta:mkt-1")
    both = texts(fleet, Verb.SUSPEND, "mx1/vmta:mkt-1", "mx2/vmta:mkt-3")
    assert both == {"pool marketing would have 1 of 3 virtual MTAs left in the fleet, its min_active is 2"}
    everyone = texts(fleet, Verb.DRAIN, "mx1/vmta:tx-1", "mx2/vmta:tx-3", "mx3/vmta:tx-5")
    assert everyone == {"pool transactional would have 0 of 3 virtual MTAs left in the fleet"}
    assert not texts(fleet, Verb.DRAIN, "mx1/vmta:mkt-2", "mx2/vmta:mkt-4")  # standbys are no capacity
    assert not texts(fleet, Verb.RESUME, "mx1/vmta:mkt-1", "mx2/vmta:mkt-3")


async def test_pools_as_a_whole_state_their_intent(fleet: Fleet) -> None:
    pools = [f"{host}/pool:marketing" for host in ("mx1", "mx2", "mx3")]
    assert not texts(fleet, Verb.DRAIN, *pools)


async def test_the_last_host_of_a_region_and_hosts_that_do_not_answer(fleet: Fleet) -> None:
    assert not texts(fleet, Verb.DRAIN, "mx1/host:mx1")
    everything = texts(fleet, Verb.DRAIN, "mx1/host:mx1", "mx2/host:mx2", "mx3/host:mx3")
    assert "no host of region eu would take new mail" in everything
    hosts = tuple(
        replace(host, state=LinkState.LOST) if host.name in ("mx2", "mx3") else host for host in fleet.state.hosts
    )
    lost = replace(fleet.state, hosts=hosts)
    alone = texts(fleet, Verb.DRAIN, "mx1/host:mx1", state=lost)
    assert "no host of region eu would take new mail (mx2, mx3 do not answer)" in alone
    assert any(text.startswith("pool cold would have 0 of 1") for text in alone)


async def test_a_plan_is_refused_and_an_override_with_a_reason_passes_with_a_warning(
    agents: Agents, fleet: Fleet
) -> None:
    refused = await ops.plan(fleet, Verb.DRAIN, ops.parse("vmta:mkt-1 vmta:mkt-3"))
    assert {step.state for step in refused.steps} == {StepState.REFUSED}
    assert refused.is_guarded
    assert not (await ops.execute(fleet, refused)).count(LineResult.APPLIED)
    anyway = Options(override=True, reason="both are listed")
    plan = await ops.plan(fleet, Verb.DRAIN, ops.parse("vmta:mkt-1 vmta:mkt-3"), anyway)
    assert any("overridden: pool marketing would have 1 of 3" in warning for warning in plan.warnings)
    assert (await ops.execute(fleet, plan)).succeeded
    assert all(agents[name].live for name in ("mx1", "mx2"))


async def test_what_was_drained_since_the_plan_counts_when_it_is_executed(agents: Agents, fleet: Fleet) -> None:
    words = "host:mx1 host:mx2"
    plan = await ops.plan(fleet, Verb.DRAIN, ops.parse(words), Options(override=True, reason="move"))
    mine = await ops.plan(fleet, Verb.DRAIN, ops.parse("host:mx3"))
    assert mine.is_possible
    assert (await ops.execute(fleet, plan)).succeeded
    assert await fleet.until(lambda state: sum(len(row.hosts) for row in state.directives) == 2, within_s=5)
    late = await ops.execute(fleet, mine)
    assert late.lines[0].result is LineResult.REFUSED
    assert "no host of region eu would take new mail" in late.lines[0].detail
    assert not agents["mx3"].live


def test_acts_on_hosts_and_virtual_mtas_are_judged_on_the_whole_fleet() -> None:
    for verb, words, whole in (
        (Verb.DRAIN, "host:mx1", True),
        (Verb.DRAIN, "vmta:mkt-1 host:mx1", True),
        (Verb.SUSPEND, "vmta:mkt-1 pool:marketing host:mx1", True),
        (Verb.DRAIN, "pool:cold host:mx1", False),
        (Verb.UNDRAIN, "host:mx1", False),
    ):
        assert is_about_the_fleet(verb, ops.parse(words)) is whole
