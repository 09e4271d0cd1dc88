"""`mailctl check` at the command line."""

from pathlib import Path

from tests.console import records
from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent

Agents = dict[str, LoopbackAgent]
CALM = """\
thresholds: {{oldest: {{}}, events: {{}}, unreachable: {{warning: 1, critical: 3}}{more}}}
pools:"""


def calm(path: Path, more: str = "") -> None:
    """Limits that the test agents keep, which wait and lag for ever."""
    edit(path, "pools:", CALM.format(more=more))


async def test_a_well_fleet_is_zero_and_a_crossed_threshold_five(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    calm(path)
    ran = await mailctl("check", "--json")
    assert ran.code == 0
    assert ran.document["schema"] == "mailctl.check/1"
    assert {row["level"] for row in ran.document["rows"]} == {"ok"}
    agents["mx2"].sums = records.sums(deferred=1500)
    ran = await mailctl("check", "--json")
    assert ran.code == 5
    (row,) = [row for row in ran.document["rows"] if row["level"] != "ok"]
    assert (row["name"], row["worst"]["subject"]) == ("deferrals", "pool marketing")
    assert (row["worst"]["detail"], row["worst"]["about"]) == ("1,504 of 4,474 events", "pool:marketing")
    people = await mailctl("check")
    assert "critical: deferrals 34% of provider gmail (limit 15%): 1,504 of 4,474 events" in people.out
    assert "  mailctl deferred provider:gmail" in people.out


async def test_monitoring_gets_one_line_and_its_own_codes(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    calm(path)
    ran = await mailctl("check", "--nagios")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("MAILCTL OK - 18 checks, nothing crossed | 'unreachable'=0;0;2;0 ")
    assert len(ran.out.splitlines()) == 1
    agents["mx2"].faults.drop_before = {"sums"}
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("check", "--nagios")
    assert ran.code == 1
    assert "not checked on mx3 (lost: no agent socket at /nowhere/rpc.sock" in ran.out
    assert "not checked on mx2 (connection lost" in ran.out
    for words in (["--nonsense"], ["pool:x"], ["host:mx9"], ["--json"]):
        ran = await mailctl("check", "--nagios", *words)
        assert ran.code == 3, words
        assert ran.out.startswith("MAILCTL UNKNOWN - ")
    edit(path, "thresholds:", "threshold:")
    ran = await mailctl("check", "--nagios")
    assert ran.code == 3
    assert "unknown key; did you mean `thresholds`?" in ran.out


async def test_what_could_not_be_looked_at_is_one(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    calm(path, ", least: 100")
    agents["mx1"].faults.drop_before = {"sums"}
    ran = await mailctl("check", "--json")
    assert ran.code == 1
    rows = {row["name"]: row for row in ran.document["rows"]}
    assert rows["growth"]["level"] == "unknown"
    assert [one["host"] for one in rows["growth"]["unchecked"]] == ["mx1"]
    assert (await mailctl("check", "pool:x")).code == 2
