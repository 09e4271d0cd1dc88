"""Deferred mail: groups of equal replies over the fleet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.replies import DeferredGroups
from mailagent.api.requests import PageRequest
from mailagent.api.trace import TraceKind, TraceRequest
from mailagent.api.views import DeferredGroup
from mailctl.fleet.state import FleetState, oldest
from mailctl.ops.errors import SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.mail import ON_MAIL
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Traced
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.columns import age, number
from mailctl.tui.screens.mail import MailView
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import NOTHING, clean, count, listed, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import beside, fact, lines
from mailctl.tui.widgets.table import FleetTable

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
            by_kind = Listing.of(
                CATEGORY_COLUMNS, found, lambda row: row.category, lambda row: _category_cells(row, most, now)
            )
            self.table.show(self.hold(by_kind))
        else:
            most = max((row.group.count for row in self._rows), default=1)
            listing = Listing.of(
                GROUP_COLUMNS,
                rows,
                lambda row: row.group.key,
                lambda row: _group_cells(row, most, now),
                sorted_by=self.ordering.by,
            )
            self.table.show(self.hold(listing))
        self.query_one(".sample", Static).update(self._sample(now))

    def action_categories(self) -> None:
        """Replies one by one, or added up by category."""
        self._by_category = not self._by_category
        self.ordering.anew()
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
