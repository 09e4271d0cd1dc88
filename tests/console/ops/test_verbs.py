"""Plan, execute, report, wait, undo: against agents on real sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mailagent.api.ids import HostName
from mailagent.api.mail import Hold, Rebind
from mailagent.api.operations import Impact, MailPart
from mailagent.api.requests import Role
from mailctl import ops
from mailctl.fleet import Fleet, LinkState
from mailctl.ops import LineResult, Options, StepState, Verb, mail
from mailctl.ops.wait import DrainState, WaitResult
from tests.console.loopback import LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


async def plan(fleet: Fleet, verb: Verb, words: str, options: Options = Options()) -> ops.Plan:  # noqa: B008
    return await ops.plan(fleet, verb, ops.parse(words), options)


async def test_a_plan_adds_hosts_up_and_changes_nothing(agents: Agents, fleet: Fleet) -> None:
    drain = await plan(fleet, Verb.DRAIN, "pool:marketing", Options(reason="Gmail throttles us", ttl_s=7200))
    assert [(step.host, step.target, step.state) for step in drain.steps] == [
        (host, "pool:marketing", StepState.READY) for host in ("mx1", "mx2", "mx3")
    ]
    assert drain.messages == 300
    assert drain.share == pytest.approx(0.5)
    assert drain.untouched == ("pools cold, transactional",)
    assert drain.command == "mailctl drain pool:marketing --for 2h --reason 'Gmail throttles us'"
    assert drain.undoable
    assert drain.undo_note == ""
    assert not any(agent.executed for agent in agents.values())


@pytest.mark.parametrize("path", [None, Path("other fleet.yaml")])
async def test_an_operation_is_called_as_the_operator_called_it(agents: Agents, path: Path | None) -> None:
    async with Fleet(fleet_config(agents), path=path) as fleet:
        await fleet.settled(5)
        pause = await plan(fleet, Verb.SUSPEND, "job:spring host:mx1", Options(words="job pause", reason="wrong price"))
        report = await ops.execute(fleet, pause)
        suspend = await plan(fleet, Verb.SUSPEND, "job:spring host:mx1")
    shell = "mailctl" if path is None else "mailctl --fleet 'other fleet.yaml'"
    assert pause.title == report.title == "job pause spring host:mx1"
    assert pause.command == f"{shell} job pause spring host:mx1 --reason 'wrong price'"
    assert report.undo_command == f"{shell} undo {report.op_id}"
    assert (suspend.title, suspend.command) == (
        "suspend job:spring host:mx1",
        f"{shell} suspend job:spring host:mx1",
    )


@pytest.mark.parametrize(
    ("verb", "words", "said"), [(Verb.SUSPEND, "job pause", "job pause"), (Verb.JOB_SET, "", "job set")]
)
def test_a_refusal_has_the_words_of_the_operator(verb: Verb, words: str, said: str) -> None:
    with pytest.raises(ops.SelectorError, match=f"^{said} does not act on host:"):
        ops.check(verb, ops.parse("host:mx1"), Options(words=words))


async def test_a_drain_is_applied_everywhere_and_undone(agents: Agents, fleet: Fleet) -> None:
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "pool:marketing"))
    assert report.summary == "applied on 3 of 3 hosts"
    assert report.undo_command == f"mailctl undo {report.op_id}"
    assert {record.op_id for agent in agents.values() for record in agent.records.values()} == {report.op_id}
    undone = await ops.execute(fleet, await ops.plan_undo(fleet, report.op_id))
    assert undone.succeeded
    assert not any(agent.live for agent in agents.values())


async def test_several_objects_of_one_host_are_one_operation(agents: Agents, fleet: Fleet) -> None:
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "vmta:mkt-1 vmta:mkt-2 vmta:mkt-3"))
    assert [(line.host, line.target) for line in report.lines] == [
        ("mx1", "vmta:mkt-1"),
        ("mx1", "vmta:mkt-2"),
        ("mx2", "vmta:mkt-3"),
    ]
    assert report.summary == "applied on 3 of 3 objects"
    assert list(agents["mx1"].records) == [report.op_id, f"{report.op_id}.2"]
    await ops.execute(fleet, await ops.plan_undo(fleet, report.op_id))
    assert not agents["mx1"].live
    assert not agents["mx2"].live


async def test_an_object_that_moved_on_is_refused_as_stale(agents: Agents, fleet: Fleet) -> None:
    drain = await plan(fleet, Verb.DRAIN, "vmta:mkt-1")
    agents["mx1"].generations["vmta:mkt-1"] = 7
    report = await ops.execute(fleet, drain)
    assert report.is_stale
    assert report.lines[0].result is LineResult.REFUSED
    assert not agents["mx1"].executed


async def test_a_lost_answer_is_found_in_the_hosts_log(agents: Agents, fleet: Fleet) -> None:
    agents["mx2"].faults.drop_answer_to = {"drain"}
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "pool:marketing"))
    assert report.succeeded
    assert agents["mx2"].executed == ["drain"]


async def test_a_call_that_never_arrived_is_reported_as_not_done(agents: Agents, fleet: Fleet) -> None:
    agents["mx2"].faults.drop_before = {"drain"}
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "pool:marketing host:mx2"))
    assert report.lines[0].result is LineResult.FAILED
    assert report.lines[0].detail.startswith("not done: ")


async def test_an_answer_that_stays_lost_is_unknown_and_can_be_settled_later(agents: Agents, fleet: Fleet) -> None:
    agents["mx3"].faults.drop_answer_to = {"drain", "operation"}
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "pool:marketing"), settle_s=0.5)
    assert report.count(LineResult.UNKNOWN) == 1
    assert report.undo_command
    assert report.counts == dict.fromkeys(LineResult, 0) | {LineResult.APPLIED: 2, LineResult.UNKNOWN: 1}
    assert report.ask_command == f"mailctl operation {report.op_id}"
    agents["mx3"].faults.drop_answer_to = set()
    settled = await ops.settle(fleet, report, within_s=10)
    assert settled.succeeded


async def test_an_unreachable_host_is_a_line_of_plan_and_report(agents: Agents, sockets: Path) -> None:
    agents["mx4"] = LoopbackAgent("mx4", 3, sockets / "nothing.sock")
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        drain = await plan(fleet, Verb.DRAIN, "pool:marketing")
        assert drain.steps[-1].state is StepState.UNREACHABLE
        report = await ops.execute(fleet, drain)
        assert report.summary == "applied on 3 of 4 hosts, unreachable on 1 of 4 hosts"


async def test_what_was_not_sent_is_not_unknown(agents: Agents) -> None:
    """The link was given up for its silence between plan and act."""
    async with Fleet(fleet_config(agents), interval_s=0.1, silence_s=1.0) as fleet:
        await fleet.settled(5)
        drain = await plan(fleet, Verb.DRAIN, "vmta:mkt-1")
        agents["mx1"].faults.mute = {"hello"}
        assert await fleet.until(lambda state: state.hosts[0].state is LinkState.LOST, within_s=10)
        (line,) = (await ops.execute(fleet, drain, settle_s=0)).lines
        assert line.result is LineResult.UNREACHABLE
        assert "no news for" in line.detail


async def test_a_second_drain_finds_nothing_to_do(fleet: Fleet) -> None:
    await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "host:mx1"))
    again = await plan(fleet, Verb.DRAIN, "host:mx1")
    assert again.steps[0].state is StepState.NOTHING_TO_DO
    assert not again.is_possible


async def test_a_viewer_is_refused_by_the_agent(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].faults.role = Role.VIEWER
    drain = await plan(fleet, Verb.DRAIN, "vmta:mkt-1")
    assert drain.steps[0].state is StepState.REFUSED
    assert "operator" in drain.steps[0].detail


async def test_retry_counts_and_has_no_undo(fleet: Fleet) -> None:
    retry = await plan(fleet, Verb.RETRY, "provider:gmail", Options(max_affected=500))
    assert retry.command == "mailctl retry provider:gmail --spread 1m --max-affected 500"
    assert not retry.undoable
    assert "cannot be made to wait" in retry.undo_note
    assert (await ops.execute(fleet, retry)).undo_command == ""


async def test_the_most_that_a_retry_may_touch_counts_over_all_hosts(agents: Agents, fleet: Fleet) -> None:
    retry = await plan(fleet, Verb.RETRY, "provider:gmail", Options(max_affected=299))
    assert {step.state for step in retry.steps} == {StepState.REFUSED}
    assert "300 recipients match in all, more than 299" in retry.steps[0].detail
    assert not retry.runnable


async def test_an_order_on_mail_is_frozen_by_its_plan_and_told_by_pool_stream_and_provider(
    agents: Agents, fleet: Fleet
) -> None:
    hold = await plan(fleet, Verb.HOLD, "provider:gmail", Options(max_affected=500, reason="wrong link"))
    assert hold.command == "mailctl hold provider:gmail --max-affected 500 --reason 'wrong link'"
    assert (hold.messages, hold.word, hold.undoable) == (300, "", True)
    parts = mail.parts((step.host, step.impact) for step in hold.steps)
    assert mail.breakdown(parts) == (
        "pool marketing 300",
        "stream news 300",
        "provider gmail 300",
        "hosts mx1 100, mx2 100, mx3 100",
    )
    assert all(isinstance(step.request, Hold) and step.request.filter.before for step in hold.steps)
    report = await ops.execute(fleet, hold)
    assert report.succeeded
    kept = [one.filter for agent in agents.values() for one in agent.live.values()]
    assert kept == [step.request.filter for step in hold.steps if isinstance(step.request, Hold)]


def test_parts_of_some_hosts_are_not_taken_for_all() -> None:
    told = Impact(messages=14, parts=(MailPart(pool="", stream="", provider="gmail", count=14),))
    assert mail.of_them([(HostName("mx4"), told)])
    assert mail.of_them([(HostName("mx4"), told), (HostName("mx1"), Impact(messages=41))]) == ()
    assert mail.of_them([(HostName("mx4"), told), (HostName("mx1"), Impact())])


def test_what_an_engine_does_not_tell_of_mail_is_not_said_to_come() -> None:
    parts = [mail.Part(host=HostName("mx4"), pool="", stream="", provider="", count=3)]
    assert mail.breakdown(parts) == (
        "pool not told 3",
        "stream not told 3",
        "provider not looked up yet 3",
        "host mx4 3",
    )


async def test_a_rebind_names_its_pool(fleet: Fleet) -> None:
    rebind = await plan(fleet, Verb.REBIND, "provider:gmail host:mx1", Options(pool="cold"))
    assert rebind.command == "mailctl rebind provider:gmail host:mx1 --to cold"
    assert [step.request.pool for step in rebind.steps if isinstance(step.request, Rebind)] == ["cold"]


async def test_the_more_mail_is_given_up_the_more_is_typed(agents: Agents, fleet: Fleet) -> None:
    assert (await plan(fleet, Verb.DELETE, "provider:gmail")).word == "delete 300"  # three hosts
    assert (await plan(fleet, Verb.DELETE, "provider:gmail host:mx1")).word == "delete"
    agents["mx1"].waiting = 1
    assert (await plan(fleet, Verb.BOUNCE, "provider:gmail host:mx1")).word == ""


async def test_the_most_that_an_order_may_touch_counts_over_all_hosts(fleet: Fleet) -> None:
    delete = await plan(fleet, Verb.DELETE, "provider:gmail", Options(max_affected=299))
    assert not delete.runnable


async def test_undo_reports_a_lost_host_that_had_executed_the_operation(agents: Agents, sockets: Path) -> None:
    async with AsyncExitStack() as stack:
        extra = LoopbackAgent("mx4", 3, sockets / "4.sock")
        up = await stack.enter_async_context(AsyncExitStack())
        await up.enter_async_context(extra.running())
        config = fleet_config(agents | {"mx4": extra})
        fleet = await stack.enter_async_context(Fleet(config))
        await fleet.settled(5)
        report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "pool:marketing"))
        assert await fleet.until(
            lambda state: bool(state.directives and len(state.directives[0].hosts) == 4), within_s=5
        )
        await up.aclose()
        assert await fleet.until(lambda state: not state.coverage.is_whole, within_s=5)
        undone = await ops.execute(fleet, await ops.plan_undo(fleet, report.op_id))
        assert undone.summary == "applied on 3 of 4 hosts, unreachable on 1 of 4 hosts"


async def test_a_directive_is_cancelled_by_its_id(agents: Agents, fleet: Fleet) -> None:
    await ops.execute(fleet, await plan(fleet, Verb.SUSPEND, "provider:gmail"))
    directive = next(iter(agents["mx2"].live.values()))
    assert await fleet.until(lambda state: bool(state.directives), within_s=5)
    assert await fleet.until(lambda state: "mx2" in state.directives[0].hosts, within_s=5)
    report = await ops.execute(fleet, await ops.plan_cancel(fleet, directive.id))
    assert report.summary == "applied on 1 of 1 host"
    assert not agents["mx2"].live
    assert agents["mx1"].live


@pytest.mark.parametrize(
    ("verb", "words", "error", "says"),
    [
        (Verb.DRAIN, "", ops.NothingSelected, "--all"),
        (Verb.SUSPEND, "", ops.NothingSelected, "nothing is selected"),
        (Verb.DRAIN, "pool:marketin", ops.NothingSelected, "did you mean marketing"),
        (Verb.DRAIN, "vmta:mkt-9", ops.NothingSelected, "no vmta mkt-9"),
        (Verb.DRAIN, "host:mx9", ops.NothingSelected, "no host mx9"),
        (Verb.DRAIN, "pool:cold vmta:mkt-1", ops.NothingSelected, "no vmta mkt-1 in pool cold"),
        (Verb.DRAIN, "provider:gmail", ops.SelectorError, "pool:, vmta:, host:"),
        (Verb.DRAIN, "domain:example.com", ops.SelectorError, "does not act on domain"),
        (Verb.SUSPEND, "host:mx1", ops.SelectorError, "does not act on host"),
        (Verb.SUSPEND, "pool:cold provider:gmail", ops.SelectorError, "one kind"),
        (Verb.RETRY, "", ops.NothingSelected, "--all"),
        (Verb.RETRY, "queue:gmail/mkt-1 vmta:mkt-2", ops.SelectorError, "one vmta at a time"),
    ],
)
async def test_a_selection_that_does_not_fit_is_one_clear_sentence(
    fleet: Fleet, verb: Verb, words: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await plan(fleet, verb, words)


async def test_a_site_is_held_on_every_host_whoever_sends_there(agents: Agents, fleet: Fleet) -> None:
    report = await ops.execute(fleet, await plan(fleet, Verb.SUSPEND, "queue:gmail/"))
    assert [line.host for line in report.lines] == ["mx1", "mx2", "mx3"]
    (made,) = agents["mx1"].live.values()
    assert str(made.target) == "queue:gmail/"
    report = await ops.execute(fleet, await plan(fleet, Verb.RESUME, "queue:gmail/ host:mx1"))
    assert [line.host for line in report.lines] == ["mx1"]


async def test_a_virtual_mta_and_a_stream_can_be_held_at_one_provider(agents: Agents, fleet: Fleet) -> None:
    report = await ops.execute(fleet, await plan(fleet, Verb.SUSPEND, "cell:gmail/mkt-1"))
    assert [line.host for line in report.lines] == ["mx1"]
    (made,) = agents["mx1"].live.values()
    assert str(made.target) == "cell:gmail/mkt-1"
    everywhere = await plan(fleet, Verb.SUSPEND, "traffic:gmail/news")
    assert [step.host for step in everywhere.steps] == ["mx1", "mx2", "mx3"]
    with pytest.raises(ops.NothingSelected, match="no cell gmail/mkt-99"):
        await plan(fleet, Verb.SUSPEND, "cell:gmail/mkt-99")
    pages = [ops.Filter.parse(word).message_filter() for word in ("cell:gmail/mkt-1", "traffic:gmail/news")]
    assert [(page.provider, page.vmta, page.stream) for page in pages] == [
        ("gmail", "mkt-1", ""),
        ("gmail", "", "news"),
    ]
    with pytest.raises(ops.SelectorError, match="its form is traffic:PROVIDER/STREAM"):
        ops.Filter.parse("traffic:news").message_filter()


async def test_overriding_wants_a_reason(fleet: Fleet) -> None:
    with pytest.raises(ops.OptionError, match="reason"):
        await plan(fleet, Verb.DRAIN, "pool:cold", Options(override=True))


async def test_undo_of_an_unknown_operation_says_so(fleet: Fleet) -> None:
    with pytest.raises(ops.NothingSelected, match="no host knows"):
        await ops.plan_undo(fleet, ops.op_ids.new_op_id())


async def test_waiting_ends_when_every_host_is_empty(agents: Agents, fleet: Fleet) -> None:
    for agent in agents.values():
        agent.empty = False
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "pool:marketing"))
    seen: list[WaitResult] = []

    def progress(result: WaitResult) -> None:
        seen.append(result)
        for agent in agents.values():
            agent.empty = True
            agent.publish()

    result = await ops.wait_empty(fleet, report, timeout_s=10, progress=progress)
    assert result.is_empty
    assert any(drain.state is DrainState.DRAINING for drain in seen[0].drains)


async def test_waiting_gives_up_after_its_time(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].empty = False
    report = await ops.execute(fleet, await plan(fleet, Verb.DRAIN, "vmta:mkt-1"))
    result = await ops.wait_empty(fleet, report, timeout_s=0.3)
    assert not result.is_empty
    assert result.drains[0].state is DrainState.DRAINING


def test_what_hosts_would_refuse_by_its_form_is_said_before_they_are_asked() -> None:
    options = Options(limit="rate", value="5")
    with pytest.raises(ops.OptionError, match="rate: `5` is no rate; write 100/s"):
        ops.check(Verb.LIMIT, ops.parse("vmta:mkt-1"), options)
    ops.check(Verb.LIMIT, ops.parse("vmta:mkt-1"), Options(limit="rate", value="5/s"))
    with pytest.raises(ops.NothingSelected, match="nothing is selected"):
        ops.check(Verb.DRAIN, ops.parse(""), Options())
