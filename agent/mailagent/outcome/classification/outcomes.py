"""From a reply and its verdict to an outcome. Pure.

The verb guards what a reply may end: before MAIL the peer judges our address, not the message.

    reply                                             | outcome
    --------------------------------------------------|--------------------------------------
    2yz                                               | Delivered
    4yz, no reply, anything but 2yz and 5yz           | Deferred (greylisted when it is classified so)
    5yz made by us                                    | Bounced
    5yz to connect, EHLO, STARTTLS …                  | Deferred: concerns the source address
    552 or x.5.3 to RCPT                              | Deferred: too many recipients, or a full mailbox
    5yz whose action is retry, backoff, suspend, hold | Deferred, while `patient`
    any other 5yz to MAIL, RCPT, DATA, final dot      | Bounced
"""

from mailagent.api.classification import Action, Category, Verdict
from mailagent.api.outcome import Bounced, Deferred, Delivered, Outcome
from mailagent.api.smtp import SmtpReply, Verb

_ABOUT_THE_MESSAGE = frozenset({Verb.MAIL, Verb.RCPT, Verb.DATA, Verb.DOT})
_PATIENT_ACTIONS = frozenset({Action.RETRY, Action.BACKOFF, Action.SUSPEND, Action.HOLD})


def outcome_of(reply: SmtpReply, verdict: Verdict | None = None, *, patient: bool = True) -> Outcome:
    """What `reply` means for the recipients that it answers; `verdict` of a reply that is not 2yz.

    `patient`: a 5yz whose cause is not the recipient or the message may still be tried again.
    """
    if reply.is_success:
        return Delivered(reply=reply)
    if reply.is_permanent and (reply.local or (reply.verb in _ABOUT_THE_MESSAGE and not too_many_recipients(reply))):
        if reply.local or verdict is None or not patient or verdict.action not in _PATIENT_ACTIONS:
            return Bounced(reply=reply)
        return Deferred(reply=reply)
    return Deferred(reply=reply, greylisted=verdict is not None and verdict.category is Category.GREYLIST)


def too_many_recipients(reply: SmtpReply) -> bool:
    """Whether the peer wants this recipient in another transaction.

    552 to RCPT means this, or a full mailbox; both may work later (RFC 5321 section 4.5.3.1.10).
    """
    if reply.verb is not Verb.RCPT:
        return False
    return reply.code == 552 or reply.enhanced in {"4.5.3", "5.5.3"}
