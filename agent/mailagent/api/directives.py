"""Directives: what operators change at run time. Configuration plus live directives is the whole truth."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.mail import MailProgress
from mailagent.api.targets import MessageFilter, Target


class DirectiveKind(StrEnum):
    """What a directive does to its target."""

    DRAIN = "drain"
    SUSPEND = "suspend"
    ROTATE = "rotate"
    LIMIT = "limit"
    JOB_START = "job-start"  # a job is held until the end of this
    JOB_END = "job-end"  # a job is held from the end of this on
    JOB_CANCEL = "job-cancel"  # what waits of a job is given up, new mail of it is refused
    LOCK = "lock"  # of the host: verbs of others are refused
    FREEZE_SUPPRESSION = "freeze-suppression"  # what bounces suppress is pending only
    HOLD = "hold"  # matching mail is not sent until the end of this
    RELEASE = "release"  # held mail is being freed; ends itself
    REBIND = "rebind"  # matching mail is being moved to another pool; ends itself
    BOUNCE = "bounce"  # matching mail waits, and is given up with a DSN at the end of this
    DELETE = "delete"  # the same without a DSN
    RETRY = "retry"  # deferred mail is being tried, paced; ends itself (Postfix; the engine has it done at once)
    REQUEUE = "requeue"  # mail is being put through the queue anew; ends itself (Postfix)
    DKIM_PREPARE = "dkim-prepare"  # a key is made, its record is to be published
    DKIM_SIGN = "dkim-sign"  # sign with this selector instead of the configured one
    DKIM_KEEP = "dkim-keep"  # the record of a selector out of use stays published until the end of this
    NOTE = "note"  # words for whoever is next; changes nothing


class DirectiveState(StrEnum):
    """Life of a directive: live until one of the others."""

    LIVE = "live"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Directive(msgspec.Struct, frozen=True, kw_only=True):
    """One standing order with an author, a reason and an end.

    Transitions: live -> cancelled (by a verb or an undo), live -> expired (by time). Undo of a cancellation makes a
    new directive with what was left of the time.
    """

    id: DirectiveId
    kind: DirectiveKind
    target: Target
    author: str
    reason: str
    created_at: datetime
    expires_at: datetime | None  # None: no end but undo
    op_id: OpId
    state: DirectiveState = DirectiveState.LIVE
    ended_at: datetime | None = None
    ended_by: str = ""
    standby: str = ""  # rotate: the virtual MTA that took over
    refuse: bool = False  # drain of a pool: answer 451 4.3.2 to new mail instead of keeping it
    limit: str = ""  # limit: name of the key (`connections`, `rate`, `provider_rate` …); dkim: the algorithm
    value: str = ""  # limit: its value, as in the configuration; dkim: the selector; rebind: the pool; retry: seconds
    bounce: bool = False  # job-cancel: tell the senders
    continues: str = ""  # id of the directive that an undo or an edit brought back with this one
    rule: str = ""  # made by automation: the rule, `gmail.unusual-rate`
    reply: str = ""  # and the reply that reached its threshold, verbatim
    base: str = ""  # limit in step-down: the value up to which quiet time takes it, then it ends; rebind: the old pool
    after: bool = False  # limit: what is let through after a suspension by the same rule
    pinned: bool = False  # automation may neither change nor end it
    filter: MessageFilter | None = None  # orders on mail: which


class DrainProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a drain is (or the drain half of a rotation)."""

    connections: int
    ready: int  # messages in its ready queues
    in_doubt: int  # final dots sent and not yet settled
    waiting: int  # recipients that wait because of it; 0 is required for a host only
    empty: bool


class DirectiveView(msgspec.Struct, frozen=True, kw_only=True):
    """A live directive as lists show it."""

    directive: Directive
    progress: DrainProgress | None = None
    waiting: int = 0  # recipients held by it
    mail: MailProgress | None = None  # of an order on mail
