import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from mailctl.demo.dns import BLOCK_LIST, Zone
from mailctl.demo.farside import FarSide
from mailctl.demo.receivers import PROVIDERS


async def ask(far: FarSide, name: str, kind: str, *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    asked = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await asked(query, far.dns.address, port=far.port, timeout=5)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_every_recipient_domain_leads_to_a_listening_address(far: FarSide, tcp: bool) -> None:
    domains = ("gmail.com", "OUTLOOK.com", "yahoo.com", "aol.com", "me.com", "shop-4999.example", "bakery.example")
    for domain in (*domains, "brightwave.example"):
        answer = await ask(far, domain, "MX", tcp=tcp)
        assert answer.flags & dns.flags.AA
        exchanges = sorted((record.preference, record.exchange.to_text(True).lower()) for record in answer.answer[0])
        assert exchanges
        for _, host in exchanges:
            address = (await ask(far, host, "A", tcp=tcp)).answer[0][0].address
            assert address == far.addresses[host]


async def test_gmail_has_its_five_hosts_in_order_of_preference(far: FarSide) -> None:
    answer = await ask(far, "gmail.com", "MX")
    hosts = [record.exchange.to_text(True) for record in sorted(answer.answer[0], key=lambda r: r.preference)]
    assert hosts == ["gmail-smtp-in.l.google.com", *(f"alt{n}.gmail-smtp-in.l.google.com" for n in (1, 2, 3, 4))]


async def test_failing_it_answers_everything_with_servfail_until_it_works_again(far: FarSide) -> None:
    far.dns.zone.fails = True
    failed = await ask(far, "gmail.com", "MX")
    assert failed.rcode() == dns.rcode.SERVFAIL
    assert not failed.answer
    far.dns.zone.fails = False
    assert (await ask(far, "gmail.com", "MX")).answer


async def test_what_is_not_there_is_told_apart(far: FarSide) -> None:
    missing = await ask(far, "no-such-domain.example", "MX")
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert missing.authority[0].rdtype == dns.rdatatype.SOA
    no_data = await ask(far, "gmail.com", "AAAA")
    assert no_data.rcode() == dns.rcode.NOERROR
    assert not no_data.answer
    null = await ask(far, "nomail.example", "MX")
    assert null.answer[0][0].to_text() == "0 ."


async def test_the_block_list_knows_its_test_entry_and_whom_an_incident_has_put_there(far: FarSide) -> None:
    async def is_listed(reverse: str) -> bool:
        answer = await ask(far, f"{reverse}.{BLOCK_LIST}", "A")
        return answer.rcode() == dns.rcode.NOERROR and answer.answer[0][0].to_text() == "127.0.0.2"

    assert await is_listed("2.0.0.127")  # RFC 5782 section 5
    assert not await is_listed("1.0.0.127")
    far.dns.zone.put_on_list("127.77.1.3")
    assert await is_listed("3.1.77.127")
    far.dns.zone.take_off_list("127.77.1.3")
    assert not await is_listed("3.1.77.127")


def test_an_answer_that_does_not_fit_is_truncated() -> None:
    zone = Zone(mx={"big.example": [(n, f"mx{n}.{'x' * 40}.example") for n in range(40)]}, addresses={})
    wire = zone.answer(dns.message.make_query("big.example", "MX").to_wire(), limit=512)
    assert wire is not None
    assert dns.message.from_wire(wire, ignore_trailing=True).flags & dns.flags.TC
    assert len(wire) <= 512
    whole = zone.answer(dns.message.make_query("big.example", "MX").to_wire(), limit=65535)
    assert whole is not None
    assert len(dns.message.from_wire(whole).answer[0]) == 40


@pytest.mark.parametrize("wire", [b"", b"x" * 12, bytes(40)])
def test_noise_is_not_answered(wire: bytes) -> None:
    assert Zone(mx={}, addresses={}).answer(wire, limit=512) is None


def test_the_tail_is_long_and_every_domain_has_one_provider() -> None:
    domains = [domain for spec in PROVIDERS for domain in spec.domains]
    assert len(domains) == len(set(domains))
    assert len(domains) > 50
    assert sum(spec.share for spec in PROVIDERS) == pytest.approx(1)
