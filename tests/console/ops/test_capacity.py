"""Capacity in the safety budget: what stays may send what was sent, or the act is refused with the numbers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from mailagent.api.directives import Directive, DirectiveKind, DirectiveView
from mailagent.api.ids import DirectiveId, HostName, OpId, ProviderName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import MemberState
from mailagent.config.structs import FleetConfig, Provider, Rate
from mailctl import ops
from mailctl.fleet import Fleet
from mailctl.fleet.state import FleetState
from mailctl.ops import Options, StepState, Verb
from mailctl.ops.budget import Taken, breaches
from tests.console.loopback import START, LoopbackAgent, fleet_config
from tests.console.records import warming

MX1 = HostName("mx1")
MKT_1, MKT_2 = VmtaName("mkt-1"), VmtaName("mkt-2")


def rate(per_s: int) -> Rate:
    return Rate(count=per_s, period_s=1)


def capped(config: FleetConfig, **caps: int) -> FleetConfig:
    """`vmta_rate` of virtual MTAs: `mkt_1=20`."""
    hosts = {}
    for name, host in config.hosts.items():
        mtas = {
            vmta: msgspec.structs.replace(one, vmta_rate=rate(caps[key]))
            if (key := vmta.replace("-", "_")) in caps
            else one
            for vmta, one in host.virtual_mtas.items()
        }
        hosts[name] = msgspec.structs.replace(host, virtual_mtas=mtas)
    return msgspec.structs.replace(config, hosts=hosts)


def at_gmail(config: FleetConfig, limits: Provider) -> FleetConfig:
    return msgspec.structs.replace(config, providers={ProviderName("gmail"): limits})


def seen(fleet: Fleet, *directives: Directive, **states: MemberState) -> FleetState:
    """The state with virtual MTAs in other states, and with standing orders on mx1."""

    def other(host: Any) -> Any:
        snapshot = host.snapshot
        vmtas = tuple(
            msgspec.structs.replace(one, state=states.get(one.name.replace("-", "_"), one.state))
            for one in snapshot.vmtas
        )
        orders = tuple(DirectiveView(directive=one) for one in directives) if host.name == MX1 else ()
        return replace(host, snapshot=msgspec.structs.replace(snapshot, vmtas=vmtas, directives=orders))

    return replace(fleet.state, hosts=tuple(map(other, fleet.state.hosts)))


def texts(config: FleetConfig, state: FleetState, verb: Verb = Verb.DRAIN, name: str = MKT_1, **more: str) -> list[str]:
    act = Taken(MX1, Target(kind=TargetKind.VMTA if name != MX1 else TargetKind.HOST, name=name), **more)
    return [text for found in breaches(config, state, verb, [act]).values() for text in found]


@pytest.fixture
async def fleet(agents: dict[str, LoopbackAgent]) -> AsyncIterator[Fleet]:
    """Each virtual MTA sends 10.2 messages a second, and mkt-1, mkt-3 and mkt-5 as much to each provider."""
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


def test_limits_that_are_not_stated_bind_nothing(fleet: Fleet) -> None:
    assert not texts(fleet.config, seen(fleet, mkt_2=MemberState.ACTIVE))
    assert not texts(capped(fleet.config, mkt_1=11), seen(fleet, mkt_2=MemberState.ACTIVE))


@pytest.mark.parametrize("verb", [Verb.DRAIN, Verb.SUSPEND])
def test_what_is_left_on_the_host_must_carry_what_was_sent_there(fleet: Fleet, verb: Verb) -> None:
    both = seen(fleet, mkt_2=MemberState.ACTIVE)
    said = "pool marketing on mx1 sent 20/s in the last minutes, mkt-2 alone may send 15/s"
    assert texts(capped(fleet.config, mkt_2=15), both, verb) == [said]
    assert not texts(capped(fleet.config, mkt_2=21), both, verb)


def test_each_provider_has_limits_of_its_own(fleet: Fleet) -> None:
    both = seen(fleet, mkt_2=MemberState.ACTIVE)
    said = "pool marketing on mx1 sent 10/s to gmail in the last minutes, mkt-2 alone may send {} there"
    assert texts(at_gmail(fleet.config, Provider(provider_rate=rate(5))), both) == [said.format("5/s")]
    assert texts(at_gmail(fleet.config, Provider(rate=Rate(count=30, period_s=60))), both) == [said.format("30/m")]
    assert not texts(at_gmail(fleet.config, Provider(provider_rate=rate(11))), both)
    assert not texts(
        at_gmail(fleet.config, Provider(provider_rate=rate(5))), both, name=MKT_2
    )  # it sends nothing there


def test_limits_that_automation_lowered_count(fleet: Fleet) -> None:
    throttled = Directive(
        id=DirectiveId("d"),
        kind=DirectiveKind.LIMIT,
        target=Target(kind=TargetKind.CELL, name="gmail/mkt-2"),
        author="automation",
        reason="",
        created_at=START,
        expires_at=None,
        op_id=OpId("o"),
        limit="rate",
        value="1/m",
    )
    (said,) = texts(fleet.config, seen(fleet, throttled, mkt_2=MemberState.ACTIVE))
    assert said.endswith("mkt-2 alone may send 1/m there")


def cells(config: FleetConfig, state: FleetState, *names: str) -> list[list[str]]:
    acts = [Taken(MX1, Target(kind=TargetKind.CELL, name=name)) for name in names]
    found = breaches(config, state, Verb.SUSPEND, acts)
    return [list(found.get(act, ())) for act in acts]


def test_a_suspension_at_one_provider_leaves_its_share_to_the_others_there(fleet: Fleet) -> None:
    both = seen(fleet, mkt_2=MemberState.ACTIVE)
    tight, wide = (at_gmail(fleet.config, Provider(provider_rate=rate(most))) for most in (5, 11))
    said = "pool marketing on mx1 sent 10/s to gmail in the last minutes, mkt-2 alone may send 5/s there"
    assert cells(tight, both, "gmail/mkt-1") == [[said]]
    assert cells(wide, both, "gmail/mkt-1") == [[]]
    assert cells(tight, both, "yahoo/mkt-1") == [[]]
    assert cells(tight, both, "gmail/mkt-2") == [[]]  # it sends nothing there


def test_a_suspension_of_all_that_may_send_there_states_its_intent(fleet: Fleet) -> None:
    tight = at_gmail(fleet.config, Provider(provider_rate=rate(5)))
    both = seen(fleet, mkt_2=MemberState.ACTIVE)
    assert cells(tight, both, "gmail/mkt-1", "gmail/mkt-2") == [[], []]
    assert cells(tight, fleet.state, "gmail/mkt-1") == [[]]  # the only one
    assert cells(tight, seen(fleet, suspended("gmail/mkt-2"), mkt_2=MemberState.ACTIVE), "gmail/mkt-1") == [[]]


def test_who_is_suspended_at_a_provider_carries_nothing_there(fleet: Fleet) -> None:
    wide = at_gmail(fleet.config, Provider(provider_rate=rate(11)))
    state = seen(fleet, suspended("gmail/mkt-2"), mkt_2=MemberState.ACTIVE)
    (said,) = texts(wide, state)
    assert said == "pool marketing on mx1 sent 10/s to gmail in the last minutes, mkt-2 alone may send 0/h there"


def test_a_member_that_is_warming_carries_its_ceiling(fleet: Fleet) -> None:
    def small(host: Any) -> Any:
        vmtas = tuple(
            msgspec.structs.replace(one, warm_up=(warming("gmail", ceiling=43_200), warming("yahoo", ceiling=86_400)))
            if one.name == MKT_2
            else one
            for one in host.snapshot.vmtas
        )
        return replace(host, snapshot=msgspec.structs.replace(host.snapshot, vmtas=vmtas))

    state = seen(fleet, mkt_2=MemberState.WARMING)
    state = replace(state, hosts=tuple(map(small, state.hosts)))
    wide = at_gmail(fleet.config, Provider(provider_rate=rate(11)))
    assert set(texts(wide, state)) == {
        "pool marketing on mx1 sent 20/s in the last minutes, mkt-2 alone may send 3/s",
        "pool marketing on mx1 sent 10/s to gmail in the last minutes, mkt-2 alone may send 1/s there",
        "pool marketing on mx1 sent 10/s to yahoo in the last minutes, mkt-2 alone may send 2/s there",
    }


def suspended(cell: str) -> Directive:
    return Directive(
        id=DirectiveId("s"),
        kind=DirectiveKind.SUSPEND,
        target=Target(kind=TargetKind.CELL, name=cell),
        author="alice",
        reason="",
        created_at=START,
        expires_at=None,
        op_id=OpId("s"),
    )


def test_a_warming_member_counts_with_its_limits_only(fleet: Fleet) -> None:
    warming = seen(fleet, mkt_2=MemberState.WARMING)
    nothing = texts(fleet.config, warming)
    assert nothing[0] == "pool marketing on mx1 sent 20/s in the last minutes, mkt-2 alone may send 0/h"
    assert not texts(capped(fleet.config, mkt_2=30), warming)


def test_a_rotation_counts_the_standby_that_steps_in(fleet: Fleet) -> None:
    assert not texts(fleet.config, fleet.state, Verb.ROTATE)
    said = ["pool marketing on mx1 sent 10/s in the last minutes, mkt-2 alone may send 3/s"]
    assert texts(capped(fleet.config, mkt_2=3), fleet.state, Verb.ROTATE) == said
    assert texts(capped(fleet.config, mkt_2=3), fleet.state, Verb.ROTATE, standby="mkt-2") == said
    assert not texts(capped(fleet.config, mkt_1=3, mkt_2=3), fleet.state, Verb.ROTATE)  # leaves as much as there was


def test_a_host_leaves_its_share_to_the_others(fleet: Fleet) -> None:
    said = "pool marketing sent 31/s in the last minutes, the 2 virtual MTAs left may send 24/s"
    assert texts(capped(fleet.config, mkt_3=12, mkt_5=12), fleet.state, name=MX1) == [said]
    assert not texts(capped(fleet.config, mkt_3=12), fleet.state, name=MX1)


async def test_the_refusal_is_a_guards_and_an_override_warns(agents: dict[str, LoopbackAgent]) -> None:
    async with Fleet(capped(fleet_config(agents), mkt_2=3)) as fleet:
        await fleet.settled(5)
        refused = await ops.plan(fleet, Verb.ROTATE, ops.parse("vmta:mkt-1"))
        assert [(step.state, step.guarded) for step in refused.steps] == [(StepState.REFUSED, True)]
        assert "mkt-2 alone may send 3/s (override with a reason" in refused.steps[0].detail
        anyway = Options(override=True, reason="mkt-1 is listed")
        plan = await ops.plan(fleet, Verb.ROTATE, ops.parse("vmta:mkt-1"), anyway)
        assert any(text.startswith("mx1: overridden: pool marketing on mx1 sent 10/s") for text in plan.warnings)
        assert (await ops.execute(fleet, plan)).succeeded
