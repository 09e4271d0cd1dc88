"""PowerMTA's accounting CSV, made from our lines: the default columns of its 5.0 in their order.

Rows are RFC 4180 with plain line feeds. Analysers that split at every comma (awk -F,) stay right up to `orcpt`, the
sixth column: in orig, rcpt and orcpt a comma, a double quote and an @ that is not the last one stand as `+2C`, `+22`
and `+40`, as in xtext (RFC 3461 section 4). Such addresses are quoted local parts, which are rare; the JSON lines have
them as they are. Replies of several lines are joined with spaces.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from mailagent.api.accounting import LETTERS, EventType
from mailagent.api.classification import Category
from mailagent.outcome.accounting.record import AccountingRecord

COLUMNS = (
    "type", "timeLogged", "timeQueued", "orig", "rcpt", "orcpt", "dsnAction", "dsnStatus", "dsnDiag", "dsnMta",
    "bounceCat", "srcType", "srcMta", "dlvType", "dlvSourceIp", "dlvDestinationIp", "dlvEsmtpAvailable", "dlvSize",
    "vmta", "jobId", "envId", "queue", "vmtaPool",
)  # fmt: skip
REMOTE_COLUMNS = ("dsnReportingMta",)
"""Behind the others where rb or rs are written."""
FEEDBACK_COLUMNS = ("feedbackType", "format", "userAgent", "reportingMta", "reportedDomain", "repSourceIp")
"""The same for f."""

BOUNCE_CATEGORIES: dict[str, str] = {
    Category.BAD_MAILBOX: "bad-mailbox",
    Category.INACTIVE_MAILBOX: "inactive-mailbox",
    Category.BAD_DOMAIN: "bad-domain",
    Category.MAILBOX_FULL: "quota-issues",
    Category.RECIPIENT_RATE: "quota-issues",
    Category.RATE_LIMIT: "policy-related",
    Category.CONNECTION_LIMIT: "policy-related",
    Category.TOO_MANY_RECIPIENTS: "policy-related",
    Category.GREYLIST: "policy-related",
    Category.IP_BLOCKLIST: "spam-related",
    Category.IP_REPUTATION: "spam-related",
    Category.DOMAIN_REPUTATION: "spam-related",
    Category.SPAM_CONTENT: "spam-related",
    Category.ATTACHMENT_VIRUS: "virus-related",
    Category.MESSAGE_FORMAT: "content-related",
    Category.MESSAGE_TOO_LARGE: "content-related",
    Category.PROTOCOL_ERROR: "protocol-errors",
    Category.AUTH_FAILURE: "policy-related",
    Category.RDNS: "policy-related",
    Category.TLS_REQUIRED: "policy-related",
    Category.SENDER_INVALID: "invalid-sender",
    Category.SMARTHOST_AUTH: "bad-configuration",
    Category.POLICY: "policy-related",
    Category.RECIPIENT_POLICY: "policy-related",
    Category.RELAY_DENIED: "relaying-issues",
    Category.ROUTING_ERROR: "routing-errors",
    Category.SYSTEM_ERROR: "no-answer-from-host",
    Category.NETWORK: "bad-connection",
    Category.DNS_TEMP: "routing-errors",
    Category.EXPIRED: "message-expired",
}
"""Our categories by PowerMTA's names; what is not listed is `other`."""

_LETTER = {event: letter for letter, event in LETTERS.items()} | {EventType.EXPIRED: "b"}
_ACTIONS = {
    EventType.DELIVERED: "relayed",
    EventType.BOUNCED: "failed",
    EventType.EXPIRED: "failed",
    EventType.DEFERRED: "delayed",
    EventType.QUEUE_DEFERRED: "delayed",
    EventType.REMOTE_BOUNCED: "failed",
}
_ATTEMPTS = frozenset(
    {EventType.DELIVERED, EventType.BOUNCED, EventType.EXPIRED, EventType.DEFERRED, EventType.QUEUE_DEFERRED}
)
_REMOTE = frozenset({EventType.REMOTE_BOUNCED, EventType.REMOTE_STATUS})
_DEFAULT_STATUS = {
    EventType.DELIVERED: "2.0.0",
    EventType.BOUNCED: "5.0.0",
    EventType.EXPIRED: "4.4.7",
    EventType.DEFERRED: "4.0.0",
    EventType.QUEUE_DEFERRED: "4.4.2",
}
_STATUS_TEXTS = {  # RFC 3463 section 3, by subject and detail
    "1.0": "other address status", "1.1": "bad destination mailbox address", "1.2": "bad destination system address",
    "1.3": "bad destination mailbox address syntax", "1.4": "destination mailbox address ambiguous",
    "1.5": "destination address valid", "1.6": "destination mailbox has moved",
    "1.7": "bad sender's mailbox address syntax", "1.8": "bad sender's system address",
    "2.0": "other or undefined mailbox status", "2.1": "mailbox disabled", "2.2": "mailbox full",
    "2.3": "message length exceeds administrative limit", "2.4": "mailing list expansion problem",
    "3.0": "other or undefined mail system status", "3.1": "mail system full",
    "3.2": "system not accepting network messages", "3.3": "system not capable of selected features",
    "3.4": "message too big for system", "3.5": "system incorrectly configured",
    "4.0": "other or undefined network or routing status", "4.1": "no answer from host", "4.2": "bad connection",
    "4.3": "directory server failure", "4.4": "unable to route", "4.5": "mail system congestion",
    "4.6": "routing loop detected", "4.7": "delivery time expired",
    "5.0": "other or undefined protocol status", "5.1": "invalid command", "5.2": "syntax error",
    "5.3": "too many recipients", "5.4": "invalid command arguments", "5.5": "wrong protocol version",
    "6.0": "other or undefined media error", "6.1": "media not supported",
    "6.2": "conversion required and prohibited", "6.3": "conversion required but not supported",
    "6.4": "conversion with loss performed", "6.5": "conversion failed",
    "7.0": "other or undefined security status", "7.1": "delivery not authorized, message refused",
    "7.2": "mailing list expansion prohibited", "7.3": "security conversion required but not possible",
    "7.4": "security features not supported", "7.5": "cryptographic failure",
    "7.6": "cryptographic algorithm not supported", "7.7": "message integrity failure",
}  # fmt: skip

_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_decoder = msgspec.json.Decoder(AccountingRecord)


class PmtaCsv:
    """Rows for the types of records that are wanted."""

    def __init__(self, records: Iterable[str]) -> None:
        letters = frozenset(records)
        self._wanted = frozenset(LETTERS[letter] for letter in letters)
        self._remote = bool(letters & {"rb", "rs"})
        self._feedback = "f" in letters

    @property
    def header(self) -> bytes:
        """The first line of each file."""
        columns = COLUMNS + REMOTE_COLUMNS * self._remote + FEEDBACK_COLUMNS * self._feedback
        return ",".join(columns).encode() + b"\n"

    def rows(self, lines: Sequence[bytes]) -> bytes:
        """The rows of those among `lines` (JSON) that are wanted."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for line in lines:
            record = _decoder.decode(line)
            if record.type in self._wanted:
                writer.writerow(self._row(record))
        return text.getvalue().encode("utf-8", "backslashreplace")

    def _row(self, record: AccountingRecord) -> list[str]:
        attempted = record.type in _ATTEMPTS
        rcpt = _address(record.recipient)
        peer = _ip(record.remote)
        queue = record.recipient.rpartition("@")[2].lower() or record.site
        row = [
            _LETTER[record.type],
            _time(record.time),
            _time(record.time - timedelta(seconds=record.queued_s)) if record.recipient else "",
            _address(record.sender),
            rcpt,
            _original(record.orcpt) or rcpt,
            record.dsn_action or _ACTIONS.get(record.type, ""),
            _status(record),
            _diagnostic(record),
            f"{record.mx} ({peer})" if record.mx and peer else record.mx,
            _bounce_category(record),
            "smtp" if record.recipient and record.type is not EventType.FEEDBACK else "",
            record.client,
            "smtp" if attempted else "",
            record.source,
            peer,
            record.extensions,
            str(record.size_bytes) if record.size_bytes else "",
            record.vmta,
            record.job,
            record.envid,
            f"{queue}/{record.vmta}" if queue else "",
            record.pool,
        ]
        if self._remote:
            row.append(record.reporting_mta if record.type in _REMOTE else "")
        if self._feedback:
            reporter = record.reporting_mta if record.type is EventType.FEEDBACK else ""
            row += [record.feedback_type, record.feedback_format, record.user_agent, reporter]
            row += [record.reported_domain, record.reported_source]
        return row


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}+0000"


def _address(address: str) -> str:
    """An address without what would mislead those who split at commas and at @."""
    if '"' not in address and "," not in address:
        return address
    local, _, domain = address.rpartition("@")
    for character, code in ((",", "+2C"), ('"', "+22"), ("@", "+40")):
        local = local.replace(character, code)
    return f"{local}@{domain.replace(',', '+2C')}"


def _original(orcpt: str) -> str:
    """The address of `rfc822;bob+2Bnews@two.test`; an address of another type stays whole."""
    kind, _, address = orcpt.rpartition(";")
    if kind.lower() not in ("", "rfc822", "utf-8"):
        return _address(orcpt)
    return _address(_XTEXT.sub(lambda match: chr(int(match[1], 16)), address))


def _status(record: AccountingRecord) -> str:
    status = record.enhanced or _DEFAULT_STATUS.get(record.type, "")
    if not record.enhanced and record.code >= 500 and record.type is EventType.DEFERRED:
        status = "5.0.0"
    severity, _, detail = status.partition(".")
    text = "success" if status == "2.0.0" else _STATUS_TEXTS.get(detail, "undefined status" if severity else "")
    return f"{status} ({text})" if status else ""


def _diagnostic(record: AccountingRecord) -> str:
    """What the peer said (RFC 3464 section 2.3.6); ours under a type of our own."""
    text = " ".join(record.text.split())
    if not record.code:
        return f"x-mailagent;{text}" if text else ""
    return f"smtp;{record.code} {record.enhanced} {text}".replace("  ", " ").rstrip()


def _bounce_category(record: AccountingRecord) -> str:
    if record.type is EventType.DELIVERED:
        return "success"
    if record.type is EventType.EXPIRED:
        return "message-expired"
    if record.type in (EventType.RECEIVED, EventType.FEEDBACK):
        return ""
    return BOUNCE_CATEGORIES.get(record.category, "other")


def _ip(remote: str) -> str:
    """The address of `192.0.2.1:25` or `[2001:db8::1]:25`."""
    return remote.rpartition(":")[0].strip("[]")
