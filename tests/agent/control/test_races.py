"""Two operators on one host: the later plan is refused with who, when and what, and no act is lost unseen."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api import requests
from mailagent.api.directives import Directive
from mailagent.api.errors import GuardRefused, NotFound, Refused, StalePlan
from mailagent.api.ids import OpId
from mailagent.api.targets import Target
from mailagent.control.targets import touched
from tests.agent.control.bench import ALICE, BOB, Bench, User
from tests.agent.control.fleet import CONFIG, target

OBJECTS = ("vmta:tx-1", "vmta:tx-2", "pool:transactional", "vmta:mkt-1", "pool:marketing", "provider:gmail")
VERBS = ("drain", "undrain", "suspend", "resume", "rotate", "limit")


def request_of(verb: str, on: Target, op: str, **more: Any) -> Any:
    kinds: dict[str, Any] = {
        "drain": requests.Drain,
        "undrain": requests.Undrain,
        "suspend": requests.Suspend,
        "resume": requests.Resume,
        "rotate": requests.Rotate,
        "limit": requests.Limit,
    }
    if verb == "limit":
        more |= {"limit": "connections" if on.kind == "vmta" else "provider_connections", "value": "2"}
    return kinds[verb](op_id=OpId(op), target=on, reason="night", **more)


def about(bench: Bench, on: Target) -> tuple[Directive, ...]:
    """What is in force about an object: the orders whose coming or going changes it."""
    return tuple(one for one in bench.control.state.directives if on in touched(CONFIG, one))


class Operator:
    """Plans, looks at the plan for a while, then does what it says."""

    def __init__(self, bench: Bench, user: User) -> None:
        self.bench = bench
        self.user = user
        self.made: tuple[str, Target, int, tuple[Directive, ...]] | None = None
        self.done = 0

    async def plan(self, verb: str, on: Target) -> None:
        call = getattr(self.bench.control, verb)
        try:
            answer = await call(request_of(verb, on, f"plan-{self.user.user}", dry_run=True), self.user)
        except (Refused, ValueError):
            self.made = None
        else:
            self.made = (verb, on, answer.generation, about(self.bench, on))

    async def execute(self) -> None:
        """The act applies to the object as it was planned on, or not at all."""
        if self.made is None:
            return
        verb, on, generation, seen = self.made
        self.made = None
        self.done += 1
        before = about(self.bench, on)
        everything = self.bench.control.state.directives
        call = getattr(self.bench.control, verb)
        request = request_of(verb, on, f"{self.user.user}-{self.done}", expect=generation)
        try:
            answer = await call(request, self.user)
        except (StalePlan, GuardRefused) as exc:
            refusal = exc.message if isinstance(exc, StalePlan) else ""
            answer = None
        if answer is None:
            assert self.bench.control.state.directives == everything
            if refusal:
                assert refusal.startswith(f"{on} has changed since the plan was made")
                assert " by alice at " in refusal or " by bob at " in refusal
            return
        assert before == seen
        gone = [one for one in everything if one not in self.bench.control.state.directives]
        assert all(one in seen for one in gone)  # what it ended, its operator had seen


PLANS = st.tuples(st.sampled_from(VERBS), st.sampled_from(OBJECTS))
ROUNDS = st.tuples(PLANS, PLANS, st.permutations(("alice", "bob", "alice plans again", "bob plans again")))
"""Both plan, then both act; in between one may think again."""


@settings(max_examples=150, deadline=None)
@given(rounds=st.lists(ROUNDS, min_size=1, max_size=8))
def test_no_interleaving_of_two_operators_loses_an_act(rounds: list[tuple[Any, Any, list[str]]]) -> None:
    async def run() -> None:
        bench = Bench()
        people = {"alice": Operator(bench, ALICE), "bob": Operator(bench, BOB)}
        for *plans, order in rounds:
            wanted = dict(zip(people, plans, strict=True))
            for who, (verb, on) in wanted.items():
                await people[who].plan(verb, target(on))
            for step in order:
                bench.later(seconds=1)
                who, _, again = step.partition(" ")
                if again:
                    await people[who].plan(wanted[who][0], target(wanted[who][1]))
                else:
                    await people[who].execute()

    asyncio.run(run())


async def test_the_later_of_two_plans_is_refused_with_who_when_and_what() -> None:
    bench = Bench()
    pool = target("pool:transactional")
    bobs = await bench.control.drain(request_of("drain", pool, "p", dry_run=True), BOB)
    bench.later(seconds=5)
    await bench.control.drain(request_of("drain", target("vmta:tx-1"), "a"), ALICE)
    with pytest.raises(StalePlan, match=r"drain of vmta:tx-1 by alice at 12:00:05 UTC: night\); plan again"):
        await bench.control.drain(request_of("drain", pool, "b", expect=bobs.generation), BOB)


async def test_an_order_that_somebody_else_ended_says_who_when_and_what() -> None:
    bench = Bench()
    made = await bench.control.suspend(request_of("suspend", target("provider:gmail"), "s"), ALICE)
    (order,) = made.directives
    await bench.control.edit(requests.Edit(op_id=OpId("e"), directive=order.id, pin=True, reason="ours"), BOB)
    said = "it ended with edit of provider:gmail by bob at 12:00:00 UTC: ours"
    with pytest.raises(NotFound, match=said):
        await bench.control.cancel(requests.Cancel(op_id=OpId("c"), directive=order.id), ALICE)
    with pytest.raises(NotFound, match=said):
        await bench.control.edit(requests.Edit(op_id=OpId("d"), directive=order.id, ttl_s=60), ALICE)
