"""The suppression list: addresses that must not be mailed, why, since when and until when."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.requests import PAGE_LIMIT, Mutation
from mailagent.api.targets import Target

MAX_ENTRIES = 300
"""Entries of one request: with the longest addresses they fit in its 64 KiB."""
MAX_EVIDENCE = 500
"""Characters of evidence that are kept."""


class SuppressionReason(StrEnum):
    """Why an address is not mailed."""

    HARD_BOUNCE = "hard-bounce"  # there is no such mailbox, or no such domain
    SOFT_BOUNCES = "soft-bounces"  # several messages over days were refused
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

    address: str  # small letters, the domain in A-labels
    stream: str = ""  # mail of this stream only; empty: all mail
    reason: SuppressionReason = SuppressionReason.MANUAL
    added_at: datetime
    expires_at: datetime | None = None  # None: never
    source: str = ""  # id of the rule, who did it, or the report
    evidence: str = ""  # the reply, or what was said
    provider: str = ""  # who gave the evidence
    pending: bool = False  # found while suppression was frozen: not in effect until released


class SuppressionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A window of the list; empty fields do not narrow."""

    address: str = ""  # this one exactly, however it is written
    stream: str = ""
    reason: SuppressionReason | None = None
    pending: bool | None = None
    cursor: str = ""
    limit: int = PAGE_LIMIT


class SuppressionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries in order of their address; `cursor` is empty on the last page."""

    rows: tuple[Suppression, ...]
    cursor: str = ""
    active: int = 0  # entries in effect, of the whole list
    pending: int = 0


class SuppressionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says about one address."""

    address: str
    stream: str = ""
    reason: SuppressionReason = SuppressionReason.MANUAL
    expires_at: datetime | None = None  # None: by the configuration of the reason


class SuppressionAdd(Mutation, frozen=True, kw_only=True):
    """Put addresses on the list; `ttl_s` is the life of those that have no end of their own."""

    entries: tuple[SuppressionEntry, ...]


class SuppressionRemove(Mutation, frozen=True, kw_only=True):
    """Take addresses off the list: of one stream, or without it of all mail and all streams."""

    addresses: tuple[str, ...]
    stream: str = ""


class SuppressionPending(Mutation, frozen=True, kw_only=True):
    """Decide about entries that a freeze has held back, of one provider or all."""

    apply: bool  # they take effect; otherwise they are forgotten
    provider: str = ""


class SuppressionFreeze(Mutation, frozen=True, kw_only=True):
    """What bounces suppress from now on is pending only. Target: host, or provider."""

    target: Target


class SuppressionThaw(Mutation, frozen=True, kw_only=True):
    """End a freeze; what is pending stays so."""

    target: Target
