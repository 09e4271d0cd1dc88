"""Routes with AUTH: the credential, who gets it, and that mail then goes as over any other connection (RFC 4954)."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from mailagent.api.outcome import Deferred
from mailagent.api.smtp import Verb
from mailagent.config.secret_files import read_secret
from mailagent.config.structs import Dns, Endpoint, Route, RouteAuth
from mailagent.config.tls import Tls, TlsMode
from mailagent.delivery import ConnectFailed, Level, TlsFailed, TlsPolicies, TlsResult
from mailagent.delivery.policy import Towards
from mailagent.delivery.smarthost import LoginRefused
from mailagent.dns import Resolver
from mailagent.outcome.classification import outcome_of
from mailagent.routing import Hop
from mailagent.routing.rollup import route_site
from tests.agent.delivery.peer import BODY, Dialogue, Recorder, Script, message, peer, timeouts
from tests.agent.delivery.test_real_peers import Mailbox
from tests.agent.delivery.test_tls import KEPT, spawn
from tests.agent.routing.configs import agent
from tests.certificates import Authority, Certificate

HOST = "smtp.relay.example"
USER, PASSWORD = "apikey", "s3cr=t,x"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return authority.issue(HOST)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    file.chmod(0o640)
    return file


def towards(authority: Authority, port: int, auth: RouteAuth, tls: TlsMode | None = None) -> Towards:
    to = Endpoint(host=HOST, port=port)
    config = agent(
        state_dir=authority.directory,
        tls=Tls(ca_file=authority.file),
        routes=(Route(match="*", to=to, tls=tls, auth=auth),),
    )
    return TlsPolicies(config, Resolver(Dns()), spawn).towards(route_site(to))


async def run(
    owner: Recorder, hop: Hop, authority: Authority, auth: RouteAuth, tls: TlsMode | None = None, **seconds: float
) -> tuple[object, object, bool]:
    hop = Hop(HOST, hop.address, hop.port)
    security = towards(authority, hop.port, auth, tls)
    return await owner.run(hop, security=security, limits=timeouts(**{"tls": 5, **seconds}))


# -- a server that others wrote


class Account:
    def __init__(self, right: str = PASSWORD) -> None:
        self.tried: list[str] = []
        self.right = right

    def __call__(self, server: SMTP, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
        self.tried.append(mechanism)
        assert isinstance(data, LoginPassword)
        right = (data.login, data.password) == (USER.encode(), self.right.encode())
        return AuthResult(success=right, handled=False)


@asynccontextmanager
async def aiosmtpd(
    certificate: Certificate, mailbox: Mailbox, account: Account, without: list[str]
) -> AsyncIterator[Hop]:
    loop = asyncio.get_running_loop()

    def make() -> SMTP:
        return SMTP(
            mailbox,
            hostname=HOST,
            loop=loop,
            tls_context=certificate.server(),
            require_starttls=True,
            authenticator=account,
            auth_required=True,
            auth_exclude_mechanism=without,
        )

    server = await loop.create_server(make, "127.0.0.1", 0)
    try:
        yield Hop(HOST, ip_address("127.0.0.1"), server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_mail_goes_through_an_account_byte_for_byte(
    authority: Authority, certificate: Certificate, secret: Path, mechanism: str
) -> None:
    mailbox, account = Mailbox(), Account()
    body = BODY + b".\r\n..\r\n.x\r\n" + "grüße\r\n".encode()
    owner = Recorder(message(b"unknown@x.example"), message(b"u@x.example", body=body, eightbit=True), message())
    without = ["PLAIN"] if mechanism == "LOGIN" else []
    async with aiosmtpd(certificate, mailbox, account, without) as hop:
        await run(owner, hop, authority, RouteAuth(user=USER, password_file=secret))
    assert account.tried == [mechanism]
    assert [codes for name, codes in owner.events if name == "settled"] == [[550], [250], [250]]
    added = b"X-Added: 1\r\n"
    assert [content for _, content in mailbox.messages] == [added + body, added + BODY]
    assert owner.connection is not None
    assert (owner.connection.level, owner.connection.source) == (Level.VERIFIED, "127.0.0.1")
    assert owner.connection.tls.endswith(" verified")


async def test_a_wrong_password_is_tried_once_and_mail_waits(
    authority: Authority, certificate: Certificate, secret: Path
) -> None:
    account = Account(right="another")
    async with aiosmtpd(certificate, Mailbox(), account, []) as hop:
        with pytest.raises(LoginRefused) as refused:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret))
    assert account.tried == ["PLAIN"]
    reply = refused.value.reply
    assert (reply.code, reply.enhanced, reply.verb, reply.local) == (535, "5.7.8", Verb.AUTH, False)
    assert isinstance(outcome_of(reply), Deferred)


# -- scripted


def account_peer(
    certificate: Certificate, auth: str, log_in: Callable[[Dialogue], object], got: list[bytes] | None = None
) -> Script:
    """Offers AUTH inside TLS, does `log_in`, then takes one message."""

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS")
        await dialogue.secure(certificate.server(), f"AUTH {auth}")
        await log_in(dialogue)  # type: ignore[misc]
        if got is not None:
            assert (await dialogue.hear()).startswith("EHLO ")
            await dialogue.say("250-peer", "250 PIPELINING")
            got.append(await dialogue.take())
        else:
            await dialogue.closed()

    return script


@pytest.mark.parametrize("offered", ["XOAUTH2", "XOAUTH2 OAUTHBEARER"])
async def test_rfc7628_a_token_logs_in(
    authority: Authority, certificate: Certificate, secret: Path, offered: str
) -> None:
    got: list[bytes] = []
    said: list[bytes] = []

    async def log_in(dialogue: Dialogue) -> None:
        words = (await dialogue.hear()).split()
        said.extend((words[1].encode(), base64.b64decode(words[2])))
        await dialogue.say("235 2.7.0 Accepted")

    async with peer(account_peer(certificate, offered, log_in, got)) as hop:
        await run(Recorder(message()), hop, authority, RouteAuth(user="a,b=c", token_file=secret))
    assert got == [KEPT]
    token = PASSWORD.encode()
    if "OAUTHBEARER" in offered:
        assert said == [b"OAUTHBEARER", b"n,a=a=2Cb=3Dc,\x01auth=Bearer %b\x01\x01" % token]
    else:
        assert said == [b"XOAUTH2", b"user=a,b=c\x01auth=Bearer %b\x01\x01" % token]


@pytest.mark.parametrize(("offered", "answer"), [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")])
async def test_rfc7628_3_2_3_a_refused_token(
    authority: Authority, certificate: Certificate, secret: Path, offered: str, answer: str
) -> None:
    async def log_in(dialogue: Dialogue) -> None:
        await dialogue.hear()
        await dialogue.say("334 eyJzdGF0dXMiOiI0MDEifQ==")
        assert await dialogue.hear() == answer
        await dialogue.say("535-5.7.8 Username and Password not accepted.", "535 5.7.8 see the manual")

    async with peer(account_peer(certificate, offered, log_in)) as hop:
        with pytest.raises(LoginRefused) as refused:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, token_file=secret))
    assert refused.value.reply.line() == "535 5.7.8 Username and Password not accepted. see the manual"


async def test_a_temporary_refusal_is_no_bad_credential(
    authority: Authority, certificate: Certificate, secret: Path
) -> None:
    async def log_in(dialogue: Dialogue) -> None:
        await dialogue.hear()
        await dialogue.say("454 4.7.0 Temporary authentication failure")

    async with peer(account_peer(certificate, "PLAIN", log_in)) as hop:
        with pytest.raises(ConnectFailed) as failed:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret))
    assert not isinstance(failed.value, LoginRefused)
    assert (failed.value.reply.code, failed.value.reply.verb) == (454, Verb.AUTH)


@pytest.mark.parametrize("challenge", ["334 x", "334 ====", "334 \xff"])
async def test_a_challenge_that_cannot_be_read_is_a_broken_login(
    authority: Authority, certificate: Certificate, secret: Path, challenge: str
) -> None:
    async def log_in(dialogue: Dialogue) -> None:
        await dialogue.hear()
        await dialogue.say(challenge)
        await dialogue.closed()

    async with peer(account_peer(certificate, "CRAM-MD5", log_in)) as hop:
        with pytest.raises(ConnectFailed) as failed:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret), ehlo=5)
    assert failed.value.reply.verb is Verb.AUTH


@pytest.mark.parametrize("offered", ["", "AUTH GSSAPI"])
async def test_no_mechanism_in_common(
    authority: Authority, certificate: Certificate, secret: Path, offered: str
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS")
        await dialogue.secure(certificate.server(), offered or "SIZE")
        await dialogue.closed()

    async with peer(script) as hop:
        with pytest.raises(ConnectFailed, match="none of PLAIN, LOGIN and CRAM-MD5 is offered"):
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret))


async def test_silence_at_auth_ends_in_time(authority: Authority, certificate: Certificate, secret: Path) -> None:
    async def log_in(dialogue: Dialogue) -> None:
        await dialogue.hear()

    async with peer(account_peer(certificate, "PLAIN", log_in)) as hop:
        with pytest.raises(ConnectFailed) as failed:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret), ehlo=0.2)
    assert failed.value.reply.verb is Verb.AUTH
    assert failed.value.reply.local


# -- the credential stays here


def tolerant(script: Script, said: list[str]) -> Script:
    async def run(dialogue: Dialogue) -> None:
        try:
            await script(dialogue)
            said.append(await dialogue.hear())
        except (OSError, EOFError):
            dialogue.cut()

    return run


@pytest.mark.parametrize("issue", ["other name", "unknown authority"])
@pytest.mark.parametrize("tls", [None, TlsMode.REQUIRED, TlsMode.VERIFY])
async def test_no_credential_for_a_host_that_has_not_proven_its_name(
    authority: Authority, tmp_path: Path, secret: Path, issue: str, tls: TlsMode | None
) -> None:
    wrong = authority.issue("evil.example") if issue == "other name" else Authority(tmp_path, "Nobody").issue(HOST)
    said: list[str] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS", "AUTH PLAIN")
        await dialogue.secure(wrong.server(), "AUTH PLAIN")

    async with peer(tolerant(script, said)) as hop:
        with pytest.raises(TlsFailed) as failed:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret), tls)
    assert failed.value.result in {TlsResult.CERTIFICATE_HOST_MISMATCH, TlsResult.CERTIFICATE_NOT_TRUSTED}
    assert not said


@pytest.mark.parametrize("answer", ["not offered", "454 4.7.0 no TLS now"])
async def test_no_credential_in_clear(authority: Authority, secret: Path, answer: str) -> None:
    said: list[str] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("AUTH PLAIN LOGIN", *([] if answer == "not offered" else ["STARTTLS"]))
        if answer != "not offered":
            assert await dialogue.hear() == "STARTTLS"
            await dialogue.say(answer)

    async with peer(tolerant(script, said)) as hop:
        with pytest.raises(TlsFailed) as failed:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret))
    assert failed.value.result is TlsResult.STARTTLS_NOT_SUPPORTED
    assert failed.value.reply.is_transient
    assert said in ([], ["QUIT"])


@pytest.fixture(params=["everybody", "empty", "two lines", "long", "missing"])
def unsafe(request: pytest.FixtureRequest, secret: Path) -> tuple[Path, str]:
    """A file that is not used, and why."""
    contents = {"empty": "", "two lines": "a\nb\n", "long": "x" * 20_000}
    if request.param == "missing":
        return secret.with_name("missing"), "No such file"
    if request.param == "everybody":
        secret.chmod(0o604)
        return secret, "chmod o-rwx"
    secret.write_text(contents[request.param], encoding="utf-8")
    return secret, "one line"


async def test_a_credential_that_is_not_safe_is_not_used(authority: Authority, unsafe: tuple[Path, str]) -> None:
    file, why = unsafe
    nowhere = Hop(HOST, ip_address("127.0.0.1"), 9)
    with pytest.raises(LoginRefused, match=why) as refused:
        await run(Recorder(message()), nowhere, authority, RouteAuth(user=USER, password_file=file))
    assert refused.value.reply.is_transient
    assert refused.value.reply.enhanced == "4.3.5"


def test_a_secret_is_its_line(secret: Path) -> None:
    assert read_secret(secret) == PASSWORD.encode()


# -- like any other connection


async def plain_login(dialogue: Dialogue) -> None:
    assert base64.b64decode((await dialogue.hear()).split()[2]) == f"\0{USER}\0{PASSWORD}".encode()
    await dialogue.say("235 2.7.0 ok")
    assert (await dialogue.hear()).startswith("EHLO ")
    await dialogue.say("250-peer", "250 PIPELINING")


async def test_implicit_tls(authority: Authority, certificate: Certificate, secret: Path) -> None:
    """RFC 8314 section 3.3."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(reader, writer)
        await dialogue.greet("AUTH PLAIN")
        await plain_login(dialogue)
        got.append(await dialogue.take())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate.server())
    hop = Hop(HOST, ip_address("127.0.0.1"), server.sockets[0].getsockname()[1])
    auth = RouteAuth(user=USER, password_file=secret)
    await run(Recorder(message()), hop, authority, auth, TlsMode.IMPLICIT)
    server.close()
    assert got == [KEPT]


@pytest.mark.parametrize("where", ["before", "after"])
async def test_only_a_cut_after_the_final_dot_is_in_doubt(
    authority: Authority, certificate: Certificate, secret: Path, where: str
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("STARTTLS")
        await dialogue.secure(certificate.server(), "AUTH PLAIN")
        await plain_login(dialogue)
        await dialogue.accept(await dialogue.envelope())
        if where == "after":
            await dialogue.data()
        dialogue.cut()

    owner = Recorder(message())
    owner.holds_dot = where == "before"
    async with peer(script) as hop:
        _, transaction, in_doubt = await run(owner, hop, authority, RouteAuth(user=USER, password_file=secret))
    assert transaction is not None
    assert in_doubt is (where == "after")


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", "554 5.7.1 you are listed"])
async def test_a_greeting_that_refuses_is_told(authority: Authority, secret: Path, greeting: str) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.say(greeting)
        await dialogue.closed()

    async with peer(script) as hop:
        with pytest.raises(ConnectFailed) as failed:
            await run(Recorder(message()), hop, authority, RouteAuth(user=USER, password_file=secret))
    assert (failed.value.reply.line(), failed.value.reply.verb) == (greeting, Verb.CONNECT)
