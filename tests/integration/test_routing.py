"""What DNS says about a domain decides: bounce, wait, or deliver."""

from pathlib import Path
from typing import cast

import dns.rcode

from mailagent.api.reasons import ReasonKind
from tests.integration.rig import LATE, POOLS, SOON, Rig, rig

SENDER = "author@sender.example"


async def test_definite_answers_of_dns_bounce_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.dns.add("null.example", "MX", "0 .")
        one.dns.add("nowhere.example", "MX", "10 gone.test.")
        await one.send("r@null.example", "r@missing.test", "r@nowhere.example", sender=SENDER)
        await one.holds(lambda: one.sink.received[SENDER] == 3, "three reports")
        await one.stop()
        found = {line["recipient"]: line for line in one.accounting() if line["type"] == "bounced"}
        assert {recipient: (line["code"], line["enhanced"]) for recipient, line in found.items()} == {
            "r@null.example": (556, "5.1.10"),
            "r@missing.test": (550, "5.1.2"),
            "r@nowhere.example": (550, "5.4.4"),
        }
        assert set(one.sink.received) == {SENDER}


async def test_mail_waits_while_dns_is_down_and_leaves_when_it_is_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.dns.rcode = dns.rcode.SERVFAIL
        await one.accepted("r@a.example")
        await one.deferred(1)
        reply = (await one.explain("r@a.example")).summary.reply
        assert reply is not None
        assert (reply.code, reply.enhanced, reply.local) == (451, "4.4.3", True)
        one.dns.rcode = None
        await one.delivered("r@a.example")


async def test_a_silent_name_server_is_a_reason_of_its_own(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.dns.silent = True
        await one.accepted("r@a.example")
        detail = await one.explained("r@a.example", lambda now: bool(now.reasons), "a reason")
        assert detail.reasons[0].kind in (ReasonKind.DNS, ReasonKind.SCHEDULE)
        await one.deferred(1)
        reply = (await one.explain("r@a.example")).summary.reply
        assert reply is not None
        assert "no answer from 127.0.0.1" in reply.text


async def test_an_mx_on_loopback_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        one.dns.add("local.test", "A", "169.254.1.1")
        await one.accepted("r@local.test", sender="")
        await one.shows(lambda now: now.host.waiting == 0, "bounced")
        text = one.agent.config.read_text(encoding="utf-8")
        one.agent.config.write_text(text.replace(', allow_networks: [127.0.0.0/8, "::1/128"]', ""), encoding="utf-8")
        await one.do("reload")
        await one.accepted("r@a.example", sender="")
        await one.shows(lambda now: now.host.flow.bounced == 2, "bounced")
        await one.stop()
        assert [(line["recipient"], line["enhanced"]) for line in one.accounting()] == [
            ("r@local.test", "5.4.4"),
            ("r@a.example", "5.4.4"),
        ]
        assert "delivery.allow_networks" in one.accounting()[1]["text"]
        assert not one.sink.mails


async def test_a_domain_without_mx_is_its_own_exchanger(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.dns.add("plain.test", "A", "127.0.0.1")
        await one.accepted("r@plain.test")
        await one.delivered("r@plain.test")
        await one.stop()
        assert [(line["mx"], line["site"]) for line in one.accounting()] == [("plain.test", "plain.test")]


async def test_domains_with_the_same_mx_share_one_site(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        for domain in ("one.example", "two.example"):
            one.dns.add(domain, "MX", "10 mx.shared.example.")
        await one.do("drain", "pool:marketing")
        await one.accepted("r@one.example", "r@two.example")
        await one.do("undrain", "pool:marketing")
        await one.delivered("r@one.example", "r@two.example")
        assert await sites(one) == {"mx.shared.example"}


async def sites(one: Rig) -> set[str]:
    return {cast(str, row.site) for row in (await one.call("queues")).rows}
