"""The figures of a fleet as one text."""

from pathlib import Path

import pytest

from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent
from tests.exposition import Series, series, value

Agents = dict[str, LoopbackAgent]


def up(found: Series) -> dict[str, float]:
    return {dict(labels)["host"]: number for (name, labels), number in found.items() if name == "mailctl_host_up"}


@pytest.mark.parametrize("classic", [True, False])
async def test_all_hosts_are_one_text_with_a_label(agents: Agents, mailctl: Mailctl, classic: bool) -> None:
    agents["mx2"].waiting = 7
    ran = await mailctl("metrics", *([] if classic else ["--openmetrics"]))
    assert (ran.code, ran.err) == (0, "")
    found = series(ran.out, classic=classic)
    assert up(found) == {"mx1": 1, "mx2": 1, "mx3": 1}
    assert [value(found, "queue_recipients", host=name) for name in agents] == [100, 7, 100]
    assert all("host" in dict(labels) for _, labels in found)
    assert ran.out.count("# TYPE mailagent_queue_recipients gauge\n") == 1
    assert ran.out.endswith("\n# EOF\n") is not classic


async def test_a_host_without_an_answer_is_down_and_the_rest_is_there(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    agents["mx2"].faults.drop_before.add("metrics")
    ran = await mailctl("metrics")
    assert ran.code == 1
    found = series(ran.out, classic=True)
    assert up(found) == {"mx1": 1, "mx2": 0, "mx3": 0}
    assert value(found, "queue_recipients", host="mx1") == 100
    assert value(found, "queue_recipients", host="mx2") is None
    assert "mx3: lost: no agent socket at /nowhere/rpc.sock" in ran.err
    assert "mx2: " in ran.err


async def test_where_no_host_answers_each_is_down(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    for one in agents.values():
        edit(path, str(one.socket), "/nowhere/rpc.sock")
    ran = await mailctl("metrics", "--openmetrics")
    assert ran.code == 3
    assert up(series(ran.out)) == {"mx1": 0, "mx2": 0, "mx3": 0}


async def test_hosts_are_chosen(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("metrics", "host:mx2")
    assert ran.code == 0
    assert up(series(ran.out, classic=True)) == {"mx2": 1}
    unknown = await mailctl("metrics", "host:mx9")
    assert (unknown.code, unknown.out) == (2, "")
    narrowed = await mailctl("metrics", "pool:marketing")
    assert (narrowed.code, narrowed.out) == (2, "")


async def test_an_agent_of_an_older_version_is_named(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].lacks = ("metrics",)
    ran = await mailctl("metrics")
    assert ran.code == 1
    assert up(series(ran.out, classic=True)) == {"mx1": 0, "mx2": 1, "mx3": 1}
    assert "mailctl: mx1: " in ran.err


async def test_what_an_engine_says_of_itself_stays_in_its_label(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx1"].engine = 'postfix "3"\\\n# EOF\nmailctl_host_up{host="mx9"} 1\x1b]0;owned\x07'
    ran = await mailctl("metrics", "--openmetrics")
    found = series(ran.out)
    assert up(found) == {"mx1": 1, "mx2": 1, "mx3": 1}
    assert "\x1b" not in ran.out
    (engine,) = [dict(labels)["engine"] for name, labels in found if "build" in name and ("host", "mx1") in labels]
    assert engine == 'postfix "3"\\ # EOF mailctl_host_up{host="mx9"} 1 ]0;owned '
