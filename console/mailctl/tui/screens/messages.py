"""Waiting recipients of the fleet: a window that grows as one scrolls."""

from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import ClassVar, NamedTuple

from mailagent.api.replies import MessagePage
from mailagent.api.requests import PageRequest
from mailagent.api.views import MessageSummary
from mailctl.fleet.state import FleetState
from mailctl.ops.errors import SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import MessageRef
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.columns import UNTOLD, age
from mailctl.tui.screens.mail import MailView
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import clean, listed, plural, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.table import FleetTable

PAGE_ROWS = 200
"""Rows asked of each host for one page of messages."""
AGAIN_S = 5.0
"""For each page of messages that is here, the time before it is asked for again."""
MOST_ROWS = 5_000
"""Messages that one screen collects; a filter is the way to the others."""


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

    @property
    def sites(self) -> tuple[str, ...]:
        """Destinations of what is marked, or of the one under the cursor."""
        return tuple(dict.fromkeys(row.summary.site for row in self._chosen() if row.summary.site))

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
