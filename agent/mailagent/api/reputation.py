"""What others think of our addresses."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import VmtaName

LOW_TOGETHER = 2
"""So many lists of low weight matter as much as one of high weight."""


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
    """Whether mail from there is in danger: a list of high weight has it, or several of low weight."""
    weights = list({one.zone: one.weight for one in listings}.values())
    return Weight.HIGH in weights or weights.count(Weight.LOW) >= LOW_TOGETHER


class ListState(StrEnum):
    """What is known of one address and one list."""

    LISTED = "listed"
    CLEAN = "clean"
    NOT_KEPT = "not kept"  # the list keeps no addresses of that IP version
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


class ListsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a host knows of block lists."""

    all: bool = False  # also what is on no list


class ListChecks(msgspec.Struct, frozen=True, kw_only=True):
    """A host's addresses and the lists that it asks."""

    checks: tuple[ListCheck, ...] = ()
    asked: int = 0  # pairs in all
