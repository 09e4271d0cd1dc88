"""Pools and IPs: each pool over all hosts, its virtual MTAs below it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget

from mailagent.api.dkim import DkimSelector, DkimSelectors, SelectorState
from mailagent.api.feedback import FeedbackRate, FeedbackRequest, FeedbackView
from mailagent.api.reputation import Faults
from mailagent.api.requests import Empty, HistoryScope
from mailagent.api.trace import TraceKind, TraceRequest
from mailagent.api.views import MemberState, VmtaView
from mailagent.api.warm_up import WarmUpState, WarmUpView
from mailctl.fleet.state import FleetState, PoolRow, VmtaRow
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Scope, Traced
from mailctl.tui.listing import BLANK, Cell, Column, Listing
from mailctl.tui.screens.columns import UNTOLD, engine_facts, failing, host_name, number, rate, told, trend
from mailctl.tui.screens.view import View
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.states import member_cell, pool_cell
from mailctl.tui.text import clean, count, plural, since, some
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import Detail, beside, fact, lines, spread
from mailctl.tui.widgets.table import FleetTable

COLUMNS = (
    Column("POOL / IP", 15, grow=3, most=24),
    Column("STATE", 13),
    Column("HOST", 6, grow=1, most=12),
    Column("ADDRESS", 13, grow=1, most=24, drop=2),
    Column("READY", 6, right=True),
    Column("OUT/MIN", 7, right=True),
    Column("FAIL", 5, right=True),
    Column("2 MIN", 8, grow=4, most=24, tail=True, drop=1),
    Column("CONN", 4, right=True),
)


ASIDE_S = 10.0
MOST_KEYS = 4
ALARMING = 0.001
"""Complaints per delivered message: providers refuse mail above it."""

_SELECTORS = {
    SelectorState.ACTIVE: ("●", Tone.GOOD),
    SelectorState.PREPARED: ("◔", Tone.ACCENT),
    SelectorState.KEPT: ("○", Tone.QUIET),
    SelectorState.IDLE: ("−", Tone.QUIET),
}


def dkim_facts(keys: list[DkimSelector], now: datetime) -> list[Content]:
    """One line per key of a pool, those in use first; hosts that have the same key are told once."""
    order = list(_SELECTORS)
    by_name = {(key.domain, key.selector): key for key in keys}
    rows = []
    for key in sorted(by_name.values(), key=lambda key: (order.index(key.state), key.domain, key.selector)):
        glyph, tone = _SELECTORS[key.state]
        bits = f"{key.algorithm} {key.bits}" if key.bits else key.algorithm
        old = f", {since(key.made_at, now)} old" if key.made_at else ""
        notes = clean(key.problem) or ("due for a new one" if key.due else "")
        rows.append(
            Content.assemble(
                (f"{glyph} {key.state} ", tone.style),
                (f"DKIM {clean(key.selector)} ", Tone.STRONG.style),
                (f"{clean(key.domain)}, {bits}{old}  ", Tone.TEXT.style),
                (notes, Tone.WARN.style),
            )
        )
    return rows[:MOST_KEYS]


def faults(found: Iterable[Faults], said: str) -> list[Content]:
    """What is bad about who we say we are, each once, however many hosts say it; but what `said` has already."""
    sentences = dict.fromkeys(one.sentence for every in found for one in every.told)
    return [Content.styled(clean(one), Tone.BAD.style) for one in sentences if one not in said]


def courses(found: Sequence[WarmUpView], *, brief: bool) -> list[Content]:
    """How far a member that is warming is at each provider; `brief`: what is paused or repeated alone."""
    tones = {WarmUpState.PAUSED: Tone.BAD, WarmUpState.HELD: Tone.WARN}
    width = max((len(one.provider) for one in found), default=0)
    sent = [f"{count(one.used)} of {count(one.ceiling)}" for one in found]
    most = max(map(len, sent), default=0)
    return [
        beside(
            fact(one.provider.ljust(width), f"day {one.day:>2} of {one.days}" if one.days else "trickle"),
            Content.styled("done" if one.state is WarmUpState.DONE else words.rjust(most), Tone.TEXT.style),
            Content.styled(clean(one.why), tones.get(one.state, Tone.QUIET).style),
        )
        for one, words in zip(found, sent, strict=True)
        if one.state in tones or not brief
    ]


def complaints(rows: Iterable[FeedbackRate]) -> list[Content]:
    """What came back beside what was delivered, in one line; nothing when nothing came."""
    rows = tuple(rows)
    delivered, complained, bounced = (
        sum(getattr(row, name) for row in rows) for name in ("delivered", "complaints", "bounces")
    )
    if not complained and not bounced:
        return []
    part = complained / delivered if delivered else 0.0
    tone = Tone.BAD if part >= ALARMING else Tone.TEXT
    return [
        beside(
            fact("complaints", f"{count(complained)} of {count(delivered)} delivered ({part:.2%})", tone),
            fact("late bounces", some(bounced)),
        )
    ]


class Entry(NamedTuple):
    """A pool, or one of its virtual MTAs."""

    pool: PoolRow
    vmta: VmtaRow | None
    last: bool = False  # the last one of its pool

    @property
    def key(self) -> str:
        """The selector of the row."""
        return f"vmta:{self.vmta.view.name}" if self.vmta else f"pool:{self.pool.name}"


class PoolsView(View):
    """Pools, expandable to virtual MTAs."""

    TAB = "Pools"
    COLUMNS = COLUMNS
    EMPTY = "no pool passes the filter"
    HINTS = (*View.HINTS, ("U", "undo"))
    DEFAULT_CSS = """
    PoolsView FleetTable { height: 1fr; }
    PoolsView Detail { height: 6; }
    PoolsView.-tall Detail { height: 13; }
    PoolsView.-short Detail .legend, PoolsView.-short Detail Chart { display: none; }
    PoolsView.-short Detail { height: auto; max-height: 7; }
    PoolsView.-short Detail > .sides { height: auto; }
    PoolsView.-short Detail .facts { width: 1fr; padding-left: 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,right,f", "fold", "Fold", show=False, id="pools.fold"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._folded: set[str] = set()  # pools whose members are hidden
        self._keys: list[DkimSelector] = []
        self._back: list[FeedbackRate] = []
        self._asked_at = -ASIDE_S

    def body(self) -> Iterable[Widget]:
        """Table above, detail below."""
        yield FleetTable(empty=self.EMPTY)
        yield Detail()

    def seek(self, rows: tuple[str, ...]) -> None:
        """Stand on these rows, in pools that are unfolded for that."""
        self._folded -= {row.view.pool for row in self.desk.state.vmtas if f"vmta:{row.view.name}" in rows}
        super().seek(rows)

    def poll(self) -> None:
        """Ask for DKIM keys and feedback too, now and then: they change slowly."""
        super().poll()
        if monotonic() - self._asked_at >= ASIDE_S and not self.is_asking("aside"):
            self._asked_at = monotonic()
            self.fetch("aside", self._fetch_aside)

    async def _fetch_aside(self) -> None:
        ask = self.desk.source.ask_all
        keys = await ask("dkim", Empty(), deadline_s=ASK_DEADLINE_S)
        back = await ask("feedback", FeedbackRequest(limit=0), deadline_s=ASK_DEADLINE_S)
        if self.is_drawable:
            self._keys = [row for one in keys.values() if isinstance(one, DkimSelectors) for row in one.rows]
            self._back = [row for one in back.values() if isinstance(one, FeedbackView) for row in one.rates]
            self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw pools and members."""
        listing = Listing.of(COLUMNS, self._entries(state), lambda entry: entry.key, self._cells)
        self.table.show(listing)
        self.query_one(Detail).describe(self._facts(self._entry(), state, now))

    def _entries(self, state: FleetState) -> list[Entry]:
        members: dict[str, list[VmtaRow]] = {}
        for row in state.vmtas:
            facets = {
                TermKind.HOST: (row.host,),
                TermKind.POOL: (row.view.pool,),
                TermKind.VMTA: (row.view.name,),
                TermKind.STATE: (row.view.state,),
            }
            text = f"{row.view.pool} {row.view.name} {row.host} {row.view.state} {row.view.address} {row.view.public}"
            if self.filter.admits(facets, text):
                members.setdefault(row.view.pool, []).append(row)
        entries = []
        for pool in state.pools:
            rows = members.get(pool.name, [])
            if self.filter and not rows:
                continue
            entries.append(Entry(pool, None))
            if pool.name not in self._folded:
                entries += [Entry(pool, row, row is rows[-1]) for row in rows]
        return entries

    def _cells(self, entry: Entry) -> tuple[Cell, ...]:
        pool, row = entry.pool, entry.vmta
        if row is None:
            fold = "▸" if pool.name in self._folded else "▾"
            return (
                Cell(f"{fold} {pool.name}", Tone.STRONG),
                pool_cell(pool.state),
                Cell(f"{pool.hosts.fresh}/{pool.hosts.of}", Tone.STRONG if pool.hosts.is_whole else Tone.WARN),
                Cell(f"{pool.active}+{pool.standby} of {pool.members}", Tone.QUIET),
                told(pool.untold, "ready", number(pool.ready, tone=Tone.STRONG)),
                rate(pool.flow),
                failing(pool.flow),
                trend(pool.flow),
                told(pool.untold, "connections", number(pool.connections, tone=Tone.STRONG)),
            )
        view, stale = row.view, not row.link.is_fresh
        branch = "└" if entry.last else "├"
        idle = view.state in (MemberState.STANDBY, MemberState.RETIRED) and not view.flow.delivered_1m
        return (
            Cell(f"{branch}─ {view.name}", Tone.QUIET if stale or idle else Tone.TEXT),
            Cell(f"~ {row.link}", Tone.QUIET) if stale else member_cell(view.state),
            Cell(host_name(self.desk.state, row.host), Tone.QUIET if stale else Tone.TEXT),
            Cell(view.public or view.address or view.address6, Tone.QUIET),
            told(row.untold, "ready", number(view.ready, stale=stale)),
            rate(view.flow, stale=stale),
            failing(view.flow, stale=stale),
            BLANK if idle else trend(view.flow, stale=stale),
            told(row.untold, "connections", number(view.connections, stale=stale)),
        )

    def _entry(self) -> Entry | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def _facts(self, entry: Entry | None, state: FleetState, now: datetime) -> Content:
        if entry is None:
            return Content("")
        pool, row = entry.pool, entry.vmta
        if row is None:
            why = clean(pool.reason) or f"{pool.active} active, {pool.standby} standby"
            return lines(
                beside(Content.styled(f"pool {pool.name}", Tone.STRONG.style), Content.styled(why, Tone.TEXT.style)),
                beside(
                    fact("waiting", some(pool.waiting)),
                    fact("deferred", some(pool.deferred)),
                    fact("on", str(pool.hosts)),
                ),
                *complaints(row for row in self._back if row.pool == pool.name),
                *faults((part.faults for _, part in pool.parts), pool.reason),
                *dkim_facts([key for key in self._keys if key.pool == pool.name], now),
            )
        view = row.view
        mates = [
            other.view.name
            for other in state.vmtas
            if other.host == row.host and other.view.pool == view.pool and other.view.state is MemberState.STANDBY
        ]
        warm = f"R rotates to {mates[0]}" if mates and view.state is MemberState.ACTIVE else ""
        return lines(
            spread(
                ("IP", view.name, Tone.STRONG),
                ("ehlo", clean(view.ehlo), Tone.TEXT),
                ("from", view.address or view.address6, Tone.TEXT),
                ("in doubt", UNTOLD.text if "in_doubt" in row.untold else some(view.in_doubt), Tone.QUIET),
                wide=self.is_wide,
            ),
            beside(
                Content.styled(_why(view) or f"{view.state} in {pool.name}", Tone.TEXT.style),
                *([fact("last sent", f"{since(view.last_at, now)} ago")] if _is_silent(view, now) else []),
                Content.styled(warm, Tone.ACCENT.style),
            ),
            *(
                beside(fact("listed", one.zone), fact("says", one.meaning), fact("since", since(one.since, now)))
                for one in view.listings
            ),
            *faults((view.faults,), view.reason),
            *courses(view.warm_up, brief=not self.is_wide),
            *(engine_facts(host, brief=not self.is_wide) if (host := state.host(row.host)) else ()),
            *complaints(back for back in self._back if back.vmta == view.name),
        )

    def scope(self) -> Scope | None:
        """The pool on all hosts, or the virtual MTA."""
        entry = self._entry()
        if entry is None:
            return None
        if entry.vmta:
            name = entry.vmta.view.name
            return Scope(name, HistoryScope.VMTA, name, (entry.vmta.host,))
        hosts = tuple(str(host) for host, _ in entry.pool.parts)
        return Scope(f"{entry.pool.name} on {plural(len(hosts), 'host')}", HistoryScope.POOL, entry.pool.name, hosts)

    def traced(self) -> Traced:
        """The virtual MTA on its host."""
        entry = self._entry()
        if entry is None or entry.vmta is None:
            return "a pool is not traced: choose one of its IPs"
        return (entry.vmta.host,), TraceRequest(kind=TraceKind.VMTA, name=entry.vmta.view.name)

    def subject(self, verb: Verb) -> Subject | None:
        """Pools or virtual MTAs, of the hosts that the filter names; marks of both kinds are of no one kind."""
        del verb
        keys = [key.partition(":") for key in self.table.selected()]
        if len({kind for kind, _, _ in keys}) != 1:
            return None
        kind = TermKind(keys[0][0])
        hosts = self.filter.selection.hosts if kind is TermKind.POOL else ()
        return Subject(kind, tuple(name for _, _, name in keys), hosts)

    def action_fold(self) -> None:
        """Hide or show the members of the pool."""
        entry = self._entry()
        if entry is not None:
            self._folded ^= {str(entry.pool.name)}
            self.table.move_to(f"pool:{entry.pool.name}")
            self.show(self.desk.state, self.desk.now())

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The destinations of the pool or virtual MTA."""
        kind, _, name = event.key.partition(":")
        self.desk.go_down("Destinations", self.filter.having((TermKind(kind), name)))


def _is_silent(view: VmtaView, now: datetime) -> bool:
    """Whether it has sent nothing for a day, as far as is known."""
    return view.last_at is not None and now - view.last_at > timedelta(days=1)


def _why(view: VmtaView) -> str:
    """The reason of its state, without block lists, which have lines of their own."""
    listings = ", ".join(one.sentence for one in view.listings)
    return clean(view.reason.removeprefix(listings).removeprefix(", "))
