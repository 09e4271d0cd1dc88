"""A fleet of two engines: what one of them cannot do is refused for it alone, and what it emulates is said."""

from collections.abc import AsyncIterator

import pytest

from mailagent.api.errors import Refused
from mailagent.api.requests import Empty
from mailctl import ops
from mailctl.fleet import Fleet
from mailctl.ops import Options, StepState, Verb
from tests.console.loopback import LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    other = agents["mx3"]
    other.engine, other.unknown = "postfix 3.6.4", ("connections_in", "connections_out", "ready_queues")
    other.lacks = ("drain", "events")
    other.emulated = {"suspend": "by a map of domains, which is never whole", "resume": "later"}
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


async def test_a_verb_that_one_host_has_not_is_refused_there_and_done_on_the_others(
    agents: Agents, fleet: Fleet
) -> None:
    plan = await ops.plan(fleet, Verb.DRAIN, ops.parse("pool:marketing"), Options())
    assert [(step.host, step.state) for step in plan.steps] == [
        ("mx1", StepState.READY),
        ("mx2", StepState.READY),
        ("mx3", StepState.REFUSED),
    ]
    assert plan.steps[2].detail == "`drain` is not possible with its engine, postfix 3.6.4"
    report = await ops.execute(fleet, plan)
    assert not agents["mx3"].executed
    assert [line.result for line in report.lines] == ["applied", "applied", "refused"]


@pytest.mark.parametrize(("verb", "words"), [(Verb.SUSPEND, "job pause"), (Verb.JOB_CANCEL, "job cancel")])
async def test_what_a_host_has_not_is_refused_by_the_command_that_was_given(
    agents: Agents, verb: Verb, words: str
) -> None:
    agents["mx3"].engine, agents["mx3"].lacks = "postfix 3.7.11", (verb,)
    agents["mx1"].faults.mute.add(verb)
    async with Fleet(fleet_config(agents), answer_s=0.5) as fleet:
        await fleet.settled(5)
        plan = await ops.plan(fleet, verb, ops.parse("job:spring host:mx1 host:mx3"), Options(words=words))
    assert [step.detail for step in plan.steps] == [
        f"no answer to {words} within 0.5 s",
        f"`{words}` is not possible with its engine, postfix 3.7.11",
    ]


async def test_what_only_a_postfix_has_is_refused_elsewhere(agents: Agents) -> None:
    for name in ("mx1", "mx2"):
        agents[name].lacks = ("requeue",)
    agents["mx3"].engine = "postfix 3.7.11"
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        plan = await ops.plan(fleet, Verb.REQUEUE, ops.parse("pool:marketing"), Options())
    assert [step.detail for step in plan.steps[:2]] == ["`requeue` is for hosts that run Postfix"] * 2
    assert plan.steps[2].state is StepState.READY


async def test_an_emulated_verb_is_planned_with_what_is_different_about_it(fleet: Fleet) -> None:
    plan = await ops.plan(fleet, Verb.SUSPEND, ops.parse("provider:gmail"), Options())
    assert plan.is_possible
    assert any("emulated: by a map of domains" in warning for warning in plan.warnings)
    assert "mx3" in " ".join(plan.warnings)
    idle = await ops.plan(fleet, Verb.RESUME, ops.parse("provider:gmail"), Options())
    assert {step.state for step in idle.steps} == {StepState.NOTHING_TO_DO}
    assert idle.warnings == ()  # of what is not done nothing is different


async def test_a_read_that_a_host_has_not_says_which_engine_lacks_it(fleet: Fleet) -> None:
    answers = await fleet.ask_all("events", Empty())
    assert isinstance(answers["mx3"], Refused)  # type: ignore[index]
    assert str(answers["mx3"]) == "`events` is not possible with its engine, postfix 3.6.4"  # type: ignore[index]
    assert not isinstance(answers["mx1"], Exception)  # type: ignore[index]


async def test_what_an_engine_does_not_tell_is_known_of_its_rows_and_of_a_pool_only_where_no_host_tells(
    fleet: Fleet,
) -> None:
    state = fleet.state
    assert state.is_mixed
    assert {row.host for row in state.vmtas if "connections" in row.untold} == {"mx3"}
    assert all("connections" not in row.untold for row in state.pools)
    assert {row.host for row in state.destinations if {"connections", "ready"} <= row.untold} == {"mx3"}
