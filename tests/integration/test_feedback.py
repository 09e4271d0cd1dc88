"""What comes back: return paths through a real agent, bounces and complaints at its feedback listener."""

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mailagent.api.feedback import FeedbackEvent, FeedbackKind, FeedbackView
from mailagent.outcome.return_path import FILE_NAME, ReturnPaths, load_keys
from mailagent.returns.mailbox import Envelope, Mailbox
from tests.integration.client import Session, hand_in
from tests.integration.postfix import postfix
from tests.integration.processes import free_port, until
from tests.integration.rig import POOLS, SOON, Rig, rig
from tests.integration.sink import Sink

TEXT = (
    POOLS.replace("marketing: {pool: marketing}", "marketing: {pool: marketing, bounces: {domain: bounce.example}}")
    + SOON
    + "feedback: {domains: [fbl.example], postmaster: ops@corp.example, max_recipients: 5}\n"
)
DSN = """\
From: MAILER-DAEMON@mx.a.example\r
To: {path}\r
Subject: Undelivered\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r
\r
--x\r
Content-Type: text/plain\r
\r
It failed.\r
--x\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.a.example\r
\r
Final-Recipient: rfc822; somebody@else.example\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 no such user\r
\r
--x--\r
"""
ARF = """\
From: feedback@arf.provider.example\r
To: fbl@fbl.example\r
Subject: complaint\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=feedback-report; boundary="x"\r
\r
--x\r
Content-Type: message/feedback-report\r
\r
Feedback-Type: abuse\r
User-Agent: Provider/1\r
Version: 1\r
Source-IP: 127.0.1.1\r
\r
--x\r
Content-Type: text/rfc822-headers\r
\r
{headers}\r
--x--\r
"""


class Returns:
    """A rig with a feedback listener."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.rig = rig
        self.port = port

    async def path_of(self, recipient: str) -> str:
        """The MAIL FROM that the receiver saw for `recipient`."""
        await self.rig.delivered(recipient)
        (mail,) = self.rig.sink.attempts(recipient)
        assert mail.recipients == [recipient]
        return mail.sender

    async def bring(self, recipient: str, text: str, *, sender: str = "") -> str:
        """Hand a mail in as a stranger: the last reply."""
        return await hand_in(self.port, recipient, sender=sender, body=text)

    async def event(self, kind: FeedbackKind) -> FeedbackEvent:
        """Wait for an event of a kind."""
        found: list[FeedbackEvent] = []

        async def check() -> bool:
            found[:] = [event for event in (await self.view()).last if event.kind is kind]
            return bool(found)

        await until(check, f"a {kind}")
        return found[0]

    async def view(self) -> FeedbackView:
        """What came back so far."""
        seen: FeedbackView = await self.rig.call("feedback")
        return seen


@asynccontextmanager
async def returns(directory: Path) -> AsyncIterator[Returns]:
    port = free_port()
    async with rig(directory, TEXT, listener=f"}}, {{address: 127.0.0.1, port: {port}, kind: feedback") as one:
        yield Returns(one, port)


def lines_of(one: Rig, kind: str) -> list[dict[str, Any]]:
    return [line for line in one.accounting() if line["type"] == kind]


async def test_a_late_bounce_is_mapped_back_by_its_return_path_alone(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        reply = await one.rig.send("late@a.example", "fine@a.example", headers="X-Job: spring\r\n")
        queued_as = reply.rsplit(" ", 1)[1]
        path = await one.path_of("late@a.example")
        assert path.endswith("@bounce.example")
        assert len(path.partition("@")[0]) <= 64
        assert await one.path_of("fine@a.example") != path
        answer = await one.bring(path.swapcase(), DSN.format(path=path))
        assert answer.startswith("250"), answer
        event = await one.event(FeedbackKind.BOUNCE)
        assert (event.recipient, event.message_id, event.n) == ("late@a.example", queued_as, 0)
        assert (event.sender, event.stream, event.pool, event.job) == (
            "a@sender.example",
            "marketing",
            "marketing",
            "spring",
        )
        assert event.vmta in {"mkt-1", "mkt-2"}
        assert (event.status, event.category, event.suppressed) == ("5.1.1", "bad-mailbox", True)
        view = await one.view()
        assert view.lag.samples == 1
        assert (view.rates[0].delivered, view.rates[0].bounces) >= (1, 1)
        assert view.pending == 0
        assert [count.count for count in view.counts] == [1]
        await one.rig.stop()
        (line,) = lines_of(one.rig, "remote-bounced")
        assert (line["recipient"], line["message_id"], line["sender"]) == (
            "late@a.example",
            queued_as,
            "a@sender.example",
        )
        assert (line["dsn_action"], line["reporting_mta"], line["enhanced"]) == ("failed", "mx.a.example", "5.1.1")
        assert not list((tmp_path / "state/feedback/new").iterdir())


async def test_strangers_reach_nothing_but_addresses_of_ours(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        await one.rig.accepted("late@a.example")
        path = await one.path_of("late@a.example")
        session, _ = await Session.open(one.port)
        await session.say("EHLO stranger.example")
        await session.say("MAIL FROM:<>")
        forged = path.replace("@", "x@") if path[41] == "x" else path[:41] + "x@bounce.example"
        for address in (
            "user@gmail.example",  # no relay, though 127.0.0.1 lies in relay_from
            "user@bounce.example",
            forged,
            path.replace("bounce.example", "other.example"),
            "nonsense",
        ):
            assert (await session.say(f"RCPT TO:<{address}>")).startswith("550 5.1.1"), address
        for address in (path, "fbl@fbl.example", "Abuse+x@bounce.example", "postmaster", "dmarc@fbl.example"):
            assert (await session.say(f"RCPT TO:<{address}>")).startswith("250"), address
        assert (await session.say("RCPT TO:<tlsrpt@fbl.example>")).startswith("452")
        await session.close()
        assert (await one.view()).refused == {"unknown": 4, "forged": 1}


async def test_a_complaint_is_found_by_our_received_field(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        reply = await one.rig.send("angry@a.example", sender="a@tx.example")  # a stream without return paths
        await one.rig.delivered("angry@a.example")
        (mail,) = one.rig.sink.attempts("angry@a.example")
        assert mail.sender == "a@tx.example"
        headers = mail.data.partition(b"\r\n\r\n")[0].decode()
        assert (await one.bring("fbl@fbl.example", ARF.format(headers=headers), sender="x@y.example")).startswith("250")
        event = await one.event(FeedbackKind.COMPLAINT)
        assert (event.recipient, event.message_id) == ("angry@a.example", reply.rsplit(" ", 1)[1])
        assert (event.type, event.form, event.pool, event.vmta) == ("abuse", "arf", "tx", "tx-1")
        assert event.suppressed
        assert "suppression list (complaint)" in await one.rig.send("Angry@a.example")
        await one.rig.stop()
        (line,) = lines_of(one.rig, "feedback")
        assert (line["feedback_type"], line["feedback_format"], line["user_agent"]) == ("abuse", "arf", "Provider/1")


async def test_a_reader_unsubscribes_from_one_stream_by_mail(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        keys = load_keys(tmp_path / "state" / FILE_NAME)
        address = ReturnPaths(keys, "").unsubscribe("reader@a.example", "marketing") + "@fbl.example"
        text = "From: Reader <Reader@a.example>\r\nSubject: unsubscribe\r\n\r\n"
        assert (await one.bring(address, text, sender="reader@a.example")).startswith("250")
        event = await one.event(FeedbackKind.UNSUBSCRIBE)
        assert (event.recipient, event.stream, event.suppressed) == ("Reader@a.example", "marketing", True)
        await one.rig.accepted("reader@a.example", sender="a@tx.example")
        await one.rig.delivered("reader@a.example")
        await one.rig.accepted("reader@a.example", "other@a.example")
        await one.rig.delivered("other@a.example")
        assert one.rig.sink.received["reader@a.example"] == 1


async def test_mail_for_postmaster_is_passed_on_with_the_null_sender(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        text = "From: a@b.example\r\nSubject: help\r\n\r\nsomebody sends me mail\r\n"
        assert (await one.bring("postmaster@bounce.example", text, sender="a@b.example")).startswith("250")
        await one.rig.delivered("ops@corp.example")
        (mail,) = one.rig.sink.attempts("ops@corp.example")
        assert mail.sender == ""
        assert b"Subject: help" in mail.data


async def test_what_was_stored_before_a_crash_is_read_after_it(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        await one.rig.accepted("late@a.example")
        path = await one.path_of("late@a.example")
        await one.rig.stop()
        mailbox = Mailbox(tmp_path / "state/feedback")
        mailbox.open()
        envelope = Envelope(id="0" * 17, at=1_900_000_000.0, client="192.0.2.1", sender="", recipients=(path,))
        mailbox.store(envelope, DSN.format(path=path).encode())
        await one.rig.start()
        event = await one.event(FeedbackKind.BOUNCE)
        assert (event.id, event.recipient) == ("0" * 17, "late@a.example")


async def test_after_kill_9_an_acknowledged_bounce_has_its_effect_under_one_event_id(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        await one.rig.accepted(*(f"late{n}@a.example" for n in range(5)))
        paths = [await one.path_of(f"late{n}@a.example") for n in range(5)]
        for path in paths:
            assert (await one.bring(path, DSN.format(path=path))).startswith("250")
        await one.rig.restart(signal.SIGKILL)

        async def done() -> bool:
            return not list((tmp_path / "state/feedback/new").iterdir())

        await until(done, "all of it is read")
        for n in range(5):
            assert "suppression list (hard-bounce)" in await one.rig.send(f"late{n}@a.example")
        await one.rig.stop()
        lines = lines_of(one.rig, "remote-bounced")
        assert {line["recipient"] for line in lines} == {f"late{n}@a.example" for n in range(5)}
        assert len({line["event"] for line in lines}) == 5


async def test_what_cannot_be_read_is_kept(tmp_path: Path) -> None:
    async with returns(tmp_path) as one:
        await one.rig.accepted("late@a.example")
        path = await one.path_of("late@a.example")
        assert (await one.bring(path, "Subject: hm\r\n\r\nbare\nline ends\r\n")).startswith("250")
        event = await one.event(FeedbackKind.UNREAD)
        assert (event.recipient, event.suppressed) == ("late@a.example", False)
        view = await one.view()
        assert view.kept == 1
        (kept,) = (tmp_path / "state/feedback/kept").iterdir()
        assert b"Subject: hm" in kept.read_bytes()


def _entered(place: str, port: int, settings: dict[str, str]) -> AbstractContextManager[Path]:
    """A Postfix in a directory that its processes may enter, whatever becomes of pytest's own."""
    Path(place).chmod(0o755)
    return postfix(Path(place) / "postfix", port, settings)


@pytest.mark.needs("root", "postfix")
async def test_a_real_postfix_takes_the_mail_and_bounces_it_later(tmp_path: Path) -> None:
    port, relay = free_port(), free_port()
    text = TEXT + f'routes: [{{match: gone.example, to: "127.0.0.1:{relay}"}}]\n'
    async with Sink() as behind:
        behind.refuse = lambda *_: b"550 5.1.1 no such user here\r\n"
        settings = {
            "transport_maps": f"inline:{{{{gone.example = smtp:[127.0.0.1]:{behind.port}}}}}",
            "relayhost": f"[127.0.0.1]:{port}",
        }
        with TemporaryDirectory(prefix="mailagent-postfix-", dir="/tmp") as place, _entered(place, relay, settings):
            async with rig(tmp_path, text, listener=f"}}, {{address: 127.0.0.1, port: {port}, kind: feedback") as made:
                one = Returns(made, port)
                await made.accepted("User@gone.example")
                event = await one.event(FeedbackKind.BOUNCE)
                assert (event.recipient, event.form, event.status) == ("User@gone.example", "dsn", "5.1.1")
                assert event.suppressed
                assert "suppression list" in await made.send("user@gone.example")
                await made.stop()
                (line,) = lines_of(made, "remote-bounced")
                assert line["reporting_mta"] == "postfix.example.test"
                assert "no such user here" in line["text"]
