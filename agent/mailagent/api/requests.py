"""Parameters of each method. A mutation carries its idempotency key, its reason and what its plan was made on."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.targets import MessageFilter, Target

PAGE_LIMIT = 500
"""Rows of one page at most."""


class Role(StrEnum):
    """What a caller may do; each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Empty(msgspec.Struct, frozen=True, kw_only=True):
    """No parameters."""


class HelloRequest(msgspec.Struct, frozen=True, kw_only=True):
    """First call on each connection."""

    protocol: int
    client: str = ""
    as_role: Role | None = None  # can only lower


class SubscribeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for `changes` notifications every `interval_s` (0.25 to 60)."""

    interval_s: float = 1.0


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a list; `cursor` is the one of the page before, empty for the first."""

    filter: MessageFilter = MessageFilter()
    cursor: str = ""
    limit: int = PAGE_LIMIT


class MessageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One waiting recipient; without `n`, the message's first one that waits."""

    message_id: str
    n: int | None = None


class OperationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an operation whose answer was lost."""

    op_id: OpId


class HistoryScope(StrEnum):
    """What history is kept for."""

    HOST = "host"
    POOL = "pool"
    VMTA = "vmta"
    PROVIDER = "provider"
    STREAM = "stream"
    CELL = "cell"  # provider × virtual MTA, named `provider/vmta`
    PATH = "path"  # provider × stream × virtual MTA, named `provider/stream/vmta`
    JOB = "job"


class HistoryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The last `seconds` of one scope: at most 15 minutes of seconds, 8 days of minutes, 400 days of hours."""

    scope: HistoryScope
    name: str = ""
    seconds: int = 900
    step_s: int = 1  # 1, 60 or 3600
    until: datetime | None = None  # None: now; not for seconds


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """What every verb carries."""

    op_id: OpId
    reason: str = ""
    dry_run: bool = False
    ttl_s: int | None = None  # None: the default of the kind
    expect: int | None = None  # generation of the target that the plan was made on; None does not check
    override: bool = False  # act although a guard or a pre-flight refuses; wants a reason
    break_lock: bool = False  # act although somebody else holds the lock of the host; wants a reason


class Drain(Mutation, frozen=True, kw_only=True):
    """Finish what is connected, send nothing new, then be idle. Target: virtual MTA, pool, host."""

    target: Target
    refuse: bool = False


class Undrain(Mutation, frozen=True, kw_only=True):
    """End the drain of a target."""

    target: Target


class Suspend(Mutation, frozen=True, kw_only=True):
    """Hold delivery of virtual MTA, pool, provider, queue or stream for a stated time."""

    target: Target


class Resume(Mutation, frozen=True, kw_only=True):
    """End the suspension of a target."""

    target: Target


class Rotate(Mutation, frozen=True, kw_only=True):
    """Swap an active virtual MTA for a standby of its pool on this host; without `standby`, the first fit one."""

    target: Target
    standby: str = ""


class Limit(Mutation, frozen=True, kw_only=True):
    """Override one limit of a virtual MTA, provider or queue until it expires; it can only lower."""

    target: Target
    limit: str
    value: str


class Retry(Mutation, frozen=True, kw_only=True):
    """Make matching deferred mail due now, spread over `spread_s` seconds so that it does not clump."""

    filter: MessageFilter
    spread_s: int = 60
    max_affected: int | None = None


class Cancel(Mutation, frozen=True, kw_only=True):
    """End one directive by id."""

    directive: DirectiveId


class Edit(Mutation, frozen=True, kw_only=True):
    """Give a live directive another end (`ttl_s` from now), or pin it so that automation leaves it alone."""

    directive: DirectiveId
    pin: bool | None = None  # None: as it is


class Undo(Mutation, frozen=True, kw_only=True):
    """Do the stored inverse of an operation."""

    undoes: OpId


class Reload(Mutation, frozen=True, kw_only=True):
    """Load the configuration file again: whole, or not at all with the reason."""
