"""Delivery status notifications: what a sender is told of a recipient (RFC 3461, RFC 3464 in RFC 6522, RFC 6533).

    NOTIFY of RCPT | failed | delayed, after `dsn.delay` | relayed to a peer without DSN
    ---------------|--------|----------------------------|------------------------------
    not given      | yes    | yes, but not for bulk      | no
    NEVER          | no     | no                         | no
    FAILURE        | yes    | no                         | no
    DELAY          | no     | yes                        | no
    SUCCESS        | no     | no                         | yes

The null sender is never told anything. A recipient is reported as delayed once; `after_delay` says what its NOTIFY is
from then on.
"""

import binascii
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum

import msgspec

from mailagent.api.smtp import SmtpReply
from mailagent.intake.parameters import xtext_decoded

MAX_HEADERS = 40_960  # octets of the original's header block that go back; with it a notification stays under 50 KB
MAX_FULL = 262_144  # octets of an original that goes back whole (RET=FULL); of a larger one only the header does
MAX_DIAGNOSTIC = 900  # characters of the reply; unfolded it still fits a line
MAX_ENVELOPE = 500  # characters of ENVID and ORCPT

_CRLF = b"\r\n"


class Action(StrEnum):
    """What is reported (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"


_ASKED_FOR = {Action.FAILED: "FAILURE", Action.DELAYED: "DELAY", Action.RELAYED: "SUCCESS"}
_SUBJECTS = {
    Action.FAILED: "Undelivered Mail Returned to Sender",
    Action.DELAYED: "Delayed Mail (still being retried)",
    Action.RELAYED: "Mail relayed to a system that reports no delivery",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification is made from. Times are milliseconds since 1970."""

    action: Action = Action.FAILED
    reporting_mta: str
    postmaster: str
    sender: bytes  # who is told
    recipient: bytes
    reply: SmtpReply  # a permanent one, or the last transient one
    remote_mta: str  # the peer that gave it, empty when none was reached
    original: bytes  # the message as stored, at least its header
    message_id: str  # queue id of the notification
    original_id: str  # of the message
    received_at: int
    now: int
    retry_until: int = 0  # of a delayed one
    orcpt: str = ""  # as given at RCPT, xtext
    envid: str = ""  # as given at MAIL, xtext
    full: bool = False  # RET=FULL
    utf8: bool = False  # the message needed SMTPUTF8: the sender reads UTF-8


def is_wanted(notify: str, action: Action, *, unasked: bool = True) -> bool:
    """Whether the sender wants to hear of `action`; `unasked`: without a NOTIFY it does."""
    return _ASKED_FOR[action] in notify.split(",") if notify else unasked and action is not Action.RELAYED


def after_delay(notify: str) -> str:
    """NOTIFY of a recipient whose delay was reported."""
    left = [event for event in (notify or "FAILURE,DELAY").split(",") if event != "DELAY"]
    return ",".join(left) or "NEVER"


def notification(report: Report) -> bytes:
    """The notification with canonical CRLF, to be sent from <> to the sender.

    It is 7-bit unless it returns a whole message that is not, or its sender's address is beyond ASCII.

    Raises:
        ValueError: the sender is <>; a notification about a notification would loop (RFC 5321 section 6.1).
    """
    if not report.sender:
        raise ValueError("no notification for the null sender")
    boundary = f"=_{report.message_id}"
    head = [
        f"From: Mail Delivery System <{report.postmaster}>",
        f"To: <{_text(report.sender)}>",
        f"Subject: {_SUBJECTS[report.action]}",
        f"Date: {_date(report.now)}",
        f"Message-ID: <{report.message_id}@{report.reporting_mta}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        "",
        "This is a report in MIME format.",
    ]
    parts = (
        _readable("text/plain", _notice(report), utf8=report.utf8),
        _readable("delivery-status", _status(report), utf8=report.utf8),
        _returned(report),
    )
    delimiter = f"\r\n--{boundary}".encode()
    return _lines(head) + b"".join(delimiter + _CRLF + part for part in parts) + delimiter + b"--\r\n"


def _status(report: Report) -> list[str]:
    """The part for machines: fields of the message, fields of the recipient."""
    reply = report.reply
    kind = "X-Mailagent" if reply.local else "smtp"
    lines = [
        *([f"Original-Envelope-Id: {_decoded(report.envid)}"] if report.envid else []),
        f"Reporting-MTA: dns; {report.reporting_mta}",
        f"X-Queue-ID: {report.original_id}",
        f"Arrival-Date: {_date(report.received_at)}",
        "",
    ]
    if report.orcpt:
        original, _, address = report.orcpt.partition(";")
        # RFC 6533 section 3: unitext only where the report is in UTF-8; its escapes are ASCII
        told = address if original.lower() == "utf-8" else _decoded(address)
        lines.append(f"Original-Recipient: {_clean(original)}; {_clean(told)[:MAX_ENVELOPE]}")
    lines += [
        _final_recipient(report),
        f"Action: {report.action}",
        f"Status: {_status_code(report)}",
    ]
    if report.remote_mta and not reply.local:
        lines.append(f"Remote-MTA: dns; {_clean(report.remote_mta)}")
    lines += _wrap(f"Diagnostic-Code: {kind}; {_diagnostic(reply)}", 76)
    lines.append(f"Last-Attempt-Date: {_date(report.now)}")
    if report.retry_until:
        lines.append(f"Will-Retry-Until: {_date(report.retry_until)}")
    return lines


def _final_recipient(report: Report) -> str:
    if report.recipient.isascii():
        return f"Final-Recipient: rfc822; {_text(report.recipient)}"
    address = _text(report.recipient)
    if not report.utf8:
        address = "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in address)
    return f"Final-Recipient: utf-8; {address}"


def _notice(report: Report) -> list[str]:
    """The part for people."""
    reply, peer = report.reply, _clean(report.remote_mta)
    match report.action:
        case Action.FAILED:
            what = "Your message could not be delivered to this recipient:"
            end = "It will not be tried again. The header of your message is attached."
        case Action.DELAYED:
            what = "Your message could not be delivered yet to this recipient:"
            end = f"It is tried until {_date(report.retry_until)}. You do not need to send it again."
        case Action.RELAYED:
            what = "Your message was handed over for this recipient:"
            end = f"{peer or 'The next mail server'} does not report deliveries: you may hear nothing more of it."
    if report.action is Action.FAILED and reply.is_transient:
        cause = "It was tried until its time was over. The last answer was:"
    elif reply.local or not peer:
        cause = "The reason is:"
    else:
        cause = f"The mail server {peer} answered:"
    recipient = _text(report.recipient) if report.utf8 else _ascii(report.recipient)
    return [
        f"This is the mail system at {report.reporting_mta}.",
        "",
        what,
        "",
        f"    {recipient}",
        "",
        cause,
        "",
        *_wrap(_diagnostic(reply), 72, first="    "),
        "",
        end,
    ]


def _status_code(report: Report) -> str:
    """RFC 3463 status: the peer's own if it agrees with the reply code, else an unspecific one; 4.4.7 is expiry."""
    reply = report.reply
    if report.action is Action.RELAYED:
        return reply.enhanced if reply.enhanced.startswith("2") else "2.0.0"
    if reply.enhanced.startswith("4" if reply.is_transient else "5"):
        return reply.enhanced
    if report.action is Action.DELAYED:
        return "4.0.0"
    return "4.4.7" if reply.is_transient else "5.0.0"


def _returned(report: Report) -> bytes:
    """The last part: the whole message if that was asked for and fits, else its header block, cut at a line."""
    original = report.original
    if report.full and report.action is Action.FAILED and len(original) <= MAX_FULL:
        kind = "message/global" if report.utf8 else "message/rfc822"
        return _part(kind, "7bit" if original.isascii() else "8bit", original)
    start = _CRLF + original[: MAX_HEADERS + 4]
    end = start.find(b"\r\n\r\n")
    headers = start[2:] if end < 0 else start[2 : end + 2]
    plain = headers.isascii()
    limit = MAX_HEADERS if plain else MAX_HEADERS // 3  # quoted-printable may triple it
    if len(headers) > limit:
        headers = headers[: headers.rfind(_CRLF, 0, limit) + 2]
    if plain:
        return _part("text/rfc822-headers", "7bit", headers)
    kind = "message/global-headers" if report.utf8 else "text/rfc822-headers"
    return _part(kind, "quoted-printable", binascii.b2a_qp(headers, istext=True))


def _readable(kind: str, lines: list[str], *, utf8: bool) -> bytes:
    """A part of text: 7-bit when it can be, else UTF-8 as quoted-printable, which `message/global-*` may have."""
    text = "".join(f"{line}\r\n" for line in lines)
    if kind == "delivery-status":
        kind = "message/global-delivery-status" if utf8 else "message/delivery-status"
    else:
        kind = f"{kind}; charset={'us-ascii' if text.isascii() else 'utf-8'}"
    if text.isascii() or not utf8:
        return _part(kind, "7bit", text.encode("ascii", "replace"))
    return _part(kind, "quoted-printable", binascii.b2a_qp(text.encode(), istext=True))


def _part(content_type: str, encoding: str, content: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + content


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def _diagnostic(reply: SmtpReply) -> str:
    return _clean(reply.line())[:MAX_DIAGNOSTIC]


def _date(milliseconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(milliseconds // 1000, UTC))


def _decoded(xtext: str) -> str:
    return _clean(xtext_decoded(xtext))[:MAX_ENVELOPE]


def _text(address: bytes) -> str:
    """An address, UTF-8 as it is, without what could end a line."""
    text = address.decode("utf-8", "replace")
    return "".join(char if char.isprintable() and char != "\ufffd" else "?" for char in text)


def _ascii(address: bytes) -> str:
    return _clean(address.decode("utf-8", "replace"))


def _clean(text: str) -> str:
    """Remote text without what could end a line or make another field."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)


def _wrap(text: str, width: int, *, first: str = "") -> list[str]:
    """`text` in lines of about `width`, all but the first indented; long words (links) stay whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
