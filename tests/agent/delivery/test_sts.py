"""MTA-STS: records and policies as text, how they are fetched and kept, and what they mean for mail (RFC 8461)."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import ProviderName, SiteName
from mailagent.config.structs import Delivery, Domain
from mailagent.config.tls import MtaSts, Tls, TlsMode
from mailagent.delivery import Level, TlsPolicies, TlsResult
from mailagent.delivery.https import HttpsFailed, _parsed
from mailagent.delivery.sts import MAX_POLICY_BYTES, StsMode, StsPolicy, announced_id, parse_policy
from mailagent.delivery.sts_book import FAILURE_S, RECHECK_S, REFRESH_S, StsBook
from mailagent.dns import MxHost, Resolver
from mailagent.routing import Hop, Router, Site
from tests.agent.delivery.peer import Recorder, Script, message, peer
from tests.agent.delivery.test_tls import KEPT, in_clear, spawn, taking
from tests.agent.dns.responder import Responder, responding
from tests.agent.routing.configs import agent
from tests.certificates import Authority

DOMAIN = "x.example"
MX = "mx.x.example"
POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mx.x.example\r\nmx: *.mail.example\r\nmax_age: 86400\r\n"


# -- text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=1;"], "1"),
        ([b"v=STSv1; id=1;", b"v=STSv1; id=2;"], None),
        ([b"v=STSv1; id=;"], None),
        ([b"v=STSv1; id=a-b;"], None),
        ([b"v=STSv1; id=" + b"1" * 33], None),
        ([b"v=STSv2; id=1;"], None),
        ([b"v=STSv1"], None),
        ([b"v=STSv1; x=y; id=7; z"], "7"),
        ([], None),
    ],
)
def test_rfc8461_3_1_the_record(texts: list[bytes], expected: str | None) -> None:
    assert announced_id(texts) == expected


def test_rfc8461_3_2_a_policy() -> None:
    assert parse_policy(POLICY.encode(), "1") == StsPolicy(
        id="1", mode=StsMode.ENFORCE, mx=("mx.x.example", "*.mail.example"), max_age_s=86400
    )
    lenient = "version:STSv1\nmode:  testing \nmode: none\nmx: MX.X.Example.\nwhat_else: 1\nmax_age:0"
    assert parse_policy(lenient.encode(), "1") == StsPolicy(
        id="1", mode=StsMode.TESTING, mx=("mx.x.example",), max_age_s=0
    )
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 1\n", "1").mode is StsMode.NONE


@pytest.mark.parametrize(
    "change",
    [
        ("version: STSv1", "version: STSv2"),
        ("version: STSv1", "x: y"),
        ("mode: enforce", "mode: maybe"),
        ("mode: enforce", "x: y"),
        ("max_age: 86400", "max_age: 31557601"),
        ("max_age: 86400", "max_age: -1"),
        ("max_age: 86400", "x: y"),
        ("mx: mx.x.example", "mx: a.*.example"),
        ("mx: mx.x.example", "mx: *"),
        ("mx: mx.x.example", "<html>"),
    ],
)
def test_rfc8461_3_2_what_is_no_policy(change: tuple[str, str]) -> None:
    with pytest.raises(ValueError):
        parse_policy(POLICY.replace(*change).encode(), "1")
    with pytest.raises(ValueError, match="names no mx"):
        parse_policy(b"version: STSv1\nmode: enforce\nmax_age: 1\n", "1")


@given(st.binary(max_size=400))
def test_no_bytes_make_the_parser_fall_over(body: bytes) -> None:
    with suppress(ValueError):
        parse_policy(body, "1")
    announced_id([body])


def test_rfc8461_4_1_hosts_that_a_policy_names() -> None:
    policy = parse_policy(POLICY.encode(), "1")
    named = {"mx.x.example": True, "a.mail.example": True, "a.b.mail.example": False, "mail.example": False}
    assert {name: policy.names(name) for name in named} == named


# -- fetching


@given(st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]))
def test_no_bytes_make_the_http_reader_fall_over(raw: bytes, start: bytes) -> None:
    with suppress(HttpsFailed):
        assert len(_parsed(start + raw, "GET", "host", 100).body) <= 100


class PolicyHost:
    """An HTTPS server for `mta-sts.x.example`; `answer` is the whole of what it says."""

    def __init__(self) -> None:
        self.body = POLICY.encode()
        self.head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
        self.asked: list[bytes] = []
        self.port = 0
        self.gate: asyncio.Event | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if self.gate is not None:
                await self.gate.wait()
            writer.write(self.head + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def policy_host(context: ssl.SSLContext) -> AsyncIterator[PolicyHost]:
    host = PolicyHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


class Clocks:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def zone() -> AsyncIterator[Responder]:
    async with responding() as responder:
        responder.ttl = responder.negative_ttl = 1
        responder.add(f"mta-sts.{DOMAIN}", "A", "127.0.0.1")
        responder.add(f"_mta-sts.{DOMAIN}", "TXT", '"v=STSv1; id=1;"')
        yield responder


@pytest.fixture
async def host(authority: Authority) -> AsyncIterator[PolicyHost]:
    async with policy_host(authority.issue(f"mta-sts.{DOMAIN}").server()) as one:
        yield one


MakeBook = Callable[[], StsBook]


@pytest.fixture
def clock() -> Clocks:
    return Clocks()


@pytest.fixture
async def make(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path, clock: Clocks
) -> AsyncIterator[MakeBook]:
    resolvers: list[Resolver] = []

    def book() -> StsBook:
        resolvers.append(Resolver(zone.config, clock=clock))
        config = MtaSts(port=host.port, ca_file=authority.file)
        return StsBook(config, resolvers[-1], spawn, tmp_path, [ip_network("127.0.0.0/8")], clock=clock, wall=clock)

    yield book
    for resolver in resolvers:
        await resolver.close()


async def test_a_policy_is_found_and_fetched(make: MakeBook, host: PolicyHost) -> None:
    book = make()
    assert not book.knows(DOMAIN)
    await book.discover(DOMAIN)
    assert book.knows(DOMAIN)
    assert book.policy(DOMAIN) == parse_policy(POLICY.encode(), "1")
    request = host.asked[0].decode()
    assert request.startswith("GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
    assert f"Host: mta-sts.{DOMAIN}:{host.port}\r\n" in request


async def test_a_domain_without_record_has_none_and_is_left_alone_for_an_hour(
    make: MakeBook, zone: Responder, host: PolicyHost, clock: Clocks
) -> None:
    book = make()
    await book.discover("other.example")
    assert book.policy("other.example") is None
    assert book.knows("other.example")
    assert not host.asked
    clock.now += RECHECK_S
    assert not book.knows("other.example")


async def test_rfc8461_3_3_the_same_id_is_not_fetched_again_and_a_new_one_is(
    make: MakeBook, zone: Responder, host: PolicyHost, clock: Clocks
) -> None:
    book = make()
    await book.discover(DOMAIN)
    clock.now += RECHECK_S
    await book.discover(DOMAIN)
    assert len(host.asked) == 1
    zone.add(f"_mta-sts.{DOMAIN}", "TXT", '"v=STSv1; id=2;"')
    host.body = POLICY.replace("enforce", "testing").encode()
    clock.now += RECHECK_S
    await book.discover(DOMAIN)
    policy = book.policy(DOMAIN)
    assert policy is not None
    assert (policy.id, policy.mode, len(host.asked)) == ("2", StsMode.TESTING, 2)


@pytest.mark.parametrize("trouble", ["record gone", "dns fails", "host gone"])
async def test_rfc8461_5_1_a_policy_holds_for_its_time_whatever_an_attacker_hides(
    make: MakeBook, zone: Responder, host: PolicyHost, clock: Clocks, trouble: str
) -> None:
    book = make()
    await book.discover(DOMAIN)
    if trouble == "record gone":
        del zone.zone[f"_mta-sts.{DOMAIN}", "TXT"]
    elif trouble == "dns fails":
        zone.rcode = dns.rcode.SERVFAIL
    else:
        zone.add(f"_mta-sts.{DOMAIN}", "TXT", '"v=STSv1; id=2;"')
        host.head = b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\n"
    clock.now += RECHECK_S * 2
    await book.discover(DOMAIN)
    assert book.policy(DOMAIN) is not None
    clock.now += 86400
    assert book.policy(DOMAIN) is None


async def test_rfc8461_10_2_a_policy_is_fetched_again_before_it_ends(
    make: MakeBook, host: PolicyHost, clock: Clocks
) -> None:
    host.body = POLICY.replace("86400", "864000").encode()
    book = make()
    await book.discover(DOMAIN)
    clock.now += REFRESH_S + 1
    await book.discover(DOMAIN)
    await asyncio.gather(*book._fetches.values())
    assert len(host.asked) == 2
    clock.now += 863_000
    assert book.policy(DOMAIN) is not None


REDIRECT = b"HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.x.example/other\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("head", "body", "result"),
    [
        (REDIRECT, None, TlsResult.STS_POLICY_FETCH_ERROR),
        (b"HTTP/1.1 404 No\r\nContent-Type: text/plain\r\n", None, TlsResult.STS_POLICY_FETCH_ERROR),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", None, TlsResult.STS_POLICY_FETCH_ERROR),
        (b"HTTP/1.1 200 OK\r\n", None, TlsResult.STS_POLICY_FETCH_ERROR),
        (b"what\r\n", None, TlsResult.STS_POLICY_FETCH_ERROR),
        (None, b"x" * (MAX_POLICY_BYTES + 1), TlsResult.STS_POLICY_FETCH_ERROR),
        (None, b"x" * 10_000_000, TlsResult.STS_POLICY_FETCH_ERROR),
        (None, b"hello", TlsResult.STS_POLICY_INVALID),
        (None, b"", TlsResult.STS_POLICY_INVALID),
    ],
    ids=["redirect", "status", "html", "no type", "no http", "long", "huge", "no policy", "empty"],
)
async def test_rfc8461_3_3_what_is_not_taken_for_a_policy(
    make: MakeBook, host: PolicyHost, clock: Clocks, head: bytes | None, body: bytes | None, result: TlsResult
) -> None:
    host.head = host.head if head is None else head
    host.body = host.body if body is None else body
    book = make()
    await book.discover(DOMAIN)
    assert book.policy(DOMAIN) is None
    problem = book.problem(DOMAIN)
    assert problem is not None
    assert problem[0] is result
    assert book.knows(DOMAIN)
    clock.now += FAILURE_S
    assert not book.knows(DOMAIN)


@pytest.mark.parametrize("name", ["other.example", "x.example"])
async def test_rfc8461_3_3_the_policy_host_must_be_who_it_says(
    zone: Responder, authority: Authority, tmp_path: Path, name: str
) -> None:
    async with policy_host(authority.issue(name).server()) as one:
        resolver = Resolver(zone.config)
        config = MtaSts(port=one.port, ca_file=authority.file)
        book = StsBook(config, resolver, spawn, tmp_path, [ip_network("127.0.0.0/8")])
        await book.discover(DOMAIN)
        await resolver.close()
    problem = book.problem(DOMAIN)
    assert problem is not None
    assert problem[0] is TlsResult.STS_WEBPKI_INVALID


async def test_a_policy_host_at_a_local_address_is_not_asked(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path
) -> None:
    """A domain must not make us send requests into our own network."""
    resolver = Resolver(zone.config)
    book = StsBook(MtaSts(port=host.port, ca_file=authority.file), resolver, spawn, tmp_path)
    await book.discover(DOMAIN)
    await resolver.close()
    assert book.problem(DOMAIN) == (TlsResult.STS_POLICY_FETCH_ERROR, f"mta-sts.{DOMAIN} has no public address")
    assert not host.asked


async def test_mail_does_not_wait_for_a_slow_policy_host_but_its_policy_counts_later(
    make: MakeBook, host: PolicyHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailagent.delivery.sts_book.PATIENCE_S", 0.05)
    host.gate = asyncio.Event()
    book = make()
    await book.discover(DOMAIN)
    assert book.policy(DOMAIN) is None
    host.gate.set()
    await asyncio.gather(*book._fetches.values())
    assert book.policy(DOMAIN) is not None


async def test_policies_survive_a_restart(make: MakeBook, zone: Responder, clock: Clocks) -> None:
    book = make()
    await book.discover(DOMAIN)
    await book.save()
    zone.rcode = dns.rcode.SERVFAIL
    again = make()
    assert not again.knows(DOMAIN)
    await again.discover(DOMAIN)
    assert again.policy(DOMAIN) == book.policy(DOMAIN)
    clock.now += 86400
    assert make().policy(DOMAIN) is None


async def test_a_damaged_file_is_no_reason_not_to_start(make: MakeBook, tmp_path: Path) -> None:
    (tmp_path / "mta-sts.json").write_bytes(b"{")
    assert make().policy(DOMAIN) is None


# -- mail


SITE = Site(name=SiteName(MX), provider=ProviderName("default"), hosts=(MxHost(10, MX),))


async def policies(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path, mode: TlsMode = TlsMode.OPPORTUNISTIC
) -> tuple[TlsPolicies, Resolver]:
    config = agent(
        state_dir=tmp_path,
        tls=Tls(mode=mode, ca_file=authority.file, mta_sts=MtaSts(port=host.port, ca_file=authority.file)),
        delivery=Delivery(allow_networks=(ip_network("127.0.0.0/8"),)),
    )
    zone.add(DOMAIN, "MX", f"10 {MX}.")
    zone.add(MX, "A", "127.0.0.1")
    resolver = Resolver(zone.config)
    made = TlsPolicies(config, resolver, spawn)
    router = Router(config, resolver, discovery=made)
    assert router.cached(DOMAIN) is None
    site = await router.site(DOMAIN)
    assert isinstance(site, Site)
    assert router.cached(DOMAIN) is site
    return made, resolver


async def outcome(made: TlsPolicies, script: Script, *recipients: bytes, mx: str = MX) -> Recorder:
    """One message to each of `recipients`, over connections to the domain's site."""
    owner = Recorder(*[message(one) for one in recipients])
    async with peer(script) as hop:
        security = made.towards(SITE)
        await owner.run(*security.ordered([Hop(mx, hop.address, hop.port)]), security=security)
    return owner


async def test_rfc8461_5_enforce_delivers_over_verified_tls(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path
) -> None:
    made, resolver = await policies(zone, host, authority, tmp_path)
    got: list[bytes] = []
    owner = await outcome(made, taking(authority.issue(MX), got), b"u@X.example")
    await resolver.close()
    assert got == [KEPT]
    assert owner.connection is not None
    assert owner.connection.level is Level.VERIFIED


@pytest.mark.parametrize("trouble", ["no tls", "other name", "unknown authority"])
async def test_rfc8461_5_enforce_holds_the_domains_mail_and_no_other(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path, trouble: str
) -> None:
    made, resolver = await policies(zone, host, authority, tmp_path)
    got: list[bytes] = []
    if trouble == "no tls":
        script = in_clear(got)
    elif trouble == "other name":
        script = _tolerant(taking(authority.issue("other.example"), got))
    else:
        script = _tolerant(taking(Authority(tmp_path, "Nobody").issue(MX), got))
    owner = await outcome(made, script, b"u@x.example", b"u@no-policy.example")
    await resolver.close()
    assert [codes for name, codes in owner.events if name == "settled"] == [[451], [250]]
    assert got == [KEPT]


async def test_rfc8461_4_1_a_host_that_the_policy_does_not_name_gets_nothing(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path
) -> None:
    made, resolver = await policies(zone, host, authority, tmp_path)
    got: list[bytes] = []
    owner = await outcome(
        made, taking(authority.issue("evil.example"), got), b"u@x.example", b"u@y.example", mx="evil.example"
    )
    await resolver.close()
    assert [codes for name, codes in owner.events if name == "settled"] == [[451], [250]]
    path = [Hop("evil.example", owner.connection.hop.address, 25), Hop(MX, owner.connection.hop.address, 25)]  # type: ignore[union-attr]
    assert [hop.mx for hop in made.towards(SITE).ordered(path)] == [MX, "evil.example"]


async def test_rfc8461_5_testing_delivers_all_the_same(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path
) -> None:
    host.body = POLICY.replace("enforce", "testing").encode()
    made, resolver = await policies(zone, host, authority, tmp_path)
    got: list[bytes] = []
    owner = await outcome(made, _tolerant(taking(authority.issue("other.example"), got)), b"u@x.example")
    await resolver.close()
    assert got == [KEPT]
    assert owner.connection is not None
    assert owner.connection.level is Level.ENCRYPTED


async def test_rfc8461_5_dane_is_enough(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path
) -> None:
    zone.secure = True
    made, resolver = await policies(zone, host, authority, tmp_path)
    certificate = Authority(tmp_path, "Nobody").issue("any.example")
    digest = hashlib.sha256(certificate.spki).hexdigest()
    zone.fallback = lambda name, kind: [f"3 1 1 {digest}"] if kind == "TLSA" else None
    got: list[bytes] = []
    owner = await outcome(made, taking(certificate, got), b"u@x.example")
    await resolver.close()
    assert got == [KEPT]
    assert owner.connection is not None
    assert owner.connection.level is Level.DANE


async def test_a_domain_block_asks_for_its_own_level(tmp_path: Path) -> None:
    config = agent(
        state_dir=tmp_path,
        domains={
            "bank.example": Domain(tls=TlsMode.VERIFY),
            "a.example": Domain(tls=TlsMode.REQUIRED, rollup="shared"),
            "b.example": Domain(tls=TlsMode.VERIFY, rollup="shared"),
            "c.example": Domain(rollup="shared"),
        },
    )
    made = TlsPolicies(config, Resolver(config.dns), spawn)

    def mode(rollup: str) -> TlsMode:
        return made.mode(Site(name=SiteName("s"), provider=ProviderName("default"), hosts=SITE.hosts, rollup=rollup))

    assert (mode("bank.example"), mode("shared"), mode("")) == (TlsMode.VERIFY, TlsMode.VERIFY, TlsMode.OPPORTUNISTIC)


def _tolerant(script: Script) -> Script:
    """`script`, whose handshake may fail."""

    async def run(dialogue: Any) -> None:
        try:
            await script(dialogue)
        except OSError:
            dialogue.cut()

    return run


async def test_a_connection_from_before_a_domain_with_a_policy_ends_for_a_better_one(
    zone: Responder, host: PolicyHost, authority: Authority, tmp_path: Path
) -> None:
    made, resolver = await policies(zone, host, authority, tmp_path)
    made._sites.clear()
    got: list[bytes] = []
    certificate = authority.issue(MX)

    async def script(dialogue: Any) -> None:
        await dialogue.greet("STARTTLS")
        await dialogue.secure(certificate.server(), "PIPELINING")
        got.append(await dialogue.reader.read(5))

    owner = Recorder(message(b"u@x.example"))
    async with peer(script) as hop:
        path = Hop(MX, hop.address, hop.port)
        reply, transaction, in_doubt = await owner.run(path, security=made.towards(SITE))
        assert (reply.code, reply.enhanced, in_doubt) == (451, "4.7.10", False)
        assert transaction is not None
    assert got == [b""]
    owner = await outcome(made, taking(certificate, got), b"u@x.example")
    await resolver.close()
    assert got[1:] == [KEPT]
