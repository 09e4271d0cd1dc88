"""How long mail waits: per provider × stream, in the buckets that qshape made familiar."""

from datetime import datetime
from typing import Final

import msgspec

from mailagent.api.ids import ProviderName, StreamName

BUCKET_MINUTES: Final = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
"""Upper bounds of the buckets; one more holds what is older."""
MAX_AGE_ROWS: Final = 1000


class AgeView(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting recipients of one stream to one provider (empty: not known yet)."""

    provider: ProviderName
    stream: StreamName
    waiting: int
    oldest_at: datetime  # arrival
    p50_s: float  # half of them wait for less than this
    p95_s: float
    buckets: tuple[int, ...]  # recipients by age, one element more than BUCKET_MINUTES


class AgeTable(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, most waiting first, as they were when they were counted."""

    counted_at: datetime | None  # None: not counted yet since the agent started
    bucket_minutes: tuple[int, ...] = BUCKET_MINUTES
    rows: tuple[AgeView, ...] = ()
    truncated: bool = False
