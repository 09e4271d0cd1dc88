"""What a mail that came back means, and what it proves."""

from collections.abc import Mapping, Sequence

import pytest

from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.feedback import FeedbackKind
from mailagent.api.smtp import SmtpReply
from mailagent.outcome.feedback.mime import Fields
from mailagent.outcome.return_path import BounceToken
from mailagent.returns.examination import Examiner, Finding
from mailagent.returns.mailbox import Envelope
from mailagent.returns.sent import Sent
from tests.agent.outcome.feedback import samples
from tests.agent.returns.test_desk import PATHS, book, path

SENT = Sent(recipient="user@a.example", sender="shop@a.example", message_id="M", stream="news", provider="gmail")


class Known:
    """Knows what a test says was sent."""

    def __init__(self, sent: Sent | None = SENT, of_header: Sent | None = None) -> None:
        self._sent = sent
        self._of_header = of_header

    def gather(self, tokens: Sequence[BounceToken]) -> None:
        pass

    def of_token(self, token: BounceToken) -> Sent:
        return self._sent or Sent(message_id=token.message_id, n=token.n)

    def of_header(self, original: Fields, addresses: tuple[str, ...]) -> Sent | None:
        return self._of_header


def classify(reply: SmtpReply, provider: str) -> Verdict:
    bad = reply.enhanced == "5.1.1"
    return Verdict(
        category=Category.BAD_MAILBOX if bad else Category.OTHER,
        action=Action.SUPPRESS if bad else Action.FAIL,
        scope=Scope.ADDRESS,
        rule="test",
    )


def examine(message: bytes, *recipients: str, sender: str = "", known: Known | None = None) -> list[Finding]:
    envelope = Envelope(id="1", at=0, client="192.0.2.1", sender=sender, recipients=recipients or (path(),))
    return Examiner(book(), PATHS, known or Known(), classify, ["news"]).examine(envelope, message)


def only(message: bytes, *recipients: str, sender: str = "", known: Known | None = None) -> Finding:
    (finding,) = examine(message, *recipients, sender=sender, known=known)
    return finding


def dsn(*groups: Mapping[str, str]) -> bytes:
    blocks = ["Reporting-MTA: dns; mx.example", *("\n".join(f"{k}: {v}" for k, v in g.items()) for g in groups)]
    return samples.report("\n\n".join(blocks))


def failed(address: str, status: str = "5.1.1", action: str = "failed") -> dict[str, str]:
    return {"Final-Recipient": f"rfc822; {address}", "Action": action, "Status": status}


def test_a_bounce_at_its_return_path_suppresses_the_recipient_whatever_address_it_names() -> None:
    finding = only(dsn(failed("forwarded@elsewhere.example")))
    assert (finding.kind, finding.sent, finding.suppresses) == (FeedbackKind.BOUNCE, SENT, True)


def test_the_group_that_names_the_recipient_counts() -> None:
    finding = only(dsn(failed("other@a.example"), failed("USER@a.example", "5.7.1")))
    assert finding.status is not None
    assert finding.status.status == "5.7.1"
    assert not finding.suppresses


def test_a_delay_is_a_status() -> None:
    finding = only(dsn(failed("user@a.example", "4.4.1", "delayed")))
    assert (finding.kind, finding.verdict, finding.suppresses) == (FeedbackKind.STATUS, None, False)


def test_another_hosts_bounce_suppresses_only_the_address_that_its_token_confirms() -> None:
    elsewhere = Known(None)
    assert only(dsn(failed("User@a.example")), known=elsewhere).suppresses
    finding = only(dsn(failed("victim@a.example")), known=elsewhere)
    assert (finding.kind, finding.sent.recipient, finding.suppresses) == (FeedbackKind.BOUNCE, "", False)


def test_a_vacation_note_at_a_return_path_counts_as_such() -> None:
    assert only(samples.VACATION).kind is FeedbackKind.AUTO_REPLY


def test_a_bounce_to_the_address_for_complaints_proves_nothing() -> None:
    finding = only(samples.GMAIL, "fbl@fbl.example")
    assert (finding.kind, finding.proven) == (FeedbackKind.UNREAD, False)
    assert finding.keep


def test_a_complaint_is_found_by_the_return_path_that_it_returns() -> None:
    message = samples.YAHOO_ARF.replace(b"b+token@bounce.example.com", path().encode())
    finding = only(message, "fbl@fbl.example", sender="feedback@arf.mail.yahoo.com")
    assert (finding.kind, finding.sent, finding.suppresses) == (FeedbackKind.COMPLAINT, SENT, True)


def test_jmrp_is_found_by_its_return_path() -> None:
    message = samples.JMRP_OLD.replace(b"b+token@bounce.example.com", path().encode())
    assert only(message, "fbl@fbl.example", sender="staff@hotmail.com").suppresses


def test_a_complaint_that_nothing_proves_is_shown_and_suppresses_nobody() -> None:
    finding = only(samples.YAHOO_ARF, "fbl@fbl.example", sender="x@y.example")
    assert (finding.kind, finding.sent.recipient, finding.suppresses) == (
        FeedbackKind.COMPLAINT,
        "someone@yahoo.com",
        False,
    )


def test_a_complaint_is_found_by_our_received_field() -> None:
    assert only(samples.YAHOO_ARF, "fbl@fbl.example", known=Known(of_header=SENT)).suppresses


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "virus", "other"])
def test_other_types_of_reports_suppress_nobody(kind: str) -> None:
    message = samples.YAHOO_ARF.replace(b"Feedback-Type: abuse", f"Feedback-Type: {kind}".encode())
    finding = only(message.replace(b"b+token@bounce.example.com", path().encode()), "fbl@fbl.example")
    assert (finding.kind, finding.proven, finding.suppresses) == (FeedbackKind.COMPLAINT, True, False)


UNSUBSCRIBE = PATHS.unsubscribe("Reader@a.example") + "@bounce.example"


@pytest.mark.parametrize(
    "message",
    [
        b"From: Reader <reader@A.example>\nSubject: unsubscribe\n\n",
        b"From: Reader <alias@b.example>\nSubject: unsubscribe reader@a.example\n\n",
    ],
)
def test_an_unsubscribe_is_for_the_address_that_its_token_was_made_for(message: bytes) -> None:
    finding = only(message, UNSUBSCRIBE, sender="reader@a.example")
    assert (finding.kind, finding.sent.recipient.lower(), finding.suppresses) == (
        FeedbackKind.UNSUBSCRIBE,
        "reader@a.example",
        True,
    )


def test_nobody_unsubscribes_somebody_else() -> None:
    finding = only(b"From: me@b.example\nSubject: unsubscribe victim@a.example\n\n", UNSUBSCRIBE)
    assert (finding.kind, finding.suppresses) == (FeedbackKind.UNREAD, False)


def test_each_address_of_ours_has_its_finding() -> None:
    found = examine(
        samples.GMAIL, path(), "abuse@fbl.example", "dmarc@fbl.example", "tlsrpt@fbl.example", "x@y.example"
    )
    assert [finding.kind for finding in found] == [
        FeedbackKind.BOUNCE,
        FeedbackKind.PEOPLE,
        FeedbackKind.DMARC,
        FeedbackKind.TLS,
    ]


def test_mail_whose_address_a_reload_took_away_is_kept() -> None:
    finding = only(samples.GMAIL, "x@gone.example")
    assert (finding.kind, bool(finding.keep)) == (FeedbackKind.UNREAD, True)


def test_an_unsubscribe_may_be_for_one_stream() -> None:
    message = b"From: Reader <reader@A.example>\nSubject: unsubscribe\n\n"
    one = only(message, PATHS.unsubscribe("reader@a.example", "news") + "@bounce.example")
    assert (one.kind, one.sent.stream, one.suppresses) == (FeedbackKind.UNSUBSCRIBE, "news", True)
    assert only(message, UNSUBSCRIBE).sent.stream == ""
    gone = only(message, PATHS.unsubscribe("reader@a.example", "gone") + "@bounce.example")
    assert gone.kind is FeedbackKind.UNREAD


def test_a_complaint_about_our_mail_counts_at_the_abuse_address_too() -> None:
    message = samples.YAHOO_ARF.replace(b"b+token@bounce.example.com", path().encode())
    assert only(message, "abuse@bounce.example").suppresses
    assert only(samples.YAHOO_ARF, "abuse@bounce.example").kind is FeedbackKind.PEOPLE
