"""Suppression: addresses that are not mailed, over all hosts; why, since when, until when, and what is held back."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.directives import DirectiveKind
from mailagent.api.domains import folded_address
from mailagent.api.ids import HostName, OpId
from mailagent.api.requests import Mutation
from mailagent.api.suppression import (
    Suppression,
    SuppressionAdd,
    SuppressionEntry,
    SuppressionPage,
    SuppressionPending,
    SuppressionQuery,
    SuppressionReason,
    SuppressionRemove,
)
from mailagent.api.targets import TargetKind
from mailagent.config.scalars import is_mail_address
from mailctl.fleet.state import DirectiveRow, FleetState
from mailctl.ops import selector
from mailctl.ops.filters import Filter
from mailctl.ops.plan import Options, Verb
from mailctl.ops.selector import Selection, TermKind
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.columns import age
from mailctl.tui.screens.view import View
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import NOTHING, clean, count, few, listed, plural, since, until
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.detail import beside, fact, lines
from mailctl.tui.widgets.table import FleetTable

PAGE_ROWS = 200
MOST_ROWS = 5_000
"""Entries that one screen collects; a filter is the way to the others."""
REFRESH_S = 5.0
PENDING = "pending"
_UNNAMED = OpId("")

COLUMNS = (
    Column("ADDRESS", 22, grow=12, most=48),
    Column("REASON", 12),
    Column("STREAM", 6, grow=1, most=14, drop=2),
    Column("HOSTS", 7, grow=1, most=16, drop=1),
    Column("STATE", 9),
    Column("AGE", 6, right=True),
    Column("ENDS", 9, right=True),
    Column("SOURCE", 12, grow=3, most=30, drop=3),
    Column("EVIDENCE", 16, grow=3, drop=4),
)


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One address of one stream over the hosts that have it."""

    entry: Suppression  # of the first host
    hosts: tuple[HostName, ...]

    @property
    def key(self) -> str:
        """Stable key of the row."""
        return f"{self.entry.address} {self.entry.stream}"


def merged(parts: Iterable[tuple[HostName, Suppression]]) -> list[EntryRow]:
    """Entries of all hosts by address and stream, in order of the address."""
    found: dict[tuple[str, str], tuple[Suppression, list[HostName]]] = {}
    for host, entry in parts:
        found.setdefault((entry.address, entry.stream), (entry, []))[1].append(host)
    return [EntryRow(entry, tuple(dict.fromkeys(hosts))) for _, (entry, hosts) in sorted(found.items())]


def asked_of(wanted: Filter) -> tuple[SuppressionQuery, tuple[str, ...]]:
    """What hosts narrow by, and the words that are left for this screen.

    A whole address, a reason, `pending` and `stream:` are for the hosts; other words look at what is here.
    """
    address, reason, pending, words = "", None, None, []
    for word in wanted.words:
        if word in tuple(SuppressionReason):
            reason = SuppressionReason(word)
        elif word == PENDING:
            pending = True
        elif "@" in word[:-1].lstrip("@") and "." in word.rpartition("@")[2]:
            address = word
        else:
            words.append(word)
    streams = wanted.selection.names(TermKind.STREAM)
    query = SuppressionQuery(
        address=address, stream=streams[0] if streams else "", reason=reason, pending=pending, limit=PAGE_ROWS
    )
    return query, tuple(words)


class SuppressionView(View):
    """A window into the list that grows as one scrolls, never the whole list."""

    TAB = "Suppression"
    COLUMNS = COLUMNS
    EMPTY = "asking the hosts …"
    VERBS: ClassVar[dict[str, Verb]] = {}
    HINTS = (("A", "add"), ("X", "remove"), ("F", "freeze/thaw"), ("P", "pending"), ("y", "copy"))
    DEFAULT_CSS = """
    SuppressionView FleetTable { height: 1fr; }
    SuppressionView .counts { height: 1; padding: 0 1; }
    SuppressionView .entry { height: auto; min-height: 3; max-height: 7; border-top: solid $rule; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A", "add", "Add", show=False, id="suppression.add"),
        Binding("X", "remove", "Remove", show=False, id="suppression.remove"),
        Binding("F", "freeze", "Freeze or thaw", show=False, id="suppression.freeze"),
        Binding("P", "pending", "Pending", show=False, id="suppression.pending"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[tuple[HostName, Suppression]] = []
        self._rows: list[EntryRow] = []
        self._cursors: dict[HostName, str] = {}  # of the next page of each host that has one
        self._counts: dict[HostName, tuple[int, int]] = {}  # in effect, pending
        self._missing: tuple[str, ...] = ()
        self._asked: Filter | None = None
        self._asked_at = -REFRESH_S
        self._pages = 0

    def body(self) -> Iterable[Widget]:
        """Counts, the table, the entry in full."""
        yield Static(classes="counts", markup=False)
        yield FleetTable(empty=self.EMPTY)
        yield Static(classes="entry", markup=False)

    # data

    def poll(self) -> None:
        """Ask anew when the filter is new, and now and then while only the first page is here."""
        due = self._pages <= 1 and monotonic() - self._asked_at >= REFRESH_S and not self.is_asking("suppressions")
        if self._asked != self.filter or due:
            self._asked, self._asked_at = self.filter, monotonic()
            self.fetch("suppressions", self._first_page, self.filter)

    def narrow(self, wanted: Filter) -> None:
        """Ask again."""
        super().narrow(wanted)
        self.poll()

    def on_fleet_table_cursor_moved(self) -> None:
        """Near the end of what is here: ask for the next page."""
        index = self.table.source.index_of(self.table.cursor or "")
        near = index is not None and index > len(self._rows) - 50
        if near and self._cursors and not self.is_asking("suppressions") and len(self._rows) < MOST_ROWS:
            self.fetch("suppressions", self._next_page, self.filter)

    async def _first_page(self, wanted: Filter) -> None:
        await self._read(wanted, {HostName(host): "" for host in self.admitted(wanted)}, [])

    async def _next_page(self, wanted: Filter) -> None:
        await self._read(wanted, self._cursors, self._parts)

    async def _read(
        self, wanted: Filter, cursors: dict[HostName, str], before: list[tuple[HostName, Suppression]]
    ) -> None:
        query, _ = asked_of(wanted)
        parts, later, missing = list(before), {}, []
        counts = dict(self._counts) if before else {}
        for host, cursor in cursors.items():
            request = SuppressionQuery(
                address=query.address,
                stream=query.stream,
                reason=query.reason,
                pending=query.pending,
                cursor=cursor,
                limit=PAGE_ROWS,
            )
            answers = await self.desk.source.ask_all("suppressions", request, hosts=(host,), deadline_s=ASK_DEADLINE_S)
            if wanted != self.filter or not self.is_drawable:
                return
            page = answers.get(host)
            if not isinstance(page, SuppressionPage):
                missing.append(str(host))
                continue
            parts += [(host, entry) for entry in page.rows]
            counts[host] = (page.active, page.pending)
            if page.cursor:
                later[host] = page.cursor
        self._pages = self._pages + 1 if before else 1
        self._parts, self._rows, self._cursors, self._counts = parts, merged(parts), later, counts
        self._missing = tuple(missing)
        self.table.empty = "no address is suppressed" if not wanted else "no entry matches"
        self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the entries."""
        words = Filter(words=asked_of(self.filter)[1], without=self.filter.without)
        rows = [row for row in self._rows if words.admits({}, f"{row.entry.address} {row.entry.source}")]
        self.table.show(Listing.of(COLUMNS, rows, lambda row: row.key, lambda row: _cells(row, now)))
        self.query_one(".counts", Static).update(self._summary(rows, state, now))
        self.query_one(".entry", Static).update(self._entry(now))

    def _summary(self, rows: list[EntryRow], state: FleetState, now: datetime) -> Content:
        """Sizes of the whole list, freezes, and what the rows here are."""
        active, held = (sum(counts[which] for counts in self._counts.values()) for which in (0, 1))
        parts = [
            fact("in effect", count(active), Tone.STRONG),
            fact("pending", count(held), Tone.WARN if held else Tone.TEXT),
        ]
        for order in frozen(state):
            ends = until(order.directive.expires_at, now) if order.directive.expires_at else "until thawed"
            where = f"{clean(order.directive.target.name)} on {listed(order.hosts)}"
            parts.append(Content.styled(f"❄ frozen: {where}, ends {ends}", Tone.WARN.style))
        if self._missing:
            parts.append(Content.styled(f"without {listed(self._missing)}", Tone.WARN.style))
        reasons: dict[str, int] = {}
        for row in rows:
            reasons[row.entry.reason] = reasons.get(row.entry.reason, 0) + 1
        ordered = sorted(reasons.items(), key=lambda pair: -pair[1])
        more = "+" if self._cursors else ""
        parts += [fact(f"{reason}", f"{count(size)}{more}") for reason, size in ordered]
        return beside(*parts)

    def _row(self) -> EntryRow | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def _entry(self, now: datetime) -> Content:
        row = self._row()
        if row is None:
            return Content("")
        entry = row.entry
        ends = until(entry.expires_at, now) if entry.expires_at else "never"
        return lines(
            beside(
                Content.styled(clean(entry.address), Tone.STRONG.style),
                fact("on", listed(row.hosts)),
                fact("for", f"stream {clean(entry.stream)}" if entry.stream else "all mail"),
                fact("since", f"{since(entry.added_at, now)} ago"),
                fact("ends", ends),
            ),
            beside(
                fact("by", clean(entry.source) or NOTHING),
                fact("provider", clean(entry.provider) or NOTHING),
                *([Content.styled("held back by a freeze", Tone.WARN.style)] if entry.pending else []),
            ),
            Content.styled(clean(entry.evidence), Tone.TEXT.style),
        )

    def copied(self) -> str:
        """Addresses."""
        return " ".join(self._addresses())

    def _addresses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key.partition(" ")[0] for key in self.table.selected()))

    # verbs

    @property
    def _hosts(self) -> Selection:
        return selector.of(TermKind.HOST, self.filter.selection.hosts)

    def _ask(
        self, verb: Verb, request: Mutation, subject: str, words: tuple[str, ...], hosts: Selection | None = None
    ) -> None:
        selection = self._hosts if hosts is None else hosts
        operator = self.desk.operator
        self.desk.carry_out(
            few(f"{verb.words} {subject}"),
            lambda options: operator.plan_request(verb, request, selection, options, subject=subject, words=words),
        )
        self._asked_at = -REFRESH_S

    def action_add(self) -> None:
        """Put an address on the list, with a reason when one is typed after it."""
        reasons = ", ".join(SuppressionReason)
        self.desk.prompt("Suppress an address", f"anna@example.com, perhaps with one of {reasons}", _mistake, self._add)

    def _add(self, text: str) -> None:
        address, _, word = text.partition(" ")
        reason = SuppressionReason(word.strip() or SuppressionReason.MANUAL)
        request = SuppressionAdd(op_id=_UNNAMED, entries=(SuppressionEntry(address=address, reason=reason),))
        because = () if reason is SuppressionReason.MANUAL else ("--because", str(reason))
        self._ask(Verb.SUPPRESSION_ADD, request, address, (address, *because))

    def action_remove(self) -> None:
        """Take the marked addresses, or the one under the cursor, off the list."""
        addresses = self._addresses()
        if not addresses:
            self.say("no address to remove here", Tone.WARN)
            return
        request = SuppressionRemove(op_id=_UNNAMED, addresses=addresses)
        subject = addresses[0] if len(addresses) == 1 else plural(len(addresses), "address", "addresses")
        having = {host for row in self._rows if row.entry.address in addresses for host in row.hosts}
        known = [host.name for host in self.desk.state.hosts]
        hosts = [host for host in known if host in having] if having < set(known) else []
        self._ask(Verb.SUPPRESSION_REMOVE, request, subject, addresses, selector.of(TermKind.HOST, hosts))

    def action_freeze(self) -> None:
        """End a freeze that stands; else hold back what bounces suppress, of a provider or of whole hosts."""
        orders = frozen(self.desk.state)
        if orders:
            target = orders[0].directive.target
            self.desk.ask_before(Verb.SUPPRESSION_THAW, _aimed(target.kind, target.name, orders[0].hosts))
            return
        providers = [row.name for row in self.desk.state.providers]

        def unknown(text: str) -> str:
            return "" if text == "all" or text in providers else f"no provider {text!r}; there is {listed(providers)}"

        def freeze(text: str) -> None:
            hosts = self.filter.selection.hosts
            selection = self._hosts if text == "all" else selector.of(TermKind.PROVIDER, (text,), hosts)
            self.desk.ask_before(Verb.SUPPRESSION_FREEZE, selection, Options(everything=text == "all" and not hosts))

        self.desk.prompt("Freeze suppression by bounces", "a provider, or all", unknown, freeze)

    def action_pending(self) -> None:
        """Decide about what a freeze has held back."""
        if not any(held for _, held in self._counts.values()):
            self.say("nothing is pending", Tone.WARN)
            return

        def wrong(text: str) -> str:
            return "" if text.split()[0] in ("apply", "discard") else f"{text!r} is neither apply nor discard"

        def decide(text: str) -> None:
            word, *rest = text.split()
            provider = rest[0] if rest else ""
            request = SuppressionPending(op_id=_UNNAMED, apply=word == "apply", provider=provider)
            words = (f"--{word}", *(("--provider", provider) if provider else ()))
            self._ask(Verb.SUPPRESSION_PENDING, request, text, words)

        self.desk.prompt("Pending entries", "apply or discard, perhaps with a provider: discard gmail", wrong, decide)


def frozen(state: FleetState) -> tuple[DirectiveRow, ...]:
    """Freezes that stand, newest first."""
    return tuple(row for row in state.directives if row.directive.kind is DirectiveKind.FREEZE_SUPPRESSION)


def _aimed(kind: TargetKind, name: str, hosts: tuple[HostName, ...]) -> Selection:
    return selector.of(TermKind.HOST, hosts) if kind is TargetKind.HOST else selector.of(kind, (name,), hosts)


def _mistake(text: str) -> str:
    """What is wrong with `address [reason]`."""
    address, _, word = text.partition(" ")
    if not is_mail_address(folded_address(address).rstrip(".")):
        return f"{address!r} is no address"
    if word.strip() and word.strip() not in tuple(SuppressionReason):
        return f"no reason {word.strip()!r}"
    return ""


def _cells(row: EntryRow, now: datetime) -> tuple[Cell, ...]:
    entry = row.entry
    return (
        Cell(clean(entry.address), Tone.STRONG),
        Cell(entry.reason, Tone.TEXT),
        Cell(clean(entry.stream) or "all", Tone.TEXT if entry.stream else Tone.QUIET),
        Cell(row.hosts[0] if len(row.hosts) == 1 else plural(len(row.hosts), "host"), Tone.QUIET),
        Cell("◌ pending", Tone.WARN) if entry.pending else Cell("● active", Tone.GOOD),
        Cell(age(entry.added_at, now).text, Tone.QUIET),
        Cell(until(entry.expires_at, now) if entry.expires_at else "never", Tone.QUIET),
        Cell(clean(entry.source), Tone.QUIET),
        Cell(clean(entry.evidence), Tone.QUIET),
    )
