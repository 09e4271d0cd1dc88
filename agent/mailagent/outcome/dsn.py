"""Delivery status notification: the report to the sender that a recipient failed (RFC 3464 in RFC 6522)."""

import binascii
import textwrap
from datetime import datetime
from email.utils import format_datetime

import msgspec

from mailagent.api.smtp import SmtpReply

MAX_HEADERS = 40_960  # octets of the original's header block that go back; with it a notification stays under 50 KB
MAX_DIAGNOSTIC = 900  # characters of the reply; unfolded it still fits a line

_CRLF = b"\r\n"


class FailedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification reports."""

    sender: bytes  # of the failed message: who is told
    recipient: bytes
    reply: SmtpReply
    expired: bool = False  # the reply is transient, but the schedule is exhausted
    mx: str = ""  # host name of the peer, empty when none was reached
    message_id: str  # queue id of the failed message
    received_at: datetime
    attempted_at: datetime
    added: bytes  # header block that we put in front
    body: bytes  # as stored


def bounce_dsn(failed: FailedDelivery, *, dsn_id: str, hostname: str, postmaster: str, at: datetime) -> bytes:
    """The notification, 7-bit with canonical CRLF; to be sent from <> to `failed.sender`.

    Returns the original's header block, not its text. `dsn_id` is the notification's own queue id.

    Raises:
        ValueError: the sender is <>; a notification about one would loop (RFC 5321 section 6.1).
    """
    if not failed.sender:
        raise ValueError("no notification for the null sender")
    boundary = f"=_{dsn_id}"
    head = [
        f"From: Mail Delivery System <{postmaster}>",
        f"To: <{_ascii(failed.sender)}>",
        "Subject: Undelivered Mail Returned to Sender",
        f"Date: {format_datetime(at)}",
        f"Message-ID: <{dsn_id}@{hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    headers, encoding = _returned_headers(failed)
    parts = (
        _part("text/plain; charset=us-ascii", "7bit", _lines(_notice(failed, hostname))),
        _part("message/delivery-status", "7bit", _lines(_status(failed, hostname))),
        _part("text/rfc822-headers", encoding, headers),
    )
    delimiter = f"\r\n--{boundary}".encode()
    return _lines(head) + b"".join(delimiter + _CRLF + part for part in parts) + delimiter + b"--\r\n"


def _notice(failed: FailedDelivery, hostname: str) -> list[str]:
    """The part for people."""
    if failed.expired:
        cause = "The message waited until its time was over. The last answer was:"
    elif failed.reply.local:
        cause = "The reason is:"
    else:
        cause = f"The mail server {_clean(failed.mx)} answered:"
    return [
        f"This is the mail system at {hostname}.",
        "",
        "Your message could not be delivered to this recipient:",
        "",
        f"    {_ascii(failed.recipient)}",
        "",
        cause,
        "",
        *_wrap(_diagnostic(failed.reply), 72, first="    "),
        "",
        "It will not be tried again. The header of your message is attached.",
    ]


def _status(failed: FailedDelivery, hostname: str) -> list[str]:
    """The part for machines: fields of the message, an empty line, fields of the recipient."""
    kind = "X-Mailagent" if failed.reply.local else "smtp"
    lines = [
        f"Reporting-MTA: dns; {hostname}",
        f"X-Queue-ID: {failed.message_id}",
        f"Arrival-Date: {format_datetime(failed.received_at)}",
        "",
        f"Final-Recipient: rfc822; {_ascii(failed.recipient)}",
        "Action: failed",
        f"Status: {_status_code(failed)}",
    ]
    if failed.mx and not failed.reply.local:
        lines.append(f"Remote-MTA: dns; {_clean(failed.mx)}")
    lines.extend(_wrap(f"Diagnostic-Code: {kind}; {_diagnostic(failed.reply)}", 76))
    lines.append(f"Last-Attempt-Date: {format_datetime(failed.attempted_at)}")
    return lines


def _status_code(failed: FailedDelivery) -> str:
    """RFC 3463 status: the peer's own when it fits its reply code, else the class alone."""
    enhanced = failed.reply.enhanced
    kind = "4" if failed.expired or failed.reply.is_transient else "5"
    if enhanced.startswith(kind):
        return enhanced
    return "4.4.7" if failed.expired else f"{kind}.0.0"


def _returned_headers(failed: FailedDelivery) -> tuple[bytes, str]:
    """The original's header block, cut at a line, and its transfer encoding."""
    start = failed.body[:MAX_HEADERS]
    end = (_CRLF + start).find(b"\r\n\r\n")
    headers = failed.added + (start if end < 0 else start[:end])
    plain = headers.isascii()
    limit = MAX_HEADERS if plain else MAX_HEADERS // 3  # quoted-printable may triple it
    if len(headers) > limit:
        headers = headers[: headers.rfind(_CRLF, 0, limit) + 2]
    if plain:
        return headers, "7bit"
    return binascii.b2a_qp(headers, istext=True), "quoted-printable"


def _part(content_type: str, encoding: str, content: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + content


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def _diagnostic(reply: SmtpReply) -> str:
    return _clean(reply.line())[:MAX_DIAGNOSTIC]


def _ascii(address: bytes) -> str:
    return _clean(address.decode("ascii", "replace"))


def _clean(text: str) -> str:
    """Remote text without what could end a line or look like another field."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)


def _wrap(text: str, width: int, *, first: str = "") -> list[str]:
    """`text` in lines of about `width`, all but the first indented; long words (addresses of pages) stay whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
