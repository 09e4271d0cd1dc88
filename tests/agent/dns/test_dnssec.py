"""What a real validating resolver says of signed, unsigned and wrongly signed zones (RFC 4035, 6840)."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailagent.config import structs
from mailagent.dns import Failed, Found, NoData, NxDomain, Resolver, Tlsa
from tests.agent.dns.unbound import unbound

pytestmark = pytest.mark.needs("unbound")

DIGEST = hashlib.sha256(b"certificate").hexdigest()
RECORDS = f"""\
@ 3600 IN MX 10 mx
mx 3600 IN A 192.0.2.1
mx 3600 IN AAAA 2001:db8::1
alias 3600 IN CNAME mx
_25._tcp.mx 3600 IN TLSA 3 1 1 {DIGEST}
_mta-sts 3600 IN TXT "v=STSv1; " "id=1;"
"""
ZONES = {"signed.example": RECORDS, "plain.example": RECORDS, "bogus.example": RECORDS}


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[structs.Dns]:
    async with unbound(tmp_path / "unbound", ZONES, plain=("plain.example",), bogus=("bogus.example",)) as config:
        yield config


@pytest.fixture
async def resolver(config: structs.Dns) -> AsyncIterator[Resolver]:
    resolver = Resolver(config)
    yield resolver
    await resolver.close()


async def test_rfc6840_5_8_the_ad_bit_makes_an_answer_secure(resolver: Resolver) -> None:
    assert await resolver.tlsa("_25._tcp.mx.signed.example") == Found(
        (Tlsa(3, 1, 1, bytes.fromhex(DIGEST)),), secure=True
    )
    for answer in (
        await resolver.mx("signed.example"),
        await resolver.addresses("mx.signed.example", version=4),
        await resolver.addresses("mx.signed.example", version=6),
    ):
        assert isinstance(answer, Found)
        assert answer.secure


async def test_absence_is_proven_too(resolver: Resolver) -> None:
    assert await resolver.tlsa("_25._tcp.alias.signed.example") == NxDomain(secure=True)
    assert await resolver.mx("mx.signed.example") == NoData(secure=True)
    assert await resolver.tlsa("_25._tcp.mx.plain.example") == Found((Tlsa(3, 1, 1, bytes.fromhex(DIGEST)),))


async def test_an_alias_tells_the_name_that_it_leads_to(resolver: Resolver) -> None:
    answer = await resolver.addresses("alias.signed.example", version=4)
    assert isinstance(answer, Found)
    assert (answer.secure, answer.canonical) == (True, "mx.signed.example")


async def test_an_unsigned_zone_is_not_secure(resolver: Resolver) -> None:
    answer = await resolver.mx("plain.example")
    assert isinstance(answer, Found)
    assert not answer.secure


async def test_rfc4035_5_5_a_wrong_signature_is_a_failure_and_no_absence(resolver: Resolver) -> None:
    for answer in (await resolver.mx("bogus.example"), await resolver.tlsa("_25._tcp.mx.bogus.example")):
        assert isinstance(answer, Failed)
        assert "SERVFAIL" in answer.reason


async def test_without_validating_nobody_s_word_about_security_is_taken(config: structs.Dns) -> None:
    resolver = Resolver(structs.Dns(servers=config.servers))
    answer = await resolver.tlsa("_25._tcp.mx.signed.example")
    await resolver.close()
    assert isinstance(answer, Found)
    assert not answer.secure


async def test_strings_of_a_text_record_are_joined(resolver: Resolver) -> None:
    """RFC 7208 section 3.3, RFC 8461 section 3.1."""
    assert await resolver.txt("_mta-sts.signed.example") == Found((b"v=STSv1; id=1;",), secure=True)
