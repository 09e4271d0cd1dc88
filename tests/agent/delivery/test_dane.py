"""Certificates against TLSA records (RFC 6698, 7671), and what follows for mail (RFC 7672)."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import dns.rcode
import pytest

from mailagent.api.ids import ProviderName, SiteName
from mailagent.config.structs import Dns
from mailagent.config.tls import Tls, TlsMode
from mailagent.delivery import Level, TlsFailed, TlsPolicies, TlsResult
from mailagent.delivery.dane import DaneCheck, host_matches, presentation, usable
from mailagent.delivery.policy import Towards
from mailagent.delivery.tls import CertificateRefused
from mailagent.dns import MxHost, Resolver, Tlsa
from mailagent.routing import Hop, Site
from tests.agent.delivery.peer import Recorder, Script, message, peer
from tests.agent.delivery.test_tls import KEPT, in_clear, spawn, taking
from tests.agent.dns.responder import Responder, responding
from tests.agent.dns.unbound import unbound
from tests.agent.routing.configs import agent
from tests.certificates import DAY, Authority, Certificate

HOST = "mx.signed.example"
SITE = Site(name=SiteName("signed.example"), provider=ProviderName("default"), hosts=(MxHost(10, HOST),))


@pytest.fixture
def root(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def middle(tmp_path: Path, root: Authority) -> Authority:
    return Authority(tmp_path, "Test Middle", root)


def record(usage: int, selector: int, matching: int, der: bytes, spki: bytes) -> Tlsa:
    data = der if selector == 0 else spki
    if matching:
        data = (hashlib.sha256 if matching == 1 else hashlib.sha512)(data).digest()
    return Tlsa(usage, selector, matching, data)


def checked(records: list[Tlsa], chain: list[bytes], *names: str) -> str:
    """The word of the check: empty when it is content."""
    try:
        DaneCheck(records, names or (HOST,))(chain, HOST)
    except CertificateRefused as exc:
        return str(exc) if exc.result is TlsResult.TLSA_INVALID else repr(exc.result)
    return ""


# -- matching


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_rfc6698_2_1_selectors_and_matching_types(root: Authority, selector: int, matching: int) -> None:
    leaf, other = root.issue(HOST), root.issue("other.example")
    right = record(3, selector, matching, leaf.der, leaf.spki)
    wrong = record(3, selector, matching, other.der, other.spki)
    assert checked([right], [leaf.der]) == ""
    assert checked([wrong], [leaf.der]) == f"no certificate matches the TLSA records of {HOST}"
    assert checked([wrong, right], [leaf.der]) == ""


def test_rfc7671_5_1_usage_3_minds_neither_name_nor_date(root: Authority) -> None:
    leaf = root.issue("quite.another.example", valid_for=-DAY)
    assert checked([record(3, 1, 1, leaf.der, leaf.spki)], [leaf.der]) == ""


def test_rfc7671_5_1_usage_3_is_about_the_peers_own_certificate_only(root: Authority, middle: Authority) -> None:
    leaf = middle.issue(HOST)
    assert checked([record(3, 1, 1, middle.der, middle.spki)], [leaf.der, middle.der])


@pytest.mark.parametrize("selector", [0, 1])
def test_rfc7671_5_2_usage_2_names_an_authority_in_the_chain(root: Authority, middle: Authority, selector: int) -> None:
    leaf = middle.issue(HOST)
    chain = [leaf.der, middle.der, root.der]
    assert checked([record(2, selector, 1, middle.der, middle.spki)], chain) == ""
    assert checked([record(2, selector, 1, root.der, root.spki)], chain) == ""
    assert checked([record(2, selector, 1, root.der, root.spki)], [leaf.der, root.der, middle.der]) == ""


def test_rfc7671_5_2_2_the_authority_may_be_in_the_record_alone(root: Authority, middle: Authority) -> None:
    leaf = middle.issue(HOST)
    assert checked([record(2, 0, 0, root.der, root.spki)], [leaf.der, middle.der]) == ""
    assert checked([record(2, 0, 1, root.der, root.spki)], [leaf.der, middle.der])


def test_rfc7672_3_2_2_usage_2_wants_the_name(root: Authority) -> None:
    anchor = record(2, 0, 1, root.der, root.spki)
    leaf = root.issue("other.example")
    assert "none of the names" in checked([anchor], [leaf.der, root.der])
    assert checked([anchor], [leaf.der, root.der], HOST, "other.example") == ""
    wild = root.issue("*.signed.example")
    assert checked([anchor], [wild.der, root.der]) == ""


def test_usage_2_wants_valid_dates_and_signatures(root: Authority, tmp_path: Path) -> None:
    anchor = record(2, 0, 1, root.der, root.spki)
    old = root.issue(HOST, valid_for=-DAY)
    assert "expired" in checked([anchor], [old.der, root.der])
    forged = Authority(tmp_path, "Test Root").issue(HOST)  # the same issuer's name, another key
    assert "no signatures lead" in checked([anchor], [forged.der, root.der])


def test_usage_2_does_not_take_a_server_s_certificate_for_an_authority(root: Authority) -> None:
    leaf, other = root.issue(HOST), root.issue("other.example")
    assert checked([record(2, 0, 1, other.der, other.spki)], [leaf.der, other.der])


def test_garbage_instead_of_certificates_is_refused(root: Authority) -> None:
    assert checked([Tlsa(3, 1, 1, bytes(32))], [b"garbage"])
    assert checked([Tlsa(2, 0, 0, b"garbage")], [root.issue(HOST).der])
    assert checked([Tlsa(2, 0, 0, root.der)], [b"garbage"])
    assert checked([Tlsa(3, 1, 1, bytes(32))], [])


def test_a_certificate_of_a_version_that_nobody_knows_is_refused(root: Authority) -> None:
    leaf = root.issue(HOST)
    odd = leaf.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)
    assert odd != leaf.der
    assert "unreadable" in checked([record(2, 0, 1, root.der, root.spki)], [odd, root.der])
    assert checked([Tlsa(3, 1, 1, bytes(32))], [odd])


@pytest.mark.parametrize(
    "unusable",
    [
        Tlsa(0, 0, 1, bytes(32)),
        Tlsa(1, 1, 1, bytes(32)),
        Tlsa(3, 2, 1, bytes(32)),
        Tlsa(3, 1, 3, bytes(32)),
        Tlsa(3, 1, 1, bytes(31)),
        Tlsa(3, 1, 2, bytes(32)),
        Tlsa(3, 0, 0, b""),
    ],
)
def test_rfc7672_3_1_3_records_that_mail_cannot_use(unusable: Tlsa) -> None:
    good = Tlsa(3, 1, 1, bytes(32))
    assert usable([unusable, good]) == (good,)


def test_records_look_as_in_a_zone_file() -> None:
    assert presentation(Tlsa(3, 1, 1, b"\xa0\xb1")) == "3 1 1 A0B1"


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("mx.example.com", "mx.example.com", True),
        ("MX.Example.com", "mx.example.com", True),
        ("*.example.com", "mx.example.com", True),
        ("*.example.com", "a.mx.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", True),  # no such host name exists
        ("m*.example.com", "mx.example.com", False),
        ("*", "com", False),
    ],
)
def test_a_wildcard_is_one_whole_leftmost_label(pattern: str, name: str, expected: bool) -> None:
    assert host_matches(pattern, name) is expected


# -- mail


@pytest.fixture
async def zone() -> AsyncIterator[Responder]:
    async with responding() as responder:
        responder.secure = True
        responder.add(HOST, "A", "127.0.0.1")
        yield responder


async def send(script: Script, config: Dns, records: str = "", *, zone: Responder | None = None) -> Recorder:
    """Mail to a peer whose TLSA records are `records`."""
    owner = Recorder(message())
    resolver = Resolver(config)
    async with peer(script) as hop:
        if zone is not None and records:
            zone.add(f"_{hop.port}._tcp.{HOST}", "TLSA", records)
        try:
            await owner.run(Hop(HOST, hop.address, hop.port), security=towards(resolver))
        finally:
            await resolver.close()
    return owner


def towards(resolver: Resolver, mode: TlsMode = TlsMode.OPPORTUNISTIC) -> Towards:
    return TlsPolicies(agent(tls=Tls(mode=mode)), resolver, spawn).towards(SITE)


def tlsa(certificate: Certificate) -> str:
    return f"3 1 1 {hashlib.sha256(certificate.spki).hexdigest()}"


async def test_rfc7672_2_2_a_matching_certificate_gets_the_mail(root: Authority, zone: Responder) -> None:
    certificate = root.issue("any.name.example")
    got: list[bytes] = []
    owner = await send(taking(certificate, got), zone.config, tlsa(certificate), zone=zone)
    assert got == [KEPT]
    assert owner.connection is not None
    assert owner.connection.level is Level.DANE
    assert owner.connection.tls.endswith(" dane")


async def test_rfc7672_2_2_another_certificate_gets_nothing(root: Authority, zone: Responder) -> None:
    got: list[bytes] = []
    with pytest.raises(TlsFailed) as failed:
        await send(taking(root.issue(HOST), got), zone.config, tlsa(root.issue("x.example")), zone=zone)
    assert failed.value.result is TlsResult.TLSA_INVALID
    assert failed.value.reply.is_transient
    assert not got


async def test_rfc7672_2_2_records_forbid_clear_text(root: Authority, zone: Responder) -> None:
    got: list[bytes] = []
    with pytest.raises(TlsFailed) as failed:
        await send(in_clear(got), zone.config, tlsa(root.issue(HOST)), zone=zone)
    assert failed.value.result is TlsResult.STARTTLS_NOT_SUPPORTED
    assert not got


async def test_rfc7672_2_2_unusable_records_want_tls_with_anybody(root: Authority, zone: Responder) -> None:
    got: list[bytes] = []
    await send(taking(root.issue("x.example"), got), zone.config, f"1 1 1 {'00' * 32}", zone=zone)
    assert got == [KEPT]
    with pytest.raises(TlsFailed):
        await send(in_clear(got), zone.config, f"1 1 1 {'00' * 32}", zone=zone)


async def test_rfc7672_2_1_a_failed_look_up_of_the_records_holds_the_mail(zone: Responder) -> None:
    got: list[bytes] = []
    zone.answer_rcode = lambda name, kind: dns.rcode.SERVFAIL if kind == "TLSA" else None
    with pytest.raises(TlsFailed) as failed:
        await send(in_clear(got), zone.config)
    assert failed.value.result is TlsResult.DNSSEC_INVALID
    assert "SERVFAIL" in failed.value.reply.text
    assert failed.value.reply.is_transient
    assert not got


async def test_rfc7672_2_2_2_records_under_the_name_that_an_alias_leads_to(root: Authority, zone: Responder) -> None:
    certificate = root.issue("x.example")
    got: list[bytes] = []
    del zone.zone[HOST, "A"]
    zone.add(HOST, "CNAME", "real.signed.example.")
    zone.add("real.signed.example", "A", "127.0.0.1")
    zone.fallback = lambda name, kind: [tlsa(certificate)] if name.endswith(".real.signed.example") else None
    owner = await send(taking(certificate, got), zone.config)
    assert owner.connection is not None
    assert owner.connection.level is Level.DANE


@pytest.mark.parametrize("why", ["resolver not validating", "records not secure"])
async def test_records_that_are_not_secure_do_not_count(root: Authority, zone: Responder, why: str) -> None:
    got: list[bytes] = []
    config = zone.config
    if why == "resolver not validating":
        config = Dns(servers=config.servers)
    else:
        zone.secure = False
    await send(in_clear(got), config, tlsa(root.issue(HOST)), zone=zone)
    assert got == [KEPT]


@pytest.mark.needs("unbound")
@pytest.mark.parametrize("right", [True, False])
async def test_a_signed_zone_by_a_real_resolver(root: Authority, tmp_path: Path, right: bool) -> None:
    got: list[bytes] = []
    certificate = root.issue(HOST)
    async with peer(taking(certificate, got)) as hop:
        named = certificate if right else root.issue("x.example")
        records = f"mx 300 IN A 127.0.0.1\n_{hop.port}._tcp.mx 300 IN TLSA {tlsa(named)}\n"
        async with unbound(tmp_path / "unbound", {"signed.example": records}) as config:
            resolver = Resolver(config)
            owner = Recorder(message())
            run = owner.run(Hop(HOST, hop.address, hop.port), security=towards(resolver))
            if right:
                await run
            else:
                with pytest.raises(TlsFailed):
                    await run
            await resolver.close()
    assert got == ([KEPT] if right else [])
