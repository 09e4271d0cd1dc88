"""TLS on the way out, to a real Postfix and through it: levels, DANE by a real resolver, and an account of its own."""

import hashlib
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.agent.delivery.test_sts import policy_host
from tests.agent.dns.responder import responding
from tests.agent.dns.unbound import unbound
from tests.certificates import DAY, Authority, Certificate
from tests.conftest import program
from tests.integration.postfix import postfix
from tests.integration.processes import agent, free_port, until
from tests.integration.rig import Rig
from tests.integration.sink import Sink

pytestmark = [
    pytest.mark.needs("root", "postfix"),
    pytest.mark.timeout(120),
]

YAML = """\
host: mx1
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
intake:
  listeners: [{{address: 127.0.0.1, port: {port}}}]
  relay_from: [127.0.0.0/8]
virtual_mtas:
  a1: {{address: 127.0.1.1, ehlo: a1.example.test}}
pools: {{default: {{active: [a1]}}}}
streams: {{default: {{pool: default}}}}
retry: {{waits: [1s], jitter: 0}}
"""
DOMAIN = "x.example"
MX = "mx.x.example"
USER, PASSWORD = "relay", "s3cret"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that Postfix's processes may enter."""
    with TemporaryDirectory(prefix="mailagent-tls-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def authority(place: Path) -> Authority:
    return Authority(place)


def tls_settings(certificate: Certificate, sink: Sink) -> dict[str, str]:
    """A Postfix with TLS that passes everything on to `sink`."""
    return {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(certificate.file),
        "smtpd_tls_key_file": str(certificate.key),
        "smtpd_tls_loglevel": "1",
        "relayhost": f"[127.0.0.1]:{sink.port}",
        "smtp_tls_security_level": "none",
    }


class Relay:
    """client -> agent -> Postfix -> sink."""

    def __init__(self, rig: Rig, log: Path) -> None:
        self.rig = rig
        self.log = log

    async def postfix_says(self, pattern: str) -> None:
        async def check() -> bool:
            return re.search(pattern, self.log.read_text(encoding="utf-8")) is not None

        await until(check, f"{pattern} in Postfix's log")

    async def waits_for(self, recipient: str, word: str) -> None:
        """An attempt for the one message to `recipient` got a reply with `word`."""
        try:
            await self.rig.explained(
                recipient, lambda detail: any(word in attempt.reply.line() for attempt in detail.attempts), word
            )
        except AssertionError as exc:
            detail = await self.rig.explain(recipient)
            raise AssertionError(f"{exc}\n{detail.attempts}\n{self.log.read_text(encoding='utf-8')}") from None

    async def tls_of(self, recipient: str) -> str:
        """What accounting says of its delivery."""
        await self.rig.stop()
        lines = [one for one in self.rig.accounting() if one["recipient"] == recipient and one["type"] == "delivered"]
        return str(lines[-1]["tls"])


@asynccontextmanager
async def relay(
    place: Path, settings: dict[str, str], text: str, *, sink: Sink, port: int, sasl: str = ""
) -> AsyncIterator[Relay]:
    """The whole path; `text` is added to the agent's file, `{postfix}` being the port of Postfix."""
    directory = place / "agent"
    directory.mkdir()
    own = free_port()
    with postfix(place / "postfix", port, settings, sasl=sasl) as log:
        head = YAML.format(port=own) + text
        with agent(directory, head, own) as one:
            async with responding() as unused:
                made = Rig(one, sink, unused, head)
                try:
                    yield Relay(made, log)
                finally:
                    await made.hang_up()


def mx_sections(dns_port: int, port: int, ca: Path, mode: str, more: str = "") -> str:
    return (
        f'dns: {{servers: ["127.0.0.1:{dns_port}"]{more}}}\n'
        f"delivery: {{port: {port}, allow_networks: [127.0.0.0/8]}}\n"
        f"tls: {{mode: {mode}, ca_file: {ca}}}\n"
    )


@asynccontextmanager
async def zone() -> AsyncIterator[int]:
    async with responding() as responder:
        responder.add(DOMAIN, "MX", f"10 {MX}.")
        responder.add(MX, "A", "127.0.0.1")
        yield responder.port


@pytest.mark.parametrize("mode", ["opportunistic", "required", "verify"])
async def test_mail_goes_to_postfix_by_tls_and_through_it(place: Path, authority: Authority, mode: str) -> None:
    port = free_port()
    async with Sink() as sink, zone() as dns:
        settings = tls_settings(authority.issue(MX), sink)
        async with relay(place, settings, mx_sections(dns, port, authority.file, mode), sink=sink, port=port) as path:
            await path.rig.accepted(*(f"u{n}@{DOMAIN}" for n in range(20)))
            await path.rig.delivered(*(f"u{n}@{DOMAIN}" for n in range(20)))
            await path.postfix_says(r"Anonymous TLS connection established from \S+\[127\.0\.1\.1\]: TLSv1\.3")
            word = "verified" if mode == "verify" else "unverified"
            assert re.fullmatch(rf"TLSv1\.3 TLS_AES_\w+ {word}", await path.tls_of(f"u1@{DOMAIN}"))
    assert set(sink.received.values()) == {1}


@pytest.mark.parametrize("trouble", ["other name", "expired", "no tls"])
async def test_mail_that_wants_more_than_postfix_has_waits_and_is_not_lost(
    place: Path, authority: Authority, trouble: str
) -> None:
    port = free_port()
    async with Sink() as sink, zone() as dns:
        settings = tls_settings(_certificate(authority, trouble), sink)
        if trouble == "no tls":
            settings["smtpd_tls_security_level"] = "none"
        word = {"other name": "certificate-host-mismatch", "expired": "certificate-expired"}.get(trouble, "STARTTLS")
        before, after = (mx_sections(dns, port, authority.file, mode) for mode in ("verify", "opportunistic"))
        async with relay(place, settings, before, sink=sink, port=port) as path:
            await path.rig.accepted(f"u@{DOMAIN}")
            await path.waits_for(f"u@{DOMAIN}", word)
            assert not sink.received
            path.rig.agent.config.write_text(YAML.format(port=path.rig.port) + after, encoding="utf-8")
            await path.rig.do("reload")
            await path.rig.delivered(f"u@{DOMAIN}")
    assert sink.received == {f"u@{DOMAIN}": 1}


def _certificate(authority: Authority, trouble: str) -> Certificate:
    if trouble == "expired":
        return authority.issue(MX, valid_for=-DAY)
    return authority.issue("other.example" if trouble == "other name" else MX)


@pytest.mark.parametrize("right", [True, False])
async def test_an_mta_sts_policy_holds_its_domains_mail_and_no_other_also_after_a_restart(
    place: Path, authority: Authority, right: bool
) -> None:
    """Two domains with one MX host, one of them with a policy."""
    port = free_port()
    served = authority.issue(f"mta-sts.{DOMAIN}").server()
    async with Sink() as sink, responding() as dns, policy_host(served) as policies:
        for domain in (DOMAIN, "y.example"):
            dns.add(domain, "MX", f"10 {MX}.")
        dns.add(MX, "A", "127.0.0.1")
        dns.add(f"mta-sts.{DOMAIN}", "A", "127.0.0.1")
        dns.add(f"_mta-sts.{DOMAIN}", "TXT", '"v=STSv1; id=1;"')
        text = mx_sections(dns.port, port, authority.file, "opportunistic").replace(
            "mode: opportunistic", f"mta_sts: {{port: {policies.port}, ca_file: {authority.file}}}"
        )
        settings = tls_settings(authority.issue(MX if right else "other.example"), sink)
        async with relay(place, settings, text, sink=sink, port=port) as path:
            for n in range(2):
                await path.rig.accepted(f"u{n}@y.example", f"u{n}@{DOMAIN}")
                await path.rig.delivered(f"u{n}@y.example")
                if right:
                    await path.rig.delivered(f"u{n}@{DOMAIN}")
                else:
                    await path.waits_for(f"u{n}@{DOMAIN}", f"the MTA-STS policy of {DOMAIN} wants TLS")
                await path.rig.stop()
                del dns.zone[f"_mta-sts.{DOMAIN}", "TXT"]  # as an attacker would
                dns.add(f"_mta-sts.{DOMAIN}", "TXT", "nothing")
                await path.rig.start()
            if right:
                assert (await path.tls_of(f"u1@{DOMAIN}")).endswith(" verified")
    assert len(policies.asked) == 1
    assert sum(sink.received.values()) == (4 if right else 2)


@pytest.mark.needs("unbound")
async def test_dane_by_a_signed_zone(place: Path, authority: Authority) -> None:
    port = free_port()
    certificate = authority.issue("any.name.example")
    digest = hashlib.sha256(certificate.spki).hexdigest()
    records = (
        f"@ 300 IN MX 10 mx\nmx 300 IN A 127.0.0.1\n_{port}._tcp.mx 300 IN TLSA 3 1 1 {digest}\n"
        f"wrong 300 IN MX 10 mx2\nmx2 300 IN A 127.0.0.1\n_{port}._tcp.mx2 300 IN TLSA 3 1 1 {'00' * 32}\n"
    )
    async with Sink() as sink, unbound(place / "unbound", {DOMAIN: records}) as dns:
        text = mx_sections(dns.servers[0].port, port, authority.file, "opportunistic", ", validating: true")
        async with relay(place, tls_settings(certificate, sink), text, sink=sink, port=port) as path:
            await path.rig.accepted(f"u@{DOMAIN}", f"u@wrong.{DOMAIN}")
            await path.rig.delivered(f"u@{DOMAIN}")
            await path.waits_for(f"u@wrong.{DOMAIN}", "tlsa-invalid")
            assert (await path.tls_of(f"u@{DOMAIN}")).endswith(" dane")
    assert sink.received == {f"u@{DOMAIN}": 1}


SASL = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_local_domain": "postfix.example.test",
    "smtpd_tls_auth_only": "yes",
    "mynetworks": "192.0.2.1/32",
    "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
}
"""Of a Postfix where only users of its own may relay."""


def account(directory: Path) -> str:
    """What Cyrus SASL reads, with one account in a database of its own."""
    database = directory / "sasldb2"
    command = [str(program("saslpasswd2")), "-c", "-p", "-f", str(database), "-u", "postfix.example.test", USER]
    subprocess.run(command, input=PASSWORD.encode(), check=True)
    database.chmod(0o644)
    return (
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: PLAIN LOGIN CRAM-MD5\n"
    )


@pytest.mark.needs("saslpasswd2")
async def test_a_route_logs_in_at_postfix_and_waits_while_the_password_is_wrong(
    place: Path, authority: Authority
) -> None:
    port = free_port()
    secret = place / "password"
    _put(secret, "wrong")
    text = f"""\
tls: {{ca_file: {authority.file}}}
routes: [{{match: "*", to: "127.0.0.1:{port}", auth: {{user: {USER}, password_file: {secret}}}}}]
"""
    async with Sink() as sink:
        settings = tls_settings(authority.issue("127.0.0.1"), sink) | SASL
        async with relay(place, settings, text, sink=sink, port=port, sasl=account(place)) as path:
            await path.rig.accepted(f"u@{DOMAIN}")
            await path.waits_for(f"u@{DOMAIN}", "535 5.7.8")
            _put(secret, PASSWORD)
            await path.rig.restart()  # else the queue rests for five minutes
            await path.rig.accepted(*(f"u{n}@{DOMAIN}" for n in range(20)))
            await path.rig.delivered(f"u@{DOMAIN}", *(f"u{n}@{DOMAIN}" for n in range(20)))
            await path.postfix_says(rf"client=\S+\[127\.0\.1\.1\], sasl_method=PLAIN, sasl_username={USER}")
            assert (await path.tls_of(f"u1@{DOMAIN}")).endswith(" verified")
    assert set(sink.received.values()) == {1}


def _put(secret: Path, text: str) -> None:
    secret.write_text(text + "\n", encoding="ascii")
    secret.chmod(0o600)
