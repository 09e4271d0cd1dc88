"""Kinds of streams, what is checked of their mail, and how a stream is kept from mail that is none of it."""

from datetime import timedelta
from enum import StrEnum

import msgspec

from mailagent.api.ids import StreamName


class StreamKind(StrEnum):
    """What the mail of a stream is for; sets what the stream does not say itself."""

    TRANSACTIONAL = "transactional"  # somebody waits for it: receipts, passwords
    NOTIFICATION = "notification"  # asked for, one by one: shipping, mentions
    LIFECYCLE = "lifecycle"  # to one user at a time, by what that user did: onboarding, reminders
    MARKETING = "marketing"  # to many who agreed
    COLD = "cold"  # to people who do not know the sender


class Check(StrEnum):
    """What a failed check does."""

    OFF = "off"
    WARN = "warn"  # counted and logged, the mail goes on
    REFUSE = "refuse"


class Checks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Checks of a stream's mail before it is queued. Off costs nothing."""

    aligned: Check = Check.OFF  # From lies in `from_domains`, else in a domain that signs for the pool
    unsubscribe: Check = Check.OFF  # List-Unsubscribe and List-Unsubscribe-Post (RFC 8058)
    date: Check = Check.OFF
    message_id: Check = Check.OFF
    plain_text: Check = Check.OFF  # beside HTML
    mime: Check = Check.OFF  # header and MIME structure can be read
    recipient_domain: Check = Check.OFF  # it exists and takes mail, asked of DNS
    size: Check = Check.REFUSE  # above the stream's `max_message_bytes`


class Protect(StrEnum):
    """What becomes of mail that looks like bulk."""

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"
    MOVE = "move"  # to the stream `move_to`


class Protection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keeps bulk out of a stream that must not wait behind it, or share its reputation."""

    action: Protect = Protect.OFF
    move_to: StreamName | None = None
    recipients: int = 50  # of one message
    same_text: int = 100  # messages with the very same text within the window
    per_client: int | None = None  # messages of one user, or of one address, within the window; None: not counted
    window: timedelta = timedelta(minutes=10)  # of both


_SIGNED = {"aligned": "warn", "date": "warn", "message_id": "warn", "plain_text": "warn", "mime": "warn"}
_BULK = {
    "aligned": "refuse", "unsubscribe": "refuse", "date": "warn", "message_id": "warn", "plain_text": "warn",
    "mime": "refuse",
}  # fmt: skip
KINDS: dict[StreamKind, dict[str, str | dict[str, str]]] = {
    StreamKind.TRANSACTIONAL: {
        "priority": "high", "latency": "10s", "isolation": "transactional",
        "checks": _SIGNED, "protect": {"action": "refuse"},
    },
    StreamKind.NOTIFICATION: {
        "priority": "normal", "latency": "1m", "isolation": "transactional",
        "checks": {**_SIGNED, "unsubscribe": "warn"}, "protect": {"action": "warn"},
    },
    StreamKind.LIFECYCLE: {
        "priority": "normal", "latency": "15m", "isolation": "marketing",
        "checks": _BULK, "protect": {"action": "off"},
    },
    StreamKind.MARKETING: {
        "priority": "bulk", "latency": "4h", "isolation": "marketing",
        "checks": _BULK, "protect": {"action": "off"},
    },
    StreamKind.COLD: {
        "priority": "bulk", "latency": "4h", "isolation": "cold",
        "checks": {**_BULK, "recipient_domain": "refuse"}, "protect": {"action": "off"},
    },
}  # fmt: skip
"""What a kind sets, in the words of the file; a stream's own keys go before."""
