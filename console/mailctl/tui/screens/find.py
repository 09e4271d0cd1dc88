"""Find: what became of a recipient, message, job or sender, over the queues and files of all hosts."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.accounting import EventType
from mailagent.api.find import Found
from mailctl.fleet.state import FleetState
from mailctl.ops.errors import OpsError
from mailctl.ops.filters import Filter
from mailctl.ops.find import HERE, MOST_ROWS, WAITING, find, said, sought, when
from mailctl.tui.desk import MessageRef
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.view import View
from mailctl.tui.text import NOTHING, clean, listed, plural, until
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.detail import beside, fact, lines
from mailctl.tui.widgets.filterbar import FilterBar
from mailctl.tui.widgets.table import FleetTable

BACK = (("24 hours", 1), ("3 days", 3), ("30 days", 30))
"""How far back, in words and in days; `h` goes on to the next."""
ASK = "whom or what: alice@example.com, a message id, job:spring, words of a reply …"
COLUMNS = (
    Column("TIME", 14),
    Column("STATE", 9, grow=1, most=14),
    Column("HOST", 5, grow=1, most=10),
    Column("MESSAGE", 17, drop=3),
    Column("RECIPIENT", 16, grow=3, most=40),
    Column("TRY", 3, right=True, drop=1),
    Column("IP", 6, grow=1, most=12, drop=2),
    Column("REPLY", 16, grow=8),
)
_TONES = {
    EventType.DELIVERED: Tone.GOOD,
    EventType.DEFERRED: Tone.WARN,
    EventType.QUEUE_DEFERRED: Tone.WARN,
    EventType.FEEDBACK: Tone.WARN,
    EventType.BOUNCED: Tone.BAD,
    EventType.EXPIRED: Tone.BAD,
    EventType.REMOTE_BOUNCED: Tone.BAD,
    **dict.fromkeys(HERE, Tone.ACCENT),
}


class FoundRow(NamedTuple):
    """One event on its host."""

    host: str
    found: Found

    @property
    def key(self) -> str:
        """Stable key."""
        one = self.found
        return f"{self.host}/{one.event or f'{one.message_id}-{one.n}-{one.state}'}"


class FindView(View):
    """Oldest above; what still waits stands below, at the time of its next try. Searches when the line is whole."""

    TAB = "Find"
    COLUMNS = COLUMNS
    EMPTY = ASK
    HINTS = (("enter", "message"), ("h", "longer"), ("r", "again"), ("y", "copy id"), ("esc", "back"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "again", "Search again", show=False, id="find.again"),
    ]
    DEFAULT_CSS = """
    FindView FleetTable { height: 1fr; }
    FindView .event { height: auto; max-height: 8; padding: 0 1; border-top: solid $rule; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[FoundRow] = []
        self._asked: tuple[Filter, int] = (Filter(), 0)
        self._back = 0
        self._anew = False

    def body(self) -> Iterable[Widget]:
        """The list, and the event under the cursor in full."""
        yield FleetTable(empty=self.EMPTY)
        yield Static(classes="event", markup=False)

    def on_screen_resume(self) -> None:
        """Ask what to search for, unless that is known."""
        super().on_screen_resume()
        if self.is_drawable and (self._anew or not self.filter):
            self.ask()

    def ask(self) -> None:
        """Open the line for another search, now or as soon as the screen is there.

        The key of the screen always does, also where a search stands: what is typed behind it are no keys for its rows.
        """
        self._anew = not (self.is_current and self.is_drawable)
        if not self._anew:
            self.query_one(FilterBar).placeholder = f"/ {ASK}"
            self.action_filter(anew=True)

    def narrow(self, wanted: Filter) -> None:
        """Search for `wanted`; not while it is being typed."""
        if not self.is_typing:
            super().narrow(wanted)
            self.poll()

    def poll(self) -> None:
        """Search when something else is asked for."""
        if (self.filter, self._back) == self._asked:
            return
        self._asked, self._rows = (self.filter, self._back), []
        try:
            wanted = sought(self.filter.tokens) if self.filter else None
        except OpsError as exc:
            wanted = None
            self.say(str(exc), Tone.WARN)
        self.table.empty = "searching …" if wanted else ASK
        self.show(self.desk.state, self.desk.now())
        if wanted is not None:
            self.fetch("find", self._search, wanted, self._asked)

    async def _search(self, wanted: Filter, asked: tuple[Filter, int]) -> None:
        words, days = BACK[asked[1]]
        now = self.desk.now()
        hosts = [host for host in self.desk.state.hosts if wanted.admits_host(host.name)]
        live = [host.name for host in hosts if host.state.is_fresh]
        found = await find(
            self.desk.source, wanted, since=now - timedelta(days=days), now=now, limit=MOST_ROWS, hosts=live
        )
        if asked != self._asked or not self.is_drawable:
            return
        self._rows = [FoundRow(str(host), row) for host, row in found.rows]
        self.table.empty = f"nothing in the last {words}"
        self.show(self.desk.state, self.desk.now())
        if missing := [str(host.name) for host in hosts if host.name not in live or host.name in found.failed]:
            self.say(f"without {listed(missing)}; {plural(len(self._rows), 'event')} of the others", Tone.WARN)
        else:
            more = ", older ones are left out: narrow the search" if found.truncated else f" in the last {words}"
            self.say(f"{plural(len(self._rows), 'event')}{more}", Tone.QUIET)

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw what was found."""
        del state
        self.table.show(Listing.of(COLUMNS, self._rows, lambda row: row.key, _cells))
        chosen = self._chosen()
        pane = self.query_one(".event", Static)
        pane.display = chosen is not None
        if chosen is not None:
            pane.update(_whole(chosen, now))

    def _chosen(self) -> FoundRow | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def action_span(self) -> None:
        """Look further back; after the longest, the shortest."""
        self._back = (self._back + 1) % len(BACK)
        self.say(f"the last {BACK[self._back][0]}")
        self.poll()

    def action_again(self) -> None:
        """Search again: more may have happened."""
        self._asked = (Filter(), -1)
        self.poll()

    def action_order(self) -> None:
        """A timeline has one order."""
        self.say("what was found stands in order of time", Tone.WARN)

    def copied(self) -> str:
        """The queue id."""
        row = self._chosen()
        return row.found.message_id if row else ""

    def on_fleet_table_chosen(self) -> None:
        """The message, if it still waits there."""
        row = self._chosen()
        if row is None or not row.found.message_id:
            self.say("this is no event of one message", Tone.WARN)
            return
        self.desk.message = MessageRef(row.host, row.found.message_id, row.found.n)
        self.desk.go_down("Message")


def _tone(row: Found) -> Tone:
    return _TONES.get(row.state, Tone.QUIET)


def _cells(row: FoundRow) -> tuple[Cell, ...]:
    one = row.found
    return (
        Cell(f"{at:%m-%d %H:%M:%S}" if (at := when(one)) is not None else NOTHING, Tone.QUIET),
        Cell(clean(one.state), _tone(one)),
        Cell(row.host, Tone.TEXT),
        Cell(one.message_id, Tone.ACCENT),
        Cell(clean(one.recipient) or NOTHING, Tone.STRONG),
        Cell(str(one.attempt) if one.attempt else "", Tone.QUIET),
        Cell(clean(one.vmta), Tone.TEXT),
        Cell(clean(said(one)), Tone.TEXT),
    )


def _whole(row: FoundRow, now: datetime) -> Content:
    """The event under the cursor."""
    one = row.found
    path = " → ".join(clean(part) for part in (one.vmta, one.mx or one.site, one.remote) if part)
    facts = [
        fact("from", clean(one.sender) or "<>"),
        fact("to", clean(one.recipient) or NOTHING, Tone.STRONG),
        *([fact("job", clean(one.job))] if one.job else []),
        *([fact("over", path)] if path else []),
        *([fact("means", f"{clean(one.category)} (rule {clean(one.rule)})")] if one.category else []),
    ]
    at = when(one) if one.state == WAITING else None
    head = f"{one.state}, next try {until(at, now)}" if at is not None else one.state
    return lines(
        beside(Content.styled(clean(head), _tone(one).style), fact("on", row.host), fact("message", one.message_id)),
        beside(*facts),
        Content.styled(clean(said(one)), Tone.TEXT.style),
    )
