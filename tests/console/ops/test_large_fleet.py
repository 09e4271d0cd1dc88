"""200 hosts of which some are down, some hang and some refuse: every one is in the report, and none acts twice."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mailagent.api.methods import PROTOCOL_VERSION
from mailctl import ops
from mailctl.cli.exits import Exit, of_plan, of_report
from mailctl.fleet import Fleet
from mailctl.ops import LineResult, Options, Plan, StepState, Verb, execution
from mailctl.tui.dialogs.report import told
from tests.console.loopback import LoopbackAgent, fleet_config

HOSTS = 200
DOWN = range(0, HOSTS, 10)
"""Nobody listens: a tenth of them."""
HANG = range(5, HOSTS, 20)
"""5 % hang: every other one from its first word on, the rest when it has done what it was told."""
REFUSE = range(7, HOSTS, 20)
"""5 % refuse: every other one whoever comes, the rest what they are told."""
WELL = HOSTS - len(DOWN) - len(HANG) - len(REFUSE)
NIGHT = Options(reason="night", key="night-1")


class Two:
    """The 200 hosts; they keep what they were told from one console to the next."""

    def __init__(self, directory: Path) -> None:
        self.agents = {f"mx{n}": LoopbackAgent(f"mx{n}", n, directory / str(n)) for n in range(HOSTS)}
        for n in HANG:
            if n % 40 == 5:
                self.agents[f"mx{n}"].faults.mute = {"hello"}
        for n in REFUSE:
            if n % 40 == 7:
                self.agents[f"mx{n}"].faults.protocol = 0
            else:
                self.agents[f"mx{n}"].lock_of = "bob"

    def hang(self) -> None:
        """The other half of those that hang does so now."""
        for n in HANG:
            self.agents[f"mx{n}"].faults.hang_after = {"drain", "operation"}

    def mend(self) -> None:
        for agent in self.agents.values():
            agent.faults.mute, agent.faults.hang_after, agent.lock_of = set(), set(), ""
            agent.faults.protocol = PROTOCOL_VERSION

    @asynccontextmanager
    async def console(self, *, down: range = DOWN) -> AsyncIterator[Fleet]:
        """A console of its own, once it has heard of every host that says anything."""
        async with AsyncExitStack() as stack:
            for n, agent in enumerate(self.agents.values()):
                if n not in down:
                    await stack.enter_async_context(agent.running())
            mute = sum("hello" in agent.faults.mute for agent in self.agents.values())
            async with Fleet(fleet_config(self.agents)) as fleet:
                assert await fleet.until(
                    lambda state: sum(host.state != "connecting" for host in state.hosts) == HOSTS - mute, within_s=30
                )
                yield fleet


@pytest.fixture
def two(sockets: Path) -> Two:
    return Two(sockets)


async def planned(fleet: Fleet) -> Plan:
    return await ops.plan(fleet, Verb.DRAIN, ops.parse("pool:marketing"), NIGHT)


async def test_every_host_is_in_the_report_and_again_is_idempotent(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two.console() as fleet:
        plan = await planned(fleet)
        assert [step.host for step in plan.steps] == list(two.agents)
        assert plan.hosts == plan.fleet_hosts == HOSTS
        assert Counter(step.state for step in plan.steps) == {
            StepState.READY: WELL + 5,  # five will hang
            StepState.UNREACHABLE: 20 + 5 + 5,  # down, hung, and those that let nobody in
            StepState.REFUSED: 5,
        }
        assert of_plan(plan) is Exit.INCOMPLETE
        two.hang()
        # Who is only late for these is found in its log.
        monkeypatch.setattr(execution, "EXECUTE_DEADLINE_S", 1.0)
        monkeypatch.setattr(execution, "LOOK_DEADLINE_S", 1.0)
        report = await ops.execute(fleet, plan, settle_s=4.0)
    assert [line.host for line in report.lines] == list(two.agents)
    assert report.counts == dict.fromkeys(LineResult, 0) | {
        LineResult.APPLIED: WELL,
        LineResult.UNREACHABLE: 30,
        LineResult.REFUSED: 5,
        LineResult.UNKNOWN: 5,
    }
    assert all(line.detail for line in report.lines)
    assert of_report(report) is Exit.UNKNOWN
    page = told(report).plain.splitlines()[2 : 2 + HOSTS]
    assert all("applied" in line for line in page[HOSTS - WELL :])  # what an operator must see comes first

    two.mend()
    monkeypatch.undo()
    async with two.console(down=range(0)) as fleet:
        report = await ops.execute(fleet, await planned(fleet))
        assert report.counts == dict.fromkeys(LineResult, 0) | {
            LineResult.NOTHING_TO_DO: WELL + 5,  # what was unknown had been done
            LineResult.APPLIED: 30 + 5,
        }
        assert of_report(report) is Exit.DONE
        assert {tuple(agent.executed) for agent in two.agents.values()} == {("drain",)}
        again = await ops.execute(fleet, await planned(fleet))
    assert again.count(LineResult.NOTHING_TO_DO) == HOSTS
    assert {tuple(agent.executed) for agent in two.agents.values()} == {("drain",)}
