"""`mailctl feedback` shows what came back, whatever it holds."""

from tests.console.cli.conftest import Mailctl
from tests.console.loopback import LoopbackAgent


async def test_counts_lag_and_the_last_ones(agents: dict[str, LoopbackAgent], mailctl: Mailctl) -> None:
    human = await mailctl("feedback", "host:mx1")
    assert human.code == 0
    for word in ("complaint", "abuse", "suppressed", "3 forged", "marketing", "0.125%"):
        assert word in human.out
    assert "\x1b" not in human.out
    row = (await mailctl("feedback", "host:mx1", "--json", "--limit", "0")).document["rows"][0]
    assert (row["host"], row["lag"]["p95_s"], row["counts"][0]["count"]) == ("mx1", 0.25, 1)
    assert row["last"] == []


async def test_it_is_narrowed_by_hosts_only(mailctl: Mailctl) -> None:
    found = await mailctl("feedback", "pool:marketing")
    assert found.code == 2
    assert "cannot be narrowed by pool:" in found.err
