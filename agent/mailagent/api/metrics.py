"""Figures for monitoring: the catalogue of all families, and how a host reports their values.

On the wire are names and numbers. What a name means stands here, on both sides: a reader ignores names that it does not
know, and nothing that a host says becomes part of a name.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec


class Kind(StrEnum):
    """What is done with values."""

    COUNTER = "counter"  # only grows, since the agent started
    GAUGE = "gauge"
    INFO = "info"  # always 1: the labels say it


class Scope(StrEnum):
    """What a family has one series for."""

    HOST = "host"
    BUILD = "build"
    CONFIG = "config"
    STATE = "state"
    POOL = "pool"
    POOL_STATE = "pool_state"
    MEMBERS = "members"
    STREAM = "stream"
    PROVIDER = "provider"
    VMTA = "vmta"
    CELL = "cell"
    DIRECTIVES = "directives"
    BLOCK_LIST = "block_list"
    CHECK = "check"
    SINK = "sink"


class Rows(NamedTuple):
    """How a scope's series differ, and how many of them a host reports at most."""

    labels: tuple[str, ...]
    most: int


SCOPES: Final = {
    Scope.HOST: Rows((), 1),
    Scope.BUILD: Rows(("version", "engine"), 1),
    Scope.CONFIG: Rows(("hash",), 1),
    Scope.STATE: Rows(("state",), 8),
    Scope.POOL: Rows(("pool",), 128),
    Scope.POOL_STATE: Rows(("pool", "state"), 128 * 4),
    Scope.MEMBERS: Rows(("pool", "state"), 128 * 7),
    Scope.STREAM: Rows(("stream",), 256),
    Scope.PROVIDER: Rows(("provider",), 256),
    Scope.VMTA: Rows(("pool", "vmta"), 512),
    Scope.CELL: Rows(("pool", "provider", "vmta"), 512),
    Scope.DIRECTIVES: Rows(("kind", "by"), 64),
    Scope.BLOCK_LIST: Rows(("zone", "weight"), 64),
    Scope.CHECK: Rows(("stream", "check"), 512),
    Scope.SINK: Rows(("sink",), 64),
}


class Family(NamedTuple):
    """One name. `help` is a sentence in ASCII without backslashes."""

    name: str  # as queries have it: counters with `_total`, infos with `_info`
    kind: Kind
    scope: Scope
    help: str


def _flow(scope: Scope, of: str, *, accepts: bool = False) -> tuple[Family, ...]:
    name = "mailagent" if scope is Scope.HOST else f"mailagent_{scope}"
    accepted = Family(f"{name}_accepted_recipients_total", Kind.COUNTER, scope, f"Recipients accepted{of}.")
    return (
        *((accepted,) if accepts else ()),
        Family(f"{name}_delivered_recipients_total", Kind.COUNTER, scope, f"Recipients delivered{of}."),
        Family(
            f"{name}_deferred_attempts_total",
            Kind.COUNTER,
            scope,
            f"Attempts that failed for now{of}; a recipient may count more than once.",
        ),
        Family(f"{name}_bounced_recipients_total", Kind.COUNTER, scope, f"Recipients given up{of}."),
    )


def _gauges(scope: Scope, **helps: str) -> tuple[Family, ...]:
    return tuple(Family(f"mailagent_{name}", Kind.GAUGE, scope, text) for name, text in helps.items())


def _counters(scope: Scope, **helps: str) -> tuple[Family, ...]:
    return tuple(Family(f"mailagent_{name}_total", Kind.COUNTER, scope, text) for name, text in helps.items())


FAMILIES: Final[tuple[Family, ...]] = (
    Family("mailagent_build_info", Kind.INFO, Scope.BUILD, "Version of the agent, and the engine that carries mail."),
    Family("mailagent_config_info", Kind.INFO, Scope.CONFIG, "Digest of the configuration in effect."),
    *_gauges(Scope.STATE, state="1 for the state of the agent, 0 for all others."),
    *_flow(Scope.HOST, "", accepts=True),
    *_gauges(
        Scope.HOST,
        accepting_mail="1 while intake takes mail, 0 while it refuses.",
        notice="1 while the host has something to say about itself; mailctl hosts has the sentence.",
        start_time_seconds="When the agent started, in seconds since 1970.",
        queue_recipients="Recipients that wait.",
        queue_deferred_recipients="Of those that wait, recipients with a failed attempt.",
        queue_ready_recipients="Of those that wait, recipients in ready queues: they are due now.",
        queue_oldest_age_seconds="Age of the oldest waiting message; 0 when none waits.",
        window_recipients="Recipients in the active window.",
        window_limit_recipients="Recipients that the active window may hold.",
        intake_connections="SMTP connections of clients.",
        delivery_connections="SMTP connections to receivers.",
        in_doubt_recipients="Recipients whose final dot is sent and whose outcome is not on disk yet.",
        possible_duplicate_recipients="Recipients that crashes left in doubt: mailctl in-doubt has the list.",
        suppressed_addresses="Entries of the suppression list.",
        spool_free_bytes="Room on the file system of the spool.",
        spool_database_bytes="Size of the spool's database, with its write-ahead log.",
        spool_journal_bytes="Size of the journal: what the database is still to get.",
        spool_stuck="1 while nothing that happens can be stored, since there is no room.",
        process_resident_memory_bytes="Memory of the agent that is resident.",
        process_open_fds="Open file descriptors of the agent.",
        process_max_fds="File descriptors that the agent may open.",
        history_memory_bytes="Memory that the seconds of the last 15 minutes take.",
        metrics_seconds="Processor time that the last collection of these figures took of the event loop.",
        metrics_left_out_rows="Rows of these figures that are left out, since there are more than a host may report.",
    ),
    *_counters(Scope.HOST, process_cpu_seconds="Processor time of the agent."),
    *_flow(Scope.POOL, " for a pool", accepts=True),
    *_gauges(
        Scope.POOL,
        pool_queue_recipients="Recipients that wait in a pool.",
        pool_queue_deferred_recipients="Of those, recipients with a failed attempt.",
        pool_queue_ready_recipients="Of those, recipients in ready queues.",
        pool_queue_oldest_age_seconds="Age of a pool's oldest deferred or ready message; 0 when there is none.",
        pool_delivery_connections="Connections from the addresses of a pool.",
        pool_identity_faults="What receivers mind about the domains of a pool: SPF, DKIM, DMARC, MX.",
    ),
    *_gauges(Scope.POOL_STATE, pool_state="1 for the state of a pool, 0 for all others."),
    *_gauges(Scope.MEMBERS, pool_members="Virtual MTAs of a pool in one state."),
    *_flow(Scope.STREAM, " of a stream", accepts=True),
    *_gauges(Scope.STREAM, stream_queue_recipients="Recipients of a stream that wait."),
    *_flow(Scope.PROVIDER, " at a provider"),
    *_gauges(
        Scope.PROVIDER,
        provider_queue_recipients="Recipients that wait for a provider.",
        provider_queue_deferred_recipients="Of those, recipients with a failed attempt.",
        provider_queue_ready_recipients="Of those, recipients in ready queues.",
        provider_queue_oldest_age_seconds="Age of the oldest deferred or ready message; 0 when there is none.",
        provider_delivery_connections="Connections to a provider.",
        provider_connect_seconds="Median of the last 64 connects to a provider.",
        provider_held="1 while an order holds a provider's mail.",
    ),
    *_flow(Scope.VMTA, " from a virtual MTA"),
    *_gauges(
        Scope.VMTA,
        vmta_in_service="1 while a virtual MTA takes part in sending, 0 while it is standby, held or retired.",
        vmta_queue_ready_recipients="Recipients in the ready queues of a virtual MTA.",
        vmta_delivery_connections="Connections from a virtual MTA.",
        vmta_in_doubt_recipients="Recipients whose final dot is sent and whose outcome is not on disk yet.",
        vmta_listings="Block lists of high or low weight that an address of a virtual MTA is on.",
        vmta_unknown_listings="Answers of block lists about a virtual MTA that are missing.",
        vmta_identity_faults="What receivers mind about the addresses of a virtual MTA: PTR, SPF.",
        vmta_unknown_identity="Answers about the addresses of a virtual MTA that are missing.",
    ),
    *_flow(Scope.CELL, " at a provider from a virtual MTA"),
    *_gauges(
        Scope.CELL,
        cell_queue_ready_recipients="Recipients in the ready queues of a virtual MTA for a provider.",
        cell_queue_deferred_recipients="Recipients that a provider deferred to a virtual MTA last.",
        cell_delivery_connections="Connections from a virtual MTA to a provider.",
        cell_answer_seconds="Middle of the last answers of a provider to a virtual MTA.",
    ),
    *_gauges(
        Scope.DIRECTIVES,
        directives="Standing orders of a kind that are in effect, by people or by automation.",
        directives_held_recipients="Recipients that wait because of them; one may count under several.",
    ),
    *_gauges(Scope.BLOCK_LIST, block_list_virtual_mtas="Virtual MTAs that are on a block list."),
    *_counters(
        Scope.CHECK,
        check_warned_messages="Messages that a check before queueing warned of.",
        check_refused_messages="Messages that a check before queueing refused.",
        check_moved_messages="Messages that a check before queueing moved to another stream.",
    ),
    *_counters(
        Scope.SINK,
        event_sink_acknowledged_events="Events that a webhook or file has taken.",
        event_sink_failed_requests="Requests to a webhook or file that failed.",
        event_sink_lost_files="Accounting files that were deleted before a webhook or file had their events.",
    ),
    *_gauges(
        Scope.SINK,
        event_sink_behind_bytes="Accounting lines that a webhook or file has not had yet.",
        event_sink_oldest_age_seconds="Age of the oldest event that is not acknowledged; 0 when there is none.",
    ),
)
"""All that a host can report, in the order in which it is shown."""

MOST_SERIES: Final = sum(SCOPES[family.scope].most for family in FAMILIES)
"""Of one host, whatever its configuration says."""

Value = int | float | None
"""None: the host cannot know it."""


class MetricRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The values of one pool, provider …"""

    labels: tuple[str, ...] = ()  # as `SCOPES` has their names
    values: tuple[Value, ...] = ()  # as `MetricTable.names`


class MetricTable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All values of one scope."""

    scope: str
    names: tuple[str, ...]  # of families
    rows: tuple[MetricRow, ...]


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a host reports."""

    at: datetime
    tables: tuple[MetricTable, ...] = ()
