"""What a report that comes back says, whatever form it came in."""

from enum import StrEnum

import msgspec

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.outcome.feedback.mime import Fields


class Action(StrEnum):
    """What became of a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class RecipientStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says about one recipient."""

    address: str  # as the reporter names it
    original: str = ""  # as we gave it in ORCPT, empty when not told
    action: Action
    status: str  # RFC 3463; agrees with the diagnostic, whatever the Status field said
    code: int = 0  # SMTP reply code of the diagnostic, 0 when it has none
    diagnostic: str = ""
    remote_mta: str = ""

    @property
    def permanent(self) -> bool:
        """Whether the peer refused for good; a message that only ran out of time says nothing about the address."""
        return self.action is Action.FAILED and self.status.startswith("5")

    @property
    def reply(self) -> SmtpReply:
        """The diagnostic as a reply to RCPT, for the rules of classification."""
        code = self.code or (550 if self.permanent else 450)
        return SmtpReply(code=code, enhanced=self.status, text=self.diagnostic, verb=Verb.RCPT)


class BounceReport(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery status notification, or a bounce in an MTA's own words."""

    form: str  # `dsn`, or the name of the notice's form
    recipients: tuple[RecipientStatus, ...]
    reporting_mta: str = ""
    envelope_id: str = ""  # our ENVID
    original: Fields = Fields()  # header of the message it is about, as far as it came back


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """A feedback report (RFC 5965), or what a loop sends instead of one."""

    form: str  # `arf`, or the name of the loop's own form
    type: str  # abuse, fraud, virus, not-spam, auth-failure, opt-out, other …
    user_agent: str = ""
    reporting_mta: str = ""
    source_ip: str = ""
    original_sender: str = ""
    recipients: tuple[str, ...] = ()  # as told; often hashed or left out
    domains: tuple[str, ...] = ()
    envelope_id: str = ""
    incidents: int = 1
    feedback_id: str = ""  # Feedback-ID of the message: campaign, tenant, stream, sender
    original: Fields = Fields()


class AutoReply(msgspec.Struct, frozen=True, kw_only=True):
    """An automatic answer (RFC 3834): not a bounce, never counted."""

    why: str  # the field that gives it away


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing that we know; kept for a person."""

    why: str


Reading = BounceReport | Complaint | AutoReply | Unread
