"""Rows of the reads that come from the merged state, and the tables that people see of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mailagent.api.directives import Directive, DrainProgress
from mailagent.api.ids import HostName
from mailagent.api.reasons import WaitReason
from mailagent.api.targets import TargetKind
from mailagent.api.views import Flow, PoolState
from mailagent.api.words import verb
from mailctl.cli.narrow import Names, narrow
from mailctl.fleet import FleetState, HostState
from mailctl.fleet.state import DestinationRow, DirectiveRow, PoolRow, VmtaRow, deferral_share
from mailctl.ops import Selection, TermKind
from mailctl.ops.alarms import Alarm
from mailctl.ops.alarms import alarms as all_alarms
from mailctl.output.human import NOTHING, ago, count, duration, percent, printable, size, until
from mailctl.output.tables import Column, table, wrapped


def hosts(state: FleetState, selection: Selection, *, view: str) -> tuple[HostState, ...]:
    """Hosts of the selection; it knows no other kind."""
    return narrow(state.hosts, selection, {}, view=view)


def pools(state: FleetState, selection: Selection) -> tuple[PoolRow, ...]:
    """Pools of the selection."""
    return narrow(state.pools, selection, {TermKind.POOL: lambda row: (row.name,)}, view="pools")


def vmtas(state: FleetState, selection: Selection) -> tuple[VmtaRow, ...]:
    """Virtual MTAs of the selection."""
    kinds = {
        TermKind.VMTA: lambda row: (row.view.name,),
        TermKind.POOL: lambda row: (row.view.pool,),
    }
    return narrow(state.vmtas, selection, kinds, view="ips")


def destinations(state: FleetState, selection: Selection) -> tuple[DestinationRow, ...]:
    """Cells of provider × virtual MTA of the selection."""
    kinds = {
        TermKind.PROVIDER: lambda row: (row.view.provider,),
        TermKind.VMTA: lambda row: (row.view.vmta,),
        TermKind.POOL: lambda row: (row.view.pool,),
        TermKind.QUEUE: lambda row: row.view.queues,
    }
    return narrow(state.destinations, selection, kinds, view="destinations")


def directives(state: FleetState, selection: Selection) -> tuple[DirectiveRow, ...]:
    """Standing orders about objects of the selection."""

    def names(kind: TermKind) -> Names[DirectiveRow]:
        return lambda row: (row.directive.target.name,) if str(row.directive.target.kind) == kind else ()

    objects = (TermKind.POOL, TermKind.VMTA, TermKind.PROVIDER, TermKind.QUEUE, TermKind.STREAM)
    return narrow(state.directives, selection, {kind: names(kind) for kind in objects}, view="directives")


def alarms(state: FleetState, selection: Selection) -> tuple[Alarm, ...]:
    """Alarms about hosts of the selection, the worst first."""
    shown = {host.name for host in hosts(state, selection, view="alarms")}
    return tuple(alarm for alarm in all_alarms(state) if shown.intersection(alarm.hosts))


def alarm_table(found: Sequence[Alarm], width: int | None) -> str:
    """What is wrong, what was said, and the command that makes it safe."""
    columns = [
        Column("ALARM"),
        Column("HOSTS", spare=2),
        Column("WAITING", right=True, spare=1),
        Column("BECAUSE", flex=True),
        Column("DO", flex=True),
    ]
    cells = [
        [
            alarm.text,
            " ".join(alarm.hosts),
            count(alarm.waiting),
            alarm.evidence,
            alarm.command or alarm.advice,
        ]
        for alarm in found
    ]
    return table(columns, cells, width=width) if cells else "nothing is wrong that the agents know of"


def status(state: FleetState, shown: Sequence[HostState], width: int | None) -> str:
    """The fleet on one screen."""
    parts = [_status_table(state, shown, width)]
    if notable := [row for row in state.pools if row.state is not PoolState.ACTIVE]:
        told = [printable(f"pool {row.name}: {row.state} {row.reason}".rstrip()) for row in notable]
        parts.append("\n".join(line for one in told for line in wrapped(one, indent=0, width=width)))
    if state.directives:
        parts.append(directive_table(state.directives, width))
    return "\n\n".join(parts)


def host_table(rows: Sequence[HostState], width: int | None) -> str:
    """Hosts in detail."""
    shared = any(host.machine for host in rows)
    mixed = any(host.other_engine for host in rows)
    columns = [
        Column("HOST"),
        *([Column("MACHINE", spare=9)] if shared else []),
        Column("LINK"),
        Column("AGE", right=True, spare=3),
        Column("VERSION", spare=4),
        Column("USER", spare=6),
        Column("ROLE", spare=7),
        *([Column("MTA", late=4)] if mixed else []),
        Column("ENGINE"),
        Column("INTAKE", flex=True),
        Column("WINDOW", right=True, late=2),
        Column("CONNS IN", right=True, spare=1),
        Column("OUT", right=True, spare=2),
        Column("IN DOUBT", right=True, late=3),
        Column("DISK FREE", right=True, late=1),
        Column("RSS", right=True, spare=5),
        Column("CONFIG", spare=8),
    ]
    cells = []
    for host in rows:
        view, hello = host.view, host.hello
        cells.append(
            [
                host.name,
                *([host.machine or NOTHING] if shared else []),
                host.state,
                _age(host.age_s),
                view.version if view else NOTHING,
                hello.user if hello else NOTHING,
                hello.role if hello else NOTHING,
                *([view.engine if view else NOTHING] if mixed else []),
                view.state if view else NOTHING,
                ("accepts" if view.accepting else view.intake_reason) if view else NOTHING,
                f"{count(view.window)}/{count(view.window_limit)}" if view else NOTHING,
                count(view.connections_in) if view and "connections_in" not in host.untold else NOTHING,
                count(view.connections_out) if view and "connections_out" not in host.untold else NOTHING,
                count(view.in_doubt + view.in_doubt_listed) if view and "in_doubt" not in host.untold else NOTHING,
                size(view.disk_free_bytes) if view else NOTHING,
                size(view.rss_bytes) if view else NOTHING,
                view.config_hash if view else NOTHING,
            ]
        )
    return "\n".join([table(columns, cells, width=width), *engine_notes(rows, width)])


def engine_notes(rows: Sequence[HostState], width: int | None) -> list[str]:
    """What hosts with another engine do by other means, and what their engine does not tell."""
    notes = []
    for host in rows:
        if not host.other_engine:
            continue
        if missing := ", ".join(host.view.unknown if host.view is not None else ()).replace("_", " "):
            notes.append(f"{host.name}: {host.other_engine} does not tell: {missing}")
        if host.view is not None and host.view.notice:
            notes.append(f"{host.name}: {host.view.notice}")
        emulated = host.hello.emulated if host.hello is not None else {}
        notes += [f"{host.name}: {verb.replace('_', ' ')} is emulated: {text}" for verb, text in emulated.items()]
    return [line for note in notes for line in wrapped(printable(note), indent=0, width=width)]


def pool_table(rows: Sequence[PoolRow], width: int | None) -> str:
    """Pools, summed over hosts."""
    now = datetime.now(UTC)
    columns = [
        Column("POOL"),
        Column("STATE"),
        Column("HOSTS", spare=4),
        Column("ACTIVE", right=True, spare=1),
        Column("STANDBY", right=True, spare=2),
        *_LOAD,
        *_FLOW,
        Column("CONNS", right=True, spare=3),
        Column("OLDEST", right=True, spare=1),
        Column("REASON", flex=True),
    ]
    cells = [
        [
            row.name,
            row.state,
            str(row.hosts),
            count(row.active),
            count(row.standby),
            count(row.waiting),
            _told(row, "ready", count(row.ready)),
            count(row.deferred),
            *_flow(row.flow),
            _told(row, "connections", count(row.connections)),
            ago(row.oldest_at, now),
            row.reason,
        ]
        for row in rows
    ]
    return table(columns, cells, width=width) if cells else "no pools"


def vmta_table(rows: Sequence[VmtaRow], width: int | None) -> str:
    """Virtual MTAs."""
    now = datetime.now(UTC)
    columns = [
        Column("VMTA"),
        Column("POOL", spare=1),
        Column("HOST"),
        Column("STATE"),
        Column("ADDRESS", flex=True),
        Column("EHLO", flex=True, spare=5),
        Column("READY", right=True, spare=2),
        *_FLOW,
        Column("CONNS", right=True, spare=3),
        Column("LAST", right=True, spare=6),
        Column("LINK", spare=4),
        Column("REASON", flex=True),
    ]
    cells = [
        [
            row.view.name,
            row.view.pool,
            row.host,
            row.view.state,
            " ".join(filter(None, (row.view.address, row.view.address6))),
            row.view.ehlo,
            _told(row, "ready", count(row.view.ready)),
            *_flow(row.view.flow),
            _told(row, "connections", count(row.view.connections)),
            ago(row.view.last_at, now),
            row.link,
            row.view.reason,
        ]
        for row in rows
    ]
    return table(columns, cells, width=width) if cells else "no virtual MTAs"


def destination_table(rows: Sequence[DestinationRow], width: int | None) -> str:
    """Cells of provider × virtual MTA."""
    now = datetime.now(UTC)
    columns = [
        Column("PROVIDER"),
        Column("VMTA"),
        Column("HOST", spare=3),
        *_FLOW,
        Column("READY", right=True, spare=1),
        Column("DEFERRED", right=True),
        Column("OLDEST", right=True, spare=2),
        Column("CONNS", right=True, late=2),
        Column("BINDS", flex=True),
    ]
    cells = [
        [
            row.view.provider,
            row.view.vmta,
            row.host,
            *_flow(row.view.flow),
            _told(row, "ready", count(row.view.ready)),
            count(row.view.deferred),
            ago(row.view.oldest_at, now),
            _told(row, "connections", f"{row.view.connections}/{row.view.connection_limit or '∞'}"),
            binding(row.view.binding),
        ]
        for row in rows
    ]
    return table(columns, cells, width=width) if cells else "no destinations"


def directive_table(rows: Sequence[DirectiveRow], width: int | None) -> str:
    """Standing orders; one line for each operation and target."""
    now = datetime.now(UTC)
    columns = [
        Column("ORDER", flex=True),
        Column("TARGET"),
        Column("HOSTS", flex=True, spare=4),
        Column("BY", spare=2),
        Column("AGE", right=True, spare=3),
        Column("ENDS"),
        Column("WAITING", right=True, spare=5),
        Column("PROGRESS", spare=6),
        Column("ID", spare=7),
        Column("OPERATION", spare=1),
        Column("REASON", flex=True),
    ]
    cells = [
        [
            order(row.directive),
            about(row),
            " ".join(row.hosts),
            row.directive.author,
            ago(row.directive.created_at, now),
            until(row.directive.expires_at, now) if row.directive.expires_at else "by undo",
            count(row.waiting),
            row.note or progress(row.progress),
            row.directive.id,
            row.op_id,
            row.directive.reason,
        ]
        for row in rows
    ]
    return table(columns, cells, width=width) if rows else "no standing orders"


def lock_table(rows: Sequence[tuple[HostName, Directive]], width: int | None) -> str:
    """Locks, host by host."""
    now = datetime.now(UTC)
    columns = [
        Column("HOST"),
        Column("BY"),
        Column("AGE", right=True, spare=1),
        Column("ENDS"),
        Column("REASON", flex=True),
    ]
    cells = [
        [
            host,
            lock.author,
            ago(lock.created_at, now),
            until(lock.expires_at, now) if lock.expires_at else "by release",
            lock.reason,
        ]
        for host, lock in rows
    ]
    return table(columns, cells, width=width) if rows else "no host is locked"


def about(row: DirectiveRow) -> str:
    """Its target; of what stands on several hosts about each of them, nothing."""
    target = row.directive.target
    return NOTHING if target.kind is TargetKind.HOST and len(row.hosts) > 1 else str(target)


def order(directive: Directive) -> str:
    """What is ordered; of a limit, which and how much, and where automation climbs back to."""
    if not directive.limit:
        return verb(directive.kind, directive.target)
    back = f" of {directive.base}" if directive.base else ""
    return f"{directive.kind} {directive.limit} {directive.value}{back}"


def binding(reason: WaitReason | None) -> str:
    """The reason that binds, with the key, value and origin of a limit."""
    if reason is None:
        return ""
    key = f" ({reason.key} {reason.value}, {reason.origin})" if reason.key and reason.value else ""
    return f"{reason.kind}: {reason.detail}{key}"


def progress(found: DrainProgress | None) -> str:
    """How far a drain is."""
    if found is None:
        return NOTHING
    if found.empty:
        return "empty"
    return f"{found.connections} conns, {count(found.ready)} ready, {found.in_doubt} in doubt"


_LOAD = (Column("WAITING", right=True), Column("READY", right=True, spare=1), Column("DEFERRED", right=True))
_FLOW = (Column("SENT/MIN", right=True, late=3), Column("DEFERRALS", right=True, late=1))


def _told(row: PoolRow | VmtaRow | DestinationRow, name: str, text: str) -> str:
    """`text`, unless the engine behind the row does not tell it."""
    return NOTHING if name in row.untold else text


def _flow(flow: Flow) -> list[str]:
    return [count(flow.delivered_1m), percent(deferral_share(flow))]


def _age(age_s: float | None) -> str:
    return NOTHING if age_s is None else duration(age_s)


def _status_table(state: FleetState, shown: Sequence[HostState], width: int | None) -> str:
    now = datetime.now(UTC)
    columns = [
        Column("HOST"),
        Column("LINK"),
        Column("AGE", right=True, spare=2),
        Column("ENGINE", spare=1),
        *_LOAD,
        *_FLOW,
        Column("CONNS", right=True, spare=3),
        Column("OLDEST", right=True, late=2),
        Column("NOTE", flex=True),
    ]
    cells = []
    for host in shown:
        view = host.view
        load = [NOTHING] * 7
        if view:
            load = [count(view.waiting), count(view.ready), count(view.deferred), *_flow(view.flow)]
            conns = NOTHING if "connections_out" in host.untold else count(view.connections_out)
            load += [conns, ago(view.oldest_at, now)]
        note = host.error or ((view.intake_reason or view.notice or host.other_engine) if view else "")
        cells.append([host.name, host.state, _age(host.age_s), view.state if view else NOTHING, *load, note])
    totals = state.totals
    untold = all("connections_out" in host.untold for host in shown if host.view)
    total = [
        str(totals.hosts),
        *[""] * 3,
        count(totals.waiting),
        count(totals.ready),
        count(totals.deferred),
        *_flow(totals.flow),
        NOTHING if untold else count(totals.connections_out),
        ago(totals.oldest_at, now),
        "",
    ]
    return table(columns, cells, total=total, width=width)
