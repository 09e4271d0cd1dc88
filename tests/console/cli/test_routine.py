"""`mailctl routine` as cron runs it."""

from pathlib import Path

from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent

Agents = dict[str, LoopbackAgent]
CALM = """\
thresholds: {oldest: {}, events: {}, deferrals: {}, complaints: {warning: 0.9}, unreachable: {warning: 2}}
pools:"""


async def test_a_quiet_routine_says_nothing_until_something_is_wrong(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    edit(path, "pools:", CALM)
    for name in ("hourly", "daily"):
        ran = await mailctl("routine", name, "--quiet")
        assert (ran.code, ran.out, ran.err) == (0, "", "")
    edit(path, "complaints: {warning: 0.9}", "complaints: {warning: 0.001}")
    assert (await mailctl("routine", "hourly", "--quiet")).code == 0
    ran = await mailctl("routine", "daily", "--quiet")
    assert ran.code == 5
    assert ran.out.startswith("daily routine: warning\n")
    assert "complaints 0.2% of provider gmail (limit 0.1%): 6 of 2,970 delivered" in ran.out
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("routine", "hourly", "--quiet", "--json")
    assert ran.code == 1
    (row,) = ran.document["rows"]
    assert (row["name"], row["level"], row["day"]) == ("hourly", "unknown", None)
    assert [one["host"] for one in row["deferrals"]["unchecked"]] == ["mx3"]
    for agent in ("mx1", "mx2"):
        edit(path, str(agents[agent].socket), f"/nowhere/{agent}.sock")
    assert (await mailctl("routine", "hourly")).code == 3
