"""What came back: bounces after the 250, complaints, unsubscribes, reports; counts, lag and the last of them."""

from datetime import datetime
from enum import StrEnum

import msgspec


class FeedbackKind(StrEnum):
    """What a mail that came back turned out to be."""

    BOUNCE = "bounce"  # failed for good or given up, by a genuine return path
    STATUS = "status"  # delayed, delivered, relayed …
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    AUTO_REPLY = "auto-reply"
    DMARC = "dmarc"
    TLS = "tls"
    PEOPLE = "people"  # postmaster, abuse
    UNREAD = "unread"  # kept for a person


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that came back, and what was done about it. Empty: not known."""

    id: str  # of the mail that came
    kind: FeedbackKind
    at: datetime  # arrival
    lag_s: float  # from arrival to its effect on disk
    recipient: str = ""
    message_id: str = ""
    n: int = 0
    sender: str = ""  # as the application gave it
    stream: str = ""
    pool: str = ""
    vmta: str = ""
    provider: str = ""
    job: str = ""
    type: str = ""  # of a complaint: `abuse`; of a status: its action
    form: str = ""  # dsn, qmail, arf, jmrp …
    status: str = ""  # enhanced status code
    category: str = ""  # of `mailagent.api.classification`
    text: str = ""  # the diagnostic, or why nothing was done
    suppressed: bool = False


class FeedbackCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many came back of one kind, for one combination of where the mail had gone."""

    kind: FeedbackKind
    stream: str
    pool: str
    vmta: str
    provider: str
    job: str
    count: int


class FeedbackRate(msgspec.Struct, frozen=True, kw_only=True):
    """Complaints and late bounces beside what was delivered, since the agent started; only where there are any."""

    stream: str
    pool: str
    vmta: str
    provider: str
    delivered: int
    complaints: int
    bounces: int

    @property
    def complaint_share(self) -> float:
        """Complaints per delivered message; alarming from 0.001 on."""
        return self.complaints / self.delivered if self.delivered else 0.0


class FeedbackLag(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a report's arrival to suppression, over the last ones."""

    samples: int
    p50_s: float = 0.0
    p95_s: float = 0.0


class FeedbackView(msgspec.Struct, frozen=True, kw_only=True):
    """What came back since the agent started."""

    since: datetime
    listening: bool
    lag: FeedbackLag
    pending: int  # on disk, not yet read
    kept: int  # files for people
    kept_bytes: int
    refused: dict[str, int]  # recipients at the door, by reason
    counts: tuple[FeedbackCount, ...]  # largest first
    counts_truncated: bool = False
    rates: tuple[FeedbackRate, ...] = ()  # most complaints first
    last: tuple[FeedbackEvent, ...] = ()  # newest first


class KeptMail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail that waits for a person."""

    id: str
    kind: FeedbackKind
    at: datetime
    why: str
    client: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    size_bytes: int


class FeedbackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the last events to tell."""

    limit: int = 50
