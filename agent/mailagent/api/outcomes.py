"""Outcomes of a time, counted from the accounting files: domains, classes of bounces, complaints."""

from datetime import datetime
from typing import Final

import msgspec

MAX_WITHIN_S: Final = 15.0
MAX_ROWS: Final = 1000


class OutcomesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Events from `since` on, before `until`. Files are read for `within_s` at most (15), the newest first."""

    since: datetime
    until: datetime
    within_s: float = 8.0
    limit: int = 500  # domains with most deferrals, and as many with most deliveries and none; at most 1,000


class DomainOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient domain at one provider (empty: not known yet)."""

    provider: str
    domain: str
    delivered: int
    deferred: int  # attempts
    bounced: int  # expired ones too


class BounceCount(msgspec.Struct, frozen=True, kw_only=True):
    """Recipients that failed for good, also by a later DSN."""

    category: str  # of `mailagent.api.classification`; empty: none was given
    provider: str
    count: int


class ComplaintCount(msgspec.Struct, frozen=True, kw_only=True):
    """Reports of feedback loops."""

    provider: str
    stream: str
    count: int


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say; after a crash an event may be counted twice."""

    since: datetime  # from here on everything is counted; later than asked when the time was too short to read it all
    until: datetime
    domains: tuple[DomainOutcomes, ...]  # most deferred first; others too, so that a fleet's share is right
    bounces: tuple[BounceCount, ...]  # most first
    complaints: tuple[ComplaintCount, ...]
    truncated: bool = False  # there are more domains with deferrals, or more than can be told apart
    unwritten: tuple[str, ...] = ()  # of the letters d, b, x, t, f: those that `accounting.records` leaves out
