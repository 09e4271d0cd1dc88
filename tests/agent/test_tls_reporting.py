"""TLS reports: what is counted, who gets it and how it looks (RFC 8460)."""

import email.message
import email.policy
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.parser import BytesParser
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import dns.rcode
import msgspec
import pytest

from mailagent.api.ids import ProviderName, SiteName
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig, Delivery
from mailagent.config.tls import MtaSts, Tls, TlsMode, TlsReports
from mailagent.delivery import TlsFailed, TlsPolicies, TlsResult
from mailagent.delivery.tally import MAX_FAILURES, NO_POLICY, Applied, Failure, Tally
from mailagent.delivery.tls import PolicyType
from mailagent.dns import MxHost, Resolver
from mailagent.intake.submission import Submission
from mailagent.outcome.tls_report import Post, destinations, report
from mailagent.routing import Hop, Site
from mailagent.tls_reporting import MAX_TRIES, RETRY_S, SPREAD_S, Due, TlsReporting
from tests.agent.delivery.peer import Recorder, Script, message, peer
from tests.agent.delivery.test_sts import POLICY, PolicyHost, policy_host
from tests.agent.delivery.test_tls import in_clear, spawn, taking
from tests.agent.dns.responder import Responder, responding
from tests.agent.routing.configs import agent
from tests.certificates import Authority

MX = "mx.x.example"
SITE = Site(name=SiteName(MX), provider=ProviderName("default"), hosts=(MxHost(10, MX),))
NOON = datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp()
FAILED = Failure(TlsResult.CERTIFICATE_EXPIRED, "192.0.2.1", MX, "192.0.2.2", "certificate has expired")


# -- text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([b"v=TLSRPTv1;rua=mailto:reports@example.com"], ("reports@example.com",)),
        (
            [b"v=TLSRPTv1; rua=mailto:a@b.example,https://r.example/v1/tlsrpt;"],
            ("a@b.example", Post("r.example", 443, "/v1/tlsrpt")),
        ),
        ([b"v=TLSRPTv1; rua=https://R.example:8443"], (Post("r.example", 8443, "/"),)),
        ([b"v=spf1 -all", b"v=TLSRPTv1; rua=mailto:a@b.example!10m"], ()),
        ([b"v=TLSRPTv1; rua=mailto:a@b.example?subject=x"], ("a@b.example",)),
        ([b"v=TLSRPTv1; rua=mailto:a@b.example", b"v=TLSRPTv1; rua=mailto:a@b.example"], ()),
        ([b"v=TLSRPTv1; rua=http://r.example/"], ()),
        ([b"v=TLSRPTv1; rua=mailto:a%0d%0aBcc:x@b.example"], ()),
        ([b"v=TLSRPTv1; rua=https://r.example:99999/"], ()),
        ([b"v=TLSRPTv1"], ()),
        ([b"v=TLSRPTv12; rua=mailto:a@b.example"], ()),
        ([], ()),
    ],
)
def test_rfc8460_3_who_wants_reports(texts: list[bytes], expected: tuple[object, ...]) -> None:
    assert destinations(texts) == expected


def test_rfc8460_4_4_a_report() -> None:
    tally = Tally()
    sts = Applied(PolicyType.STS, ("version: STSv1", "mode: testing"), ("*.mail.example",))
    tally.success("x.example", sts)
    tally.failure("x.example", sts, FAILED)
    tally.failure("x.example", sts, FAILED)
    tally.success("x.example", NO_POLICY)
    begin = datetime(2030, 1, 31, tzinfo=UTC)
    end = datetime(2030, 1, 31, 23, 59, 59, tzinfo=UTC)
    content = report(
        list(tally), organization="Us", contact="tls@us.example", domain="x.example", begin=begin, end=end, id="1@us"
    )
    assert json.loads(content) == {
        "organization-name": "Us",
        "date-range": {"start-datetime": "2030-01-31T00:00:00Z", "end-datetime": "2030-01-31T23:59:59Z"},
        "contact-info": "tls@us.example",
        "report-id": "1@us",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": "x.example",
                    "mx-host": ["*.mail.example"],
                },
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 2},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "192.0.2.1",
                        "receiving-mx-hostname": MX,
                        "receiving-ip": "192.0.2.2",
                        "failed-session-count": 2,
                        "failure-reason-code": "certificate has expired",
                    }
                ],
            },
            {
                "policy": {"policy-type": "no-policy-found", "policy-domain": "x.example"},
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
            },
        ],
    }


def test_kinds_of_failure_are_bounded_and_still_counted() -> None:
    tally = Tally()
    for n in range(MAX_FAILURES + 50):
        tally.failure("x.example", NO_POLICY, FAILED._replace(remote=str(n)))
    (row,) = tally
    assert (row.failures, len(row.kinds)) == (MAX_FAILURES + 50, MAX_FAILURES)


# -- counting


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def zone() -> AsyncIterator[Responder]:
    async with responding() as responder:
        responder.add("_mta-sts.x.example", "TXT", '"v=STSv1; id=1;"')
        responder.add("mta-sts.x.example", "A", "127.0.0.1")
        responder.add("_smtp._tls.x.example", "TXT", '"v=TLSRPTv1; rua=mailto:tls@x.example"')
        yield responder


@pytest.fixture
async def host(authority: Authority) -> AsyncIterator[PolicyHost]:
    async with policy_host(authority.issue("mta-sts.x.example").server()) as one:
        yield one


def config(authority: Authority, *, sts_port: int = 9, mode: TlsMode = TlsMode.OPPORTUNISTIC) -> AgentConfig:
    return agent(
        state_dir=authority.directory,
        delivery=Delivery(allow_networks=(ip_network("127.0.0.0/8"),)),
        tls=Tls(
            mode=mode,
            ca_file=authority.file,
            mta_sts=MtaSts(port=sts_port, ca_file=authority.file),
            reports=TlsReports(organization="Us", contact="tls@us.example"),
        ),
    )


async def sent(made: TlsPolicies, script: Script, *messages: Any) -> Recorder:
    """Messages over one connection to the site."""
    owner = Recorder(*messages)
    async with peer(script) as hop:
        security = made.towards(SITE, messages[0].recipients[0])
        await owner.run(Hop(MX, hop.address, hop.port), security=security)
    return owner


def counted(made: TlsPolicies) -> dict[tuple[str, str], tuple[int, int, list[str]]]:
    return {
        (row.domain, row.policy.type.value): (row.successes, row.failures, [kind.result for kind, _ in row.kinds])
        for row in made.tally
    }


async def test_each_domain_counts_once_for_a_connection(authority: Authority, zone: Responder) -> None:
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority), resolver, spawn)

    async def script(dialogue: Any) -> None:
        await dialogue.greet("STARTTLS")
        await dialogue.secure(authority.issue(MX).server(), "PIPELINING")
        for _ in range(3):
            await dialogue.accept(await dialogue.envelope())
            await dialogue.data()
            await dialogue.say("250 kept")
        assert await dialogue.hear() == "QUIT"
        await dialogue.say("221 bye")

    await sent(made, script, message(b"u@a.example"), message(b"v@A.example"), message(b"u@b.example"))
    await resolver.close()
    assert counted(made) == {
        ("a.example", "no-policy-found"): (1, 0, []),
        ("b.example", "no-policy-found"): (1, 0, []),
    }


async def test_clear_text_is_a_failure_with_its_reason(authority: Authority, zone: Responder) -> None:
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority), resolver, spawn)
    await sent(made, in_clear([]), message(b"u@a.example"))
    await resolver.close()
    assert counted(made) == {("a.example", "no-policy-found"): (0, 1, ["starttls-not-supported"])}


async def test_a_connection_that_required_tls_kept_from_standing_is_a_failure(
    authority: Authority, zone: Responder
) -> None:
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority, mode=TlsMode.REQUIRED), resolver, spawn)
    with pytest.raises(TlsFailed):
        await sent(made, in_clear([]), message(b"u@a.example"))
    await resolver.close()
    assert counted(made) == {("a.example", "no-policy-found"): (0, 1, ["starttls-not-supported"])}


@pytest.mark.parametrize("name", [MX, "other.example"])
@pytest.mark.parametrize("mode", ["enforce", "testing"])
async def test_sessions_of_a_domain_with_a_policy(
    authority: Authority, zone: Responder, host: PolicyHost, name: str, mode: str
) -> None:
    host.body = POLICY.replace("enforce", mode).encode()
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority, sts_port=host.port), resolver, spawn)
    await made.discover("x.example")
    made.found("x.example", SITE)
    certificate = authority.issue(name)

    async def script(dialogue: Any) -> None:
        try:
            await dialogue.greet("STARTTLS")
            await dialogue.secure(certificate.server(), "PIPELINING")
            if mode == "testing" or name == MX:
                await dialogue.take()
            else:
                await dialogue.hear()
                await dialogue.say("221 bye")
        except OSError:
            dialogue.cut()

    await sent(made, script, message(b"u@x.example"))
    await resolver.close()
    good = (1, 0, []) if name == MX else (0, 1, ["certificate-host-mismatch"])
    assert counted(made) == {("x.example", "sts"): good}


async def test_a_policy_that_cannot_be_fetched_is_told(authority: Authority, zone: Responder, host: PolicyHost) -> None:
    host.body = b"nonsense"
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority, sts_port=host.port), resolver, spawn)
    await made.discover("x.example")
    await sent(made, taking(authority.issue(MX), []), message(b"u@x.example"))
    await resolver.close()
    assert counted(made) == {
        ("x.example", "sts"): (0, 1, ["sts-policy-invalid"]),
        ("x.example", "no-policy-found"): (1, 0, []),
    }


async def test_rfc8460_3_a_report_goes_in_spite_of_broken_tls_and_is_not_counted(
    authority: Authority, zone: Responder, host: PolicyHost
) -> None:
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority, sts_port=host.port), resolver, spawn)
    await made.discover("x.example")
    made.found("x.example", SITE)
    got: list[bytes] = []
    made.reported.add(b"tls@x.example")
    owner = Recorder(msgspec.structs.replace(message(b"tls@x.example"), sender=b"tls@us.example"))
    async with peer(in_clear(got)) as hop:
        await owner.run(Hop(MX, hop.address, hop.port), security=made.towards(SITE, b"tls@x.example"))
    await resolver.close()
    assert len(got) == 1
    assert not made.tally


async def test_other_mail_from_the_contact_is_held_to_the_policy(
    authority: Authority, zone: Responder, host: PolicyHost
) -> None:
    resolver = Resolver(zone.config)
    made = TlsPolicies(config(authority, sts_port=host.port), resolver, spawn)
    await made.discover("x.example")
    made.found("x.example", SITE)
    made.reported.add(b"tls@x.example")

    async def script(dialogue: Any) -> None:
        await dialogue.greet("PIPELINING")
        assert await dialogue.hear() == "QUIT"
        await dialogue.say("221 bye")

    owner = await sent(made, script, msgspec.structs.replace(message(b"u@x.example"), sender=b"tls@us.example"))
    await resolver.close()
    assert "before_dot" not in owner.names()


# -- a day


class Desk:
    """Takes mail as the queue would."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.answer = SmtpReply(code=250)

    def __call__(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
        self.taken.append(submission)
        done(self.answer)


class Day:
    """A reporting with a clock that tests turn."""

    def __init__(self, authority: Authority, zone: Responder) -> None:
        self.now = NOON
        self.zone = zone
        self.desk = Desk()
        self.config = config(authority)
        self.resolver = Resolver(zone.config, clock=lambda: self.now)
        self.start()

    def start(self) -> None:
        self.policies = TlsPolicies(self.config, self.resolver, spawn)
        self.reporting = TlsReporting(
            self.config, self.policies, self.resolver, self.desk, clock=lambda: self.now, random=Random(1)
        )

    async def midnight(self) -> None:
        self.now = datetime(2030, 2, 1, 0, 0, 30, tzinfo=UTC).timestamp()
        await self.reporting.look()

    async def later(self, seconds: float) -> None:
        self.now += seconds
        await self.reporting.look()


@pytest.fixture
async def day(authority: Authority, zone: Responder) -> AsyncIterator[Day]:
    one = Day(authority, zone)
    yield one
    await one.resolver.close()


async def test_rfc8460_5_3_the_day_s_report_by_mail(day: Day) -> None:
    day.policies.tally.success("x.example", NO_POLICY)
    day.policies.tally.success("silent.example", NO_POLICY)
    await day.midnight()
    await day.later(SPREAD_S)
    (mail,) = day.desk.taken
    assert day.policies.reported == {b"tls@x.example"}
    assert (mail.sender, mail.recipients, mail.plain) == (b"tls@us.example", (b"tls@x.example",), True)
    parsed = BytesParser(_class=email.message.EmailMessage, policy=email.policy.SMTP).parsebytes(mail.body)
    assert parsed["TLS-Report-Domain"] == "x.example"
    assert parsed["TLS-Report-Submitter"] == "us.example"
    assert parsed["Subject"].startswith("Report Domain: x.example Submitter: us.example Report-ID: <2030-01-31.")
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "tlsrpt"
    _, attachment = parsed.iter_parts()
    assert attachment.get_content_type() == "application/tlsrpt+gzip"
    assert attachment.get_filename() == "us.example!x.example!1896048000!1896134399.json.gz"
    assert mail.body.isascii()
    assert b"\n" not in mail.body.replace(b"\r\n", b"")
    content = json.loads(gzip.decompress(attachment.get_content()))
    assert content["policies"][0]["summary"]["total-successful-session-count"] == 1
    assert mail.headers[b"from"] == b"tls@us.example"
    assert not day.policies.tally
    await day.later(RETRY_S)
    assert len(day.desk.taken) == 1


async def test_a_report_waits_while_dns_fails_and_the_queue_is_closed(day: Day) -> None:
    day.policies.tally.success("x.example", NO_POLICY)
    day.zone.rcode = dns.rcode.SERVFAIL
    await day.midnight()
    await day.later(SPREAD_S)
    assert not day.desk.taken
    day.zone.rcode = None
    day.desk.answer = SmtpReply(code=451)
    await day.later(RETRY_S)
    assert len(day.desk.taken) == 1
    day.desk.answer = SmtpReply(code=250)
    await day.later(RETRY_S)
    await day.later(RETRY_S)
    assert len(day.desk.taken) == 2


async def test_a_report_that_breaks_does_not_hold_up_the_others(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    day.zone.add("_smtp._tls.y.example", "TXT", '"v=TLSRPTv1; rua=mailto:tls@y.example"')
    mail = day.reporting._mail

    async def broken(to: str, one: Due) -> str:
        if one.domain == "x.example":
            raise UnicodeError
        return await mail(to, one)

    monkeypatch.setattr(day.reporting, "_mail", broken)
    for domain in ("x.example", "y.example"):
        day.policies.tally.success(domain, NO_POLICY)
    await day.midnight()
    await day.later(SPREAD_S)
    assert [mail.recipients for mail in day.desk.taken] == [(b"tls@y.example",)]


async def test_a_report_that_nobody_takes_is_given_up(day: Day) -> None:
    day.policies.tally.success("x.example", NO_POLICY)
    day.desk.answer = SmtpReply(code=451)
    await day.midnight()
    await day.later(SPREAD_S)
    for _ in range(MAX_TRIES + 5):
        await day.later(RETRY_S)
    assert len(day.desk.taken) == MAX_TRIES


async def test_counts_and_reports_survive_a_restart(day: Day) -> None:
    day.policies.tally.failure("x.example", Applied(PolicyType.STS, ("a",), ("b",)), FAILED)
    await day.reporting.save()
    day.start()
    assert [(row.domain, row.failures, row.kinds) for row in day.policies.tally] == [("x.example", 1, [(FAILED, 1)])]
    await day.midnight()
    day.start()
    assert not day.policies.tally
    await day.later(SPREAD_S)
    assert len(day.desk.taken) == 1


async def test_rfc8460_5_4_a_report_by_https(day: Day, host: PolicyHost) -> None:
    day.zone.add("_smtp._tls.x.example", "TXT", f'"v=TLSRPTv1; rua=https://mta-sts.x.example:{host.port}/r"')
    day.policies.tally.success("x.example", NO_POLICY)
    await day.midnight()
    host.head = b"HTTP/1.1 503 busy\r\n"
    await day.later(SPREAD_S)
    host.head = b"HTTP/1.1 201 Created\r\n"
    await day.later(RETRY_S)
    await day.later(RETRY_S)
    assert len(host.asked) == 2
    request = host.asked[1].decode("latin-1")
    assert request.startswith("POST /r HTTP/1.1\r\n")
    assert "Content-Type: application/tlsrpt+gzip\r\n" in request
    assert not day.desk.taken


async def test_nothing_is_counted_or_reported_unless_configured(authority: Authority, zone: Responder) -> None:
    resolver = Resolver(zone.config)
    made = TlsPolicies(agent(state_dir=authority.directory), resolver, spawn)
    await sent(made, in_clear([]), message(b"u@a.example"))
    await resolver.close()
    assert not made.tally
