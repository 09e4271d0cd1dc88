"""STARTTLS towards peers that can, cannot, refuse, stall and lie (RFC 3207, 7435, 8314)."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import ProviderName, SiteName
from mailagent.config.structs import Dns, Provider
from mailagent.config.tls import Tls, TlsMode
from mailagent.delivery import ConnectFailed, Level, TlsFailed, TlsPolicies, TlsResult
from mailagent.delivery.broken import MAX_BROKEN, BrokenTls
from mailagent.delivery.policy import Towards
from mailagent.delivery.session import Starttls
from mailagent.dns import MxHost, Resolver
from mailagent.routing import Hop, Site
from tests.agent.delivery.peer import BODY, Dialogue, Recorder, Script, message, peer, timeouts
from tests.agent.delivery.test_session import Recorder as Session
from tests.agent.routing.configs import agent
from tests.certificates import DAY, Authority, Certificate

SITE = Site(name=SiteName("x.example"), provider=ProviderName("default"), hosts=(MxHost(10, "mx.example"),))
KEPT = b"X-Added: 1\r\n" + BODY


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return authority.issue("mx.example")


def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)


def policies(authority: Authority, mode: TlsMode) -> TlsPolicies:
    return TlsPolicies(agent(tls=Tls(mode=mode, ca_file=authority.file)), Resolver(Dns()), spawn)


def towards(authority: Authority, mode: TlsMode) -> Towards:
    return policies(authority, mode).towards(SITE)


def taking(certificate: Certificate, got: list[bytes]) -> Script:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        await dialogue.secure(certificate.server(), "PIPELINING")
        got.append(await dialogue.take())

    return script


def in_clear(got: list[bytes]) -> Script:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        got.append(await dialogue.take())

    return script


async def delivered(script: Script, security: Towards) -> Recorder:
    owner = Recorder(message())
    async with peer(script) as hop:
        reply, _, _ = await owner.run(hop, security=security, limits=timeouts(tls=5))
    assert reply.code == 221
    assert owner.connection is not None
    return owner


async def refused(script: Script, security: Towards, **seconds: float) -> TlsFailed:
    async with peer(script) as hop:
        with pytest.raises(TlsFailed) as failed:
            await Recorder(message()).run(hop, security=security, limits=timeouts(**{"tls": 5, **seconds}))
    assert failed.value.reply.is_transient
    assert failed.value.reply.local
    return failed.value


# -- levels


@pytest.mark.parametrize("mode", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED, TlsMode.VERIFY])
async def test_mail_goes_by_tls_where_the_peer_offers_it(
    authority: Authority, certificate: Certificate, mode: TlsMode
) -> None:
    got: list[bytes] = []
    owner = await delivered(taking(certificate, got), towards(authority, mode))
    assert got == [KEPT]
    assert owner.connection is not None
    word = "verified" if mode is TlsMode.VERIFY else "unverified"
    assert owner.connection.tls.startswith("TLSv1.3 TLS_")
    assert owner.connection.tls.endswith(f" {word}")


async def test_off_never_says_starttls(authority: Authority) -> None:
    got: list[bytes] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        got.append(await dialogue.take())

    owner = await delivered(script, towards(authority, TlsMode.OFF))
    assert got == [KEPT]
    assert owner.connection is not None
    assert owner.connection.tls == ""


async def test_opportunistic_goes_in_clear_where_the_peer_has_no_tls(authority: Authority) -> None:
    got: list[bytes] = []
    owner = await delivered(in_clear(got), towards(authority, TlsMode.OPPORTUNISTIC))
    assert owner.connection is not None
    assert (got, owner.connection.tls, owner.connection.level) == ([KEPT], "", Level.CLEAR)


@pytest.mark.parametrize("mode", [TlsMode.REQUIRED, TlsMode.VERIFY])
async def test_required_does_not_go_in_clear(authority: Authority, mode: TlsMode) -> None:
    got: list[bytes] = []
    failed = await refused(in_clear(got), towards(authority, mode))
    assert failed.result is TlsResult.STARTTLS_NOT_SUPPORTED
    assert failed.reply.enhanced == "4.7.4"
    assert not got


async def test_implicit_tls_needs_no_starttls(authority: Authority, certificate: Certificate) -> None:
    """RFC 8314 section 3.3."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(reader, writer)
        await dialogue.greet("PIPELINING")
        got.append(await dialogue.take())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate.server())
    hop = Hop("mx.example", ip_address("127.0.0.1"), server.sockets[0].getsockname()[1])
    owner = Recorder(message())
    await owner.run(hop, security=towards(authority, TlsMode.IMPLICIT))
    server.close()
    assert got == [KEPT]
    assert owner.connection is not None
    assert owner.connection.level is Level.VERIFIED


# -- RFC 3207


async def test_rfc3207_4_2_what_was_offered_before_tls_is_forgotten(
    authority: Authority, certificate: Certificate
) -> None:
    session = Session(Starttls.OFFERED)
    session.hear(b"220 hi\r\n")
    assert session.hear(b"250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 9\r\n250 STARTTLS\r\n") == b"STARTTLS\r\n"
    assert session.hear(b"220 go\r\n") == b""
    assert session.upgrades == 1
    session.session.secured()
    assert session.wire == b"EHLO m1.example.com\r\n"
    session.hear(b"250 x\r\n")
    assert session.shaken == 1
    inner = session.session
    assert (inner.pipelining, inner.eightbit, inner.utf8, inner.dsn, inner.max_size) == (
        False,
        False,
        False,
        False,
        None,
    )


async def test_rfc3207_4_2_starttls_offered_again_inside_tls_is_not_taken() -> None:
    session = Session(Starttls.MUST)
    session.hear(b"220 hi\r\n")
    session.hear(b"250 STARTTLS\r\n")  # the first line is the peer's name
    assert session.end is not None
    session = Session(Starttls.MUST)
    session.hear(b"220 hi\r\n")
    session.hear(b"250-x\r\n250 STARTTLS\r\n")
    session.hear(b"220 go\r\n")
    session.session.secured()
    assert session.hear(b"250-x\r\n250 STARTTLS\r\n") == b"EHLO m1.example.com\r\n"[:0]
    assert session.shaken == 1


@pytest.mark.parametrize("extra", [b"250 injected\r\n", b"2", b"\r\n", b"250-x\r\n250 PIPELINING\r\n"])
def test_cve_2011_0411_anything_after_the_answer_to_starttls_ends_the_session(extra: bytes) -> None:
    session = Session(Starttls.OFFERED)
    session.hear(b"220 hi\r\n")
    session.hear(b"250-x\r\n250 STARTTLS\r\n")
    session.hear(b"220 go\r\n" + extra)
    assert session.upgrades == 0
    assert session.end is not None
    assert "more than its answer" in session.end.text


@given(st.binary(min_size=1, max_size=300))
def test_cve_2011_0411_no_bytes_after_the_answer_reach_the_handshake(extra: bytes) -> None:
    session = Session(Starttls.MUST)
    session.hear(b"220 hi\r\n")
    session.hear(b"250-x\r\n250 STARTTLS\r\n")
    session.hear(b"220 go\r\n" + extra)
    assert session.upgrades == 0
    assert session.end is not None
    assert session.end.is_transient


async def test_cve_2011_0411_plaintext_sent_after_the_220_never_counts_as_an_answer(
    authority: Authority, certificate: Certificate
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        assert await dialogue.hear() == "STARTTLS"
        await dialogue.say("220 go")
        await dialogue.say("250-x", "250 PIPELINING")
        await dialogue.closed()

    failed = await refused(script, towards(authority, TlsMode.REQUIRED))
    assert failed.result in {TlsResult.VALIDATION_FAILURE, TlsResult.STARTTLS_NOT_SUPPORTED}


async def test_rfc3207_4_opportunistic_goes_on_in_clear_after_454(authority: Authority) -> None:
    got: list[bytes] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        assert await dialogue.hear() == "STARTTLS"
        await dialogue.say("454 4.7.0 TLS not available")
        got.append(await dialogue.take())

    await delivered(script, towards(authority, TlsMode.OPPORTUNISTIC))
    assert got == [KEPT]


async def test_rfc3207_4_required_waits_after_454(authority: Authority) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        assert await dialogue.hear() == "STARTTLS"
        await dialogue.say("454 4.7.0 TLS not available")
        await dialogue.closed()

    failed = await refused(script, towards(authority, TlsMode.REQUIRED))
    assert failed.result is TlsResult.STARTTLS_NOT_SUPPORTED
    assert "454 4.7.0 TLS not available" in failed.reply.text


# -- certificates


def _expired(authority: Authority) -> Certificate:
    return authority.issue("mx.example", valid_for=-DAY)


def _other_name(authority: Authority) -> Certificate:
    return authority.issue("other.example")


def _stranger(authority: Authority) -> Certificate:
    return Authority(authority.directory, "Nobody").issue("mx.example")


CERTIFICATES = [
    pytest.param(_expired, TlsResult.CERTIFICATE_EXPIRED, id="expired"),
    pytest.param(_other_name, TlsResult.CERTIFICATE_HOST_MISMATCH, id="other name"),
    pytest.param(_stranger, TlsResult.CERTIFICATE_NOT_TRUSTED, id="unknown authority"),
]


@pytest.mark.parametrize(("issue", "result"), CERTIFICATES)
async def test_verify_refuses_a_bad_certificate_and_says_why(
    authority: Authority, issue: Callable[[Authority], Certificate], result: TlsResult
) -> None:
    """RFC 8460 section 4.3.2 has the names."""

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        await dialogue.secure(issue(authority).server())

    failed = await refused(_tolerant(script), towards(authority, TlsMode.VERIFY))
    assert failed.result is result
    assert failed.reply.enhanced == "4.7.5"
    assert result.value in failed.reply.text


@pytest.mark.parametrize(("issue", "result"), CERTIFICATES)
@pytest.mark.parametrize("mode", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED])
async def test_unverified_tls_takes_any_certificate(
    authority: Authority, issue: Callable[[Authority], Certificate], result: TlsResult, mode: TlsMode
) -> None:
    got: list[bytes] = []
    await delivered(taking(issue(authority), got), towards(authority, mode))
    assert got == [KEPT]


async def test_an_authority_file_that_cannot_be_read_holds_mail_with_the_reason(tmp_path: Path) -> None:
    security = TlsPolicies(
        agent(tls=Tls(mode=TlsMode.VERIFY, ca_file=tmp_path / "none.pem")), Resolver(Dns()), spawn
    ).towards(SITE)
    with pytest.raises(ConnectFailed, match=r"none\.pem") as failed:
        await Recorder(message()).run(Hop("mx.example", ip_address("127.0.0.1"), 9), security=security)
    assert failed.value.reply.is_transient


# -- broken TLS


def _tolerant(script: Script) -> Script:
    """`script`, whose handshake may fail."""

    async def run(dialogue: Dialogue) -> None:
        try:
            await script(dialogue)
        except OSError:
            dialogue.cut()

    return run


def broken_then_clear(got: list[bytes], garbage: bytes, said: list[str]) -> Script:
    """Answers the handshake with `garbage` (nothing: closes), and takes mail in clear."""

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        line = await dialogue.hear()
        said.append(line)
        if line == "STARTTLS":
            await dialogue.say("220 go ahead")
            await dialogue.reader.read(1)
            dialogue.writer.write(garbage)
            if garbage:
                await dialogue.closed()
            else:
                dialogue.cut()
            return
        await dialogue.accept([line, *await dialogue.envelope()])
        got.append(await dialogue.data())
        await dialogue.say("250 kept")
        await dialogue.hear()
        await dialogue.say("221 bye")

    return script


@pytest.mark.parametrize("garbage", [b"", b"500 what?\r\n" * 20], ids=["cut", "garbage"])
async def test_opportunistic_connects_again_in_clear_after_a_failed_handshake_and_remembers(
    authority: Authority, garbage: bytes
) -> None:
    """RFC 7435 section 3: opportunistic security must not lose mail that clear text would deliver."""
    got: list[bytes] = []
    said: list[str] = []
    made = policies(authority, TlsMode.OPPORTUNISTIC)
    async with peer(broken_then_clear(got, garbage, said)) as hop:
        for _ in range(2):
            owner = Recorder(message())
            reply, _, _ = await owner.run(hop, security=made.towards(SITE))
            assert reply.code == 221
        assert hop in made.broken
    assert got == [KEPT, KEPT]
    assert [line.split()[0] for line in said] == ["STARTTLS", "MAIL", "MAIL"]


async def test_a_stalled_handshake_ends_in_time_and_mail_goes_in_clear(authority: Authority) -> None:
    got: list[bytes] = []
    first = [True]

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        if first.pop() if first else False:
            assert await dialogue.hear() == "STARTTLS"
            await dialogue.say("220 go ahead")
            await dialogue.closed()
        else:
            got.append(await dialogue.take())

    owner = Recorder(message())
    async with peer(script) as hop:
        reply, _, _ = await owner.run(hop, security=towards(authority, TlsMode.OPPORTUNISTIC), limits=timeouts(tls=0.2))
    assert (reply.code, got) == (221, [KEPT])


@pytest.mark.parametrize("where", ["answer", "handshake"])
async def test_required_waits_when_tls_stalls(authority: Authority, where: str) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        assert await dialogue.hear() == "STARTTLS"
        if where == "handshake":
            await dialogue.say("220 go ahead")
        await dialogue.closed()

    failed = await refused(script, towards(authority, TlsMode.REQUIRED), tls=0.2)
    assert "within 0.2 s" in failed.reply.text


async def test_required_tries_tls_with_a_peer_remembered_as_broken(
    authority: Authority, certificate: Certificate
) -> None:
    got: list[bytes] = []
    made = policies(authority, TlsMode.REQUIRED)
    async with peer(taking(certificate, got)) as hop:
        made.broken.add(hop, 1000)
        await Recorder(message()).run(hop, security=made.towards(SITE))
    assert got == [KEPT]


def test_broken_tls_is_remembered_for_its_time_and_in_bounds() -> None:
    now = [0.0]
    broken = BrokenTls(lambda: now[0])
    hops = [Hop("mx.example", ip_address(n + 2**31), 25) for n in range(MAX_BROKEN + 1)]
    for hop in hops:
        broken.add(hop, timedelta(days=3).total_seconds())
    assert len(broken) == MAX_BROKEN
    assert hops[0] not in broken
    assert hops[1] in broken
    now[0] = timedelta(days=3).total_seconds()
    assert hops[1] not in broken


# -- whose word counts


async def test_the_providers_word_counts_before_the_default_and_that_before_the_section() -> None:
    config = agent(
        tls=Tls(mode=TlsMode.OFF),
        providers={
            "gmail": Provider(mx=("google.com",), tls=TlsMode.REQUIRED),
            "default": Provider(tls=TlsMode.OPPORTUNISTIC),
        },
    )
    made = TlsPolicies(config, Resolver(Dns()), spawn)
    gmail = Site(name=SiteName("g"), provider=ProviderName("gmail"), hosts=SITE.hosts)
    assert made.mode(gmail) is TlsMode.REQUIRED
    assert made.mode(SITE) is TlsMode.OPPORTUNISTIC
    assert TlsPolicies(agent(tls=Tls(mode=TlsMode.OFF)), Resolver(Dns()), spawn).mode(SITE) is TlsMode.OFF


async def test_a_connection_is_used_again_with_its_tls(authority: Authority, certificate: Certificate) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "PIPELINING")
        await dialogue.secure(certificate.server(), "PIPELINING")
        for _ in range(3):
            await dialogue.accept(await dialogue.envelope())
            assert len(await dialogue.data()) > 3_000_000
            await dialogue.say("250 kept")
        assert await dialogue.hear() == "QUIT"
        await dialogue.say("221 bye")

    owner = Recorder(*[message(body=BODY * 150_000)] * 3)
    async with peer(script) as hop:
        await owner.run(hop, security=towards(authority, TlsMode.VERIFY))
    assert owner.events.count(("settled", [250])) == 3
