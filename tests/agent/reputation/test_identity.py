"""What receivers find when they look up who we are, asked of a name server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import dns.rcode
import msgspec
import pytest

from mailagent.api import codec
from mailagent.api.ids import HostName, PoolName, StreamName, VmtaName
from mailagent.api.methods import MAX_REPLY_BYTES
from mailagent.api.reputation import Faults, IdentityCheck, IdentityKind, IdentityRequest, IdentityState
from mailagent.config.feedback import Bounces
from mailagent.config.reputation import Identity as Section
from mailagent.config.reputation import Reputation as Sections
from mailagent.config.structs import AgentConfig, Endpoint, Pool, Route, Stream, VirtualMta
from mailagent.dns import Resolver
from mailagent.reputation import Identity, Reputation, asking, identity, rounds
from tests.agent.dkim.material import signing_key
from tests.agent.dns.responder import Responder, responding
from tests.integration.processes import until

A, B = VmtaName("a"), VmtaName("b")
MARKETING = PoolName("marketing")
NEWS = "news.example.com"
KEY = signing_key()
CONFIG = AgentConfig(
    host=HostName("mx1"),
    virtual_mtas={
        A: VirtualMta(address=IPv4Address("127.0.0.10"), public="203.0.113.10", ehlo="m1.example.com"),
        B: VirtualMta(address=IPv4Address("127.0.0.11"), public="203.0.113.11", ehlo="m2.example.com"),
    },
    pools={MARKETING: Pool(active=(A,), standby=(B,))},
    streams={StreamName("news"): Stream(pool=MARKETING, senders=(f"*@{NEWS}",))},
)
ZONE = {
    ("10.113.0.203.in-addr.arpa", "PTR"): ["m1.example.com."],
    ("11.113.0.203.in-addr.arpa", "PTR"): ["m2.example.com."],
    ("m1.example.com", "A"): ["203.0.113.10"],
    ("m2.example.com", "A"): ["203.0.113.11"],
    ("m1.example.com", "TXT"): ['"v=spf1 a -all"'],
    ("m2.example.com", "TXT"): ['"v=spf1 a -all"'],
    (NEWS, "TXT"): ['"v=spf1 ip4:203.0.113.0/28 -all"'],
    ("_dmarc.example.com", "TXT"): ['"v=DMARC1; p=quarantine"'],
    (NEWS, "MX"): ["10 mx.example.com."],
    (KEY.record_name, "TXT"): [" ".join(f'"{KEY.key.record[n : n + 250]}"' for n in range(0, 500, 250))],
}
"""Everything as it should be."""


@dataclass
class Rig:
    """A host, and what it had noted."""

    dns: Responder
    identity: Identity
    notes: list[tuple[str, str]] = field(default_factory=list)
    changes: int = 0

    async def look(self) -> tuple[IdentityCheck, ...]:
        """All that is found now."""
        return (await self.identity.identity(IdentityRequest(all=True, now=True))).checks

    async def one(self, kind: IdentityKind, vmta: VmtaName | None = None) -> IdentityCheck:
        (found,) = (one for one in await self.look() if (one.kind, one.vmta) == (kind, vmta))
        return found


@asynccontextmanager
async def rig(config: AgentConfig = CONFIG, *, signed: bool = True) -> AsyncIterator[Rig]:
    async with responding() as responder:
        responder.zone |= ZONE
        resolver = Resolver(responder.config)

        async def note(verb: str, words: str) -> None:
            found.notes.append((verb, words))

        def changed() -> None:
            found.changes += 1

        def keys() -> Iterable[tuple[tuple[str, str], tuple[object, ...]]]:
            return [((MARKETING, "example.com"), (KEY,))] if signed else []

        identity = Identity(config, resolver, keys, note=note, changed=changed)  # type: ignore[arg-type]
        found = Rig(responder, identity)
        task = asyncio.create_task(identity.run())
        yield found
        assert not task.done()
        task.cancel()
        await resolver.close()


async def test_everything_is_as_it_should_be() -> None:
    async with rig() as one:
        found = await one.look()
        assert {check.state for check in found} == {IdentityState.GOOD}, found
        assert [(check.kind, check.vmta, check.domain) for check in found] == [
            (IdentityKind.SPF, None, NEWS),
            (IdentityKind.PTR, A, ""),
            (IdentityKind.EHLO, A, "m1.example.com"),
            (IdentityKind.SPF, A, NEWS),
            (IdentityKind.PTR, B, ""),
            (IdentityKind.EHLO, B, "m2.example.com"),
            (IdentityKind.SPF, B, NEWS),
            (IdentityKind.DKIM, None, KEY.record_name),
            (IdentityKind.DMARC, None, NEWS),
            (IdentityKind.MX, None, NEWS),
        ]
        assert all(check.pools == (MARKETING,) for check in found)
        assert one.identity.faults(A) == one.identity.pool_faults(MARKETING) == Faults()
        assert (await one.identity.identity(IdentityRequest())).checks == (), "only what is not good is told unasked"
        assert not one.notes, "what is found for the first time has not changed"


Zone = dict[tuple[str, str], list[str]]


def without(*keys: tuple[str, str]) -> Callable[[Zone], None]:
    def change(zone: Zone) -> None:
        for key in keys:
            del zone[key]

    return change


def published(record: str) -> Callable[[Zone], None]:
    return with_records(NEWS, "TXT", f'"{record}"')


def with_records(name: str, kind: str, *records: str) -> Callable[[Zone], None]:
    return lambda zone: zone.update({(name, kind): list(records)})


PTR_A = ("10.113.0.203.in-addr.arpa", "PTR")
BAD, WEAK = IdentityState.BAD, IdentityState.WEAK
ADDRESS_OF_A = "203.0.113.10"


@pytest.mark.parametrize(
    ("change", "kind", "vmta", "state", "words"),
    [
        (without(PTR_A), IdentityKind.PTR, A, BAD, "it has no name (PTR)"),
        (with_records(*PTR_A, "other.example.com."), IdentityKind.PTR, A, BAD, "does not lead back"),
        (with_records(*PTR_A, "other.example.com.", "m1.example.com."), IdentityKind.PTR, A, IdentityState.GOOD, "m1"),
        (without(("m1.example.com", "A")), IdentityKind.PTR, A, BAD, "m1.example.com does not lead back"),
        (without(("m1.example.com", "A")), IdentityKind.EHLO, A, WEAK, "m1.example.com has no address record"),
        (with_records("m1.example.com", "A", "192.0.2.1"), IdentityKind.EHLO, A, WEAK, "leads to 192.0.2.1, not to"),
        (without(("m1.example.com", "TXT")), IdentityKind.EHLO, A, WEAK, "m1.example.com has no SPF record"),
        (with_records("m1.example.com", "TXT", '"v=spf1 ?all"'), IdentityKind.EHLO, A, WEAK, "says nothing of"),
        (with_records("m1.example.com", "TXT", '"v=spf1 mx -all"'), IdentityKind.EHLO, A, BAD, "counts as forged"),
        (with_records("m1.example.com", "TXT", '"v=spf1 -al"'), IdentityKind.EHLO, A, BAD, "permerror"),
        (published("v=spf1 ip4:203.0.113.11 -all"), IdentityKind.SPF, A, BAD, f"fail for {ADDRESS_OF_A}"),
        (published("v=spf1 ip4:203.0.113.11 ~all"), IdentityKind.SPF, A, BAD, "softfail for"),
        (without((NEWS, "TXT")), IdentityKind.SPF, None, BAD, "news.example.com has no SPF record"),
        (published("v=spf1 ip4:203.0.113.0/28 +all"), IdentityKind.SPF, None, BAD, "lets everybody send"),
        (published("v=spf1 ip4:203.0.113.0/28 ?all"), IdentityKind.SPF, None, WEAK, "keeps nobody out"),
        (published("v=spf1 ipv4:203.0.113.0/28 -all"), IdentityKind.SPF, None, BAD, "`ipv4:"),
        (with_records(NEWS, "TXT", '"v=spf1 -all"', '"v=spf1 mx -all"'), IdentityKind.SPF, None, BAD, "2 SPF records"),
        (without((KEY.record_name, "TXT")), IdentityKind.DKIM, None, BAD, "is not published"),
        (without(("_dmarc.example.com", "TXT")), IdentityKind.DMARC, None, BAD, "v=DMARC1; p=none"),
        (
            with_records("_dmarc.example.com", "TXT", '"v=DMARC1; p=none; pct=50"'),
            IdentityKind.DMARC, None, WEAK, "pct=, which is no more",
        ),
        (with_records(NEWS, "MX", "0 ."), IdentityKind.MX, None, BAD, "takes no mail (null MX)"),
        (without((NEWS, "MX"), (NEWS, "TXT")), IdentityKind.MX, None, BAD, "neither MX nor address"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said(
    change: Callable[[Zone], None], kind: IdentityKind, vmta: VmtaName | None, state: IdentityState, words: str
) -> None:
    async with rig() as one:
        change(one.dns.zone)
        found = await one.one(kind, vmta)
        assert found.state is state
        assert words in found.detail


async def test_a_record_that_costs_too_much_is_bad_though_it_works_for_addresses_early_in_it() -> None:  # 7208 4.6.4
    async with rig() as one:
        includes = " ".join(f"include:s{n}.example.com" for n in range(9))
        one.dns.zone[NEWS, "TXT"] = [f'"v=spf1 ip4:203.0.113.0/28 {includes} -all"']
        for n in range(9):
            one.dns.zone[f"s{n}.example.com", "TXT"] = ['"v=spf1 ip4:192.0.2.1 -all"']
        found = await one.one(IdentityKind.SPF)
        assert (found.state, found.detail.partition(":")[0]) == (WEAK, "9 of 10 look-ups")
        one.dns.zone["s8.example.com", "TXT"] = ['"v=spf1 include:s0.example.com include:s1.example.com -all"']
        found = await one.one(IdentityKind.SPF)
        assert (found.state, found.detail) == (BAD, "it takes 11 look-ups, and receivers make 10")


async def test_a_name_that_providers_give_to_customers_is_weak() -> None:
    async with rig() as one:
        for name in ("host-203-0-113-10.example.net", "dyn.example.net"):
            one.dns.zone[PTR_A] = [f"{name}."]
            one.dns.zone[name, "A"] = [ADDRESS_OF_A]
            assert (await one.one(IdentityKind.PTR, A)).state is WEAK


async def test_dmarc_wants_something_aligned() -> None:  # RFC 9989 section 4.4
    async with rig(signed=False) as one:
        assert (await one.one(IdentityKind.DMARC)).detail.endswith("aligned by SPF")
    stream = Stream(pool=MARKETING, senders=(f"*@{NEWS}",), from_domains=("other.example.org",))
    elsewhere = msgspec.structs.replace(CONFIG, streams={StreamName("news"): stream})
    async with rig(elsewhere) as one:
        one.dns.zone["_dmarc.other.example.org", "TXT"] = ['"v=DMARC1; p=reject"']
        found = await one.one(IdentityKind.DMARC)
        assert found.state is BAD
        assert "nothing is aligned: d= is example.com, MAIL FROM news.example.com" in found.detail
    async with rig(elsewhere, signed=False) as one:
        one.dns.zone["_dmarc.other.example.org", "TXT"] = ['"v=DMARC1; p=reject"']
        assert (await one.one(IdentityKind.DMARC)).state is IdentityState.UNKNOWN, "whoever hands it in may sign it"


async def test_bounces_go_to_a_domain_of_their_own() -> None:
    stream = Stream(pool=MARKETING, senders=(f"*@{NEWS}",), bounces=Bounces(domain="bounce.example.com"))
    async with rig(msgspec.structs.replace(CONFIG, streams={StreamName("news"): stream})) as one:
        found = {(check.kind, check.domain) for check in await one.look() if check.state is BAD}
        assert found == {(IdentityKind.SPF, "bounce.example.com"), (IdentityKind.MX, "bounce.example.com")}


async def test_what_becomes_bad_is_noted_and_its_end_too() -> None:
    async with rig() as one:
        await one.look()
        record = one.dns.zone.pop(PTR_A)
        await one.look()
        (fault,) = one.identity.faults(A).told
        assert fault.sentence == "ptr of 203.0.113.10: it has no name (PTR): ask whose network it is for one"
        assert one.notes == [("unproven", f"a: {fault.sentence}")]
        changes = one.changes
        one.dns.zone[PTR_A] = record
        await one.look()
        assert one.identity.faults(A) == Faults()
        assert one.notes[1:] == [("proven", "a: ptr of 203.0.113.10: m1.example.com")]
        assert one.changes > changes


async def test_what_is_known_stands_while_dns_does_not_answer() -> None:
    async with rig() as one:
        one.dns.rcode = dns.rcode.SERVFAIL
        assert {check.state for check in await one.look()} == {IdentityState.UNKNOWN}
        assert one.identity.unknown(A) == 3
        one.dns.rcode = None
        del one.dns.zone[PTR_A]
        assert (await one.one(IdentityKind.PTR, A)).state is BAD
        assert one.identity.unknown(A) == 0
        one.dns.rcode = dns.rcode.SERVFAIL
        assert (await one.one(IdentityKind.PTR, A)).state is BAD
        assert (await one.one(IdentityKind.DKIM)).state is IdentityState.GOOD


async def test_only_addresses_that_the_world_sees_are_looked_up() -> None:
    vmtas = {
        A: VirtualMta(address=IPv4Address("127.0.0.10")),
        B: VirtualMta(address=IPv4Address("10.0.0.5")),
    }
    async with rig(msgspec.structs.replace(CONFIG, virtual_mtas=vmtas)) as one:
        found = [check for check in await one.look() if check.vmta is not None]
        assert [(check.vmta, check.state) for check in found] == [(B, IdentityState.UNKNOWN)]
        assert "virtual_mtas.b.public" in found[0].detail
        assert not any(kind == "PTR" for _, kind in one.dns.asked)


async def test_public_is_an_address_however_it_is_written() -> None:
    vmtas = {A: VirtualMta(address6=IPv6Address("2001:db8::a"), public="2001:DB8:0::A", ehlo="m1.example.com")}
    async with rig(msgspec.structs.replace(CONFIG, virtual_mtas=vmtas)) as one:
        found = [check for check in await one.look() if check.kind is IdentityKind.PTR]
        assert [(check.address, check.state) for check in found] == [("2001:db8::a", BAD)]


async def test_it_can_be_switched_off_and_follows_the_configuration() -> None:
    async with rig() as one:
        del one.dns.zone[PTR_A]
        await one.look()
        off = msgspec.structs.replace(CONFIG, reputation=Sections(identity=Section(enabled=False)))
        one.identity.configure(off)

        async def nothing() -> bool:
            return not (await one.identity.identity(IdentityRequest(all=True))).checks

        await until(nothing, "nothing is told any more")
        assert one.identity.faults(A) == Faults()


async def test_a_standby_is_unfit_by_faults_that_others_of_its_pool_do_not_have() -> None:
    async with responding() as responder:
        responder.zone |= ZONE
        resolver = Resolver(responder.config)

        async def note(verb: str, words: str) -> None:
            del verb, words

        reputation = Reputation(CONFIG, resolver, tuple, note=note, changed=lambda: None)
        task = asyncio.create_task(reputation.run())
        request = IdentityRequest(now=True)
        del responder.zone["11.113.0.203.in-addr.arpa", "PTR"]
        await reputation.identity.identity(request)
        (why,) = reputation.unfit(B)
        assert reputation.of(B).faults.sentence in why
        assert "mailctl identity --now vmta:b looks again" in why
        assert reputation.unfit(A) == []
        del responder.zone[PTR_A]
        await reputation.identity.identity(request)
        assert reputation.unfit(B) == [], "another one would be no better"
        task.cancel()
        await resolver.close()


async def test_a_change_during_a_round_has_a_round_of_its_own() -> None:
    async with rig() as one:
        await one.look()
        asked = one.dns.asked[PTR_A]
        one.dns.gate = asyncio.Event()
        one.dns.heard.clear()
        one.identity.look_again()
        await one.dns.heard.wait()
        one.identity.look_again()
        one.dns.gate.set()

        async def twice() -> bool:
            return one.dns.asked[PTR_A] == asked + 2

        await until(twice, "both rounds asked")


async def test_a_record_made_for_each_address_is_no_mistake() -> None:  # RFC 7208 section 7
    async with rig() as one:
        one.dns.zone[NEWS, "TXT"] = ['"v=spf1 include:%{ir}.%{v}.%{d}.spf.host.example ~all"']
        for address in ("10.113.0.203", "11.113.0.203"):
            one.dns.zone[f"{address}.in-addr.{NEWS}.spf.host.example", "TXT"] = ['"v=spf1 +all"']
        found = [check for check in await one.look() if check.kind is IdentityKind.SPF]
        assert [check.state for check in found] == [IdentityState.GOOD] * 3, found


async def test_a_policy_that_is_old_and_not_met_is_bad() -> None:
    stream = Stream(pool=MARKETING, senders=(f"*@{NEWS}",), from_domains=("other.example.org",))
    async with rig(msgspec.structs.replace(CONFIG, streams={StreamName("news"): stream})) as one:
        one.dns.zone["_dmarc.other.example.org", "TXT"] = ['"v=DMARC1; p=reject; pct=100"']
        found = await one.one(IdentityKind.DMARC)
        assert (found.state, "nothing is aligned" in found.detail) == (BAD, True)


async def test_what_spf_says_of_one_stream_aligns_no_other() -> None:
    streams = {
        StreamName("news"): Stream(pool=MARKETING, senders=(f"*@{NEWS}",)),
        StreamName("sale"): Stream(pool=MARKETING, senders=("*@sale.example.org",), from_domains=(NEWS,)),
    }
    async with rig(msgspec.structs.replace(CONFIG, streams=streams), signed=False) as one:
        one.dns.zone["sale.example.org", "TXT"] = ['"v=spf1 ip4:203.0.113.0/28 -all"']
        found = {check.domain: check for check in await one.look() if check.kind is IdentityKind.DMARC}
        assert found[NEWS].state is IdentityState.UNKNOWN, found[NEWS]
        assert "only who signs knows" in found[NEWS].detail


async def test_where_all_mail_goes_through_a_relay_its_address_is_what_the_world_sees() -> None:
    routes = (Route(match="*", to=Endpoint(host="192.0.2.25", port=25)),)
    async with rig(msgspec.structs.replace(CONFIG, routes=routes)) as one:
        assert {check.vmta for check in await one.look()} == {None}


async def test_what_hundreds_of_domains_lack_fits_into_a_snapshot_and_an_answer() -> None:
    domains = [f"d{n}.example.com" for n in range(400)]
    stream = Stream(pool=MARKETING, senders=tuple(f"*@{domain}" for domain in domains))
    async with rig(msgspec.structs.replace(CONFIG, streams={StreamName("news"): stream}), signed=False) as one:
        for domain in domains:
            one.dns.zone[domain, "TXT"] = ['"v=spf1 ip4:192.0.2.9 -all"']
        found = await one.identity.identity(IdentityRequest(all=True, now=True))
        assert (found.asked, len(found.checks), found.left_out) == (2004, 2000, 4)
        assert len(codec.encode(found)) < MAX_REPLY_BYTES
        assert found.checks[0].state is BAD, "the worst have room"
        faults = one.identity.faults(A)
        assert (faults.count, len(faults.told)) == (400, 5)
        assert faults.sentence.endswith("; and 399 more")
        some = await one.identity.identity(IdentityRequest(all=True, vmtas=(B,), pools=(MARKETING,)))
        assert {check.vmta for check in some.checks} == {B, None}


async def test_a_record_of_somebody_else_causes_a_bounded_number_of_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_QUESTIONS", 50)
    async with rig() as one:
        await one.look()
        one.dns.zone["heavy.example", "TXT"] = ['"v=spf1 ' + " ".join(f"mx:m{n}.example" for n in range(9)) + ' -all"']
        for n in range(9):
            one.dns.zone[f"m{n}.example", "MX"] = [f"{k} h{k}.m{n}.example." for k in range(10)]
            one.dns.zone |= {(f"h{k}.m{n}.example", "A"): ["192.0.2.1"] for k in range(10)}
        stream = Stream(pool=MARKETING, senders=("*@heavy.example",))
        before = one.dns.asked.total()
        one.identity.configure(msgspec.structs.replace(CONFIG, streams={StreamName("heavy"): stream}))

        async def told() -> bool:
            found = (await one.identity.identity(IdentityRequest())).checks
            return any("more than 50 questions" in check.detail for check in found)

        await until(told, "the rest is not known")
        assert one.dns.asked.total() - before <= 50


async def test_a_round_ends_though_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_S", 0.2)
    async with rig() as one:
        one.dns.silent = True
        one.identity.look_again()

        async def told() -> bool:
            found = (await one.identity.identity(IdentityRequest())).checks
            return sum("with all that there is to ask" in check.detail for check in found) >= 1

        await until(told, "what was not asked in time is not known")


async def test_a_round_that_breaks_down_is_told_and_not_tried_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = 0

    def breaks(*_: object) -> None:
        nonlocal broken
        broken += 1
        raise RuntimeError("unforeseen")

    async with rig() as one:
        await one.look()
        with monkeypatch.context() as patch:
            patch.setattr(identity, "claims", breaks)
            answer = await one.identity.identity(IdentityRequest(all=True, now=True))
            for _ in range(100):
                await asyncio.sleep(0)
        assert (answer.looked, broken) == (False, 1)
        assert {check.state for check in answer.checks} == {IdentityState.GOOD}
        assert (await one.identity.identity(IdentityRequest(now=True))).looked
