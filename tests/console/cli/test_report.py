"""`mailctl report` at the command line."""

from pathlib import Path

import msgspec
import pytest

from mailagent.api import codec
from tests.console import records
from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent

Agents = dict[str, LoopbackAgent]


async def test_deferrals_of_the_whole_fleet(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    ran = await mailctl("report", "deferrals", "--json")
    assert ran.code == 0
    assert ran.document["schema"] == "mailctl.report-deferrals/1"
    (report,) = ran.document["rows"]
    assert [(row["name"], row["deferred"], row["delivered"]) for row in report["domains"]] == [
        ("dead\x1b[31m.test", 300, 0),
        ("gmail.com", 300, 2700),
    ]
    people = await mailctl("report", "deferrals", "provider:gmail", "--worst", "1")
    assert "\x1b" not in people.out
    assert "gmail.com" not in people.out
    assert (await mailctl("report", "deferrals", "pool:x")).code == 2
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("report", "deferrals")
    assert ran.code == 1
    assert "not known of mx3: lost: no agent socket" in ran.out


async def test_a_day_is_the_sum_of_all_hosts(mailctl: Mailctl) -> None:
    ran = await mailctl("report", "day", "--json")
    assert ran.code == 0
    (report,) = ran.document["rows"]
    assert [(row["scope"], row["delivered"]) for row in report["flows"] if row["name"] == "news"] == [("stream", 2970)]
    assert report["bounces"] == [{"category": "bad-mailbox", "count": 12, "providers": {"gmail": 12}}]
    text = (await mailctl("report", "day", "host:mx1")).out
    assert "bad-mailbox" in text
    assert (await mailctl("report", "day", "--day", "2999-01-01")).code == 2


@pytest.mark.parametrize("report", ["day", "deferrals"])
@pytest.mark.parametrize("is_connected", [False, True])
async def test_of_hosts_that_do_not_answer_nothing_is_known(
    agents: Agents, mailctl: Mailctl, path: Path, report: str, is_connected: bool
) -> None:
    for agent in agents.values():
        agent.faults.mute = {"sums", "outcomes", "operations"}
        if not is_connected:
            edit(path, str(agent.socket), "/nowhere/rpc.sock")
    ran = await mailctl("--timeout", "1", "report", report)
    assert ran.code == 3
    assert "nothing is known: no host answered" in ran.out
    for host in agents:
        assert f"not known of {host}: " in ran.out
        assert f"mailctl: {host}: " in ran.err
    assert "nothing was sent" not in ran.out
    assert "no domain" not in ran.out
    assert "no operations" not in ran.out


async def test_that_nothing_was_sent_is_said_of_hosts_that_answered(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    for agent in agents.values():
        agent.sums = msgspec.structs.replace(records.sums(), rows=())
    assert "nothing was sent\n" in (await mailctl("report", "day")).out
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("report", "day", "--json")
    assert ran.code == 1
    assert ran.document["rows"][0]["hosts"] == ["mx1", "mx2"]
    ran = await mailctl("report", "day")
    assert ran.code == 1
    assert "nothing was sent as far as is known" in ran.out


async def test_what_every_host_knows_in_part_is_one_and_not_three(agents: Agents, mailctl: Mailctl) -> None:
    for agent in agents.values():
        agent.sums = msgspec.structs.replace(records.sums(), since=codec.now())
    ran = await mailctl("report", "deferrals", "--json")
    assert ran.code == 1
    assert len(ran.document["errors"]) == 3
    assert "the history begins at" in ran.document["errors"][0]
    assert (await mailctl("report", "deferrals")).err == ""


async def test_the_nearest_host_of_each_provider_comes_first(agents: Agents, mailctl: Mailctl) -> None:
    assert "no host has opened a connection" in (await mailctl("report", "connect")).out
    for name, times in (("mx1", {"gmail": 80.5, "yahoo": 9}), ("mx2", {"gmail": 12.25})):
        agents[name].connect_ms = times
    ran = await mailctl("report", "connect", "--json")
    assert ran.code == 0
    assert [(row["provider"], row["host"], row["connect_ms"]) for row in ran.document["rows"]] == [
        ("gmail", "mx2", 12.25),
        ("gmail", "mx1", 80.5),
        ("yahoo", "mx1", 9),
    ]
    lines = (await mailctl("report", "connect", "provider:gmail")).out.splitlines()
    assert [line.split() for line in lines[1:]] == [["gmail", "mx2", "eu", "12.2"], ["mx1", "eu", "80.5"]]
    assert (await mailctl("report", "connect", "pool:x")).code == 2
