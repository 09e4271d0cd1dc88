"""Sums of the history over a time, for all names of a scope at once."""

from datetime import datetime

import msgspec

from mailagent.api.requests import HistoryScope

SCOPES = (HistoryScope.HOST, HistoryScope.POOL, HistoryScope.STREAM, HistoryScope.PROVIDER)


class SumsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The last `seconds` until `until`: whole minutes up to a day, whole hours beyond it; 60 s to 400 days."""

    scopes: tuple[HistoryScope, ...] = SCOPES
    seconds: int = 3600
    until: datetime | None = None  # None: the last complete minute


class SumRow(msgspec.Struct, frozen=True, kw_only=True):
    """Recipients of one name; `deferred` are failed attempts."""

    scope: HistoryScope
    name: str  # empty for the host
    received: int  # of providers not known: the provider is found after reception
    delivered: int
    deferred: int
    bounced: int


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What happened from `since` to `until`; the time is shorter than asked for where the history begins later."""

    since: datetime
    until: datetime
    rows: tuple[SumRow, ...]  # names that nothing happened to are left out
