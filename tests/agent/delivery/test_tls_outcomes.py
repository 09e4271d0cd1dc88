"""Every level against every kind of peer: what carries the mail, and that nothing that must not goes in clear."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailagent.config.tls import TlsMode
from mailagent.delivery import Level, TlsFailed
from mailagent.routing import Hop
from tests.agent.delivery.peer import Dialogue, Recorder, message, peer, timeouts
from tests.agent.delivery.test_sts import DOMAIN, MX, SITE, PolicyHost, policies, policy_host
from tests.agent.dns.responder import Responder, responding
from tests.certificates import DAY, Authority, Certificate

CLEAR, ENCRYPTED, VERIFIED, DANE = Level.CLEAR, Level.ENCRYPTED, Level.VERIFIED, Level.DANE
HELD = None
"""The mail waits."""

LEVELS = ["opportunistic", "required", "verify", "mta-sts", "dane"]
OUTCOMES: dict[str, tuple[Level | None, ...]] = {
    "good": (ENCRYPTED, ENCRYPTED, VERIFIED, VERIFIED, DANE),
    "other name": (ENCRYPTED, ENCRYPTED, HELD, HELD, DANE),  # usage 3 minds no names
    "expired": (ENCRYPTED, ENCRYPTED, HELD, HELD, DANE),  # and no dates
    "another key": (ENCRYPTED, ENCRYPTED, HELD, HELD, HELD),
    "no starttls": (CLEAR, HELD, HELD, HELD, HELD),
    "454": (CLEAR, HELD, HELD, HELD, HELD),
    "garbage": (CLEAR, HELD, HELD, HELD, HELD),
    "cut": (CLEAR, HELD, HELD, HELD, HELD),
}
CASES = [
    pytest.param(level, trouble, outcome, id=f"{level}-{trouble}")
    for trouble, outcomes in OUTCOMES.items()
    for level, outcome in zip(LEVELS, outcomes, strict=True)
]


class Peer:
    """Has one kind of trouble with TLS, takes mail however it comes, and remembers what it saw."""

    def __init__(self, trouble: str, certificate: Certificate) -> None:
        self.trouble = trouble
        self.certificate = certificate
        self.taken: list[bool] = []  # of each message: whether it came by TLS

    async def __call__(self, dialogue: Dialogue) -> None:
        secure = False
        try:
            await dialogue.greet(*([] if self.trouble == "no starttls" else ["STARTTLS"]), "PIPELINING")
            line = await dialogue.hear()
            if line == "STARTTLS":
                if self.trouble == "454":
                    await dialogue.say("454 4.7.0 TLS not available")
                else:
                    dialogue.writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await dialogue.say("220 go")
                    if self.trouble == "garbage":
                        dialogue.writer.write(b"nonsense\r\n" * 50)
                    if self.trouble in ("garbage", "cut"):
                        await dialogue.writer.drain()
                        dialogue.cut()
                        return
                    await dialogue.writer.start_tls(self.certificate.server())
                    secure = True
                    await dialogue.hear()
                    await dialogue.say("250-peer", "250 PIPELINING")
                line = await dialogue.hear()
            if line == "QUIT":
                await dialogue.say("221 bye")
                return
            await dialogue.accept([line, *await dialogue.envelope()])
            await dialogue.data()
            self.taken.append(secure)
            await dialogue.say("250 kept")
            await dialogue.hear()
            await dialogue.say("221 bye")
        except OSError:  # the handshake was refused
            dialogue.cut()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def zone() -> AsyncIterator[Responder]:
    async with responding() as responder:
        yield responder


@pytest.fixture
async def host(authority: Authority) -> AsyncIterator[PolicyHost]:
    async with policy_host(authority.issue(f"mta-sts.{DOMAIN}").server()) as one:
        yield one


def certificates(authority: Authority, trouble: str) -> tuple[Certificate, Certificate]:
    """(what the peer has, what its TLSA record names)."""
    if trouble == "another key":
        return Authority(authority.directory, "Nobody").issue(MX), authority.issue("named.example")
    if trouble == "other name":
        has = authority.issue("other.example")
    else:
        has = authority.issue(MX, valid_for=-DAY if trouble == "expired" else DAY)
    return has, has


@pytest.mark.parametrize(("level", "trouble", "expected"), CASES)
async def test_the_outcome_is_the_right_one(
    authority: Authority,
    zone: Responder,
    host: PolicyHost,
    tmp_path: Path,
    level: str,
    trouble: str,
    expected: Level | None,
) -> None:
    has, named = certificates(authority, trouble)
    if level == "mta-sts":
        zone.add(f"mta-sts.{DOMAIN}", "A", "127.0.0.1")
        zone.add(f"_mta-sts.{DOMAIN}", "TXT", '"v=STSv1; id=1;"')
    zone.secure = level == "dane"
    mode = TlsMode(level) if level in ("opportunistic", "required", "verify") else TlsMode.OPPORTUNISTIC
    made, resolver = await policies(zone, host, authority, tmp_path, mode)
    one = Peer(trouble, has)
    owner = Recorder(message(f"u@{DOMAIN}".encode()))
    held = False
    async with peer(one) as hop:
        if level == "dane":
            digest = hashlib.sha256(named.spki).hexdigest()
            zone.add(f"_{hop.port}._tcp.{MX}", "TLSA", f"3 1 1 {digest}")
        try:
            path = Hop(MX, hop.address, hop.port)
            await owner.run(path, security=made.towards(SITE), limits=timeouts(tls=5))
        except TlsFailed as exc:
            held = exc.reply.is_transient
        else:
            (codes,) = [codes for name, codes in owner.events if name == "settled"]
            held = codes == [451]
    await resolver.close()
    if expected is HELD:
        assert held
        assert one.taken == []
    else:
        assert not held
        assert one.taken == [expected > CLEAR]
        assert owner.connection is not None
        assert owner.connection.level is expected


def test_there_are_forty_cases() -> None:
    assert len(CASES) == 40
