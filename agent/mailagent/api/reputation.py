"""What others think of our addresses, and by what they know us."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import PoolName, VmtaName

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


class IdentityKind(StrEnum):
    """What receivers look up about who sends."""

    PTR = "ptr"  # the address has a name that leads back to it
    EHLO = "ehlo"  # the name that it greets with leads to it
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    MX = "mx"  # the domain takes bounces and answers


class IdentityState(StrEnum):
    """What they find."""

    BAD = "bad"  # mail is refused, or counts as forged
    WEAK = "weak"  # some mind
    UNKNOWN = "unknown"
    GOOD = "good"


class Fault(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is bad."""

    kind: IdentityKind
    domain: str  # of mail, a greeting or a key; empty: about an address alone
    sentence: str


class Faults(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that is bad about one virtual MTA or pool."""

    count: int = 0
    told: tuple[Fault, ...] = ()  # some of them, of each kind at least one

    @property
    def sentence(self) -> str:
        """The first, and how many more; empty when there is none."""
        if not self.told:
            return ""
        return self.told[0].sentence + (f"; and {self.count - 1:,} more" if self.count > 1 else "")


class IdentityCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that receivers look up: about an address, about a domain, or about both."""

    kind: IdentityKind
    vmta: VmtaName | None  # None: about the domain alone, whoever sends
    address: str  # empty: about a domain alone
    domain: str  # of mail, a greeting or a key; empty: about an address alone
    pools: tuple[PoolName, ...]  # that it matters for
    state: IdentityState
    detail: str
    since: datetime | None  # it has that state, as far as this run of the agent has seen
    asked_at: datetime | None  # None: not yet

    @property
    def sentence(self) -> str:
        """`spf of news.example.com: ...`."""
        return f"{self.kind} of {self.domain or self.address}: {self.detail}"


class IdentityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """By what receivers know a host."""

    all: bool = False  # also what is good
    now: bool = False  # asked again first, as far as that goes in a few seconds
    vmtas: tuple[VmtaName, ...] = ()  # what is about one of these, or about a domain alone; none: of all
    pools: tuple[PoolName, ...] = ()  # what matters for one of these, or is about `vmtas`; none: for all


class IdentityChecks(msgspec.Struct, frozen=True, kw_only=True):
    """What a host knows, the worst first."""

    checks: tuple[IdentityCheck, ...] = ()
    asked: int = 0  # in all
    looked: bool = True  # again, if that was wanted
    left_out: int = 0  # checks that the answer has no room for
