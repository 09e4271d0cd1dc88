"""What the console knows of the fleet, as plain values: one state per host, and rows merged over hosts. Pure.

Sums hold only hosts whose numbers are fresh (`live` or `late`) and say how many those are (`Coverage`); the rows of a
lost host stay visible, each with its link state and age.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import msgspec

from mailagent.api.directives import Directive, DirectiveKind, DirectiveView, DrainProgress
from mailagent.api.ids import HostName, OpId, PoolName, ProviderName, StreamName
from mailagent.api.replies import Hello
from mailagent.api.views import (
    RECENT_BUCKETS,
    Changes,
    DestinationView,
    Flow,
    HostView,
    PoolState,
    PoolView,
    ProviderView,
    Snapshot,
    VmtaView,
)
from mailagent.api.words import command

OWN_ENGINE = "mailagent"
_OF_ROWS = {"connections_out": "connections", "ready_queues": "ready"}
"""Fields of rows that are not told either when that one of their host is not."""
OF_POSTFIX = frozenset({"requeue"})
"""Methods that our own engine has no need of."""

Row = TypeVar("Row", PoolView, ProviderView)
View = TypeVar("View", bound=msgspec.Struct)


class LinkState(StrEnum):
    """How a host stands with us.

    connecting -> live | lost | denied | incompatible; live <-> late (by silence); live | late -> lost;
    lost | denied | incompatible -> live (by a later try).
    """

    CONNECTING = "connecting"  # no answer yet, none refused
    LIVE = "live"
    LATE = "late"  # nothing heard for more than two periods
    LOST = "lost"  # no connection; trying again
    DENIED = "denied"  # host key, login, socket or role refused
    INCOMPATIBLE = "incompatible"

    @property
    def is_fresh(self) -> bool:
        """Whether its numbers belong in a sum."""
        return self in (LinkState.LIVE, LinkState.LATE)


@dataclass(frozen=True, slots=True)
class HostState:
    """One host as the console sees it."""

    name: HostName
    region: str = ""
    state: LinkState = LinkState.CONNECTING
    age_s: float | None = None  # since the host was last heard; None: never
    error: str = ""  # why it is not live, one sentence without the host's name
    next_try_s: float | None = None  # until the next attempt to connect
    hello: Hello | None = None  # of the last good connection: role, version, spool id
    snapshot: Snapshot | None = None  # the last one; outlives the connection
    machine: str = ""  # that its agent shares with others

    @property
    def view(self) -> HostView | None:
        """The host's own figures, from the last snapshot."""
        return self.snapshot.host if self.snapshot else None

    @property
    def destinations(self) -> "list[DestinationRow]":
        """Its cells of provider × virtual MTA."""
        views, untold = self.snapshot.destinations if self.snapshot else (), self.untold
        return [DestinationRow(self.name, self.state, view, untold) for view in views]

    @property
    def other_engine(self) -> str:
        """`postfix 3.7.11`; empty: our own engine, or none heard of yet."""
        engine = self.view.engine if self.view else ""
        return engine if engine != OWN_ENGINE else ""

    @property
    def untold(self) -> frozenset[str]:
        """Fields of it and of its rows that its engine does not tell: what stands there means nothing."""
        unknown = frozenset(self.view.unknown) if self.view else frozenset()
        return unknown | {_OF_ROWS[name] for name in unknown & _OF_ROWS.keys()}

    def lacks(self, method: str, words: str = "") -> str:
        """Why it cannot be asked for `method`, in the `words` of who asks; empty when it can, or may be able to."""
        if self.hello is None or not self.hello.features or method in self.hello.features:
            return ""
        words = words or command(method)
        if self.other_engine:
            return f"`{words}` {self._beyond}"
        if method in OF_POSTFIX:
            return f"`{words}` is for hosts that run Postfix"
        return f"its agent, {self.hello.version}, has no `{words}`; upgrade it"

    def is_beyond(self, why: str) -> bool:
        """Whether `why` is what `lacks` says of its engine: such an answer has nothing to say, and is not missing."""
        return bool(self.other_engine) and why.endswith(self._beyond)

    @property
    def _beyond(self) -> str:
        return f"is not possible with its engine, {self.other_engine}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many hosts a sum holds, of how many that belong in it."""

    fresh: int
    of: int

    def __str__(self) -> str:
        return f"{self.fresh} of {self.of} host{'' if self.of == 1 else 's'}"

    @property
    def is_whole(self) -> bool:
        """Whether no host is missing."""
        return self.fresh == self.of


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """The sum row of the hosts."""

    hosts: Coverage
    waiting: int
    deferred: int
    ready: int
    connections_in: int
    connections_out: int
    in_doubt: int
    in_doubt_listed: int
    oldest_at: datetime | None
    flow: Flow


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool over all its hosts."""

    name: PoolName
    state: PoolState  # the most notable of its hosts'
    reason: str  # that host's reason; with `on 2 of 3 hosts` when they differ
    hosts: Coverage
    active: int
    standby: int
    members: int
    waiting: int
    deferred: int
    ready: int
    connections: int
    oldest_at: datetime | None
    flow: Flow
    parts: tuple[tuple[HostName, PoolView], ...]  # per host, lost ones too
    untold: frozenset[str] = frozenset()  # fields that none of its fresh hosts tells


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider over all hosts."""

    name: ProviderName
    state: PoolState
    hosts: Coverage
    waiting: int
    deferred: int
    ready: int
    connections: int
    oldest_at: datetime | None
    flow: Flow
    parts: tuple[tuple[HostName, ProviderView], ...]


class VmtaRow(msgspec.Struct, frozen=True, gc=False):
    """One virtual MTA; names are unique in the fleet, so nothing is summed."""

    host: HostName
    link: LinkState
    view: VmtaView
    untold: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Stable key of the row."""
        return self.view.name


class DestinationRow(msgspec.Struct, frozen=True, gc=False):
    """One cell of provider × virtual MTA. Never part of a cycle: see `mailagent.api.views`."""

    host: HostName
    link: LinkState
    view: DestinationView
    untold: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Stable key of the row: `gmail/mkt-1`."""
        return f"{self.view.provider}/{self.view.vmta}"


@dataclass(frozen=True, slots=True)
class DirectiveRow:
    """One standing order of one operation, over the hosts that it stands on."""

    directive: Directive  # that of the first host; kind, target, author, reason and end are the same on all
    progress: DrainProgress | None  # summed; empty when empty on every host
    waiting: int
    parts: tuple[tuple[HostName, DirectiveView], ...]
    stale: bool  # a host of it is lost: its progress is old

    @property
    def op_id(self) -> OpId:
        """The operation that gave the order; undo takes it."""
        return self.directive.op_id

    @property
    def key(self) -> str:
        """Stable key of the row."""
        return "/".join(_identity(self.directive))

    @property
    def hosts(self) -> tuple[HostName, ...]:
        """Where it stands."""
        return tuple(dict.fromkeys(host for host, _ in self.parts))

    @property
    def note(self) -> str:
        """Of an order on mail: what hosts have left alone, or wait for."""
        told = [(host, view.mail.note) for host, view in self.parts if view.mail is not None and view.mail.note]
        return "; ".join(note if len(self.parts) == 1 else f"{host}: {note}" for host, note in told)


@dataclass(frozen=True)
class FleetState:
    """All hosts at one tick. Merged rows are computed when first asked for, and kept."""

    tick: int = 0
    hosts: tuple[HostState, ...] = ()  # in the order of the fleet file
    pool_hosts: Mapping[str, tuple[HostName, ...]] = field(default_factory=dict)  # as the fleet file has it

    def host(self, name: str) -> HostState | None:
        """The host of that name."""
        return self._by_name.get(name)

    @cached_property
    def is_mixed(self) -> bool:
        """Whether a host has another engine than our own."""
        return any(host.other_engine for host in self.hosts)

    @cached_property
    def coverage(self) -> Coverage:
        """How many hosts are fresh."""
        return Coverage(sum(host.state.is_fresh for host in self.hosts), len(self.hosts))

    @cached_property
    def totals(self) -> FleetTotals:
        """The sum over fresh hosts."""
        views = [snapshot.host for _, snapshot in self._fresh]
        return FleetTotals(
            hosts=self.coverage,
            waiting=sum(view.waiting for view in views),
            deferred=sum(view.deferred for view in views),
            ready=sum(view.ready for view in views),
            connections_in=sum(view.connections_in for view in views),
            connections_out=sum(view.connections_out for view in views),
            in_doubt=sum(view.in_doubt for view in views),
            in_doubt_listed=sum(view.in_doubt_listed for view in views),
            oldest_at=oldest(view.oldest_at for view in views),
            flow=sum_flows(view.flow for view in views),
        )

    @cached_property
    def pools(self) -> tuple[PoolRow, ...]:
        """Pools in order of their name."""
        parts = self._grouped(lambda snapshot: snapshot.pools)
        return tuple(self._pool(PoolName(name), parts[name]) for name in sorted(parts))

    @cached_property
    def providers(self) -> tuple[ProviderRow, ...]:
        """Providers in order of their name."""
        parts = self._grouped(lambda snapshot: snapshot.providers)
        return tuple(self._provider(ProviderName(name), parts[name]) for name in sorted(parts))

    @cached_property
    def vmtas(self) -> tuple[VmtaRow, ...]:
        """Virtual MTAs by pool, host and the order of the configuration."""
        rows = [
            VmtaRow(host.name, host.state, view, untold)
            for host in self.hosts
            if host.snapshot and (untold := host.untold) is not None
            for view in host.snapshot.vmtas
        ]
        rows.sort(key=lambda row: row.view.pool)
        return tuple(rows)

    @cached_property
    def destinations(self) -> tuple[DestinationRow, ...]:
        """Cells of provider × virtual MTA, by provider and virtual MTA."""
        rows = [row for host in self.hosts for row in host.destinations]
        rows.sort(key=lambda row: (row.view.provider, row.view.vmta))
        return tuple(rows)

    @cached_property
    def directives(self) -> tuple[DirectiveRow, ...]:
        """Live directives, newest first; those of one operation about one target and limit are one row."""
        groups: dict[tuple[str, ...], list[tuple[HostName, DirectiveView]]] = {}
        for host in self.hosts:
            for view in host.snapshot.directives if host.snapshot else ():
                groups.setdefault(_identity(view.directive), []).append((host.name, view))
        rows = [self._directive(parts) for parts in groups.values()]
        rows.sort(key=lambda row: (row.directive.created_at, row.key), reverse=True)
        return tuple(rows)

    @cached_property
    def live(self) -> frozenset[str]:
        """Orders that stand on any host, and those that they continue."""
        orders = [view.directive for host in self.hosts if host.snapshot for view in host.snapshot.directives]
        return frozenset(one for order in orders for one in (order.id, order.continues) if one)

    @cached_property
    def streams(self) -> tuple[StreamName, ...]:
        """Streams that any host knows, by name."""
        return tuple(sorted({name for host in self.hosts if host.snapshot for name in host.snapshot.streams}))

    @cached_property
    def _by_name(self) -> dict[str, HostState]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _fresh(self) -> tuple[tuple[HostName, Snapshot], ...]:
        return tuple((host.name, host.snapshot) for host in self.hosts if host.state.is_fresh and host.snapshot)

    def _grouped(self, rows: Callable[[Snapshot], Sequence[Row]]) -> dict[str, list[tuple[HostName, Row]]]:
        """Rows of all hosts by name, those of lost hosts too."""
        groups: dict[str, list[tuple[HostName, Row]]] = {}
        for host in self.hosts:
            for view in rows(host.snapshot) if host.snapshot else ():
                groups.setdefault(view.name, []).append((host.name, view))
        return groups

    def _fresh_parts(self, parts: Sequence[tuple[HostName, Row]]) -> list[Row]:
        fresh = {name for name, _ in self._fresh}
        return [view for name, view in parts if name in fresh]

    def _pool(self, name: PoolName, parts: Sequence[tuple[HostName, PoolView]]) -> PoolRow:
        views = self._fresh_parts(parts)
        # A host that never answered still counts as missing when the file gives it members of the pool.
        silent = [host for host in self.pool_hosts.get(name, ()) if (known := self.host(host)) and not known.snapshot]
        state, reason = _notable([(view.state, view.reason) for view in views])
        untold = [known.untold for host, _ in parts if (known := self.host(host)) and known.state.is_fresh]
        return PoolRow(
            name=name,
            state=state,
            reason=reason,
            hosts=Coverage(len(views), len(parts) + len(silent)),
            active=sum(view.active for view in views),
            standby=sum(view.standby for view in views),
            members=sum(len(view.members) for view in views),
            waiting=sum(view.waiting for view in views),
            deferred=sum(view.deferred for view in views),
            ready=sum(view.ready for view in views),
            connections=sum(view.connections for view in views),
            oldest_at=oldest(view.oldest_at for view in views),
            flow=sum_flows(view.flow for view in views),
            parts=tuple(parts),
            untold=frozenset.intersection(*untold) if untold else frozenset(),
        )

    def _provider(self, name: ProviderName, parts: Sequence[tuple[HostName, ProviderView]]) -> ProviderRow:
        views = self._fresh_parts(parts)
        return ProviderRow(
            name=name,
            state=_notable([(view.state, "") for view in views])[0],
            hosts=Coverage(len(views), len(parts)),
            waiting=sum(view.waiting for view in views),
            deferred=sum(view.deferred for view in views),
            ready=sum(view.ready for view in views),
            connections=sum(view.connections for view in views),
            oldest_at=oldest(view.oldest_at for view in views),
            flow=sum_flows(view.flow for view in views),
            parts=tuple(parts),
        )

    def _directive(self, parts: Sequence[tuple[HostName, DirectiveView]]) -> DirectiveRow:
        progresses = [view.progress for _, view in parts if view.progress]
        progress = None
        if progresses:
            progress = DrainProgress(
                connections=sum(one.connections for one in progresses),
                ready=sum(one.ready for one in progresses),
                in_doubt=sum(one.in_doubt for one in progresses),
                waiting=sum(one.waiting for one in progresses),
                empty=all(one.empty for one in progresses),
            )
        return DirectiveRow(
            directive=parts[0][1].directive,
            progress=progress,
            waiting=sum(view.waiting for _, view in parts),
            parts=tuple(parts),
            stale=any(not known.state.is_fresh for name, _ in parts if (known := self.host(name))),
        )


def _identity(order: Directive) -> tuple[str, ...]:
    """What makes directives of several hosts one row. One operation may limit several keys of one target."""
    about = "" if order.kind in (DirectiveKind.NOTE, DirectiveKind.LOCK) else str(order.target)  # of each its own host
    return (order.op_id, order.kind, about, order.limit)


_NOTABLE = (PoolState.DRAINING, PoolState.SUSPENDED, PoolState.EMPTY, PoolState.ACTIVE)
"""States by how much an operator must not overlook them."""


def _notable(states: Sequence[tuple[PoolState, str]]) -> tuple[PoolState, str]:
    """(state, reason) to show for several hosts; EMPTY when no host is fresh."""
    if not states:
        return PoolState.EMPTY, "no fresh data"
    state, reason = min(states, key=lambda pair: _NOTABLE.index(pair[0]))
    same = sum(other is state for other, _ in states)
    if same < len(states):
        reason = f"on {same} of {len(states)} hosts: {reason}" if reason else f"on {same} of {len(states)} hosts"
    return state, reason


def oldest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of `times`, None when there is none."""
    return min((time for time in times if time is not None), default=None)


def sum_flows(flows: Iterable[Flow]) -> Flow:
    """One flow for several; `recent` is aligned at its newest end."""
    flows = tuple(flows)
    length = min(RECENT_BUCKETS, max((len(flow.recent) for flow in flows), default=0))
    padding = (0,) * length
    # In columns, so that the sums are made in C: of a thousand hosts there are many.
    aligned = [one if len(one) == length else (padding + one)[-length:] for one in (flow.recent for flow in flows)]
    recent = map(sum, zip(*aligned, strict=True)) if length else ()
    return Flow(
        received_1m=sum(flow.received_1m for flow in flows),
        delivered_1m=sum(flow.delivered_1m for flow in flows),
        deferred_1m=sum(flow.deferred_1m for flow in flows),
        bounced_1m=sum(flow.bounced_1m for flow in flows),
        received=sum(flow.received for flow in flows),
        delivered=sum(flow.delivered for flow in flows),
        deferred=sum(flow.deferred for flow in flows),
        bounced=sum(flow.bounced for flow in flows),
        recent=tuple(recent),
    )


def deferral_share(flow: Flow) -> float | None:
    """Failed attempts of the last minute as a share of all attempts, 0 to 1; None without any."""
    attempts = flow.delivered_1m + flow.deferred_1m + flow.bounced_1m
    return flow.deferred_1m / attempts if attempts else None


def apply_changes(snapshot: Snapshot, changes: Changes) -> Snapshot:
    """`snapshot` with the rows of `changes` in place of theirs, new rows at the end, gone rows left out."""
    gone = set(changes.gone)
    return Snapshot(
        seq=changes.seq,
        at=changes.at,
        host=changes.host or snapshot.host,
        pools=_updated(snapshot.pools, changes.pools, gone, "pools", lambda row: row.name),
        vmtas=_updated(snapshot.vmtas, changes.vmtas, gone, "vmtas", lambda row: row.name),
        providers=_updated(snapshot.providers, changes.providers, gone, "providers", lambda row: row.name),
        destinations=_updated(
            snapshot.destinations,
            changes.destinations,
            gone,
            "destinations",
            lambda row: f"{row.provider}/{row.vmta}",
        ),
        directives=_updated(snapshot.directives, changes.directives, gone, "directives", lambda row: row.directive.id),
        streams=snapshot.streams if changes.streams is None else changes.streams,
    )


def _updated(
    rows: tuple[View, ...], changed: tuple[View, ...], gone: set[str], table: str, key: Callable[[View], str]
) -> tuple[View, ...]:
    if not changed and not gone:
        return rows
    merged = {key(row): row for row in rows}
    merged.update((key(row), row) for row in changed)
    return tuple(row for name, row in merged.items() if f"{table}:{name}" not in gone)
