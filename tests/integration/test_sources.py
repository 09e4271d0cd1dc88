"""Mail leaves from the addresses that the configuration names, of either family, or not at all."""

from pathlib import Path

from mailagent.api.reasons import ReasonKind
from tests.integration.rig import LATE, rig
from tests.integration.sink import Sink

AWAY, LOST = "203.0.113.1", "203.0.113.2"  # for documentation (RFC 5737): on no host

TEXT = f"""\
virtual_mtas:
  here: {{address: 127.0.1.1, ehlo: here.example.test}}
  away: {{address: {AWAY}}}
  lost: {{address: {LOST}}}
  six: {{address6: "::1"}}
pools:
  mixed: {{active: [away, here]}}
  lost: {{active: [lost]}}
  six: {{active: [six]}}
streams:
  default: {{pool: mixed}}
  lost: {{pool: lost}}
  six: {{pool: six}}
"""


async def test_an_address_that_is_not_on_the_host_stops_its_mail_and_not_that_of_the_others(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + LATE) as one:
        recipients = [f"r{n}@a.example" for n in range(10)]
        await one.accepted(*recipients)
        await one.accepted("stuck@a.example", headers="X-Virtual-MTA: lost\r\n")
        await one.delivered(*recipients)
        assert one.sink.sources_of(*recipients) == {"127.0.1.1"}
        assert {mail.helo for mail in one.sink.mails} == {"here.example.test"}
        detail = await one.explained(
            "stuck@a.example", lambda now: now.reasons[0].kind is ReasonKind.BIND, "reason bind"
        )
        assert f"{LOST}: not an address of this host" in detail.reasons[0].detail
        assert detail.summary.attempts == 0
        shown = {str(vmta.name): vmta.reason for vmta in (await one.snapshot()).vmtas}
        assert "not an address of this host" in shown["lost"]
        assert "not an address of this host" in shown["away"]
        assert shown["here"] == ""
        assert one.sink.sources.keys() == {"127.0.1.1"}


async def test_an_ipv6_source_reaches_an_ipv6_destination_and_skips_ipv4_ones(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + LATE, sink=Sink("::1")) as one:
        one.dns.add("six.example", "MX", "10 four.six.example.", "20 mx6.six.example.")
        one.dns.add("four.six.example", "A", "127.0.0.1")
        one.dns.add("mx6.six.example", "AAAA", "::1")
        await one.accepted("r@six.example", headers="X-Virtual-MTA: six\r\n")
        await one.delivered("r@six.example")
        assert one.sink.sources_of("r@six.example") == {"::1"}
        await one.accepted("r@a.example", headers="X-Virtual-MTA: six\r\n")  # has IPv4 only
        await one.deferred(1)
        reply = (await one.explain("r@a.example")).summary.reply
        assert reply is not None
        assert reply.enhanced == "4.4.4"
        assert "the source has no IPv4 address" in reply.text
        await one.stop()
        (delivered,) = [line for line in one.accounting() if line["type"] == "delivered"]
        assert delivered["source"] == "::1"
        assert delivered["remote"] == f"[::1]:{one.sink.port}"
