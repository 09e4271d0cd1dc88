"""From one mail that came back to what it means. Pure but for the look-up of what was sent, which it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailagent.api.classification import Action as RuleAction
from mailagent.api.classification import Category, Scope, Verdict
from mailagent.api.feedback import FeedbackKind
from mailagent.api.smtp import SmtpReply
from mailagent.outcome.feedback.arf import read_complaint
from mailagent.outcome.feedback.auto_reply import auto_reply
from mailagent.outcome.feedback.mime import Fields, read_parts
from mailagent.outcome.feedback.notices import addresses_in
from mailagent.outcome.feedback.reader import read_report
from mailagent.outcome.feedback.reports import Action, AutoReply, BounceReport, Complaint, RecipientStatus, Unread
from mailagent.outcome.return_path import BounceToken, ReturnPaths, UnsubscribeToken
from mailagent.returns.addresses import AddressBook, Ours, Purpose
from mailagent.returns.mailbox import Envelope
from mailagent.returns.sent import Sent

SUPPRESSING = frozenset({"abuse", "fraud", "opt-out", "opt-out-list", "complaint"})
"""Types of complaints that mean: no more of this to me."""

COMPLAINED = Verdict(category=Category.FEEDBACK, action=RuleAction.SUPPRESS, scope=Scope.ADDRESS, rule="feedback")
UNSUBSCRIBED = Verdict(category=Category.FEEDBACK, action=RuleAction.SUPPRESS, scope=Scope.ADDRESS, rule="unsubscribe")

NOTHING = Sent()

Classify = Callable[[SmtpReply, str], Verdict]
"""(reply, provider) -> what it means."""


class Lookup(Protocol):
    """What is known of mail that has left."""

    def gather(self, tokens: Sequence[BounceToken]) -> None:
        """Prepare for questions about these."""

    def of_token(self, token: BounceToken) -> Sent:
        """By its return path."""

    def of_header(self, original: Fields, addresses: tuple[str, ...]) -> Sent | None:
        """By the header that a report returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one mail says about one recipient."""

    kind: FeedbackKind
    sent: Sent = NOTHING
    verdict: Verdict | None = None  # of a bounce, a complaint, an unsubscribe
    status: RecipientStatus | None = None
    complaint: Complaint | None = None
    form: str = ""
    reporting_mta: str = ""
    keep: str = ""  # why the mail is kept for a person; empty: it is not
    proven: bool = False  # it is about mail of ours, to this recipient

    @property
    def suppresses(self) -> bool:
        """Whether its recipient gets no more mail at once."""
        return (
            self.proven
            and bool(self.sent.recipient)
            and self.verdict is not None
            and self.verdict.action is RuleAction.SUPPRESS
        )


class Examiner:
    """Reads mails. Blocks on the disk for look-ups."""

    def __init__(
        self, book: AddressBook, paths: ReturnPaths, lookup: Lookup, classify: Classify, streams: Sequence[str] = ()
    ) -> None:
        """`streams` are those that an unsubscribe may be for."""
        self._streams = ("", *streams)
        self._book = book
        self._paths = paths
        self._lookup = lookup
        self._classify = classify

    def prepare(self, envelopes: Sequence[Envelope]) -> None:
        """Look up together what `examine` of these mails will ask for."""
        found = [self._book.look_up(address) for envelope in envelopes for address in envelope.recipients]
        self._lookup.gather(
            [ours.token for ours in found if isinstance(ours, Ours) and isinstance(ours.token, BounceToken)]
        )

    def examine(self, envelope: Envelope, message: bytes) -> list[Finding]:
        """What the mail says, one finding for each of its recipients that is ours."""
        findings = []
        for address in dict.fromkeys(envelope.recipients):
            ours = self._book.look_up(address)
            if isinstance(ours, Ours):  # a reload may have taken it away
                findings.append(self._examine(ours, envelope, message))
        return findings or [Finding(kind=FeedbackKind.UNREAD, keep="its address is no longer ours")]

    def _examine(self, ours: Ours, envelope: Envelope, message: bytes) -> Finding:
        match ours.purpose:
            case Purpose.PEOPLE:
                return self._people(message)
            case Purpose.DMARC:
                return Finding(kind=FeedbackKind.DMARC, keep="DMARC report")
            case Purpose.TLS:
                return Finding(kind=FeedbackKind.TLS, keep="TLS report")
        if isinstance(ours.token, UnsubscribeToken):
            return self._unsubscribe(ours.token, message)
        sent = self._lookup.of_token(ours.token) if isinstance(ours.token, BounceToken) else None
        reading = read_report(message, null_sender=not envelope.sender)
        if isinstance(reading, Complaint):
            return self._complaint(reading, sent)
        if isinstance(reading, AutoReply):
            return Finding(kind=FeedbackKind.AUTO_REPLY, sent=sent or NOTHING, form=reading.why)
        if isinstance(reading, Unread):
            return Finding(kind=FeedbackKind.UNREAD, sent=sent or NOTHING, keep=reading.why)
        if sent is None or not isinstance(ours.token, BounceToken):
            return Finding(kind=FeedbackKind.UNREAD, keep="a bounce, to an address for complaints")
        return self._bounce(reading, ours.token, sent)

    def _people(self, message: bytes) -> Finding:
        """Mail for postmaster or abuse; a complaint about mail of ours needs no person, wherever a loop sends it."""
        complaint = read_complaint(read_parts(message))
        if complaint is not None and (finding := self._complaint(complaint, None)).proven:
            return finding
        return Finding(kind=FeedbackKind.PEOPLE, keep="for postmaster")

    def _bounce(self, report: BounceReport, token: BounceToken, sent: Sent) -> Finding:
        status = self._status_of(report, token)
        if not sent.recipient:  # another host sent it, or accounting is gone: the token confirms the report's address
            named = (status.original, status.address)
            confirmed = next((name for name in named if name and self._paths.is_for(token, name)), "")
            sent = Sent(message_id=sent.message_id, n=sent.n, recipient=confirmed)
        failed = status.action is Action.FAILED
        return Finding(
            kind=FeedbackKind.BOUNCE if failed else FeedbackKind.STATUS,
            sent=sent,
            verdict=self._classify(status.reply, sent.provider) if failed else None,
            status=status,
            form=report.form,
            reporting_mta=report.reporting_mta,
            proven=True,
        )

    def _status_of(self, report: BounceReport, token: BounceToken) -> RecipientStatus:
        """What the report says about the token's recipient: by address, else the worst, since all of it came to us."""
        for status in report.recipients:
            if any(name and self._paths.is_for(token, name) for name in (status.original, status.address)):
                return status
        return min(report.recipients, key=lambda status: (not status.permanent, status.action is not Action.FAILED))

    def _complaint(self, complaint: Complaint, sent: Sent | None) -> Finding:
        sent = sent or self._complained_about(complaint)
        recipient = complaint.recipients[0] if complaint.recipients else ""
        return Finding(
            kind=FeedbackKind.COMPLAINT,
            sent=sent or Sent(recipient=recipient),
            verdict=COMPLAINED if complaint.type in SUPPRESSING else None,
            complaint=complaint,
            form=complaint.form,
            reporting_mta=complaint.reporting_mta,
            proven=sent is not None,
        )

    def _complained_about(self, complaint: Complaint) -> Sent | None:
        """By return path (in the header or in the report), else by our Received field; None when it is not ours."""
        original = complaint.original
        paths = (complaint.original_sender, *original.all("return-path"), *original.all("x-original-return-path"))
        for path in paths:
            for address in addresses_in(path):
                ours = self._book.look_up(address)
                if isinstance(ours, Ours) and isinstance(ours.token, BounceToken):
                    sent = self._lookup.of_token(ours.token)
                    if sent.recipient:
                        return sent
                    named = next((name for name in complaint.recipients if self._paths.is_for(ours.token, name)), "")
                    return Sent(message_id=sent.message_id, n=sent.n, recipient=named)
        return self._lookup.of_header(original, complaint.recipients)

    def _unsubscribe(self, token: UnsubscribeToken, message: bytes) -> Finding:
        root = read_parts(message)[0].fields
        if why := auto_reply(root):
            return Finding(kind=FeedbackKind.AUTO_REPLY, form=why)
        named = [
            address for name in ("from", "subject", "reply-to", "sender") for address in addresses_in(root.get(name))
        ]
        subscriber, stream = next(
            (
                (address, stream)
                for address in named
                for stream in self._streams
                if self._paths.is_for(token, address, stream)
            ),
            ("", ""),
        )
        if not subscriber:
            return Finding(
                kind=FeedbackKind.UNREAD, keep="an unsubscribe from an address that the token was not made for"
            )
        return Finding(
            kind=FeedbackKind.UNSUBSCRIBE,
            sent=Sent(recipient=subscriber, stream=stream),
            verdict=UNSUBSCRIBED,
            form="mailto",
            proven=True,
        )
