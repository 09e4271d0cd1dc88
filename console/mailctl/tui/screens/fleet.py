"""Fleet: every host in one table, with the sum of those that answer."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.directives import Directive
from mailagent.api.requests import HistoryScope
from mailagent.api.trace import TraceKind, TraceRequest
from mailctl.fleet.machines import HostLine, host_lines
from mailctl.fleet.state import FleetState, FleetTotals, HostState, LinkState
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.ops.timeline import live_notes
from mailctl.tui.desk import Scope, Traced
from mailctl.tui.evacuation import Evacuations
from mailctl.tui.listing import BLANK, Cell, Column, Listing, Row
from mailctl.tui.screens.columns import OTHER_ENGINE, UNTOLD, age, engine_facts, failing, number, rate, told, trend
from mailctl.tui.screens.view import View
from mailctl.tui.states import host_cell
from mailctl.tui.text import NOTHING, clean, clock, count, since, size, some, span, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import Detail, lines, spread
from mailctl.tui.widgets.table import FleetTable

COLUMNS = (
    Column("HOST", 6, grow=3, most=20),
    Column("STATE", 8, grow=2, most=14),
    Column("WAITING", 7, right=True, sort=lambda host: host.view.waiting if host.view else -1, descending=True),
    Column("READY", 6, right=True, drop=3),
    Column("DEFERRED", 8, right=True, sort=lambda host: host.view.deferred if host.view else -1, descending=True),
    Column(
        "OUT/MIN", 7, right=True, sort=lambda host: host.view.flow.delivered_1m if host.view else -1, descending=True
    ),
    Column("FAIL", 5, right=True),
    Column("2 MIN", 8, grow=4, most=24, tail=True, drop=1),
    Column("CONN", 5, right=True, drop=4),
    Column("OLDEST", 6, right=True, drop=2),
    Column("DATA", 5, right=True),
)
MOST_NOTES = 4
"""On the screen; the timeline and `mailctl note list` have all."""


class FleetView(View):
    """Hosts × state, queue, rate, failures, age of the data."""

    TAB = "Fleet"
    COLUMNS = COLUMNS
    EMPTY = "no host passes the filter"
    HINTS = (("D", "drain host"), ("E", "undrain"), ("V", "evacuate"), ("U", "undo"), ("enter", "open"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("V", "evacuate", "Evacuate", show=False, id="verb.evacuate"),
        Binding("c", "compare", "Compare", show=False, id="fleet.compare"),
    ]
    DEFAULT_CSS = """
    FleetView FleetTable { height: auto; max-height: 60%; }
    FleetView .notes { height: auto; max-height: 4; padding: 0 1; }
    FleetView.-narrow.-short Detail .facts { max-height: 7; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.evacuations = Evacuations()
        self._opened: set[str] = set()  # keys of machines whose agents are shown
        self._lines: dict[str, HostLine] = {}

    def action_evacuate(self) -> None:
        """Move the queue of the host under the cursor to other hosts."""
        line = self._line()
        host = line.host if line is not None else None
        if line is not None and line.parts:
            self.say(f"{line.host.name} has several agents; open it with enter and choose one", Tone.WARN)
        elif host is None or not host.state.is_fresh:
            self.say(f"{host.name} is not reachable" if host else "no host under the cursor", Tone.WARN)
        elif why := host.lacks("evacuate"):
            self.say(f"{host.name}: {why}", Tone.WARN)
        elif len(self.desk.state.hosts) < 2:
            self.say("there is no other host to go to", Tone.WARN)
        else:
            self.evacuations.ask(self.desk, host.name)

    def action_compare(self) -> None:
        """The fleet file beside what hosts run."""
        self.desk.go_down("Rollout")

    def seek(self, rows: tuple[str, ...]) -> None:
        """Also agents of a machine that is closed."""
        self._opened |= {line.key for line in self._lines.values() if line.parts and set(line.names) & set(rows)}
        super().seek(rows)

    def poll(self) -> None:
        """Also how far evacuations are, which no host reports by itself."""
        super().poll()
        self.desk.drift.look(self.desk.state.hosts)
        if not self.is_asking("evacuations"):
            self.fetch("evacuations", self._look)
        if self.evacuations.carried or self.evacuations.others:
            self.show(self.desk.state, self.desk.now())

    async def _look(self) -> None:
        fresh = [host.name for host in self.desk.state.hosts if host.state.is_fresh]
        await self.evacuations.look(self.desk.source, fresh, monotonic)

    def body(self) -> Iterable[Widget]:
        """Notes of whoever was here before, the table, detail below."""
        yield Static(classes="notes", markup=False)
        yield FleetTable(empty=self.EMPTY)
        yield Detail()

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the hosts."""
        hosts = [
            host
            for host in state.hosts
            if self.filter.admits(
                {TermKind.HOST: (host.name,), TermKind.STATE: (host.state,)}, f"{host.name} {host.region} {host.state}"
            )
        ]
        groups = host_lines(hosts, self._opened)
        order = self.ordering.by
        if order is not None and (value := COLUMNS[order[0]].sort):
            groups.sort(key=lambda group: value(group[0]), reverse=order[1])  # agents stay below their machine
        listed = [line for group in groups for line in group]
        self._lines = {line.key: line for line in listed}
        listing = Listing.of(
            COLUMNS,
            listed,
            lambda line: line.key,
            lambda line: _cells(line, now, drifted=self._drifted(line)),
            total=_total(state.totals, now),
        )
        self.table.show(self.hold(replace(listing, sorted_by=order)))
        line = self._line()
        self.query_one(Detail).describe(self._facts(line.host if line else None, now))
        notes = [_note(one, now) for one in live_notes(state).values()]
        pane = self.query_one(".notes", Static)
        pane.display = bool(notes)
        pane.update(lines(*notes[:MOST_NOTES]))

    def _drifted(self, line: HostLine) -> bool:
        """Whether it, or one of its agents, runs something else than the fleet file says."""
        return any(self.desk.drift.differs(host) for host in line.parts or (line.host,))

    def _line(self) -> HostLine | None:
        return self._lines.get(self.table.cursor) if self.table.cursor else None

    def scope(self) -> Scope | None:
        """The host under the cursor."""
        line = self._line()
        return Scope(line.host.name, HistoryScope.HOST, "", line.names) if line else None

    def traced(self) -> Traced:
        """All that leaves the host."""
        line = self._line()
        if line is None:
            return "no host under the cursor"
        if line.parts:
            return f"{line.host.name} has several agents; open it with enter and choose one"
        return (line.host.name,), TraceRequest(kind=TraceKind.HOST, name=line.host.name)

    def subject(self, verb: Verb) -> Subject | None:
        """Hosts; of a machine, all its agents."""
        del verb
        names = [name for key in self.table.selected() if key in self._lines for name in self._lines[key].names]
        return Subject(TermKind.HOST, tuple(dict.fromkeys(names)))

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The pools of the host; a machine opens and closes."""
        line = self._lines.get(event.key)
        if line is not None and line.parts:
            self._opened ^= {event.key}
            self.ordering.forget_places()  # its agents belong right below it, also while rows stand still
            self.show(self.desk.state, self.desk.now())
            return
        self.desk.go_down("Pools", self.filter.having((TermKind.HOST, event.key)))

    def _facts(self, host: HostState | None, now: datetime) -> Content:
        rows = self.evacuations.lines()
        if host is not None and host.state is not LinkState.LIVE and host.error:
            again = f", next try in {span(host.next_try_s)}" if host.next_try_s else ""
            rows.append(Content.assemble((clean(host.error) + again, Tone.BAD.style)))
        if host is not None and self.desk.drift.differs(host):
            rows.append(Content.styled("Δ runs something else than the fleet file says; c compares", Tone.WARN.style))
        if host is not None and (view := host.view) is not None:
            intake = "accepting" if view.accepting else clean(view.intake_reason) or "refusing"
            doubt = Tone.WARN if view.in_doubt_listed else Tone.QUIET
            first = (
                ("intake", intake, Tone.GOOD if view.accepting else Tone.WARN),
                ("window", f"{count(view.window)}/{count(view.window_limit)}", Tone.TEXT),
                ("in doubt", UNTOLD.text if "in_doubt" in host.untold else some(view.in_doubt_listed), doubt),
            )
            second = (
                ("up", span((now - view.started_at).total_seconds()), Tone.TEXT),
                ("disk free", size(view.disk_free_bytes), Tone.TEXT),
                ("memory", size(view.rss_bytes), Tone.TEXT),
                ("agent", view.version, Tone.TEXT),
            )
            if self.is_wide:
                rows.append(spread(*_aged(host, *first, *second), wide=True))
            else:
                rows += [spread(*_aged(host, *first), wide=False), spread(*_aged(host, *second), wide=False)]
            rows += engine_facts(host)
        happened = list(dict.fromkeys(self.desk.happened))[-(10 if self.is_wide else 2) :]
        if happened and self.is_wide:
            rows.append(Content(""))
        for event in reversed(happened):
            rows.append(
                Content.assemble(
                    (f"{clock(event.at)} ", Tone.QUIET.style),
                    (f"{event.subject} ", Tone.STRONG.style),
                    (event.text, event.tone.style),
                )
            )
        return lines(*rows)


def _aged(host: HostState, *facts: tuple[str, str, Tone]) -> tuple[tuple[str, str, Tone], ...]:
    """`facts`, marked as old where the host does not answer."""
    return facts if host.state.is_fresh else tuple((label, f"~{value}", Tone.QUIET) for label, value, _ in facts)


def _note(note: Directive, now: datetime) -> Content:
    ends = f"ends {until(note.expires_at, now)}" if note.expires_at else "no end"
    return Content.assemble(
        ("✎ ", Tone.ACCENT.style),
        (f"{clean(note.author)} {since(note.created_at, now)} ago, {ends}  ", Tone.QUIET.style),
        (clean(note.reason), Tone.STRONG.style),
    )


def _state(host: HostState, *, drifted: bool) -> Cell:
    """The link; Δ where the host runs something else than the fleet file says."""
    cell = host_cell(host)
    return Cell(f"Δ{cell.text}", Tone.WARN if cell.tone is Tone.GOOD else cell.tone) if drifted else cell


def _cells(line: HostLine, now: datetime, *, drifted: bool = False) -> tuple[Cell, ...]:
    host = line.host
    view, stale = host.view, not host.state.is_fresh
    data = Cell(
        NOTHING if host.age_s is None else span(host.age_s), Tone.QUIET if host.state is LinkState.LIVE else Tone.WARN
    )
    label = f"{line.label} {OTHER_ENGINE}" if host.other_engine else line.label
    name = Cell(label, Tone.QUIET if stale else Tone.STRONG)
    if view is None:
        return (name, _state(host, drifted=drifted), *[BLANK] * (len(COLUMNS) - 3), data)
    return (
        name,
        _state(host, drifted=drifted),
        number(view.waiting, stale=stale),
        number(view.ready, stale=stale),
        number(view.deferred, stale=stale),
        rate(view.flow, stale=stale),
        failing(view.flow, stale=stale),
        trend(view.flow, stale=stale),
        told(host.untold, "connections_out", number(view.connections_out, stale=stale)),
        age(view.oldest_at, now, stale=stale),
        data,
    )


def _total(totals: FleetTotals, now: datetime) -> Row:
    whole = totals.hosts.is_whole
    return Row(
        "total",
        (
            Cell("total", Tone.STRONG),
            Cell(f"{totals.hosts.fresh} of {totals.hosts.of}", Tone.STRONG if whole else Tone.WARN),
            number(totals.waiting),
            number(totals.ready),
            number(totals.deferred),
            rate(totals.flow),
            failing(totals.flow),
            trend(totals.flow),
            number(totals.connections_out),
            age(totals.oldest_at, now),
            BLANK,
        ),
    )
