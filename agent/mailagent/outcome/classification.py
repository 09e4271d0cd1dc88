"""From a reply to an outcome. Pure.

The verb guards what a reply may mean: before MAIL the peer judges our address, not the message.

    reply                                   | outcome
    ----------------------------------------|--------------------------------------
    2yz                                     | Delivered
    4yz, no reply, anything but 2yz and 5yz | Deferred (greylisted when its text says so)
    5yz made by us                          | Bounced
    5yz to connect, EHLO, STARTTLS …        | Deferred: concerns the source address
    552 or x.5.3 to RCPT                    | Deferred: too many recipients
    5yz to MAIL, RCPT, DATA, final dot      | Bounced
"""

import re

from mailagent.api.outcome import Bounced, Deferred, Delivered, Outcome
from mailagent.api.smtp import SmtpReply, Verb

_ABOUT_THE_MESSAGE = frozenset({Verb.MAIL, Verb.RCPT, Verb.DATA, Verb.DOT})

_GREYLIST = re.compile(
    r"gr[ae]y-?\s?list"
    r"|postgrey"
    r"|Internal resources are temporarily unavailable",  # Mimecast
    re.IGNORECASE,
)


def outcome_of(reply: SmtpReply) -> Outcome:
    """What `reply` means for the recipients that it answers."""
    if reply.is_success:
        return Delivered(reply=reply)
    if reply.is_permanent and (reply.local or (reply.verb in _ABOUT_THE_MESSAGE and not too_many_recipients(reply))):
        return Bounced(reply=reply)
    return Deferred(reply=reply, greylisted=is_greylisting(reply))


def too_many_recipients(reply: SmtpReply) -> bool:
    """Whether the peer wants this recipient in another transaction.

    552 to RCPT means this, or a full mailbox; both may work later (RFC 5321 section 4.5.3.1.10).
    """
    if reply.verb is not Verb.RCPT:
        return False
    return reply.code == 552 or reply.enhanced in {"4.5.3", "5.5.3"}


def is_greylisting(reply: SmtpReply) -> bool:
    """Whether a 4yz asks to come back from the same address in a few minutes."""
    return 400 <= reply.code < 500 and _GREYLIST.search(reply.text) is not None
