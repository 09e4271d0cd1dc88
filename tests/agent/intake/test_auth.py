"""AUTH (RFC 4954): mechanisms, refusals, and what users may do."""

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api import credentials
from mailagent.api.credentials import Scope
from mailagent.api.smtp import SmtpReply
from mailagent.config import structs
from mailagent.config.intake import ListenerAuth
from mailagent.intake import users as users_module
from mailagent.intake.sasl import INVALID_TOKEN, MAX_LINE, MECHANISMS, BadExchange, Exchange, Login
from mailagent.intake.users import BAD, User, Users
from mailagent.spool.records import Credential, CredentialUse, Secret
from tests.agent.intake.doubles import KeepingGate, Talk
from tests.agent.intake.test_listener import LOOPBACK, client, running

SECRET = "correct horse"
DIGEST = credentials.digest(SECRET)
CLIENT = "192.0.2.1"


ANYTHING = Scope()


def credential(user: str = "shop", *, digests: tuple[str, ...] = (DIGEST,), **more: Any) -> Credential:
    secrets = tuple(Secret(digest=digest) for digest in digests)
    fields: dict[str, Any] = {"scope": ANYTHING, "created_at": 0, "created_by": "alice", "secrets": secrets} | more
    return Credential(user=user, **fields)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def known(*found: Credential, clock: Clock | None = None) -> Users:
    return Users([(one, CredentialUse(one.user, 0, "")) for one in found], clock or Clock())


async def log_in(users: Users, login: Login, client: str = CLIENT) -> User | SmtpReply:
    answer: asyncio.Future[User | SmtpReply] = asyncio.get_running_loop().create_future()
    users.authenticate(login, client, answer.set_result)
    async with asyncio.timeout(20):
        return await answer


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def open_talk(auth: ListenerAuth = ListenerAuth.LOCAL, **more: Any) -> Talk:
    talk = Talk(may_relay=False, auth=auth, **more)
    talk.send(b"EHLO client.test\r\n")
    return talk


def verdict(talk: Talk, result: User | SmtpReply) -> bytes:
    """The replies once the gate has judged the login."""
    login, talk.session.login = talk.session.login, None
    assert login is not None
    talk.session.authenticated(result, bearer=login.bearer and result is BAD)
    return talk.session.take_output()


@pytest.fixture
def user() -> User:
    return User(credential(), CredentialUse("shop", 0, ""), Clock())


# -- the exchange


@pytest.mark.parametrize(
    "lines",
    [
        [b"AUTH PLAIN " + b64("\0shop\0correct horse")],  # RFC 4616
        [b"AUTH PLAIN " + b64("shop\0shop\0correct horse")],
        [b"auth plain", b64("\0shop\0correct horse")],
        [b"AUTH LOGIN", b64("shop"), b64("correct horse")],
        [b"AUTH LOGIN " + b64("shop"), b64("correct horse")],
        [b"AUTH OAUTHBEARER " + b64("n,a=shop,\1host=mx\1port=587\1auth=Bearer shop.correct horse\1\1")],  # RFC 7628
        [b"AUTH OAUTHBEARER", b64("n,,\1auth=bearer shop.correct horse\1\1")],
        [b"AUTH XOAUTH2 " + b64("user=shop\1auth=Bearer shop.correct horse\1\1")],
    ],
)
def test_every_mechanism_finds_name_and_secret(lines: list[bytes], user: User) -> None:
    talk = open_talk()
    for line in lines[:-1]:
        assert talk.send(line + b"\r\n").startswith(b"334 ")
    assert talk.send(lines[-1] + b"\r\n") == b""
    assert talk.session.login is not None
    assert talk.session.login[:2] == ("shop", SECRET)
    assert verdict(talk, user) == b"235 2.7.0 Authentication succeeded\r\n"
    assert talk.send(b"AUTH PLAIN\r\n").startswith(b"503 5.5.1 ")
    assert b"AUTH" not in talk.send(b"EHLO client.test\r\n")


def test_login_asks_in_the_usual_words() -> None:
    talk = open_talk()
    assert talk.send(b"AUTH LOGIN\r\n") == b"334 VXNlcm5hbWU6\r\n"
    assert talk.send(b64("shop") + b"\r\n") == b"334 UGFzc3dvcmQ6\r\n"


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ([b"AUTH"], b"501 5.5.4"),
        ([b"AUTH CRAM-MD5"], b"504 5.5.4"),
        ([b"AUTH PLAIN a b"], b"501 5.5.4"),
        ([b"AUTH PLAIN ***"], b"501 5.5.2"),
        ([b"AUTH PLAIN ="], b"501 5.5.2"),
        ([b"AUTH PLAIN " + b64("shop")], b"501 5.5.2"),
        ([b"AUTH PLAIN " + b64("other\0shop\0secret")], b"501 5.5.2"),
        ([b"AUTH PLAIN " + base64.b64encode(b"\0\xff\0x")], b"501 5.5.2"),
        ([b"AUTH PLAIN", b"*"], b"501 5.7.0"),  # RFC 4954 section 4
        ([b"AUTH LOGIN", b64("shop"), b"*"], b"501 5.7.0"),
        ([b"AUTH PLAIN", b"A" * (MAX_LINE + 4)], b"500 5.5.6"),
        ([b"AUTH OAUTHBEARER " + b64("p=tls-unique,,\1auth=Bearer x\1\1")], b"501 5.5.2"),
        ([b"AUTH XOAUTH2 " + b64("user=shop\1\1")], b"501 5.5.2"),
        ([b"MAIL FROM:<a@one.test>"], b"530 5.7.0"),  # RFC 4954 section 6
    ],
)
def test_what_makes_no_sense_is_refused_and_the_session_goes_on(lines: list[bytes], reply: bytes) -> None:
    talk = open_talk()
    for line in lines[:-1]:
        assert talk.send(line + b"\r\n").startswith(b"334")
    assert talk.send(lines[-1] + b"\r\n").startswith(reply)
    assert talk.send(b"NOOP\r\n").startswith(b"250 ")
    assert talk.session.login is None


def test_passwords_never_go_in_clear() -> None:
    """RFC 4954 section 4: 538 until STARTTLS."""
    talk = open_talk(ListenerAuth.TLS, offers_tls=True)
    assert b"AUTH" not in talk.send(b"EHLO client.test\r\n")
    assert talk.send(b"AUTH PLAIN " + b64("\0shop\0x") + b"\r\n").startswith(b"538 5.7.11 ")
    talk.send(b"STARTTLS\r\n")
    talk.session.secured("TLSv1.3")
    assert b"250-AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n" in talk.send(b"EHLO client.test\r\n")
    for listener in (ListenerAuth.OFF, ListenerAuth.TLS):
        assert open_talk(listener).send(b"AUTH PLAIN\r\n").startswith(b"502 ")


def test_a_bad_token_is_told_in_the_words_of_its_standard() -> None:
    """RFC 7628 section 3.2.3: an error document, a dummy answer, then the refusal."""
    talk = open_talk()
    talk.send(b"AUTH OAUTHBEARER " + b64("n,,\1auth=Bearer none\1\1") + b"\r\n")
    assert verdict(talk, BAD) == b"334 %s\r\n" % INVALID_TOKEN
    assert talk.send(b"AQ==\r\n").startswith(b"535 5.7.8 ")
    assert talk.send(b"NOOP\r\n").startswith(b"250 ")


def test_commands_wait_while_a_login_is_verified(user: User) -> None:
    talk = open_talk()
    talk.send(b"AUTH PLAIN " + b64("\0shop\0x") + b"\r\nMAIL FROM:<a@one.test>\r\n")
    assert verdict(talk, user).splitlines()[1].startswith(b"250 2.1.0")


def test_a_user_may_relay_and_stands_in_the_trace_header(user: User) -> None:
    talk = open_talk()
    talk.send(b"AUTH PLAIN " + b64("\0shop\0x") + b"\r\n")
    verdict(talk, user)
    talk.send(b"MAIL FROM:<a@one.test> AUTH=<>\r\nRCPT TO:<b@two.test>\r\nDATA\r\n")
    talk.send(b"x\r\n.\r\n")
    assert talk.gate.submissions[0].user == "shop"


@given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_any_octets_end_in_a_login_or_a_refusal(mechanism: bytes, words: list[bytes], encoded: bool) -> None:
    exchange = Exchange(mechanism)
    step: Login | bytes = exchange.start(None)
    for word in words:
        if isinstance(step, Login):
            break
        try:
            step = exchange.answer(base64.b64encode(word) if encoded else word)
        except BadExchange:
            break


# -- secrets


def test_digests_tell_their_secret_from_others() -> None:
    assert credentials.matches(SECRET, DIGEST)
    assert not credentials.matches(SECRET + " ", DIGEST)
    assert credentials.digest(SECRET) != DIGEST  # a salt each
    assert len(credentials.new_secret()) == 32


@pytest.mark.parametrize(
    "digest",
    ["", "secret", "md5$1$2$3$AAAA$AAAA", DIGEST.replace("16384", "1024"), DIGEST.replace("16384", "1048576"),
     DIGEST.replace("16384", "20000"), DIGEST[:-8], "scrypt$16384$8$1$$"],
    ids=["empty", "a secret", "md5", "weak", "too costly", "odd cost", "cut off", "no salt"],
)  # fmt: skip
def test_weak_and_damaged_digests_are_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        credentials.check_digest(digest)


async def test_right_and_wrong_secrets() -> None:
    users = known(credential())
    found = await log_in(users, Login("shop", SECRET))
    assert isinstance(found, User)
    assert (found.name, found.use.client) == ("shop", CLIENT)
    assert await log_in(users, Login("shop", "wrong")) is BAD
    assert await log_in(users, Login("nobody", SECRET)) is BAD
    assert await log_in(users, Login("shop", "")) is BAD
    assert [use.user for use in users.take_uses()] == ["shop"]
    assert users.take_uses() == []


async def test_a_busy_client_pays_for_hashing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    users, hashed = known(credential()), []
    matches = credentials.matches

    def counted(secret: str, digest: str) -> bool:
        hashed.append(secret)
        return matches(secret, digest)

    monkeypatch.setattr(credentials, "matches", counted)
    for _ in range(5):
        assert isinstance(await log_in(users, Login("shop", SECRET)), User)
    assert len(hashed) == 1


async def test_a_revoked_an_expired_or_a_rotated_secret_is_worth_nothing_at_once() -> None:
    clock = Clock()
    users = known(credential(), clock=clock)
    user = await log_in(users, Login("shop", SECRET))
    assert isinstance(user, User)
    now = int(clock.now * 1000)
    for worthless in (
        credential(revoked_at=now, digests=()),
        credential(expires_at=now),
        credential(digests=(credentials.digest("new"),)),
    ):
        users.put(worthless)
        assert await log_in(users, Login("shop", SECRET)) is BAD
        users.put(credential())
        assert await log_in(users, Login("shop", SECRET)) is user
    users.put(credential(revoked_at=now, digests=()))
    refusal = user.refusal(b"a@one.test")
    assert refusal is not None
    assert refusal.code == 530


async def test_the_secret_before_is_good_until_its_overlap_ends() -> None:
    clock = Clock()
    until = int(clock.now * 1000) + 60_000
    secrets = (Secret(digest=credentials.digest("new")), Secret(digest=DIGEST, until=until))
    users = known(credential(secrets=secrets), clock=clock)
    assert isinstance(await log_in(users, Login("shop", SECRET)), User)
    assert isinstance(await log_in(users, Login("shop", "new")), User)
    clock.now += 60
    assert await log_in(users, Login("shop", SECRET)) is BAD
    assert isinstance(await log_in(users, Login("shop", "new")), User)


async def test_failed_logins_of_one_client_are_limited_and_forgiven() -> None:
    clock = Clock()
    users = known(credential(), clock=clock)
    first = await log_in(users, Login("shop", SECRET), "192.0.2.9")
    for _ in range(users_module.FAILURES):
        assert await log_in(users, Login("shop", "guess"), "2001:db8::1") is BAD
    for address in ("2001:db8::1", "2001:db8::2"):  # a host has its /64
        refused = await log_in(users, Login("shop", "guess"), address)
        assert isinstance(refused, SmtpReply)
        assert refused.code == 454
    assert await log_in(users, Login("shop", "guess"), "2001:db8:0:1::1") is BAD
    assert await log_in(users, Login("shop", SECRET), "2001:db8::1") is first  # remembered as good
    clock.now += users_module.FORGIVE_S
    assert await log_in(users, Login("shop", "guess"), "2001:db8::1") is BAD


# -- scope


def scoped(clock: Clock | None = None, **scope: Any) -> User:
    return User(credential(scope=Scope(**scope)), CredentialUse("shop", 0, ""), clock or Clock())


@pytest.mark.parametrize(
    ("senders", "sender", "good"),
    [
        ((), b"a@any.test", True),
        ((), b"", True),
        (("One.test",), b"a@one.TEST", True),
        (("one.test",), b"a@sub.one.test", False),
        (("one.test",), b"", False),
        (("one.test", "<>"), b"", True),
        (("xn--bcher-kva.test",), "a@BÜCHER.test".encode(), True),
        (("xn--bcher-kva.test",), b"a@\xff.test", False),
    ],
)
def test_sender_domains(senders: tuple[str, ...], sender: bytes, good: bool) -> None:
    refusal = scoped(senders=senders).refusal(sender)
    assert (refusal is None) is good
    assert good or (refusal is not None and refusal.line().startswith("550 5.7.1 shop may not send from "))


async def test_networks() -> None:
    users = known(credential(scope=Scope(networks=("192.0.2.0/24", "2001:db8::/32"))))
    assert isinstance(await log_in(users, Login("shop", SECRET)), User)
    assert isinstance(await log_in(users, Login("shop", SECRET), "2001:db8::7"), User)
    assert await log_in(users, Login("shop", SECRET), "198.51.100.1") is BAD


def test_a_rate_lets_a_burst_through_and_then_its_pace() -> None:
    clock = Clock()
    user = scoped(clock, rate="60/m")
    taken = 0
    while user.refusal(b"a@one.test") is None:
        taken += 1
    assert taken == 11
    refusal = user.refusal(b"a@one.test")
    assert refusal is not None
    assert refusal.line() == "450 4.7.1 shop has used up its rate of 60/m"
    for _ in range(5):
        clock.now += 1
        assert user.refusal(b"a@one.test") is None
        assert user.refusal(b"a@one.test") is not None


# -- on a socket


async def test_a_login_on_a_socket_and_one_that_fails() -> None:
    gate = KeepingGate()
    gate.users = known(credential())
    opened = structs.Listener(address=LOOPBACK.address, port=0, auth=ListenerAuth.LOCAL)
    async with running(gate, listeners=(opened,), relay_from=()) as intake, client(intake) as (hand, _):
        await hand.say(b"EHLO client.test\r\n")
        assert (await hand.say(b"AUTH PLAIN " + b64("\0shop\0wrong") + b"\r\n")).startswith("535 5.7.8 ")
        assert (await hand.say(b"AUTH PLAIN " + b64("\0shop\0" + SECRET) + b"\r\n")).startswith("235 2.7.0 ")
        await hand.open()
        assert (await hand.say(b"Text\r\n.\r\n")).startswith("250 ")
    assert gate.submissions[0].user == "shop"


async def test_a_client_that_leaves_while_its_login_is_verified_is_forgotten() -> None:
    gate = KeepingGate()
    gate.users = known(credential())
    opened = structs.Listener(address=LOOPBACK.address, port=0, auth=ListenerAuth.LOCAL)
    async with running(gate, listeners=(opened,), relay_from=()) as intake:
        async with client(intake) as (hand, _):
            await hand.say(b"EHLO client.test\r\n")
            hand.writer.write(b"AUTH PLAIN " + b64("\0shop\0" + SECRET) + b"\r\n")
            await hand.writer.drain()
            hand.writer.transport.abort()
        async with asyncio.timeout(20):
            while intake.connections or gate.users._verifying:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


def test_who_is_no_client_of_ours_is_told_how_to_become_one() -> None:
    """RFC 4954 section 6, RFC 3207 section 4: 530."""
    talk = open_talk(ListenerAuth.TLS, offers_tls=True)
    assert talk.send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"530 5.7.0 Say STARTTLS")
    assert open_talk(ListenerAuth.TLS).send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"250 ")
    assert open_talk(ListenerAuth.OFF, offers_tls=True).send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"250 ")


def test_a_login_before_starttls_is_forgotten(user: User) -> None:
    """RFC 3207 section 4.2."""
    talk = open_talk(ListenerAuth.LOCAL, offers_tls=True)
    talk.send(b"AUTH PLAIN " + b64("\0shop\0x") + b"\r\n")
    verdict(talk, user)
    talk.send(b"STARTTLS\r\n")
    talk.session.secured("TLSv1.3")
    talk.send(b"EHLO client.test\r\n")
    assert talk.send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"530 5.7.0 Authentication required")


def test_a_user_who_is_too_fast_is_not_sent_away() -> None:
    talk = open_talk()
    talk.send(b"AUTH PLAIN " + b64("\0shop\0x") + b"\r\n")
    verdict(talk, scoped(rate="1/h"))
    for _ in range(2):
        assert talk.send(b"MAIL FROM:<a@one.test>\r\nRSET\r\n").startswith(b"250 ")
    for _ in range(50):
        assert talk.send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"450 4.7.1 ")
    assert not talk.session.closed
