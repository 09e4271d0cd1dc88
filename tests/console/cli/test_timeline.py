"""`mailctl timeline` and `mailctl note`, against three agents."""

import msgspec

from mailagent.api.ids import OpId
from tests.console.cli.conftest import Mailctl
from tests.console.loopback import LoopbackAgent

Agents = dict[str, LoopbackAgent]


async def test_a_drain_is_one_line_of_the_timeline(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("drain", "pool:marketing", "--reason", "throttled", "--yes")).code == 0
    ran = await mailctl("timeline", "--kind", "operator")
    assert ran.code == 0
    [line] = ran.out.splitlines()
    assert "alice  pool:marketing  drain" in line
    assert line.endswith("[mx1,mx2,mx3]")
    document = (await mailctl("timeline", "pool:marketing", "--json")).document
    assert [row["hosts"] for row in document["rows"]] == [["mx1", "mx2", "mx3"]]
    assert (await mailctl("timeline", "pool:cold", "--kind", "operator")).out == "nothing happened in that time\n"


async def test_a_note_is_left_listed_and_ended(agents: Agents, mailctl: Mailctl) -> None:
    added = await mailctl("note", "add", "ticket \x1b[31m4711", "host:mx1", "--for", "8h", "--yes", "--json")
    assert added.code == 0, added.err
    listed = await mailctl("note", "list")
    assert "ticket  [31m4711" in listed.out
    [row] = (await mailctl("note", "list", "--json")).document["rows"]
    assert (row["host"], row["author"], row["target"]["name"]) == ("mx1", "alice", "mx1")
    [line] = (await mailctl("timeline", "--kind", "note")).out.splitlines()
    assert "ticket" in line
    assert (await mailctl("note", "end", row["id"], "--yes")).code == 0
    assert (await mailctl("note", "list")).out == "no notes\n"


async def test_a_note_on_three_hosts_is_one_line_wherever_it_is_told(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("note", "add", "ticket 4711", "--yes")).code == 0
    for listing in (("note", "list"), ("operations",), ("directives",)):
        [_, line] = (await mailctl(*listing)).out.splitlines()
        assert "mx1 mx2 mx3" in line, listing
    [line] = (await mailctl("timeline", "--kind", "note")).out.splitlines()
    assert line.endswith("[mx1,mx2,mx3]")


async def test_operations_are_acts_of_people_unless_all_are_wanted(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("drain", "pool:marketing", "host:mx1", "--yes")).code == 0
    [(op_id, record)] = agents["mx1"].records.items()
    agents["mx1"].records["auto-1"] = msgspec.structs.replace(record, op_id=OpId("auto-1"), author="automation")
    assert "automation" not in (await mailctl("operations")).out
    everything = await mailctl("operations", "--all")
    assert "automation" in everything.out
    assert str(op_id).partition(".")[0] in everything.out
    applied = msgspec.structs.replace(record, op_id=OpId("apply-1"), verb="config_apply", author="bob")
    agents["mx1"].records["apply-1"] = applied
    listed = (await mailctl("operations")).out
    assert " apply " in listed
    assert "config_apply" not in listed
    assert "config_apply" in {row["verb"] for row in (await mailctl("operations", "--json")).document["rows"]}
