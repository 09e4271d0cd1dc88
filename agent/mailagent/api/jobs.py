"""Jobs (campaigns) on the wire: mail with one X-Job, counted, held, paced and ended together."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.reasons import WaitReason
from mailagent.api.requests import Mutation
from mailagent.api.targets import Target
from mailagent.api.views import DeferredGroup


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    SCHEDULED = "scheduled"  # its start is to come
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"  # nothing of it waits


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One job on one host. Numbers are recipients; what is neither delivered nor given up waits."""

    name: str
    state: JobState
    accepted: int = 0
    waiting: int = 0
    delivered: int = 0
    deferred: int = 0  # attempts that failed for now
    bounced: int = 0
    cancelled: int = 0
    created_at: datetime | None = None  # of its first mail; None: none yet
    last_at: datetime | None = None
    start: datetime | None = None  # while it is to come
    end: datetime | None = None
    rate: str = ""  # its limit on this host
    rate_now: float = 0.0  # delivered a second, over the last minutes
    eta: datetime | None = None  # when all of it has left, at that rate; None: cannot be said
    late: bool = False  # it will not be done by its end
    reason: str = ""  # what holds it, as a sentence


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, the last active one first."""

    rows: tuple[JobView, ...]
    truncated: bool = False


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One job by name."""

    name: str


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One job, and why it is not done."""

    job: JobView
    reasons: tuple[WaitReason, ...]  # orders and limits that bind it
    deferred: tuple[DeferredGroup, ...]  # replies that its mail waits for, the most frequent first


class JobSet(Mutation, frozen=True, kw_only=True):
    """Give a job a window or a rate; what is left out stays. A start that is not in the future is now."""

    target: Target
    start: datetime | None = None
    end: datetime | None = None
    rate: str = ""  # `100/s` on this host; `none` lifts it


class JobCancel(Mutation, frozen=True, kw_only=True):
    """Give up what waits of a job, and refuse new mail of it."""

    target: Target
    bounce: bool = False  # tell the senders
    max_affected: int | None = None
