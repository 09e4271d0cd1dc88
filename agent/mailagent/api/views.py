"""What an agent reports. Counts are additive, so that a fleet's sum is the sum of its hosts.

Rows that a console holds by the hundred thousand are out of the collector's sight (`gc=False`): they are never part of
a cycle, and a full collection over them takes a fifth of a second in which no key is heard.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.classification import Category
from mailagent.api.directives import DirectiveView
from mailagent.api.ids import HostName, MessageId, PoolName, ProviderName, QueueKey, SiteName, StreamName, VmtaName
from mailagent.api.outcome import Attempt
from mailagent.api.reasons import WaitReason
from mailagent.api.reputation import Faults, Listing
from mailagent.api.smtp import SmtpReply
from mailagent.api.warm_up import WarmUpView

RECENT_BUCKETS = 24
"""Length of `Flow.recent`."""
RECENT_BUCKET_S = 5
"""Seconds in one element of `Flow.recent`."""


SLOW_MS = 1000.0
"""Answers of a provider are slow from there on, if that is SLOW_TIMES what is usual."""
SLOW_TIMES = 3.0
SLOW_UNKNOWN_MS = 2000.0
"""From there on where nothing is known to be usual: scanners behind the final dot take a second or more."""


class MemberState(StrEnum):
    """State of a virtual MTA in its pool."""

    ACTIVE = "active"
    STANDBY = "standby"
    WARMING = "warming"
    DRAINING = "draining"
    SUSPENDED = "suspended"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


class PoolState(StrEnum):
    """State of a pool, derived from its members and directives."""

    ACTIVE = "active"
    DRAINING = "draining"
    SUSPENDED = "suspended"
    EMPTY = "empty"


class EngineState(StrEnum):
    """State of the whole agent."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    FAILED = "failed"  # storage failed: intake and delivery stopped for good


class Flow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Recipients in the last 60 s, and since the agent started."""

    received_1m: int = 0
    delivered_1m: int = 0
    deferred_1m: int = 0  # failed attempts, not recipients: one recipient may count twice
    bounced_1m: int = 0
    received: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    recent: tuple[int, ...] = ()  # delivered per 5 s, oldest first, at most RECENT_BUCKETS


class Deferring(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What most deferrals of the last minute were, or of the last one in which there were any."""

    category: str  # as classification names it
    reply: SmtpReply  # the last of them


class HostView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One host, whole."""

    host: HostName
    region: str
    version: str
    engine: str  # `mailagent`, or `postfix 3.7.11`
    state: EngineState
    accepting: bool
    intake_reason: str  # why intake refuses, empty while accepting
    started_at: datetime
    waiting: int  # undelivered recipients in the spool
    deferred: int  # of these, with at least one failed attempt
    ready: int  # of these, in ready queues
    window: int  # recipients in the active window
    window_limit: int
    oldest_at: datetime | None  # arrival of the oldest waiting message
    connections_in: int
    connections_out: int
    in_doubt: int  # open marks: final dot sent, outcome not yet on disk
    in_doubt_listed: int  # possible duplicates left by earlier crashes
    flow: Flow
    disk_free_bytes: int
    rss_bytes: int
    history_bytes: int
    generation: int
    config_hash: str
    notice: str = ""  # what these numbers lack, or an alarm that stands, as a sentence
    # fields whose value the engine does not tell, here and in rows; `ready_queues`: ready mail and limits of rows alone
    unknown: tuple[str, ...] = ()
    stuck: str = ""  # why nothing that happens can be stored now; it waits for room
    deferring: Deferring | None = None  # None: nothing was deferred, or an older agent


class PoolView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pool on one host."""

    name: PoolName
    state: PoolState
    reason: str  # the directive behind the state, as a sentence, else its faults
    members: tuple[VmtaName, ...]  # of this host, in configuration order
    active: int
    standby: int
    waiting: int
    deferred: int
    ready: int
    connections: int
    oldest_at: datetime | None
    flow: Flow
    generation: int
    faults: Faults = Faults()  # what is bad about the domains that it sends for: SPF, DKIM, DMARC, MX


class VmtaView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One virtual MTA: source address and EHLO name."""

    name: VmtaName
    pool: PoolName
    address: str
    address6: str
    public: str
    ehlo: str
    state: MemberState
    reason: str  # the bind error, else the directive behind the state, else block lists that it is on and faults
    ready: int
    connections: int
    in_doubt: int
    flow: Flow
    generation: int
    listings: tuple[Listing, ...] = ()  # block lists that an address of it is on, the worst first
    lists_unknown: int = 0  # answers of block lists that are missing
    faults: Faults = Faults()  # what is bad about who it says it is: PTR, SPF
    identity_unknown: int = 0  # answers about that which are missing
    warm_up: tuple[WarmUpView, ...] = ()  # how far it is at each provider, while it is warming
    last_at: datetime | None = None  # last minute with outcomes before this one; None: never, or an older agent


class ProviderView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One provider on one host, over all sites and virtual MTAs."""

    name: ProviderName
    state: PoolState
    waiting: int
    deferred: int
    ready: int
    connections: int
    oldest_at: datetime | None
    flow: Flow
    generation: int
    connect_ms: float | None = None  # median time of the last 64 TCP connections there; None: none was opened


def is_slow(answer_ms: float, usual_ms: float | None) -> bool:
    """Whether answers that take so long are slow where others are usual."""
    return answer_ms >= (SLOW_UNKNOWN_MS if usual_ms is None else max(SLOW_MS, SLOW_TIMES * usual_ms))


class DestinationView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cell of provider × virtual MTA, the unit in which providers judge us."""

    provider: ProviderName
    vmta: VmtaName
    pool: PoolName
    queues: tuple[QueueKey, ...]  # at most 8 of its ready queues, busiest first
    sites: int
    ready: int
    deferred: int  # recipients whose last reply came to this virtual MTA from this provider
    connections: int
    connection_limit: int | None  # over all sites, None when unlimited
    rate_limit: str  # `100/s`, empty when unlimited
    oldest_at: datetime | None
    flow: Flow
    binding: WaitReason | None  # the reason that binds now, None when nothing waits
    last_reply: SmtpReply | None  # the last one that deferred a recipient
    answer_ms: float | None = None  # middle of the last answers, to greetings or messages, whichever is longer
    usual_ms: float | None = None  # what they take as a rule; None: not known yet
    deferring: Deferring | None = None  # None: nothing was deferred, or an older agent

    @property
    def is_slow(self) -> bool:
        """Whether the provider takes its time."""
        return self.answer_ms is not None and is_slow(self.answer_ms, self.usual_ms)


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One ready queue."""

    key: QueueKey
    site: SiteName
    vmta: VmtaName
    provider: ProviderName
    ready: int
    connections: int
    connection_limit: int | None
    messages_per_connection: int | None
    rate_limit: str
    binding: WaitReason | None
    generation: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The host as it is now; the base of a subscription."""

    seq: int
    at: datetime
    host: HostView
    pools: tuple[PoolView, ...] = ()
    vmtas: tuple[VmtaView, ...] = ()
    providers: tuple[ProviderView, ...] = ()
    destinations: tuple[DestinationView, ...] = ()
    directives: tuple[DirectiveView, ...] = ()
    streams: tuple[StreamName, ...] = ()


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that differ from what this subscriber got last, and keys that are gone.

    Row keys: pool, vmta and provider name; `provider/vmta` of a destination; directive id.
    """

    seq: int
    at: datetime
    host: HostView | None = None
    pools: tuple[PoolView, ...] = ()
    vmtas: tuple[VmtaView, ...] = ()
    providers: tuple[ProviderView, ...] = ()
    destinations: tuple[DestinationView, ...] = ()
    directives: tuple[DirectiveView, ...] = ()
    streams: tuple[StreamName, ...] | None = None
    gone: tuple[str, ...] = ()  # `pools:marketing`, `destinations:gmail/mkt-1`, `directives:<id>` …


class DeferredGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting recipients that share a normalised reply of one provider."""

    key: str
    provider: ProviderName
    code: int
    enhanced: str
    text: str  # normalised
    sample: str  # one reply verbatim
    count: int
    oldest_at: datetime | None
    next_try_at: datetime | None  # None: all of it is held
    category: Category | None = None  # None: last tried by an older version
    rule: str = ""  # id of the rule that says so
    held: int = 0  # of them, by orders on mail


class MessageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One waiting recipient as a row."""

    message_id: MessageId
    n: int  # index of the recipient in the message
    recipient: str
    sender: str
    stream: StreamName
    pool: PoolName
    domain: str
    site: str  # empty before the first look-up
    provider: str
    vmta: str  # of the last attempt
    attempts: int
    size_bytes: int
    received_at: datetime
    next_try_at: datetime
    expires_at: datetime
    reply: SmtpReply | None
    held: str = ""  # id of the order on mail that has it
    unknown: tuple[str, ...] = ()  # fields whose value nobody can tell; what stands there means nothing


class MessageDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One message with everything that explains why it waits."""

    summary: MessageSummary
    recipients: int  # still waiting in this message
    headers: str  # first 16 KiB, decoded, control characters kept: the screen strips them
    headers_truncated: bool
    job: str
    client: str  # address that handed it in
    attempts: tuple[Attempt, ...]  # the last 20
    reasons: tuple[WaitReason, ...]
    in_doubt: bool
    user: str = ""  # who authenticated to hand it in
    envid: str = ""  # ENVID of MAIL, xtext
    original: str = ""  # the address that it was sent to at first, as ORCPT or Postfix 3.11 says; empty: not said


class InDoubt(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery cut after the final dot without a settled reply: the message may arrive twice."""

    message_id: MessageId
    n: int
    recipient: str
    at: datetime
    vmta: str
    site: str
    remote: str
    resolution: str  # `open`, `delivered`, `bounced`, `cancelled`, `moved` to another host: what became of it since


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Per-second counts, oldest first, all of one length; the last complete second is last."""

    start: datetime
    step_s: int
    received: tuple[int, ...]
    delivered: tuple[int, ...]
    deferred: tuple[int, ...]
    bounced: tuple[int, ...]
