"""The figures of a host for monitoring, from its snapshot and what is counted anyway. Pure: nothing is counted here."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailagent.api.directives import DirectiveKind, DirectiveView
from mailagent.api.events import EventSinkView
from mailagent.api.intake import CheckCount
from mailagent.api.metrics import FAMILIES, SCOPES, MetricRow, Metrics, MetricTable, Scope, Value
from mailagent.api.reputation import Weight
from mailagent.api.views import EngineState, Flow, MemberState, PoolState, Snapshot, VmtaView
from mailagent.control.state import IN_SERVICE

_PEOPLE: Final = "people"
_AUTOMATION: Final = "automation"
_OF_AUTOMATION: Final = ((DirectiveKind.SUSPEND, _AUTOMATION), (DirectiveKind.LIMIT, _AUTOMATION))


@dataclass(frozen=True, slots=True)
class Process:
    """What the agent takes of its host."""

    cpu_s: float
    open_fds: int
    max_fds: int
    database_bytes: int
    journal_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot does not say."""

    process: Process
    streams: Mapping[str, tuple[Flow, int]]  # its flow, and recipients that wait
    suppressed: int
    lists: Mapping[str, tuple[str, Weight]]  # block lists: the zone that is asked -> how it is called here, its weight
    checks: Sequence[CheckCount] | None  # None: nothing is checked by this engine
    sinks: Sequence[EventSinkView]
    took_s: float  # the last collection


class _Tables:
    """Collects rows, as many as a host may report."""

    def __init__(self) -> None:
        self.tables: list[MetricTable] = []
        self.left_out = 0

    def add(self, scope: Scope, rows: Iterable[tuple[tuple[str, ...], Sequence[Value]]]) -> None:
        """Rows of a scope, their values in the order of the catalogue."""
        every = [MetricRow(labels=labels, values=tuple(values)) for labels, values in rows]
        most = SCOPES[scope].most
        self.left_out += max(0, len(every) - most)
        if every:
            self.tables.append(MetricTable(scope=scope, names=_NAMES[scope], rows=tuple(every[:most])))


_NAMES: Final = {scope: tuple(family.name for family in FAMILIES if family.scope is scope) for scope in Scope}


def metrics_of(snapshot: Snapshot, facts: Facts) -> Metrics:
    """All figures. What the engine does not tell is None."""
    tables = _Tables()
    for scope, rows in _rows(snapshot, facts):
        tables.add(scope, rows)
    tables.add(Scope.HOST, [((), _host(snapshot, facts, tables.left_out))])
    return Metrics(at=datetime.now(UTC), tables=tuple(tables.tables))


def _rows(now: Snapshot, facts: Facts) -> Iterator[tuple[Scope, Iterable[tuple[tuple[str, ...], Sequence[Value]]]]]:
    host, at = now.host, now.at
    has_ready = "ready_queues" not in host.unknown
    has_connections = "connections_out" not in host.unknown
    has_doubt = "in_doubt" not in host.unknown

    def ready(value: int) -> Value:
        return value if has_ready else None

    def connections(value: int) -> Value:
        return value if has_connections else None

    yield Scope.BUILD, [((host.version, host.engine), (1,))]
    yield Scope.CONFIG, [((host.config_hash,), (1,))]
    yield Scope.STATE, [((state.value,), (int(state is host.state),)) for state in EngineState]
    yield (
        Scope.POOL,
        (
            (
                (pool.name,),
                (
                    pool.flow.received,
                    *_outcomes(pool.flow),
                    *(pool.waiting, pool.deferred, ready(pool.ready)),
                    *(_age(pool.oldest_at, at), connections(pool.connections), pool.faults.count),
                ),
            )
            for pool in now.pools
        ),
    )
    yield (
        Scope.POOL_STATE,
        (((pool.name, state.value), (int(state is pool.state),)) for pool in now.pools for state in PoolState),
    )
    members = Counter((vmta.pool, vmta.state) for vmta in now.vmtas)
    yield (
        Scope.MEMBERS,
        (((pool.name, state.value), (members[pool.name, state],)) for pool in now.pools for state in MemberState),
    )
    yield (
        Scope.STREAM,
        (((name,), (flow.received, *_outcomes(flow), waiting)) for name, (flow, waiting) in facts.streams.items()),
    )
    yield (
        Scope.PROVIDER,
        (
            (
                (one.name,),
                (
                    *_outcomes(one.flow),
                    *(one.waiting, one.deferred, ready(one.ready)),
                    *(_age(one.oldest_at, at), connections(one.connections)),
                    None if one.connect_ms is None else one.connect_ms / 1000,
                    int(one.state is not PoolState.ACTIVE),
                ),
            )
            for one in now.providers
        ),
    )
    yield (
        Scope.VMTA,
        (
            (
                (vmta.pool, vmta.name),
                (
                    *_outcomes(vmta.flow),
                    int(vmta.state in IN_SERVICE),
                    *(ready(vmta.ready), connections(vmta.connections)),
                    vmta.in_doubt if has_doubt else None,
                    *_listings(vmta, asks=bool(facts.lists)),
                    *(vmta.faults.count, vmta.identity_unknown),
                ),
            )
            for vmta in now.vmtas
        ),
    )
    yield (
        Scope.CELL,
        (
            (
                (cell.pool, cell.provider, cell.vmta),
                (
                    *_outcomes(cell.flow),
                    *(ready(cell.ready), cell.deferred, connections(cell.connections)),
                    None if cell.answer_ms is None else cell.answer_ms / 1000,
                ),
            )
            for cell in now.destinations
        ),
    )
    yield Scope.DIRECTIVES, _directives(now.directives)
    yield Scope.BLOCK_LIST, _block_lists(now.vmtas, facts.lists)
    yield (
        Scope.CHECK,
        (((one.stream, one.check), (one.warned, one.refused, one.moved)) for one in facts.checks or ()),
    )
    yield (
        Scope.SINK,
        (
            (
                (sink.name,),
                (sink.acknowledged, sink.failures, sink.lost_files, sink.behind_bytes, _age(sink.oldest_at, at)),
            )
            for sink in facts.sinks
        ),
    )


def _host(now: Snapshot, facts: Facts, left_out: int) -> list[Value]:
    host, process = now.host, facts.process

    def told(field: str) -> Value:
        value: int = getattr(host, field)
        return None if field in host.unknown else value

    return [
        host.flow.received,
        *_outcomes(host.flow),
        int(host.accepting),
        int(bool(host.notice)),
        host.started_at.timestamp(),
        *(host.waiting, host.deferred, host.ready),
        _age(host.oldest_at, now.at),
        *(host.window, host.window_limit),
        *map(told, ("connections_in", "connections_out", "in_doubt", "in_doubt_listed")),
        facts.suppressed,
        *(host.disk_free_bytes, process.database_bytes, process.journal_bytes),
        int(bool(host.stuck)),
        *(host.rss_bytes, process.open_fds, process.max_fds),
        host.history_bytes,
        facts.took_s,
        left_out,
        process.cpu_s,
    ]


def _outcomes(flow: Flow) -> tuple[int, int, int]:
    return flow.delivered, flow.deferred, flow.bounced


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else round(max(0.0, (now - since).total_seconds()), 3)


def _listings(vmta: VmtaView, *, asks: bool) -> tuple[Value, Value]:
    """Zones that matter, and answers that are missing; neither where no list is asked."""
    zones = {one.zone for one in vmta.listings if one.weight is not Weight.INFO}
    return (len(zones), vmta.lists_unknown) if asks else (None, None)


def _directives(live: Sequence[DirectiveView]) -> Iterator[tuple[tuple[str, ...], Sequence[Value]]]:
    count: Counter[tuple[DirectiveKind, str]] = Counter()
    held: Counter[tuple[DirectiveKind, str]] = Counter()
    for view in live:
        key = (view.directive.kind, _AUTOMATION if view.directive.rule else _PEOPLE)
        count[key] += 1
        held[key] += view.waiting
    shown = dict.fromkeys([*((kind, _PEOPLE) for kind in DirectiveKind), *_OF_AUTOMATION, *count])
    for key in shown:
        yield (key[0].value, key[1]), (count[key], held[key])


def _block_lists(
    vmtas: Sequence[VmtaView], lists: Mapping[str, tuple[str, Weight]]
) -> Iterator[tuple[tuple[str, ...], Sequence[Value]]]:
    """A zone may have a key in its name: it is shown as the list that it is a copy of."""
    found: dict[tuple[str, str], set[str]] = {(name, weight.value): set() for name, weight in lists.values()}
    for vmta in vmtas:
        for one in vmta.listings:
            if one.zone in lists:
                name, weight = lists[one.zone]
                found[name, weight.value].add(vmta.name)
    for labels, listed in found.items():
        yield labels, (len(listed),)
