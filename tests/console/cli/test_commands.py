"""Reads and verbs at the command line, against agents on real sockets."""

import asyncio
import os
import pty
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.api import codec
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, OpId, PoolName, VmtaName
from mailagent.api.reputation import IdentityCheck, IdentityKind, IdentityState, ListCheck, ListState, Weight
from mailagent.api.requests import Role
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import DeferredGroup
from mailagent.api.warm_up import WarmUpCourse, WarmUpDay, WarmUpState
from mailctl.cli.act import outcomes
from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import START, LoopbackAgent, summary
from tests.console.records import warming

Agents = dict[str, LoopbackAgent]
READS = [
    "status",
    "hosts",
    "pools",
    "ips",
    "destinations",
    "directives",
    "automation",
    "queues",
    "deferred",
    "messages",
    "operations",
    "ages",
    "history",
    "events",
]


def group(count: int) -> DeferredGroup:
    return DeferredGroup(
        key="00ff",
        provider=summary(1).provider,  # type: ignore[arg-type]
        code=421,
        enhanced="4.7.28",
        text="unusual rate",
        sample="421 4.7.28 unusual rate",
        count=count,
        oldest_at=START,
        next_try_at=START,
    )


async def test_why_says_what_holds_a_queue_or_a_message(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].messages = (summary(1),)
    queue = await mailctl("why", "queue:gmail/mkt-1")
    assert queue.code == 0
    assert "gmail/mkt-1 on mx1: provider gmail, pool marketing, 3 ready" in queue.out
    assert "agent.yaml:41" in queue.out
    assert "\x1b" not in queue.out
    machine = await mailctl("why", "queue:gmail/mkt-1", "--json")
    assert machine.document["schema"] == "mailctl.why/1"
    (row,) = machine.document["rows"]
    assert row["reasons"][0]["kind"] == "throttle"
    message = await mailctl("why", f"message:{summary(1).message_id}", "--json")
    (row,) = message.document["rows"]
    assert row["summary"]["message_id"] == summary(1).message_id
    assert isinstance(row["reasons"], list)
    assert (await mailctl("why", "queue:gmail/absent")).code == 1
    assert (await mailctl("why", "pool:marketing")).code == 2


async def test_history_is_of_one_kind_of_thing(agents: Agents, mailctl: Mailctl) -> None:
    summed = await mailctl("history", "provider:gmail", "vmta:mkt-1", "--step", "1h", "--last", "2d")
    assert summed.code == 0
    assert summed.out.splitlines()[-1].split() == ["sum", "12", "9", "3", "0"]
    assert (await mailctl("history", "pool:marketing", "stream:news")).code == 2
    for names, said in (("pool:cold pool:marketing", "cold and marketing are given"), ("pool:m*", "m* may be several")):
        ran = await mailctl("history", *names.split())
        assert (ran.code, ran.out) == (2, "")
        assert f"history is of one pool at a time; {said}" in ran.err
    agents["mx1"].jobs = ("spring",)
    assert (await mailctl("history", "job:spring", "--json")).document["rows"][0]["step_s"] == 60


@pytest.mark.parametrize("command", [*READS, "in-doubt", "feedback"])
async def test_every_read_has_a_table_and_a_document(agents: Agents, mailctl: Mailctl, command: str) -> None:
    agents["mx1"].messages = (summary(1),)
    agents["mx1"].groups = (group(5),)
    await mailctl("suspend", "stream:news", "--yes")
    human = await mailctl(command)
    assert human.code == 0
    assert human.out.strip()
    assert "\x1b" not in human.out
    machine = await mailctl(command, "--json")
    assert machine.code == 0
    assert machine.document["schema"] == f"mailctl.{command}/1"
    assert [host["state"] for host in machine.document["hosts"]] == ["live"] * 3
    assert isinstance(machine.document["rows"], list)
    assert not machine.err


def stepped_down() -> Directive:
    """A limit that automation lowered."""
    return Directive(
        id=DirectiveId("auto-1-1"),
        kind=DirectiveKind.LIMIT,
        target=Target(kind=TargetKind.CELL, name="gmail/mkt-1"),
        author="automation",
        reason="rule gmail.unusual-rate: 2 in 1 h: 421 4.7.28 unusual rate",
        created_at=START,
        expires_at=START + timedelta(days=900),
        op_id=OpId("auto-1"),
        limit="provider_rate",
        value="30/m",
        rule="gmail.unusual-rate",
        reply="421 4.7.28 unusual rate",
        base="60/m",
    )


def checked(vmta: str, zone: str, state: ListState, detail: str = "") -> ListCheck:
    return ListCheck(
        vmta=VmtaName(vmta),
        address="192.0.2.7",
        zone=zone,
        weight=Weight.HIGH,
        state=state,
        detail=detail,
        since=codec.now(),
        asked_at=codec.now(),
    )


def found(vmta: str | None, kind: IdentityKind, state: IdentityState, detail: str) -> IdentityCheck:
    return IdentityCheck(
        kind=kind,
        vmta=VmtaName(vmta) if vmta else None,
        address="192.0.2.7" if vmta else "",
        domain="" if vmta else "news.example",
        pools=(PoolName("marketing"),),
        state=state,
        detail=detail,
        since=codec.now(),
        asked_at=codec.now(),
    )


async def test_what_receivers_mind_is_told_and_what_hosts_find_alike_stands_once(
    agents: Agents, mailctl: Mailctl
) -> None:
    assert "nothing is looked up" in (await mailctl("identity")).out
    first, *_ = agents["mx1"].vmta_names("marketing")
    policy = found(None, IdentityKind.DMARC, IdentityState.BAD, "there is no policy")
    name = found(first, IdentityKind.PTR, IdentityState.GOOD, "m1.example")
    agents["mx1"].identity_checks = agents["mx2"].identity_checks = (name, policy)
    rows = (await mailctl("identity", "--json")).document["rows"]
    assert [(row["host"], row["kind"], row["state"]) for row in rows] == [
        ("mx1", "dmarc", "bad"),
        ("mx2", "dmarc", "bad"),
    ]
    table = (await mailctl("identity", "--now")).out
    assert "mx1, mx2" in table
    assert table.count("there is no policy") == 1
    assert "m1.example" in (await mailctl("identity", "--all", f"vmta:{first}")).out
    assert "mind nothing" in (await mailctl("identity", "pool:transactional")).out
    assert (await mailctl("identity", "pool:nowhere")).code == 2


async def test_how_far_a_warm_up_is(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("warm-up")).out.startswith("no member is warming")
    _, second, *_ = agents["mx1"].vmta_names("marketing")
    past = WarmUpDay(began=0, day=2, ceiling=126, used=60, delivered=58, deferred=2, bounced=0, why="held: 60 of 126")
    agents["mx1"].warming = {
        second: (
            WarmUpCourse(vmta=second, now=warming("gmail", day=3, ceiling=150, used=70, delivered=65), past=(past,)),
            WarmUpCourse(vmta=second, now=warming("outlook", state=WarmUpState.PAUSED, why="paused for a day")),
        )
    }
    rows = (await mailctl("warm-up", "--json")).document["rows"]
    assert [(row["host"], row["vmta"], row["now"]["provider"], row["now"]["state"]) for row in rows] == [
        ("mx1", second, "gmail", "climbing"),
        ("mx1", second, "outlook", "paused"),
    ]
    table = (await mailctl("warm-up")).out
    assert re.search(rf"{second} +gmail +climbing +3/42 +150 +70 +65 +0%", table)
    assert "held: 60 of 126" not in table
    assert "held: 60 of 126" in (await mailctl("warm-up", "--days", "provider:gmail")).out
    assert len((await mailctl("warm-up", "provider:outlook", "pool:marketing", "--json")).document["rows"]) == 1
    assert (await mailctl("warm-up", "host:mx2")).out.startswith("no member is warming")
    assert (await mailctl("warm-up", "pool:nowhere")).code == 2
    assert (await mailctl("warm-up", "queue:x/y")).code == 2


async def test_the_days_of_many_courses_fit_into_answers(agents: Agents, mailctl: Mailctl) -> None:
    first, second, *_ = agents["mx1"].vmta_names("marketing")
    why = "held: 60 of 126 were delivered on the day before, half of it counts"
    past = tuple(
        WarmUpDay(began=day, day=day, ceiling=126, used=60, delivered=58, deferred=2, bounced=0, why=why)
        for day in range(120)
    )
    agents["mx1"].warming = {
        vmta: tuple(WarmUpCourse(vmta=vmta, now=warming(f"provider{n}"), past=past) for n in range(32))
        for vmta in (first, second)
    }
    ran = await mailctl("warm-up", "--days", "--json")
    assert ran.code == 0
    assert [len(row["past"]) for row in ran.document["rows"]] == [120] * 64


async def test_addresses_on_block_lists_are_told_and_those_that_nobody_can_tell(
    agents: Agents, mailctl: Mailctl
) -> None:
    assert "no list is asked" in (await mailctl("block-lists")).out
    first, second, *_ = agents["mx1"].vmta_names("marketing")
    agents["mx1"].list_checks = (
        checked(second, "b.example", ListState.UNKNOWN, "SERVFAIL"),
        checked(first, "a.example", ListState.LISTED, "trap"),
        checked(first, "b.example", ListState.CLEAN),
    )
    rows = (await mailctl("block-lists", "--json")).document["rows"]
    assert [(row["vmta"], row["zone"], row["state"], row["detail"]) for row in rows] == [
        (first, "a.example", "listed", "trap"),
        (second, "b.example", "unknown", "SERVFAIL"),
    ]
    assert len((await mailctl("block-lists", "--all", f"vmta:{first}", "--json")).document["rows"]) == 2
    table = (await mailctl("block-lists")).out
    assert "trap" in table
    assert "SERVFAIL" in table
    agents["mx1"].list_checks = (checked(first, "b.example", ListState.CLEAN),)
    assert (await mailctl("block-lists")).out.startswith("on no list")
    assert (await mailctl("block-lists", "pool:nowhere")).code == 2


async def test_what_automation_does_is_listed_shortened_and_pinned(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx2"].live["auto-1-1"] = stepped_down()
    rows = (await mailctl("automation", "--json")).document["rows"]
    assert [(row["host"], row["rule"], row["value"], row["base"], row["reply"]) for row in rows] == [
        ("mx2", "gmail.unusual-rate", "30/m", "60/m", "421 4.7.28 unusual rate")
    ]
    assert "provider_rate 30/m of 60/m" in (await mailctl("automation")).out
    assert "gmail.unusual-rate" in (await mailctl("automation", "--rules")).out
    assert (await mailctl("automation", "--would", "--json")).document["rows"][0]["rule"] == "yahoo.complaints"
    assert (await mailctl("edit", "auto-1-1", "--yes")).code == 2  # neither an end nor a pin
    ran = await mailctl("edit", "auto-1-1", "--pin", "--for", "10m", "--yes", "--json")
    assert ran.code == 0
    assert [one["result"] for one in ran.document["operation"]["results"]] == ["applied"]
    (now,) = agents["mx2"].live.values()
    assert now.pinned
    assert now.expires_at is not None
    assert now.expires_at < START + timedelta(days=900)


async def test_a_read_that_lacks_a_host_says_so_and_is_one(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("status", "--json")
    assert ran.code == 1
    assert [host["state"] for host in ran.document["hosts"]] == ["live", "live", "lost"]
    assert "mx3: lost: no agent socket at /nowhere/rpc.sock" in ran.err
    assert "2 of 3 hosts" in (await mailctl("status")).out
    assert (await mailctl("status", "host:mx1")).code == 0
    assert (await mailctl("status", "host:mx3")).code == 3


async def test_rows_are_narrowed_by_the_selection(mailctl: Mailctl) -> None:
    ran = await mailctl("ips", "pool:marketing", "host:mx2", "--json")
    assert [(row["host"], row["name"]) for row in ran.document["rows"]] == [("mx2", "mkt-3"), ("mx2", "mkt-4")]
    ran = await mailctl("destinations", "provider:gmail", "provider:yahoo", "vmta:mkt-1", "--json")
    assert [row["provider"] for row in ran.document["rows"]] == ["gmail", "yahoo"]


async def test_deferred_groups_are_summed_over_hosts(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].groups = (group(5),)
    agents["mx2"].groups = (group(7),)
    (row,) = (await mailctl("deferred", "--json")).document["rows"]
    assert row["count"] == 12
    assert row["hosts"] == {"mx1": 5, "mx2": 7}


async def test_a_window_of_messages_says_that_there_are_more(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].messages = tuple(summary(number) for number in range(30))
    ran = await mailctl("messages", "--limit", "10", "--json")
    assert ran.document["truncated"] is True
    assert len(ran.document["rows"]) == 10
    assert "there are more than these 10" in ran.err
    assert (await mailctl("messages", "--limit", "30", "--json")).document["truncated"] is False


async def test_one_message_is_found_wherever_it_waits(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx2"].messages = (summary(7),)
    ran = await mailctl("message", summary(7).message_id)
    assert ran.code == 0
    assert "user7@gmail.com" in ran.out
    assert "Subject: hello  [31mred" in ran.out  # escapes are shown harmless
    assert "\x1b" not in ran.out
    missing = await mailctl("message", "0000000000000000X")
    assert missing.code == 1
    assert "waits on mx1, mx2, mx3" in missing.err


async def test_what_is_unknown_is_told_later_by_its_id(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx2"].faults.drop_answer_to = {"drain", "operation"}
    ran = await mailctl("--timeout", "1", "drain", "pool:cold", "host:mx1", "host:mx2", "--yes", "--json")
    operation = ran.document["operation"]
    assert ran.code == 6
    assert (operation["counts"]["unknown"], operation["counts"]["refused"]) == (1, 0)
    assert f"ask later what became of it: mailctl operation {operation['op_id']}" in ran.err
    agents["mx2"].faults.drop_answer_to = set()
    later = await mailctl("operation", operation["op_id"], "--json")
    assert [(row["host"], row["result"]) for row in later.document["rows"]] == [("mx1", "applied"), ("mx2", "applied")]
    assert "not executed" in (await mailctl("operation", operation["op_id"])).out
    assert (await mailctl("operation", "1q7p3k2m9x4a8bc")).code == 1


async def test_the_fleet_is_locked_shown_and_released(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("lock", "take", "--reason", "moving pools", "--for", "1h", "--yes")).code == 0
    shown = await mailctl("lock", "show", "--json")
    assert [(row["host"], row["author"], row["reason"]) for row in shown.document["rows"]] == [
        (host, "alice", "moving pools") for host in ("mx1", "mx2", "mx3")
    ]
    assert (await mailctl("lock", "release", "--yes")).code == 0
    assert "no host is locked" in (await mailctl("lock", "show")).out
    agents["mx1"].lock_of = "bob"
    refused = await mailctl("drain", "pool:cold", "host:mx1", "--yes")
    assert refused.code == 4
    assert "locked by bob" in refused.out
    assert (await mailctl("drain", "pool:cold", "host:mx1", "--yes", "--break-lock", "--reason", "outage")).code == 0


async def test_a_key_makes_cron_do_it_once(mailctl: Mailctl) -> None:
    night = ("drain", "pool:cold", "--yes", "--key", "night-1", "--json")
    counts = [(await mailctl(*night)).document["operation"]["counts"] for _ in range(2)]
    assert [(one["applied"], one["nothing-to-do"]) for one in counts] == [(3, 0), (0, 3)]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The operator's own file, in the home directory that commands see."""
    path = tmp_path / ".config/mailctl/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("keys: {}\n")
    return path


async def test_read_only_changes_nothing_by_option_and_by_the_own_file(
    agents: Agents, mailctl: Mailctl, own: Path
) -> None:
    drain = ("drain", "pool:cold", "--yes")
    refused = await mailctl("--read-only", *drain)
    assert (refused.code, "read-only mode" in refused.err) == (4, True)
    assert (await mailctl("--read-only", "drain", "pool:cold", "--dry-run")).code == 0
    assert (await mailctl("--read-only", "status")).code == 0
    edit(own, "keys: {}", "read_only: true")
    assert (await mailctl(*drain)).code == 4
    assert not any(agent.executed for agent in agents.values())
    assert (await mailctl("--read-write", *drain)).code == 0


async def test_a_plan_on_production_says_so(mailctl: Mailctl, path: Path) -> None:
    edit(path, "hosts:", "environment: production\nhosts:")
    assert "[PRODUCTION] drain pool:cold: 3 of 3 hosts" in (await mailctl("drain", "pool:cold", "--dry-run")).out


BOOK = """\
name: deep
when:
  - {figure: waiting, of: "host:mx1", above: 10}
do:
  - {verb: drain, select: pool:cold host:mx1, lasts: 1h}
"""


async def test_a_playbook_is_checked_tried_and_run(agents: Agents, mailctl: Mailctl, tmp_path: Path) -> None:
    (good := tmp_path / "good.yaml").write_text(BOOK)
    (bad := tmp_path / "bad.yaml").write_text(BOOK.replace("drain", "delete"))
    checked = await mailctl("playbook", "check", str(good), str(bad))
    assert (checked.code, "deep is well" in checked.out) == (2, True)
    assert "bad.yaml:5: do[0].verb: `delete` is not for playbooks" in checked.err
    tried = await mailctl("playbook", "run", str(good), "--dry-run")
    assert (tried.code, "planned" in tried.out, agents["mx1"].executed) == (0, True, [])
    assert (await mailctl("--read-only", "playbook", "run", str(good))).code == 4
    ran = await mailctl("playbook", "run", str(good), "--json")
    (row,) = ran.document["rows"]
    assert (ran.code, row["result"], row["results"][0]["result"]) == (0, "executed", "applied")
    assert "waiting of host mx1 is 100, above 10" in row["because"][0]
    assert (await mailctl("undo", row["op_id"], "--yes")).code == 0


async def test_undo_takes_back_the_last_of_mine_or_all_since_a_time(agents: Agents, mailctl: Mailctl) -> None:
    for pool in ("marketing", "cold", "transactional"):
        assert (await mailctl("drain", f"pool:{pool}", "--yes")).code == 0
    last = await mailctl("undo", "last", "--yes", "--json")
    assert last.code == 0
    assert {one["target"] for one in last.document["operation"]["results"]} == {"drain pool:transactional"}
    rest = await mailctl("undo", "--mine", "--since", "10m", "--yes")
    assert (rest.code, "applied on 6 of 6 objects" in rest.err) == (0, True)
    assert not any(agent.live for agent in agents.values())
    for wrong in (
        ("undo",),
        ("undo", "--mine"),
        ("undo", "last", "--mine", "--since", "1h"),
        ("undo", "--since", "1h"),
    ):
        assert "name an operation or `last`" in (await mailctl(*wrong)).err


@pytest.mark.parametrize("command", ["deferred", "messages"])
async def test_a_filter_line_narrows_on_the_hosts_that_it_admits(
    agents: Agents, mailctl: Mailctl, command: str
) -> None:
    ran = await mailctl(command, "provider:gmail", "--filter", 'code:4.7.* age:>2h !host:mx2 !"mailbox full"', "--json")
    assert ran.code == 0
    assert agents["mx2"].filters == []
    for name in ("mx1", "mx3"):
        (filter,) = agents[name].filters
        assert filter.provider == "gmail"
        assert [(term.field, term.value, term.negated) for term in filter.terms] == [
            ("code", "4.7.*", False),
            ("age", ">7200", False),
            ("text", "mailbox full", True),
        ]


async def test_find_tells_one_timeline_and_names_the_hosts_that_are_missing(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    agents["mx2"].messages = (summary(7, recipient="alice@example.com\x1b[31m"),)
    ran = await mailctl("find", "alice@example.com", "--since", "36500d")
    assert ran.code == 0
    assert [line.split()[3] for line in ran.out.splitlines()[1:]] == ["received", "waiting"]
    assert "\x1b" not in ran.out
    edit(path, str(agents["mx3"].socket), "/nonexistent/rpc.sock")
    ran = await mailctl("find", "alice@example.com", "--json")
    assert ran.code == 1
    assert [(row["host"], row["state"]) for row in ran.document["rows"]] == [("mx2", "waiting")]
    assert any(error.startswith("mx3: ") for error in ran.document["errors"])


async def test_find_that_finds_nothing_is_one_and_for_nothing_is_two(mailctl: Mailctl) -> None:
    ran = await mailctl("find", "id:nowhere", "host:mx1")
    assert (ran.code, ran.out) == (1, "")
    assert "nothing of message:nowhere host:mx1 in that time on mx1" in ran.err
    assert (await mailctl("find", "provider:gmail")).code == 2
    for blank in ("", "  "):
        ran = await mailctl("find", blank)
        assert (ran.code, "a term, such as pool:marketing is expected" in ran.err) == (2, True)


async def test_a_mistake_in_a_filter_is_two_and_says_where(mailctl: Mailctl) -> None:
    ran = await mailctl("deferred", "--filter", "provider:gmail code:4.7.x")
    assert ran.code == 2
    assert "a reply code" in ran.err
    assert "character 21" in ran.err


async def test_retry_takes_a_filter_and_its_command_says_it(mailctl: Mailctl) -> None:
    ran = await mailctl("retry", "provider:gmail", "--filter", "code:4.7.* !pool:cold", "--dry-run", "--json")
    assert ran.code == 0
    operation = ran.document["operation"]
    assert operation["selection"] == "provider:gmail code:4.7.* !pool:cold"
    assert "retry provider:gmail --filter 'code:4.7.* !pool:cold'" in operation["command"]


async def test_drain_waits_reports_and_is_undone(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("drain", "pool:marketing", "--reason", "Gmail", "--yes", "--wait=10s", "--json")
    assert ran.code == 0
    operation = ran.document["operation"]
    assert operation["empty"] is True
    assert [(one["host"], one["result"]) for one in operation["results"]] == [
        (name, "applied") for name in ("mx1", "mx2", "mx3")
    ]
    assert operation["undo"] == f"mailctl undo {operation['op_id']}"
    assert f"undo with: mailctl undo {operation['op_id']}" in ran.err
    assert "command: mailctl drain pool:marketing --reason Gmail" in ran.err
    undone = await mailctl("undo", operation["op_id"], "--yes")
    assert undone.code == 0
    assert not any(agent.live for agent in agents.values())


async def test_a_wait_that_runs_out_is_one(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx2"].empty = False
    ran = await mailctl("drain", "pool:marketing", "--yes", "--wait=1s", "--json")
    assert ran.code == 1
    assert ran.document["operation"]["empty"] is False
    assert "not empty: mx2 draining" in ran.err


async def test_a_dry_run_changes_nothing(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("drain", "pool:marketing", "--dry-run", "--json")
    assert ran.code == 0
    assert ran.document["operation"]["dry_run"] is True
    assert ran.document["operation"]["messages"] == 300
    text = await mailctl("rotate", "vmta:mkt-1", "--dry-run")
    assert "command: mailctl rotate vmta:mkt-1" in text.out
    assert "undo: possible, the report says how" in text.out
    assert "mailctl undo" not in text.out
    assert not any(agent.executed for agent in agents.values())


async def test_a_role_that_is_too_low_is_refused(agents: Agents, mailctl: Mailctl) -> None:
    for agent in agents.values():
        agent.faults.role = Role.VIEWER
    ran = await mailctl("drain", "pool:marketing", "--yes", "--json")
    assert ran.code == 4
    assert {one["result"] for one in ran.document["operation"]["results"]} == {"refused"}


async def test_some_hosts_failing_is_one_and_none_reachable_three(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    agents["mx1"].faults.role = Role.VIEWER
    assert (await mailctl("suspend", "pool:marketing", "--yes")).code == 1
    for agent in agents.values():
        edit(path, str(agent.socket), f"/nowhere/{agent.name}.sock")
    assert (await mailctl("drain", "pool:marketing", "--yes")).code == 3
    assert (await mailctl("pools")).code == 3


async def test_an_unknown_outcome_is_six(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].faults.drop_answer_to = {"drain", "operation"}
    ran = await mailctl("--timeout", "1", "drain", "vmta:mkt-1", "--yes", "--json")
    assert ran.code == 6
    assert ran.document["operation"]["results"][0]["result"] == "unknown"


async def test_timeout_bounds_each_answer_of_a_plan_and_of_the_act(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].faults.mute = {"drain"}
    planned = await mailctl("--timeout", "0.9", "drain", "vmta:mkt-1", "--dry-run")
    assert planned.code == 3
    assert "no answer to drain within 0.9 s" in planned.out
    agents["mx1"].faults.mute, agents["mx1"].faults.hang_after = set(), {"drain", "operation"}
    acted = await mailctl("--timeout", "0.9", "drain", "vmta:mkt-1", "--yes")
    assert acted.code == 6
    assert "no answer to drain within 0.9 s" in acted.out
    assert "ask later what became of it: mailctl operation" in acted.err


async def test_limit_takes_its_key_beside_the_selectors(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("limit", "vmta:mkt-1", "connections=2", "--for", "1h", "--yes")
    assert ran.code == 0
    assert agents["mx1"].executed == ["limit"]
    assert "command: mailctl limit vmta:mkt-1 connections=2 --for 1h" in ran.err


async def test_an_interrupted_wait_leaves_the_drain_standing(agents: Agents, path: Path) -> None:
    agents["mx1"].empty = False
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from mailctl.cli import main; main()",
        "--fleet",
        str(path),
        *("drain", "vmta:mkt-1", "--yes", "--wait"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while b"waiting until empty" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        rest = await process.stderr.read()
        assert await process.wait() == 130
    (op_id,) = agents["mx1"].records
    assert b"what was applied by then stands; `mailctl --fleet " in rest
    assert f" operation {op_id}` tells where\n".encode() in rest
    assert b"Traceback" not in rest
    assert len(agents["mx1"].live) == 1


async def test_a_person_at_the_terminal_is_asked(agents: Agents, path: Path) -> None:
    async def answer(word: bytes | signal.Signals) -> tuple[int, bytes]:
        master, slave = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from mailctl.cli import main; main()",
            "--fleet",
            str(path),
            "drain",
            "vmta:mkt-1",
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        shown = b""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while b"Do it? [y/N]" not in shown:
                shown += await loop.run_in_executor(None, os.read, master, 4096)
            if isinstance(word, signal.Signals):
                process.send_signal(word)
            else:
                os.write(master, word)
            code = await process.wait()
        shown += os.read(master, 4096)
        os.close(slave)
        os.close(master)
        return code, shown

    code, shown = await answer(b"\n")
    assert code == 130
    assert b"1 of 3 hosts, 100 messages" in shown
    code, shown = await answer(signal.SIGINT)
    assert (code, b"mailctl: interrupted; nothing was changed" in shown) == (130, True)
    assert not agents["mx1"].executed
    code, _ = await answer(b"y\n")
    assert code == 0
    assert agents["mx1"].executed == ["drain"]


def test_details_that_do_not_fit_stand_whole_below_their_line() -> None:
    record = f'publish s1._domainkey.example.com. TXT "v=DKIM1; p={"A" * 200}"'
    head, line, *below = outcomes("RESULT", [("mx1", "dkim:example.com/marketing", "applied", record)], 80).split("\n")
    assert head.split() == ["HOST", "TARGET", "RESULT"]
    assert line.split() == ["mx1", "dkim:example.com/marketing", "applied"]
    assert " ".join(part.strip() for part in below) == record


async def test_a_missing_target_is_said_before_a_missing_yes(agents: Agents, mailctl: Mailctl) -> None:
    bare = await mailctl("drain")
    assert (bare.code, "nothing is selected; drain acts on pool:" in bare.err, "--yes" in bare.err) == (2, True, False)
    assert "--all means every deferred message" in (await mailctl("retry")).err
    assert "--yes" in (await mailctl("drain", "pool:cold")).err


async def test_a_reason_code_in_place_of_words_is_pointed_to_its_option(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("suppression", "add", "anna@example.com", "--reason", "complaint", "--yes")
    assert (ran.code, "say --because complaint" in ran.err) == (2, True)


async def test_figures_that_an_engine_does_not_tell_are_dashes_that_are_explained(
    agents: Agents, mailctl: Mailctl
) -> None:
    other = agents["mx3"]
    other.engine, other.unknown = "postfix 3.7.11", ("connections_in", "connections_out")
    other.emulated = {"suspend": "by a map of \x1b[31mdomains"}
    ran = await mailctl("hosts")
    header, *lines = ran.out.splitlines()
    mine, postfix = (next(line for line in lines if line.startswith(name)) for name in ("mx1", "mx3"))
    assert ("MTA" in header, "mailagent" in mine, "postfix 3.7.11" in postfix) == (True, True, True)
    assert "mx3: postfix 3.7.11 does not tell: connections in, connections out" in ran.out
    assert "mx3: suspend is emulated: by a map of  [31mdomains" in ran.out
    assert " - " in next(line for line in (await mailctl("ips")).out.splitlines() if "mkt-5" in line)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ("destinations provider:nope", "no provider nope; there is "),
        ("deferred pool:nope", "no pool nope; "),
        ("messages --filter stream:nope", "no stream nope; "),
        ("ages stream:nope", "no stream nope; "),
        ("directives pool:nope host:mx1", "no pool nope on mx1; "),
        ("timeline vmta:nope", "no vmta nope; "),
        ("watch pool:nope --count 1", "no pool nope; "),
        ("suspend provider:nope --yes", "no provider nope; "),
        ("suspend provider:nope host:mx1 --yes", "no provider nope on mx1; "),
        ("resume provider:nope --dry-run", "no provider nope; "),
        ("limit provider:nope provider_rate=1/s --yes", "no provider nope; "),
        ("limit cell:nope/mkt-1 connections=1 --yes", "no provider nope; "),
        ("suppression freeze provider:nope --yes", "no provider nope; "),
    ],
)
async def test_a_name_that_nobody_has_is_wrong_usage(agents: Agents, mailctl: Mailctl, read: str, said: str) -> None:
    ran = await mailctl(*read.split())
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert ran.err.startswith(f"mailctl: error: {said}"), ran.err
    assert not any(agent.executed for agent in agents.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("report deferrals --last 3d", "deferrals are reported of the last 1d at most"),
        ("suppression list host:mx1", "host:mx1 is no address; for hosts there is --host mx1"),
        ("suppression add host:mx1 a@b.example --yes", "host:mx1 is no address; for hosts there is --host mx1"),
        ("suppression add nobody --yes", "`nobody` is no address; write anna@example.com"),
        ("suppression add a@b.example a@b..example --dry-run", "`a@b..example` is no address; "),
        ("suppression remove @b.example --yes", "`@b.example` is no address; "),
        ("dkim prepare dkim:x --dry-run", "dkim:x is no DKIM key; its form is dkim:DOMAIN/POOL"),
        ("dkim prepare dkim:a.example/nope --dry-run", "no pool nope; there is cold, marketing"),
    ],
)
async def test_what_a_command_cannot_do_is_said_and_not_left_out(
    agents: Agents, mailctl: Mailctl, words: str, said: str
) -> None:
    ran = await mailctl(*words.split())
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert ran.err.startswith(f"mailctl: error: {said}"), ran.err
    assert not any(agent.executed for agent in agents.values())


async def test_a_name_is_wrong_usage_only_when_every_host_can_tell(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    quiet = await mailctl("destinations", "provider:netvigator")  # a rule that ships; nothing goes there
    assert (quiet.code, quiet.out) == (0, "no destinations\n"), quiet.err
    some = await mailctl("pools", "pool:market*")
    assert (some.code, some.out.count("marketing")) == (0, 1), some.err
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("destinations", "provider:nope")
    assert (ran.code, ran.out) == (1, "no destinations (said by 2 of 3 hosts)\n")
    verb = await mailctl("suspend", "provider:nope", "--yes")
    assert (verb.code, verb.out.count("refused"), verb.out.count("unreachable")) == (4, 2, 1), verb.err


async def test_a_rate_for_a_job_is_reported_as_it_was_asked(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("job", "limit", "spring", "5/s", "--yes")
    assert ran.code == 0, ran.err
    assert "command: mailctl job limit spring 5/s\n" in ran.err
    assert "mailctl: job limit spring: " in ran.err
    one = await mailctl("job", "limit", "spring", "host:mx2", "none", "--dry-run")
    assert (one.code, "command: mailctl job limit spring host:mx2 none\n" in one.out) == (0, True), one.err
    assert len(agents) == 3


async def test_orders_about_jobs_have_the_words_of_jobs(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("job", "pause", "spring", "--yes")).code == 0
    assert (await mailctl("directives")).out.splitlines()[1].split()[:2] == ["pause", "job:spring"]
    assert len(agents) == 3
