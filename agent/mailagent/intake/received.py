"""The trace field that we put in front of every message (RFC 5321 section 4.4)."""

from email.utils import formatdate
from functools import lru_cache

from mailagent.intake.submission import Submission


def received_header(submission: Submission, *, hostname: str, message_id: str, received_at: int) -> bytes:
    """`Received:` field with its line end; `received_at` in milliseconds since 1970.

    Names the recipient only when there is one: more would tell each of them about the others. One beyond ASCII is left
    out, so that the field never needs SMTPUTF8.
    """
    protocol = _protocol(submission)
    recipient = ""
    if len(submission.recipients) == 1 and submission.recipients[0].isascii():
        recipient = f"\r\n\tfor <{submission.recipients[0].decode('ascii')}>"
    return (
        f"Received: from {submission.helo} ({address_literal(submission.client)})\r\n"
        f"\tby {hostname} with {protocol} id {message_id}{recipient};\r\n"
        f"\t{rfc5322_date(received_at // 1000)}\r\n"
    ).encode("ascii", "replace")


def _protocol(submission: Submission) -> str:
    """The word after `with` (RFC 3848, RFC 6531 section 4.3)."""
    if not submission.esmtp:
        return "SMTP"
    how = ("S" if submission.tls else "") + ("A" if submission.user else "")
    return f"UTF8SMTP{how}" if submission.utf8 else f"ESMTP{how}"


def address_literal(address: str) -> str:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


@lru_cache(maxsize=8)  # thousands of messages share a second
def rfc5322_date(second: int) -> str:
    """`Tue, 01 Jan 2030 00:00:00 +0000` for seconds since 1970."""
    return formatdate(second)[:-5] + "+0000"
