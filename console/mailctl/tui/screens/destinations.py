"""Destinations: provider × virtual MTA, the unit in which providers judge us, with the reason that binds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget

from mailagent.api.directives import DirectiveKind
from mailagent.api.reasons import ReasonKind
from mailagent.api.requests import HistoryScope
from mailagent.api.targets import TargetKind
from mailagent.api.trace import TraceKind, TraceRequest
from mailagent.api.views import Flow, MemberState, VmtaView
from mailctl.fleet.state import DestinationRow, DirectiveRow, FleetState, HostState, deferral_share, oldest, sum_flows
from mailctl.ops import selector
from mailctl.ops.findings import pace
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Scope, Traced
from mailctl.tui.listing import BLANK, Cell, Column, Listing, Row
from mailctl.tui.roster import Part, Roster
from mailctl.tui.screens.columns import UNTOLD, age, engine_facts, failing, gauge, number, rate, told, trend
from mailctl.tui.screens.orders import limited, lowering
from mailctl.tui.screens.reasons import brief, full, reason_mark
from mailctl.tui.screens.view import View
from mailctl.tui.states import member_cell
from mailctl.tui.text import clean, count, listed, plural, some, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import Detail, fact, lines, spread
from mailctl.tui.widgets.table import FleetTable

# ordered by all that waits: under a lowered limit mail stays ready instead of being deferred
_DEFER = Column("DEFER", 6, right=True, sort=lambda row: row.view.deferred + row.view.ready, descending=True)
COLUMNS = (
    Column("PROVIDER", 8, grow=1, most=14, sort=lambda row: row.view.provider),
    Column("IP", 6, grow=1, most=14, sort=lambda row: row.view.vmta),
    Column("HOST", 4, grow=1, most=10, drop=2),
    Column("OUT/MIN", 7, right=True, sort=lambda row: row.view.flow.delivered_1m, descending=True),
    Column("FAIL", 5, right=True, sort=lambda row: deferral_share(row.view.flow) or 0.0, descending=True),
    Column("2 MIN", 8, grow=2, most=24, tail=True, drop=3),
    Column("OLDEST", 6, right=True),
    Column("CONN", 5, right=True),
    Column("READY", 5, right=True, drop=1, sort=lambda row: row.view.ready, descending=True),
    _DEFER,
    Column("WAITS FOR", 17, grow=8),
)


_OUT = (MemberState.DRAINING, MemberState.SUSPENDED, MemberState.QUARANTINED)
_ABOUT_LIMITS = (ReasonKind.LIMIT, ReasonKind.THROTTLE, ReasonKind.RULE)
_SLOWED = (ReasonKind.LIMIT, ReasonKind.SENDING, ReasonKind.CONNECTING)
_OF_THE_PAST = (ReasonKind.REPLY, ReasonKind.SCHEDULE)
MOST_ORDERS = 3


class DestinationsView(View):
    """Cells of provider × IP."""

    TAB = "Destinations"
    COLUMNS = COLUMNS
    EMPTY = "no mail to or from here in the last quarter of an hour"
    HINTS = (("D", "drain IP"), ("R", "rotate"), ("S", "suspend"), ("L", "limit"), ("T", "retry"))
    DEFAULT_CSS = """
    DestinationsView FleetTable { height: 1fr; }
    DestinationsView.-tall Detail { height: 13; }
    DestinationsView.-short Detail .legend, DestinationsView.-short Detail Chart { display: none; }
    DestinationsView.-short Detail { height: 4; }
    DestinationsView.-short Detail .facts { width: 1fr; padding-left: 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("P", "verb('probe')", "Probe", show=False, id="verb.probe"),
        Binding("a", "ages", "Ages", show=False, id="destinations.ages"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.ordering.by_column(COLUMNS.index(_DEFER))  # what burns comes first
        self._roster = Roster[DestinationRow, _Sum](
            COLUMNS, lambda row: row.key, lambda row: (row.view.provider, row.view.vmta), _summed
        )

    def body(self) -> Iterable[Widget]:
        """Table above, detail below."""
        yield FleetTable(empty=self.EMPTY)
        yield Detail()

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the cells."""
        self._roster.update(
            Part(host.name, (self.filter, host.state, host.snapshot.destinations), partial(self._rows, host))
            for host in state.hosts
            if host.snapshot is not None
        )
        listing = self._roster.listing(
            lambda row: _cells(row, self._member(row), self._suspended(row), self._lowered(row), now),
            sorted_by=self.ordering.by,
            still=self.stands_still(),
            total=_total(self._roster.tallies, now, None if self.filter else state.totals.deferred),
        )
        self.table.show(listing)
        self.query_one(Detail).describe(self._facts(now))

    def _rows(self, host: HostState) -> Sequence[DestinationRow]:
        """Cells of a host that pass the filter."""
        rows = host.destinations
        return [row for row in rows if self._admits(row)] if self.filter else rows

    def _admits(self, row: DestinationRow) -> bool:
        view = row.view
        facets = {
            TermKind.HOST: (row.host,),
            TermKind.POOL: (view.pool,),
            TermKind.VMTA: (view.vmta,),
            TermKind.PROVIDER: (view.provider,),
            TermKind.QUEUE: view.queues,
        }
        return self.filter.admits(
            facets, f"{view.provider} {view.vmta} {view.pool} {row.host} {view.binding.detail if view.binding else ''}"
        )

    def _cell(self) -> DestinationRow | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def _member(self, row: DestinationRow) -> VmtaView | None:
        """The virtual MTA of the cell."""
        host = self.desk.state.host(row.host)
        views = host.snapshot.vmtas if host is not None and host.snapshot is not None else ()
        return next((view for view in views if view.name == row.view.vmta), None)

    def _suspended(self, row: DestinationRow) -> DirectiveRow | None:
        """The order that holds the path on its host, also when no mail waits for it."""
        about = {(TargetKind.CELL, row.key), (TargetKind.PROVIDER, row.view.provider)}
        return next(
            (
                order
                for order in self.desk.state.directives
                if order.directive.kind is DirectiveKind.SUSPEND
                and (order.directive.target.kind, order.directive.target.name) in about
                and row.host in order.hosts
            ),
            None,
        )

    def _lowered(self, row: DestinationRow) -> tuple[DirectiveRow, ...]:
        """Orders that lower a limit of the cell on its host: the one that binds first, then the newest."""
        view = row.view
        bound = (view.binding.key, view.binding.value) if view.binding is not None else ("", "")
        orders = (
            order
            for order in lowering(self.desk.state, view.provider, view.vmta)
            if row.host in order.hosts
            and (order.directive.target.kind is not TargetKind.QUEUE or order.directive.target.name in view.queues)
        )
        return tuple(sorted(orders, key=lambda order: (order.directive.limit, order.directive.value) != bound))

    def _facts(self, now: datetime) -> Content:
        row = self._cell()
        if row is None:
            return Content("")
        view, binding = row.view, row.view.binding
        facts = [
            ("cell", row.key, Tone.STRONG),
            ("pool", view.pool, Tone.TEXT),
            ("limit", UNTOLD.text if "ready" in row.untold else view.rate_limit or "no rate", Tone.TEXT),
            ("over", UNTOLD.text if "ready" in row.untold else plural(view.sites, "site"), Tone.TEXT),
        ]
        if view.is_slow or (view.answer_ms is not None and self.is_wide):
            facts.append(("takes", pace(view), Tone.WARN if view.is_slow else Tone.TEXT))
        rows = [spread(*facts, wide=self.is_wide)]
        if binding is not None:
            glyph, tone = reason_mark(binding)
            ends = f"  {until(binding.until, now)}" if binding.until and binding.until > now else ""
            rows.append(Content.assemble((f"{glyph} {clean(full(binding))}{ends}", tone.style)))
        if (proof := _proof(row, self._member(row), self._suspended(row))) is not None:
            rows.append(proof)
        for order in self._lowered(row)[:MOST_ORDERS]:
            one = order.directive
            by = f"automation, {one.rule}" if one.rule else one.author
            ends = "pinned" if one.pinned else until(one.expires_at, now) if one.expires_at else "by undo"
            rows.append(
                Content.assemble(
                    (f"↓ {clean(limited(one))} ", Tone.WARN.style), (f"{clean(by)}, ends {ends}", Tone.QUIET.style)
                )
            )
        if (host := self.desk.state.host(row.host)) is not None:
            rows += engine_facts(host)[:2]
        if view.last_reply is not None and (binding is None or binding.detail != view.last_reply.line()):
            rows.append(fact("last reply", clean(view.last_reply.line())))
        if self.size.height >= 30 and view.queues:
            rows.append(fact("queues", listed(view.queues, 4)))
        return lines(*rows)

    def scope(self) -> Scope | None:
        """The cell."""
        row = self._cell()
        return Scope(row.key, HistoryScope.CELL, row.key, (row.host,)) if row else None

    def subject(self, verb: Verb) -> Subject | None:
        """The virtual MTA; for a suspension or a limit the cell; for a retry the mail that waits for it."""
        source = self.table.source
        if not isinstance(source, Listing):
            return None
        rows = [row for key in self.table.selected() if (row := source.record(key)) is not None]
        if not rows:
            return None
        if verb is Verb.RETRY:
            providers = {row.view.provider for row in rows}
            if len(rows) > 1:
                return None
            return Subject(
                TermKind.VMTA, (rows[0].view.vmta,), (), tuple((TermKind.PROVIDER, name) for name in providers)
            )
        if verb in (Verb.SUSPEND, Verb.RESUME) and (provider := self._whole(verb, rows)):
            return Subject(TermKind.PROVIDER, (provider,))
        if verb in (Verb.SUSPEND, Verb.RESUME, Verb.LIMIT, Verb.PROBE):
            return Subject(TermKind.CELL, tuple(dict.fromkeys(row.key for row in rows)))
        return Subject(TermKind.VMTA, tuple(dict.fromkeys(row.view.vmta for row in rows)))

    def _whole(self, verb: Verb, rows: Sequence[DestinationRow]) -> str:
        """The provider, where a suspension of `rows` is about all of it: an alarm says so, or it is suspended so."""
        providers = {row.view.provider for row in rows}
        if len(providers) > 1:
            return ""
        (provider,) = providers
        if verb is Verb.RESUME:
            orders = [self._suspended(row) for row in rows]
            whole = all(order and order.directive.target.kind is TargetKind.PROVIDER for order in orders)
        else:
            keys, wanted = {row.key for row in rows}, str(selector.of(TermKind.PROVIDER, (provider,)))
            whole = any(one.selection == wanted and keys.issuperset(one.cells) for one in self.desk.alarms.standing)
        return provider if whole else ""

    def traced(self) -> Traced:
        """The cell on its host."""
        row = self._cell()
        return ((row.host,), TraceRequest(kind=TraceKind.CELL, name=row.key)) if row else "choose a row first"

    def action_ages(self) -> None:
        """How long mail waits, by provider."""
        self.desk.go_down("Ages", self.filter)

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The deferred mail of the cell."""
        provider, _, vmta = event.key.partition("/")
        self.desk.go_down("Deferred", self.filter.having((TermKind.PROVIDER, provider), (TermKind.VMTA, vmta)))


def _proof(row: DestinationRow, member: VmtaView | None, suspended: DirectiveRow | None) -> Content | None:
    """Whether anything still leaves on a path that an order holds."""
    view = row.view
    is_held = suspended is not None or (view.binding is not None and view.binding.kind is ReasonKind.DIRECTIVE)
    if not row.link.is_fresh or not (is_held or _is_out(member)):
        return None
    if view.connections:
        return Content.styled(f"▽ {plural(view.connections, 'connection')} still at work", Tone.WARN.style)
    return Content.styled("✓ nothing leaves here: no connection is open", Tone.GOOD.style)


def _is_out(member: VmtaView | None) -> bool:
    """Whether the virtual MTA is taken out of use."""
    return member is not None and member.state in _OUT


def _cells(
    row: DestinationRow,
    member: VmtaView | None,
    suspended: DirectiveRow | None,
    lowered: tuple[DirectiveRow, ...],
    now: datetime,
) -> tuple[Cell, ...]:
    view, stale = row.view, not row.link.is_fresh
    waits = BLANK
    if member is not None and _is_out(member):
        waits = member_cell(member.state)
    elif suspended is not None:
        waits = Cell(f"‖ suspended by {clean(suspended.directive.author)}", Tone.WARN)
    elif lowered:
        order = lowered[0].directive
        waits = Cell(f"↓ {clean(limited(order))} by {clean(order.rule or order.author)}", Tone.WARN)
    if stale:
        waits = Cell(f"~ host is {row.link}", Tone.QUIET)
    elif view.binding is not None:
        glyph, tone = reason_mark(view.binding)
        mark = "↓" if lowered and view.binding.kind in _ABOUT_LIMITS else ""
        waits = Cell(f"{glyph}{mark} {clean(brief(view.binding))}", tone)
        if view.is_slow and view.binding.kind in _SLOWED:
            waits = Cell(f"◷{mark} slow: {pace(view)}", Tone.WARN)
        if member is not None and member.state is MemberState.STANDBY and view.binding.kind in _OF_THE_PAST:
            waits = Cell("○ standby: its mail leaves from others", Tone.QUIET)
    return (
        Cell(view.provider, Tone.QUIET if stale else Tone.STRONG),
        Cell(view.vmta, Tone.QUIET if stale else Tone.TEXT),
        Cell(row.host, Tone.QUIET),
        rate(view.flow, stale=stale),
        failing(view.flow, stale=stale),
        trend(view.flow, stale=stale),
        age(view.oldest_at, now, stale=stale),
        told(row.untold, "connections", gauge(view.connections, view.connection_limit, stale=stale)),
        told(row.untold, "ready", number(view.ready, stale=stale)),
        number(view.deferred, stale=stale),
        waits,
    )


@dataclass(frozen=True, slots=True)
class _Sum:
    """Cells of one host."""

    cells: int
    fresh: bool
    flow: Flow
    connections: int
    ready: int
    deferred: int
    oldest_at: datetime | None
    untold: frozenset[str]


def _summed(rows: Sequence[DestinationRow]) -> _Sum:
    """The sum of a host's cells; nothing of a lost host but their number."""
    fresh = bool(rows) and rows[0].link.is_fresh
    views = [row.view for row in rows] if fresh else []
    return _Sum(
        len(rows),
        fresh,
        sum_flows(view.flow for view in views),
        sum(view.connections for view in views),
        sum(view.ready for view in views),
        sum(view.deferred for view in views),
        oldest(view.oldest_at for view in views),
        rows[0].untold if rows else frozenset(),
    )


def _total(sums: Sequence[_Sum], now: datetime, deferred: int | None) -> Row | None:
    """The row below; `deferred`: of the whole fleet, to say how much of it no row has."""
    sums = [one for one in sums if one.cells]
    if not sums:
        return None
    flow = sum_flows(one.flow for one in sums)
    missing = sum(not one.fresh for one in sums)
    untold = frozenset.intersection(*(one.untold for one in sums))
    in_rows = sum(one.deferred for one in sums)
    if missing:
        covered = Cell(f"without {plural(missing, 'host')}", Tone.WARN)
    elif deferred is not None and deferred > in_rows:
        covered = Cell(f"+{count(deferred - in_rows)} in no row", Tone.WARN)
    else:
        covered = Cell(f"of {plural(len(sums), 'host')}", Tone.QUIET)
    return Row(
        "total",
        (
            Cell("total", Tone.STRONG),
            Cell(some(sum(one.cells for one in sums)), Tone.QUIET),
            BLANK,
            rate(flow),
            failing(flow),
            trend(flow),
            age(oldest(one.oldest_at for one in sums), now),
            told(untold, "connections", number(sum(one.connections for one in sums))),
            told(untold, "ready", number(sum(one.ready for one in sums))),
            number(in_rows),
            covered,
        ),
    )
