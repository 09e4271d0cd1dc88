"""Timeline: what operators, automation and hosts did, and how rates answered, in one list that follows the present."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.ids import OpId
from mailctl.fleet.state import FleetState
from mailctl.ops import timeline
from mailctl.ops.filters import Facets
from mailctl.ops.happened import happened
from mailctl.ops.selector import TermKind
from mailctl.ops.timeline import EventKind, TimelineEvent, Weight
from mailctl.tui.events import Event
from mailctl.tui.export import taken, write_new
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.view import View
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import clean, clock, count, listed, plural
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.table import FleetTable

READ_S = 5.0
"""The hosts are asked this often."""
BACK = (("2 hours", 2), ("12 hours", 12), ("7 days", 7 * 24))
"""How far back, in words and in hours; `h` goes on to the next."""
COLUMNS = (
    Column("TIME", 8),
    Column("KIND", 10, drop=2),  # BY and the colour say nearly the same
    Column("ABOUT", 12, grow=2, most=32),
    Column("BY", 10, grow=1, most=14),
    Column("WHAT HAPPENED", 24, grow=8),
    Column("HOSTS", 7, grow=1, most=16, drop=1),
)
_TONES = {Weight.PLAIN: Tone.TEXT, Weight.GOOD: Tone.GOOD, Weight.WARN: Tone.WARN, Weight.BAD: Tone.BAD}
_KINDS = {EventKind.OPERATOR: Tone.ACCENT, EventKind.NOTE: Tone.STRONG, EventKind.HOST: Tone.WARN}
_WEIGHTS = {Tone.GOOD: Weight.GOOD, Tone.WARN: Weight.WARN, Tone.BAD: Weight.BAD}


class TimelineView(View):
    """Newest below. The cursor follows the newest event until somebody moves it, or pauses."""

    TAB = "Timeline"
    COLUMNS = COLUMNS
    EMPTY = "asking the hosts …"
    HINTS = (("f", "pause"), ("h", "longer"), ("x", "export"), ("U", "undo"))
    DEFAULT_CSS = """
    TimelineView FleetTable { height: 1fr; }
    TimelineView .event { height: auto; max-height: 8; padding: 0 1; border-top: solid $rule; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Pause, follow", show=False, id="timeline.follow"),
        Binding("x", "export", "Export", show=False, id="timeline.export"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._events: tuple[TimelineEvent, ...] = ()
        self._shown: tuple[TimelineEvent, ...] = ()
        self._back = 0
        self._paused = False
        self._read_at = -READ_S
        self._last = ""  # key of the newest event that was shown

    def body(self) -> Iterable[Widget]:
        """The list, and the event under the cursor in full."""
        yield FleetTable(empty=self.EMPTY)
        yield Static(classes="event", markup=False)

    def poll(self) -> None:
        """Read the hosts again, unless that was a moment ago."""
        if not self._paused and not self.is_asking("timeline") and monotonic() - self._read_at >= READ_S:
            self._read_at = monotonic()
            self.fetch("timeline", self._fetch)

    async def _fetch(self) -> None:
        state, now = self.desk.state, self.desk.now()
        since = now - timedelta(hours=BACK[self._back][1])
        hosts = [host.name for host in state.hosts if host.state.is_fresh]
        found = await happened(self.desk.source, hosts, since=since, now=now, deadline_s=ASK_DEADLINE_S)
        if not self.is_drawable or self._paused:
            return
        self._events = timeline.merged(found.events, seen(self.desk.happened, state), since=since)
        self.table.empty = f"nothing happened in the last {BACK[self._back][0]}"
        if found.failed:
            self.say(f"without {listed([str(host) for host in found.failed])}", Tone.WARN)
        elif found.truncated:
            self.say("there were more operations than are read; a shorter time shows all", Tone.WARN)
        self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw what the filter admits; go with the newest event while the cursor is on the last."""
        del state, now
        self._shown = tuple(event for event in self._events if self.filter.admits(facets(event), words(event)))
        table = self.table
        follows = not self._paused and table.cursor in (None, self._last)
        table.show(Listing.of(COLUMNS, self._shown, lambda event: event.key, _cells))
        self._last = self._shown[-1].key if self._shown else ""
        if follows and self._last and table.cursor != self._last:
            table.move_to(self._last)
        chosen = self._chosen()
        pane = self.query_one(".event", Static)
        pane.display = chosen is not None
        if chosen is not None:
            pane.update(Content.styled(timeline.line(chosen, clean), _TONES[chosen.weight].style))

    def _chosen(self) -> TimelineEvent | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def action_follow(self) -> None:
        """Hold the list still, or go on with the present."""
        self._paused = not self._paused
        if self._paused:
            self.say("the timeline stands still; f follows again", Tone.WARN)
        else:
            self._read_at = -READ_S
            self.table.move_to(self._last)
            self.say("following")
            self.poll()

    def action_span(self) -> None:
        """Look further back; after the longest, at the shortest."""
        self._back = (self._back + 1) % len(BACK)
        self.say(f"the last {BACK[self._back][0]}")
        self._read_at = -READ_S
        self.poll()

    def action_export(self) -> None:
        """Write what is shown to a file, as `mailctl timeline` prints it."""
        if not self._shown:
            self.say("nothing to export", Tone.WARN)
            return
        events = self._shown
        self.desk.ask(
            f"Write {plural(len(events), 'event')} as text to a new file",
            "a new file",
            taken,
            lambda text: self.fetch("export", self._export, Path(text).expanduser(), events),
            f"timeline-{self.desk.now():%Y%m%dT%H%M%SZ}.txt",
        )

    async def _export(self, path: Path, events: tuple[TimelineEvent, ...]) -> None:
        try:
            await asyncio.to_thread(write_new, path, timeline.as_lines(events, clean) + "\n")
        except OSError as exc:
            self.say(f"{path}: {exc.strerror or exc}", Tone.BAD)
        else:
            self.say(f"{count(len(events))} events written to {path}", Tone.GOOD)

    def action_undo(self) -> None:
        """Undo the operation under the cursor."""
        chosen = self._chosen()
        if chosen is not None and chosen.kind in (EventKind.OPERATOR, EventKind.NOTE) and chosen.op_id:
            self.desk.ask_before_undo(OpId(chosen.op_id))
        else:
            self.say("nothing to undo here", Tone.WARN)

    def copied(self) -> str:
        """The event as a line."""
        chosen = self._chosen()
        return timeline.line(chosen, clean) if chosen else ""


def seen(events: Iterable[Event], state: FleetState) -> list[TimelineEvent]:
    """What this console saw of hosts: links that broke and came back. What it saw of orders, the log of hosts knows."""
    return [
        TimelineEvent(
            at=event.at,
            kind=EventKind.HOST,
            hosts=(event.subject,),
            subject=f"host:{event.subject}",
            text=event.text,
            weight=_WEIGHTS.get(event.tone, Weight.PLAIN),
        )
        for event in events
        if state.host(event.subject) is not None
    ]


def facets(event: TimelineEvent) -> Facets:
    """What filter terms see of an event: its hosts, and what it is about."""
    kind, _, name = event.subject.partition(":")
    own = {TermKind(kind): (name,)} if kind in _TERMS else {}
    others: Facets = {term: () for term in TermKind if term is not TermKind.HOST}
    return {**others, **own, TermKind.HOST: event.hosts}


_TERMS = frozenset(str(kind) for kind in TermKind)


def words(event: TimelineEvent) -> str:
    """What free words of the filter are searched in."""
    return f"{event.kind} {event.subject} {event.by} {event.text} {event.op_id}"


def _cells(event: TimelineEvent) -> tuple[Cell, ...]:
    return (
        Cell(clock(event.at), Tone.QUIET),
        Cell(event.kind, _KINDS.get(event.kind, Tone.QUIET)),
        Cell(clean(event.subject), Tone.STRONG),
        Cell(clean(event.by), Tone.TEXT),
        Cell(clean(_said(event)), _TONES[event.weight]),
        Cell(event.hosts[0] if len(event.hosts) == 1 else plural(len(event.hosts), "host"), Tone.QUIET),
    )


def _said(event: TimelineEvent) -> str:
    """What happened, without the name that stands beside it: `limit: connections 5 -> 2`."""
    _, _, name = event.subject.partition(":")
    return event.text.replace(f"{name}: ", "", 1) if name else event.text
