"""Delivery status notification: the report to the sender that a recipient failed (RFC 3464 in RFC 6522)."""

import binascii
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime

from mailagent.api.smtp import SmtpReply

MAX_HEADERS = 40_960  # octets of the original's header block that go back; with it a notification stays under 50 KB
MAX_DIAGNOSTIC = 900  # characters of the reply; unfolded it still fits a line

_CRLF = b"\r\n"


def bounce_dsn(
    *,
    reporting_mta: str,
    postmaster: str,
    sender: bytes,
    recipient: bytes,
    reply: SmtpReply,
    remote_mta: str,
    original: bytes,
    message_id: str,
    original_id: str,
    received_at: int,
    now: int,
) -> bytes:
    """The notification, 7-bit with canonical CRLF; to be sent from <> to `sender`.

    Reports that `recipient` failed with `reply`: a permanent one, or the last transient one when the schedule is
    exhausted. `remote_mta` is the peer that gave it, empty when none was reached. Only the header block of `original`
    (as stored, at least its header) goes back. `message_id` and `original_id` are the queue ids of the notification
    and of the failed message; times are milliseconds since 1970.

    Raises:
        ValueError: the sender is <>; a notification about a notification would loop (RFC 5321 section 6.1).
    """
    if not sender:
        raise ValueError("no notification for the null sender")
    boundary = f"=_{message_id}"
    head = [
        f"From: Mail Delivery System <{postmaster}>",
        f"To: <{_ascii(sender)}>",
        "Subject: Undelivered Mail Returned to Sender",
        f"Date: {_date(now)}",
        f"Message-ID: <{message_id}@{reporting_mta}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        "",
        "This is a report in MIME format.",
    ]
    status = [
        f"Reporting-MTA: dns; {reporting_mta}",
        f"X-Queue-ID: {original_id}",
        f"Arrival-Date: {_date(received_at)}",
        "",
        f"Final-Recipient: rfc822; {_ascii(recipient)}",
        "Action: failed",
        f"Status: {_status_code(reply)}",
        *([f"Remote-MTA: dns; {_clean(remote_mta)}"] if remote_mta and not reply.local else []),
        *_wrap(f"Diagnostic-Code: {'X-Mailagent' if reply.local else 'smtp'}; {_diagnostic(reply)}", 76),
        f"Last-Attempt-Date: {_date(now)}",
    ]
    headers, encoding = _returned_headers(original)
    parts = (
        _part("text/plain; charset=us-ascii", "7bit", _lines(_notice(reporting_mta, recipient, reply, remote_mta))),
        _part("message/delivery-status", "7bit", _lines(status)),
        _part("text/rfc822-headers", encoding, headers),
    )
    delimiter = f"\r\n--{boundary}".encode()
    return _lines(head) + b"".join(delimiter + _CRLF + part for part in parts) + delimiter + b"--\r\n"


def _notice(reporting_mta: str, recipient: bytes, reply: SmtpReply, remote_mta: str) -> list[str]:
    """The part for people."""
    if reply.is_transient:
        cause = "It was tried until its time was over. The last answer was:"
    elif reply.local or not remote_mta:
        cause = "The reason is:"
    else:
        cause = f"The mail server {_clean(remote_mta)} answered:"
    return [
        f"This is the mail system at {reporting_mta}.",
        "",
        "Your message could not be delivered to this recipient:",
        "",
        f"    {_ascii(recipient)}",
        "",
        cause,
        "",
        *_wrap(_diagnostic(reply), 72, first="    "),
        "",
        "It will not be tried again. The header of your message is attached.",
    ]


def _status_code(reply: SmtpReply) -> str:
    """RFC 3463 status: the peer's own if it agrees with the reply code, else expired (4.4.7) or unspecific (5.0.0)."""
    if reply.enhanced.startswith("4" if reply.is_transient else "5"):
        return reply.enhanced
    return "4.4.7" if reply.is_transient else "5.0.0"


def _returned_headers(original: bytes) -> tuple[bytes, str]:
    """The header block of `original`, cut at a line, and its transfer encoding."""
    start = _CRLF + original[: MAX_HEADERS + 4]
    end = start.find(b"\r\n\r\n")
    headers = start[2:] if end < 0 else start[2 : end + 2]
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


def _date(milliseconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(milliseconds // 1000, UTC))


def _ascii(address: bytes) -> str:
    return _clean(address.decode("ascii", "replace"))


def _clean(text: str) -> str:
    """Remote text without what could end a line or make another field."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)


def _wrap(text: str, width: int, *, first: str = "") -> list[str]:
    """`text` in lines of about `width`, all but the first indented; long words (links) stay whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
