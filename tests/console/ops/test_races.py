"""Two operators plan and act on one host through consoles: no act is lost unseen, and the later plan hears why."""

import asyncio
import re
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api import codec, views
from mailagent.api.directives import Directive, DirectiveView
from mailagent.api.ids import HostName, OpId
from mailagent.api.methods import METHODS
from mailagent.config.structs import FleetConfig, FleetHost
from mailagent.control.targets import touched
from mailctl import ops
from mailctl.fleet import Fleet, LinkState
from mailctl.fleet.inventory import Inventory
from mailctl.fleet.state import FleetState, HostState
from mailctl.ops import LineResult, Options, Plan, Verb
from tests.agent.control.bench import ALICE, BOB, Bench, User
from tests.agent.control.fleet import CONFIG
from tests.agent.rpc.host import pool, snapshot

MX1 = HostName("mx1")
FLEET = FleetConfig(hosts={MX1: FleetHost(virtual_mtas=CONFIG.virtual_mtas)}, pools=CONFIG.pools)


class Desk:
    """What a console has of the fleet: each question goes to the host's own control, as on the wire."""

    config = FLEET
    inventory = Inventory.of(FLEET)
    path = None

    def __init__(self, bench: Bench, user: User) -> None:
        self._bench = bench
        self._user = user

    @property
    def state(self) -> FleetState:
        """The host as it is."""
        control = self._bench.control
        vmtas = tuple(
            views.VmtaView(
                name=name, pool=name_of, address="", address6="", public="", ehlo="",
                state=control.state.member(name).state, reason="", ready=0, connections=0, in_doubt=0,
                flow=views.Flow(), generation=0,
            )
            for name_of, members in CONFIG.pools.items()
            for name in members.members
        )  # fmt: skip
        now = msgspec.structs.replace(
            snapshot(pools=tuple(map(pool, CONFIG.pools))),
            vmtas=vmtas,
            directives=tuple(DirectiveView(directive=one) for one in control.state.directives),
        )
        host = HostState(
            name=MX1, region="", machine="", state=LinkState.LIVE, age_s=0.0, error="", next_try_s=None, hello=None,
            snapshot=now,
        )  # fmt: skip
        return FleetState(hosts=(host,), pool_hosts=self.inventory.pools)

    async def ask(self, host: str, method: str, params: msgspec.Struct, *, deadline_s: float = 0) -> Any:
        del host, deadline_s
        request = codec.decode(codec.encode(params), METHODS[method].params)
        if method == "operations":
            return await self._bench.ledger.operations("", 500)
        if method == "operation":
            stored = await self._bench.ledger.stored_operation(request.op_id)
            return stored.record if stored is not None else None
        return await self._bench.control.verbs[method](request, self._user)


class Operator:
    """Plans, looks at the plan for a while, then does what it says."""

    def __init__(self, bench: Bench, user: User) -> None:
        self.bench = bench
        self.fleet = cast(Fleet, Desk(bench, user))
        self.made: tuple[Plan, tuple[Directive, ...]] | None = None

    @property
    def live(self) -> tuple[Directive, ...]:
        return self.bench.control.state.directives

    async def plan(self, verb: Verb, on: str, pick: int) -> None:
        options = Options(reason="night", limit="connections" if "vmta" in on else "provider_connections", value="2")
        options = options if verb is Verb.LIMIT else Options(reason="night", pin=True if verb is Verb.EDIT else None)
        self.made = None
        try:
            if verb in (Verb.CANCEL, Verb.EDIT):
                planned = ops.plan_cancel if verb is Verb.CANCEL else ops.plan_edit
                plan = await planned(self.fleet, self.live[pick % len(self.live)].id, options) if self.live else None
            elif verb is Verb.UNDO:
                known = list(self.bench.ledger.stored)
                operation = OpId(known[-1 - pick % min(3, len(known))]) if known else None
                plan = await ops.plan_undo(self.fleet, operation, options) if operation is not None else None
            else:
                plan = await ops.plan(self.fleet, verb, ops.parse(on), options)
        except ops.OpsError:
            return
        if plan is not None and plan.is_possible:
            self.made = plan, self.live

    async def execute(self) -> None:
        """What the act ends and makes, its operator has seen in the plan; or it does nothing, and says why."""
        if self.made is None:
            return
        (plan, seen), self.made = self.made, None
        before = self.live
        (line,) = (await ops.execute(self.fleet, plan)).lines
        if line.result is not LineResult.APPLIED:
            assert self.live == before
            assert line.detail
            if line.stale:
                assert re.search(r"has changed since the plan was made \(.* by (alice|bob) at [0-9:]+ UTC", line.detail)
            elif plan.verb in (Verb.CANCEL, Verb.EDIT):  # the order that it was about is over
                assert re.search(r"it ended with .* by (alice|bob) at [0-9:]+ UTC", line.detail)
            return
        about = getattr(plan.steps[0].request, "target", None)
        if about is not None:
            assert [one for one in before if about in touched(CONFIG, one)] == [
                one for one in seen if about in touched(CONFIG, one)
            ]
        assert all(one in seen for one in before if one not in self.live)


VERBS = (
    Verb.DRAIN, Verb.UNDRAIN, Verb.SUSPEND, Verb.RESUME, Verb.ROTATE, Verb.LIMIT, Verb.CANCEL, Verb.EDIT, Verb.UNDO,
)  # fmt: skip
OBJECTS = ("vmta:tx-1", "pool:transactional", "vmta:mkt-1", "provider:gmail")
"""Few, so that they often mean the same."""
PLANS = st.tuples(st.sampled_from(VERBS), st.sampled_from(OBJECTS), st.integers(0, 5))
ROUNDS = st.tuples(PLANS, PLANS, st.permutations(("alice", "bob", "alice plans again", "bob plans again")))
"""Both plan, then both act; in between one may think again."""


@settings(max_examples=200, deadline=None)
@given(rounds=st.lists(ROUNDS, min_size=1, max_size=8))
def test_no_interleaving_of_two_consoles_loses_an_act(rounds: list[tuple[Any, Any, list[str]]]) -> None:
    async def run() -> None:
        bench = Bench()
        people = {"alice": Operator(bench, ALICE), "bob": Operator(bench, BOB)}
        for *plans, order in rounds:
            wanted = dict(zip(people, plans, strict=True))
            for who, plan in wanted.items():
                await people[who].plan(*plan)
            for step in order:
                bench.later(seconds=1)
                who, _, again = step.partition(" ")
                if again:
                    await people[who].plan(*wanted[who])
                else:
                    await people[who].execute()

    asyncio.run(run())


async def test_what_a_guard_refuses_because_somebody_was_faster_says_who() -> None:
    bench = Bench()
    alice, bob = cast(Fleet, Desk(bench, ALICE)), cast(Fleet, Desk(bench, BOB))
    assert (await ops.execute(alice, await ops.plan(alice, Verb.ROTATE, ops.parse("vmta:mkt-1"), Options()))).succeeded
    (order,) = bench.control.state.directives
    cancel = await ops.plan_cancel(alice, order.id)
    bench.later(seconds=5)
    drain = await ops.plan(bob, Verb.DRAIN, ops.parse("vmta:mkt-1"), Options(reason="its disk"))
    assert (await ops.execute(bob, drain)).succeeded  # mkt-1 could not take over again
    (line,) = (await ops.execute(alice, cancel)).lines
    assert line.stale
    assert "drain of vmta:mkt-1 by bob at 12:00:05 UTC: its disk); plan again" in line.detail
    again = await ops.plan_cancel(alice, order.id)
    assert "no eligible IP of pool marketing would be left" in again.steps[0].detail


async def test_an_undo_does_not_take_what_somebody_did_after_its_plan() -> None:
    bench = Bench()
    alice, bob = Desk(bench, ALICE), Desk(bench, BOB)
    fleet = cast(Fleet, alice)
    report = await ops.execute(fleet, await ops.plan(fleet, Verb.SUSPEND, ops.parse("provider:gmail"), Options()))
    undo = await ops.plan_undo(fleet, report.op_id)
    bench.later(seconds=5)
    theirs = cast(Fleet, bob)
    (order,) = bench.control.state.directives
    pinned = await ops.plan_edit(theirs, order.id, Options(pin=True, reason="they ask us to wait"))
    assert (await ops.execute(theirs, pinned)).succeeded
    (line,) = (await ops.execute(fleet, undo)).lines
    assert line.stale
    assert "edit of provider:gmail by bob at 12:00:05 UTC: they ask us to wait); plan again" in line.detail
    assert bench.control.state.directives[0].pinned
    assert (await ops.execute(fleet, await ops.plan_undo(fleet, report.op_id))).succeeded
    assert not bench.control.state.directives
