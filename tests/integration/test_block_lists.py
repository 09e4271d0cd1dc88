"""A provider refuses an address that is on a block list: the agent looks, says so, and keeps a listed standby out."""

from pathlib import Path

import pytest

from mailagent.api.errors import GuardRefused
from mailagent.api.reputation import Listing, ListState
from mailagent.api.views import Snapshot
from tests.integration.processes import until
from tests.integration.rig import MKT1, rig

ZONE = "bl.lists.test"
SECTIONS = f"""\
virtual_mtas:
  mkt-1: {{address: 127.0.1.1}}
  mkt-3: {{address: 127.0.1.3}}
pools:
  marketing: {{active: [mkt-1], standby: [mkt-3]}}
streams:
  default: {{pool: marketing}}
retry: {{waits: [1h], jitter: 0}}
reputation: {{block_lists: {{{ZONE}: {{weight: high, answers: {{127.0.0.2: spam trap}}}}}}}}
"""
LISTED = "127.0.0.2"


async def test_a_refusal_that_names_a_list_has_the_address_looked_up_and_a_listed_standby_stays_out(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path, SECTIONS) as one:
        one.dns.add(f"2.0.0.127.{ZONE}", "A", LISTED)
        one.dns.add(f"3.1.0.127.{ZONE}", "A", LISTED)
        await one.restart()  # with a list that knows its own test entry from its first question on
        now = await one.shows(lambda now: bool(_listings(now)["mkt-3"]), "the standby is listed")
        assert _listings(now)["mkt-1"] == ()
        (listing,) = _listings(now)["mkt-3"]
        assert (listing.zone, listing.meaning, listing.address) == (ZONE, "spam trap", "127.0.1.3")
        assert {view.name: view.reason for view in now.vmtas} == {"mkt-1": "", "mkt-3": f"on {ZONE} (spam trap)"}
        with pytest.raises(GuardRefused, match=r"mkt-3 is on bl\.lists\.test \(spam trap\)"):
            await one.do("rotate", "vmta:mkt-1")

        one.dns.add(f"1.1.0.127.{ZONE}", "A", LISTED)
        one.sink.refuse = lambda mail, recipient: (
            b"550 5.7.1 Your host is listed in RBL\r\n" if mail.source == MKT1 else None
        )
        await one.accepted("a@a.example")
        await one.shows(lambda now: bool(_listings(now)["mkt-1"]), "hours before its turn")
        states = {check.vmta: check.state for check in (await one.call("block_lists")).checks}
        assert states == {"mkt-1": ListState.LISTED, "mkt-3": ListState.LISTED}

        async def told() -> bool:
            records = (await one.call("operations")).rows
            return ("listed", f"mkt-1 (127.0.1.1) is on {ZONE} (spam trap)") in {(r.verb, r.detail) for r in records}

        await until(told, "the timeline has it")

        one.configure(SECTIONS.replace("reputation:", "# reputation:"))
        await one.do("reload")
        await one.shows(lambda now: not any(_listings(now).values()), "no list is asked any more")


def _listings(now: Snapshot) -> dict[str, tuple[Listing, ...]]:
    return {view.name: view.listings for view in now.vmtas}
