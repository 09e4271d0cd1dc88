"""An agent looks up who it says it is: a standby without a name stays out, and what was mended is seen at once."""

from pathlib import Path

import pytest

from mailagent.api.errors import GuardRefused
from mailagent.api.reputation import IdentityKind, IdentityState
from mailagent.api.views import Snapshot
from tests.integration.processes import until
from tests.integration.rig import rig

SECTIONS = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1, public: 127.0.1.1, ehlo: m1.example}
  mkt-3: {address: 127.0.1.3, public: 127.0.1.3, ehlo: m3.example}
pools:
  marketing: {active: [mkt-1], standby: [mkt-3]}
streams:
  news: {pool: marketing, senders: ["*@news.example"]}
default_stream: news
"""
RECORD = '"v=spf1 ip4:127.0.1.0/24 -all"'


async def test_a_standby_that_nobody_knows_stays_out_until_its_name_is_published(tmp_path: Path) -> None:
    async with rig(tmp_path, SECTIONS) as one:
        one.dns.add("m1.example", "A", "127.0.1.1")
        one.dns.add("m3.example", "A", "127.0.1.3")
        for name in ("m1.example", "m3.example"):
            one.dns.add(name, "TXT", '"v=spf1 a -all"')
        one.dns.add("1.1.0.127.in-addr.arpa", "PTR", "m1.example.")
        one.dns.add("news.example", "TXT", RECORD)
        one.dns.add("_dmarc.news.example", "TXT", '"v=DMARC1; p=reject"')
        found = {(check.kind, check.vmta): check for check in (await one.call("identity", all=True, now=True)).checks}
        assert [key for key, check in found.items() if check.state is not IdentityState.GOOD] == [
            (IdentityKind.PTR, "mkt-3")
        ]
        now = await one.shows(lambda now: bool(_faults(now)["mkt-3"]), "the standby has no name")
        assert _faults(now)["mkt-1"] == ""
        with pytest.raises(
            GuardRefused, match=r"mkt-3 has a fault, seen at ..:.. UTC: ptr of 127\.0\.1\.3: it has no name"
        ):
            await one.do("rotate", "vmta:mkt-1")

        one.dns.add("3.1.0.127.in-addr.arpa", "PTR", "m3.example.")
        one.dns.add("news.example", "TXT", RECORD, '"v=spf1 mx -all"')
        await one.call("identity", now=True)
        now = await one.shows(lambda now: not _faults(now)["mkt-3"], "it has one")
        (fault,) = now.pools[0].faults.told
        assert fault.sentence == "spf of news.example: there are 2 SPF records, and only one may be"
        assert now.pools[0].reason == fault.sentence

        async def told() -> bool:
            records = {(record.verb, record.detail) for record in (await one.call("operations")).rows}
            return {("proven", "mkt-3: ptr of 127.0.1.3: m3.example"), ("unproven", fault.sentence)} <= records

        await until(told, "the timeline has both")
        assert (await one.do("rotate", "vmta:mkt-1")).result == "applied"


def _faults(now: Snapshot) -> dict[str, str]:
    return {view.name: view.faults.sentence for view in now.vmtas}
