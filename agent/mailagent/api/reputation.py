"""What others think of our addresses."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import VmtaName

LOW_TOGETHER = 2
"""So many listings of low weight matter as much as one of high weight."""


class Weight(StrEnum):
    """What a listing means for mail from that address."""

    HIGH = "high"  # large receivers refuse it
    LOW = "low"  # some do
    INFO = "info"  # hardly any does: neighbours are meant


class Listing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A virtual MTA's address is on a block list."""

    zone: str
    address: str
    weight: Weight
    meaning: str  # what its answer says: `SBL`, `127.0.0.2`
    since: datetime  # first seen, by this run of the agent

    @property
    def sentence(self) -> str:
        """`on zen.spamhaus.org (SBL)`."""
        return f"on {self.zone} ({self.meaning})"


def matters(listings: Collection[Listing]) -> bool:
    """Whether mail from that address is in danger: one listing of high weight, or several of low weight."""
    weights = [one.weight for one in listings]
    return Weight.HIGH in weights or weights.count(Weight.LOW) >= LOW_TOGETHER


class ListState(StrEnum):
    """What is known of one address and one list."""

    LISTED = "listed"
    CLEAN = "clean"
    UNKNOWN = "unknown"


class ListCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One address and one list."""

    vmta: VmtaName
    address: str
    zone: str
    weight: Weight
    state: ListState
    detail: str  # what the listing says, or why nothing is known
    since: datetime | None  # it has that state, as far as this run of the agent has seen
    asked_at: datetime | None  # None: not yet


class ListChecks(msgspec.Struct, frozen=True, kw_only=True):
    """All of a host's addresses, and all lists that it asks."""

    checks: tuple[ListCheck, ...] = ()
