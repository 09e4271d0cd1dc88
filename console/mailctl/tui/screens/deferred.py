"""Deferred mail: groups of equal replies over the fleet, and the messages of a group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.replies import DeferredGroups, MessagePage
from mailagent.api.requests import PageRequest
from mailagent.api.trace import TraceKind, TraceRequest
from mailagent.api.views import DeferredGroup, MessageSummary
from mailctl.fleet.state import FleetState, oldest
from mailctl.ops.errors import SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.mail import ON_MAIL
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import MessageRef, Traced
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.columns import UNTOLD, age, number
from mailctl.tui.screens.mail import MailView
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import NOTHING, clean, count, listed, plural, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import beside, fact, lines
from mailctl.tui.widgets.table import FleetTable

POLL_S = 2.0
PAGE_ROWS = 200
"""Rows asked of each host for one page of messages."""
AGAIN_S = 5.0
"""For each page of messages that is here, the time before it is asked for again."""
MOST_ROWS = 5_000
"""Messages that one screen collects; a filter is the way to the others."""


UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group over the hosts that have it."""

    group: DeferredGroup  # counts and times of all hosts together
    hosts: tuple[str, ...]

    @property
    def category(self) -> str:
        """What the reply means; replies that were never classified have none."""
        return self.group.category or UNCLASSIFIED


def merged(answers: dict[str, DeferredGroups]) -> list[GroupRow]:
    """Groups of all hosts by key, largest first: equal replies have equal keys on every host."""
    parts: dict[str, list[tuple[str, DeferredGroup]]] = {}
    for host, answer in answers.items():
        for group in answer.groups:
            parts.setdefault(group.key, []).append((host, group))
    rows = []
    for same in parts.values():
        first = same[0][1]
        group = DeferredGroup(
            key=first.key,
            provider=first.provider,
            code=first.code,
            enhanced=first.enhanced,
            text=first.text,
            sample=first.sample,
            count=sum(group.count for _, group in same),
            oldest_at=oldest(group.oldest_at for _, group in same),
            next_try_at=oldest(group.next_try_at for _, group in same),
            category=first.category,
            rule=first.rule,
            held=sum(group.held for _, group in same),
        )
        rows.append(GroupRow(group, tuple(host for host, _ in same)))
    rows.sort(key=lambda row: (-row.group.count, row.group.key))
    return rows


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """All replies of one category."""

    category: str
    groups: tuple[GroupRow, ...]  # largest first

    @property
    def count(self) -> int:
        """Waiting recipients."""
        return sum(row.group.count for row in self.groups)

    @property
    def oldest_at(self) -> datetime | None:
        """Arrival of the oldest."""
        return oldest(row.group.oldest_at for row in self.groups)


def by_category(rows: Iterable[GroupRow]) -> list[CategoryRow]:
    """Groups by the category of their reply, most recipients first."""
    parts: dict[str, list[GroupRow]] = {}
    for row in rows:
        parts.setdefault(row.category, []).append(row)
    found = [CategoryRow(category, tuple(same)) for category, same in parts.items()]
    return sorted(found, key=lambda row: (-row.count, row.category))


BAR_WIDTH = 12
GROUP_COLUMNS = (
    Column("COUNT", 7, right=True, sort=lambda row: row.group.count, descending=True),
    Column("SHARE", BAR_WIDTH, drop=2),
    Column("PROVIDER", 8, grow=1, most=12, sort=lambda row: row.group.provider),
    Column("CATEGORY", 12, grow=1, most=19, sort=lambda row: row.category),
    Column("CODE", 11, sort=lambda row: (row.group.code, row.group.enhanced), drop=3),
    Column("REPLY", 20, grow=12),
    Column("OLDEST", 6, right=True, sort=lambda row: row.group.oldest_at.timestamp() if row.group.oldest_at else 9e15),
    Column("NEXT", 7, right=True, drop=1),
)
CATEGORY_COLUMNS = (
    Column("COUNT", 7, right=True),
    Column("SHARE", BAR_WIDTH, drop=1),
    Column("CATEGORY", 19),
    Column("PROVIDERS", 14, grow=4),
    Column("REPLIES", 7, right=True),
    Column("OLDEST", 6, right=True),
    Column("NEXT", 7, right=True),
)


class DeferredView(MailView):
    """What providers say, largest group first; `c` adds the replies up by what they mean."""

    TAB = "Deferred"
    COLUMNS = GROUP_COLUMNS
    TABLES: ClassVar[Mapping[str, tuple[Column, ...]]] = {"": GROUP_COLUMNS, "categories": CATEGORY_COLUMNS}
    EMPTY = "asking the hosts …"
    HINTS = (("enter", "messages"), ("c", "category"), ("T", "retry"), ("H", "hold"), ("S", "suspend"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "categories", "By category", show=False, id="deferred.categories"),
    ]
    DEFAULT_CSS = """
    DeferredView FleetTable { height: 1fr; }
    DeferredView .sample { height: auto; max-height: 8; border-top: solid $rule; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[GroupRow] = []
        self._by_category = False
        self._asked = Filter()  # what the rows are an answer to
        self._missing: tuple[str, ...] = ()

    def body(self) -> Iterable[Widget]:
        """Table above, the reply in full below."""
        yield FleetTable(empty=self.EMPTY)
        yield Static(classes="sample", markup=False)

    def poll(self) -> None:
        """Ask all hosts, one question at a time."""
        if not self.is_asking("deferred"):
            self._ask(self.filter)

    def narrow(self, wanted: Filter) -> None:
        """Narrow at once by what is here, and ask again when the line is whole."""
        super().narrow(wanted)
        if not self.is_typing:
            self._ask(wanted)

    def _ask(self, wanted: Filter) -> None:
        self.fetch("deferred", self._fetch, wanted)

    async def _fetch(self, wanted: Filter) -> None:
        try:
            request = PageRequest(filter=wanted.named.message_filter(deferred_only=True))
        except SelectorError as exc:
            self.say(str(exc), Tone.WARN)
            return
        hosts = self.admitted(wanted)
        answers = await self.desk.source.ask_all("deferred", request, hosts=hosts, deadline_s=ASK_DEADLINE_S)
        if wanted != self.filter or not self.is_drawable:
            return
        good = {str(host): answer for host, answer in answers.items() if isinstance(answer, DeferredGroups)}
        self._rows, self._asked = merged(good), wanted
        self._missing = tuple(str(host) for host in answers if host not in good)
        self.table.empty = "nothing is deferred here"
        self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the groups."""
        del state
        rows = [
            row
            for row in self._rows
            if self.filter.admits({}, f"{row.group.provider} {row.category} {row.group.code} {row.group.text}")
        ]
        if self._by_category:
            found = by_category(rows)
            most = max((row.count for row in found), default=1)
            self.table.show(
                Listing.of(
                    CATEGORY_COLUMNS, found, lambda row: row.category, lambda row: _category_cells(row, most, now)
                )
            )
        else:
            most = max((row.group.count for row in self._rows), default=1)
            listing = Listing.of(
                GROUP_COLUMNS,
                rows,
                lambda row: row.group.key,
                lambda row: _group_cells(row, most, now),
                sorted_by=self.order,
            )
            self.table.show(self.hold(listing))
        self.query_one(".sample", Static).update(self._sample(now))

    def action_categories(self) -> None:
        """Replies one by one, or added up by category."""
        self._by_category = not self._by_category
        self.table.rewind()
        self.show(self.desk.state, self.desk.now())
        self.say("by category: enter shows the replies of one" if self._by_category else "by reply")

    def action_order(self) -> None:
        """Categories stand by their size."""
        if self._by_category:
            self.say("categories stand by their size; c goes back to replies", Tone.WARN)
        else:
            super().action_order()

    def _row(self) -> GroupRow | None:
        record = self._record()
        return record if isinstance(record, GroupRow) else None

    def _record(self) -> GroupRow | CategoryRow | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def _sample(self, now: datetime) -> Content:
        row = record.groups[0] if isinstance(record := self._record(), CategoryRow) else record
        without = f"without {listed(self._missing)}" if self._missing else ""
        if row is None:
            return Content.styled(without, Tone.WARN.style)
        return lines(
            beside(
                fact("on", listed(row.hosts), Tone.STRONG),
                fact("means", f"{row.category} (rule {clean(row.group.rule)})" if row.group.rule else row.category),
                fact("next try", until(row.group.next_try_at, now)),
                *([fact("held", f"{count(row.group.held)} of {count(row.group.count)}")] if row.group.held else []),
                Content.styled(without, Tone.WARN.style),
            ),
            Content.styled(clean(row.group.sample), Tone.TEXT.style),
        )

    def copied(self) -> str:
        """The reply in full."""
        row = self._row()
        return clean(row.group.sample) if row else ""

    def _chosen(self) -> list[GroupRow]:
        """Groups that are marked, or the one under the cursor; of a category all."""
        source = self.table.source
        if not isinstance(source, Listing):
            return []
        found: list[GroupRow] = []
        for key in self.table.selected():
            record = source.record(key)
            found += record.groups if isinstance(record, CategoryRow) else [record] if record is not None else []
        return found

    def mail(self) -> Subject | None:
        """The mail of the groups, as far as the filter lets it through."""
        groups = tuple(row.group.key for row in self._chosen())
        narrower = tuple(term for term in self.filter.selection.terms if term[0] is not TermKind.GROUP)
        return (
            Subject(TermKind.GROUP, groups, (), narrower, " ".join(map(str, self.filter.without))) if groups else None
        )

    @property
    def has_held(self) -> bool:
        """Whether some of it is held."""
        return any(row.group.held for row in self._chosen())

    def traced(self) -> Traced:
        """The provider, on the hosts that have the group."""
        row = self._row()
        if row is None:
            return "choose a reply first"
        if not row.group.provider:
            return "their provider is not known before the first look-up of MX"
        return row.hosts, TraceRequest(kind=TraceKind.PROVIDER, name=row.group.provider)

    def subject(self, verb: Verb) -> Subject | None:
        """The mail of the groups; for verbs on paths, the provider under the cursor."""
        if (mail := super().subject(verb)) is not None or verb in ON_MAIL:
            return mail
        row = self._row()
        return Subject(TermKind.PROVIDER, (row.group.provider,), self.filter.selection.hosts) if row else None

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The messages of the group; of a category its replies."""
        if self._by_category:
            self._by_category = False
            self.table.rewind()
            self.narrow(replace(self.filter, words=(*self.filter.words, event.key)))
            self.say(f"replies of {event.key}; esc shows all")
            return
        self.desk.go_down("Messages", self.filter.having((TermKind.GROUP, event.key)))


def _group_cells(row: GroupRow, most: int, now: datetime) -> tuple[Cell, ...]:
    group = row.group
    return (
        Cell(count(group.count), Tone.STRONG),
        Cell(bar(group.count / most, BAR_WIDTH), Tone.FLOW),
        Cell(group.provider, Tone.TEXT),
        Cell(row.category, Tone.TEXT if group.category else Tone.QUIET),
        Cell(f"{group.code or '---'} {group.enhanced}".rstrip(), Tone.WARN if group.code < 500 else Tone.BAD),
        Cell(clean(group.text), Tone.TEXT),
        age(group.oldest_at, now),
        _next(group.held, group.next_try_at, now),
    )


def _next(held: int, at: datetime | None, now: datetime) -> Cell:
    """When it is tried next; how much is held, if any is."""
    return Cell(f"‖{count(held)}", Tone.WARN) if held else Cell(until(at, now), Tone.QUIET)


def _category_cells(row: CategoryRow, most: int, now: datetime) -> tuple[Cell, ...]:
    providers = tuple(dict.fromkeys(one.group.provider or NOTHING for one in row.groups))
    return (
        Cell(count(row.count), Tone.STRONG),
        Cell(bar(row.count / most, BAR_WIDTH), Tone.FLOW),
        Cell(row.category, Tone.STRONG),
        Cell(listed(providers, 5), Tone.TEXT),
        number(len(row.groups)),
        age(row.oldest_at, now),
        _next(sum(one.group.held for one in row.groups), oldest(one.group.next_try_at for one in row.groups), now),
    )


def bar(fraction: float, width: int) -> str:
    """A bar of eighths of a cell."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "") or "▏"


class MessageRow(NamedTuple):
    """One waiting recipient on its host."""

    host: str
    summary: MessageSummary

    @property
    def key(self) -> str:
        """Stable key: message, recipient's index."""
        return f"{self.summary.message_id}/{self.summary.n}"

    @property
    def text(self) -> str:
        """In which words are looked for while they are typed."""
        reply = self.summary.reply
        return f"{self.summary.recipient} {self.summary.sender} {reply.line() if reply else ''}"


MESSAGE_COLUMNS = (
    Column("MESSAGE", 17),
    Column("RECIPIENT", 18, grow=4, most=44),
    Column("SENDER", 12, grow=3, most=40, drop=2),
    Column("HOST", 5, grow=1, most=10, drop=3),
    Column("IP", 6, grow=1, most=12, drop=1),
    Column("TRY", 3, right=True),
    Column("AGE", 6, right=True),
    Column("NEXT", 7, right=True),
)


class MessagesView(MailView):
    """Waiting recipients: a window that grows as one scrolls, never the whole queue."""

    TAB = "Deferred"
    TABLES: ClassVar[Mapping[str, tuple[Column, ...]]] = {"": MESSAGE_COLUMNS}
    EMPTY = "asking the hosts …"
    HINTS = (("enter", "why it waits"), ("T", "retry"), ("H", "hold"), ("X", "delete"), ("esc", "back"))

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[MessageRow] = []  # in the order in which they are shown
        self._seen: set[str] = set()
        self._cursors: dict[str, str] | None = None  # host -> cursor of its next page; None: first page not asked
        self._asked: Filter | None = None
        self._read_at = 0.0

    def poll(self) -> None:
        """Ask for the first page when the filter is new and its line whole; later again for what is here."""
        if self.is_typing:
            return
        if self._asked != self.filter:
            self._asked, self._cursors = self.filter, None
            self.rows, self._seen = [], set()
            self.fetch("messages", self._fetch, self.filter)
        elif not self.is_asking("messages") and self._cursors is not None and self._is_old:
            self.fetch("messages", self._fetch_again, self.filter)

    @property
    def _is_old(self) -> bool:
        """Whether it is time to ask again."""
        return monotonic() - self._read_at > AGAIN_S * (1 + len(self.rows) // PAGE_ROWS)

    def narrow(self, wanted: Filter) -> None:
        """Narrow at once by the words, in what is here; ask again when the line is whole."""
        super().narrow(wanted)
        self.poll()

    def on_fleet_table_cursor_moved(self) -> None:
        """Near the end of what is here: ask for the next page."""
        index = self.table.source.index_of(self.table.cursor or "")
        if (
            index is not None
            and index > len(self.rows) - 50
            and self._cursors
            and not self.is_asking("messages")
            and len(self.rows) < MOST_ROWS
        ):
            self.fetch("messages", self._fetch, self.filter)

    async def _fetch(self, wanted: Filter) -> None:
        try:
            narrowed = wanted.message_filter()
        except SelectorError as exc:
            self.say(str(exc), Tone.WARN)
            return
        first = self._cursors is None
        if self._cursors is None:
            self._cursors = dict.fromkeys(self.admitted(wanted), "")
        cursors, self._cursors = self._cursors, {}
        failed = []
        for host, cursor in cursors.items():
            request = PageRequest(filter=narrowed, cursor=cursor, limit=PAGE_ROWS)
            answers = await self.desk.source.ask_all("messages", request, hosts=(host,), deadline_s=ASK_DEADLINE_S)
            if wanted != self.filter or not self.is_drawable:
                return
            for answer in answers.values():
                if not isinstance(answer, MessagePage):
                    failed.append(host)
                    continue
                self._add(host, answer)
        self.table.empty = "no message waits here"
        self._read_at = monotonic()
        if first:
            self.rows.sort(key=lambda row: row.summary.received_at)
        if failed:
            self.say(f"without {listed(failed)}: no answer", Tone.WARN)
        else:
            more = ", more below" if self._cursors else ""
            self.say(f"{plural(len(self.rows), 'recipient')}{more}", Tone.QUIET)
        self.show(self.desk.state, self.desk.now())

    async def _fetch_again(self, wanted: Filter) -> None:
        """What is here, as it is now: rows that have left go, and those that stay keep their places."""
        now: dict[str, MessageRow] = {}
        cursors: dict[str, str] = {}
        for host in self.admitted(wanted):
            here = [row for row in self.rows if row.host == host]
            found, cursor = await self._window(host, wanted, len(here))
            if wanted != self.filter or not self.is_drawable:
                return
            now |= {row.key: row for row in (here if found is None else found)}
            if cursor is None:
                cursor = (self._cursors or {}).get(host, "")
            if cursor:
                cursors[host] = cursor
        kept = [now.pop(row.key) for row in self.rows if row.key in now]
        self.rows = [*kept, *now.values()]
        self._seen = {row.key for row in self.rows}
        self._cursors, self._read_at = cursors, monotonic()
        self.show(self.desk.state, self.desk.now())

    async def _window(self, host: str, wanted: Filter, least: int) -> tuple[list[MessageRow] | None, str | None]:
        """The first rows of a host, `least` if it has as many, and the cursor behind them; (None, None): no answer."""
        rows: list[MessageRow] = []
        cursor = ""
        while True:
            request = PageRequest(filter=wanted.message_filter(), cursor=cursor, limit=PAGE_ROWS)
            answers = await self.desk.source.ask_all("messages", request, hosts=(host,), deadline_s=ASK_DEADLINE_S)
            page = next(iter(answers.values()), None)
            if not isinstance(page, MessagePage):
                return None, None
            rows += [MessageRow(host, summary) for summary in page.rows]
            cursor = page.cursor
            if not cursor or len(rows) >= least:
                return rows, cursor

    def _add(self, host: str, page: MessagePage) -> None:
        for summary in page.rows:
            row = MessageRow(host, summary)
            if row.key not in self._seen:
                self._seen.add(row.key)
                self.rows.append(row)
        if page.cursor and self._cursors is not None:
            self._cursors[host] = page.cursor

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the recipients."""
        del state
        rows = [row for row in self.rows if self.filter.admits({}, row.text)] if self.is_typing else self.rows
        self.table.show(Listing.of(MESSAGE_COLUMNS, rows, lambda row: row.key, lambda row: _message_cells(row, now)))

    def _chosen(self) -> list[MessageRow]:
        source = self.table.source
        if not isinstance(source, Listing):
            return []
        return [row for key in self.table.selected() if (row := source.record(key)) is not None]

    def mail(self) -> Subject | None:
        """The recipients that are marked, or the one under the cursor."""
        rows = self._chosen()
        ids = tuple(f"{row.summary.message_id}.{row.summary.n}" for row in rows)
        return Subject(TermKind.MESSAGE, ids, tuple(dict.fromkeys(row.host for row in rows))) if rows else None

    @property
    def has_held(self) -> bool:
        """Whether some of it is held."""
        return any(row.summary.held for row in self._chosen())

    def copied(self) -> str:
        """Queue ids."""
        return " ".join(dict.fromkeys(key.partition("/")[0] for key in self.table.selected()))

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The message."""
        source = self.table.source
        row = source.record(event.key) if isinstance(source, Listing) else None
        if row is not None:
            self.desk.message = MessageRef(row.host, row.summary.message_id, row.summary.n)
            self.desk.go_down("Message")


def _message_cells(row: MessageRow, now: datetime) -> tuple[Cell, ...]:
    one = row.summary
    return (
        Cell(one.message_id, Tone.ACCENT),
        Cell(clean(one.recipient), Tone.STRONG),
        Cell(clean(one.sender) or "<>", Tone.TEXT),
        Cell(row.host, Tone.QUIET),
        Cell(one.vmta, Tone.TEXT),
        Cell(str(one.attempts), Tone.TEXT if one.attempts else Tone.QUIET),
        age(one.received_at, now),
        Cell("‖held", Tone.WARN)
        if one.held
        else UNTOLD
        if "next_try_at" in one.unknown
        else Cell(until(one.next_try_at, now), Tone.QUIET),
    )
