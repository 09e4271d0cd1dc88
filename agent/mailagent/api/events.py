"""How far the application is behind: sinks of outcome events, and how what is posted to it is signed."""

import hashlib
import hmac
from datetime import datetime
from enum import StrEnum

import msgspec


class SinkState(StrEnum):
    """How a sink is doing."""

    CURRENT = "current"  # it has everything up to a moment ago
    BEHIND = "behind"  # it takes events, and more are waiting
    FAILING = "failing"  # the last delivery to it failed


class EventSinkView(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook or file. Counts are since the agent started."""

    name: str
    target: str  # URL or path
    state: SinkState
    acknowledged: int  # events
    failures: int  # requests that failed
    lag_p50_s: float | None  # from the event to its acknowledgement, over the last 1,000; None: none yet
    lag_p95_s: float | None
    behind_bytes: int  # of accounting lines not yet looked at
    oldest_at: datetime | None  # the oldest event that waits to be acknowledged
    lost_files: int  # accounting files that were deleted before this sink had read them
    last_acknowledged_at: datetime | None
    last_error: str  # empty while it works
    next_try_at: datetime | None  # after a failure


class EventSinks(msgspec.Struct, frozen=True, kw_only=True):
    """All sinks of a host, in configuration order."""

    rows: tuple[EventSinkView, ...]


def signature(secret: bytes, at: int, body: bytes) -> str:
    """`X-Mailagent-Signature` of what is posted at `at`, in seconds: HMAC-SHA256 over time and body."""
    return f"t={at},v1={hmac.new(secret, b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"
