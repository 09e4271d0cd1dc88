"""Trace: SMTP sessions of one path, provider, virtual MTA or host, as they happen."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.widget import Widget

from mailagent.api.errors import ApiError
from mailagent.api.trace import Side, TraceLine, TraceLines, TraceRequest
from mailctl.fleet.errors import LinkError
from mailctl.fleet.lists import reason
from mailctl.fleet.state import FleetState
from mailctl.ops import trace
from mailctl.ops.selector import TermKind
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.view import View
from mailctl.tui.text import clean, count, listed, span
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.table import FleetTable

MOST_LINES = 5000
"""Lines that are kept, the newest."""
MOST_HOSTS = 16
"""Hosts that are followed at once; a filter on the screen before is the way to others."""
COLUMNS = (
    Column("TIME", 12),
    Column("HOST", 5, grow=1, most=12, drop=3),
    Column("SESSION", 7, drop=2),
    Column("QUEUE", 12, grow=1, most=24, drop=1),
    Column(">", 1),
    Column("SAID", 30, grow=8),
)
_MARKS = {
    Side.CLIENT: Cell(">", Tone.ACCENT),
    Side.SERVER: Cell("<", Tone.STRONG),
    Side.EVENT: Cell("*", Tone.QUIET),
}


class _Numbered(NamedTuple):
    """A line with its place among all."""

    n: int
    host: str
    line: TraceLine


class TraceView(View):
    """Newest below. It goes on while other screens are looked at, until its time is over or `esc`."""

    TAB = "Trace"
    COLUMNS = COLUMNS
    EMPTY = "w on a destination, an IP, a provider or a host follows its SMTP sessions"
    HINTS = (("f", "pause"), ("w", "again"), ("esc", "end"))
    DEFAULT_CSS = """
    TraceView FleetTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Pause, follow", show=False, id="trace.follow"),
        Binding("w", "again", "Again", show=False, id="trace.again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._about: tuple[tuple[str, ...], TraceRequest] | None = None
        self._lines: deque[_Numbered] = deque(maxlen=MOST_LINES)
        self._shown: tuple[_Numbered, ...] = ()
        self._came = self._dropped = 0
        self._paused = False
        self._last = ""

    def body(self) -> Iterable[Widget]:
        """The lines."""
        yield FleetTable(empty=self.EMPTY)

    def follow(self, hosts: Sequence[str], request: TraceRequest) -> None:
        """Begin to follow something; what was followed before ends."""
        self._about = (tuple(hosts[:MOST_HOSTS]), request)
        self._lines.clear()
        self._came = self._dropped = 0
        self._paused = False
        if self.is_mounted:
            self._begin()

    def on_mount(self) -> None:
        """The screen is there for the first time."""
        self._begin()

    def _begin(self) -> None:
        if self._about is not None:
            self.fetch("trace", self._follow, *self._about)

    async def _follow(self, hosts: tuple[str, ...], request: TraceRequest) -> None:
        what = f"{request.kind}:{request.name} on {listed(hosts)}"
        self.desk.say(f"tracing {what} for {span(request.seconds)}; this is on record")
        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(self._follow_one(host, request), name=f"trace:{host}")

    async def _follow_one(self, host: str, request: TraceRequest) -> None:
        what = f"{request.kind}:{request.name} on {host}"
        try:
            async with aclosing(self.desk.source.trace(host, request)) as batches:
                async for batch in batches:
                    self._take(host, batch)
                    if batch.ended:
                        self.desk.say(f"trace of {what} ended: {batch.ended}; w begins again", Tone.WARN)
        except (LinkError, ApiError) as exc:
            self.desk.say(f"{what}: {reason(exc)}", Tone.WARN)

    def _take(self, host: str, batch: TraceLines) -> None:
        for line in batch.lines:
            self._came += 1
            self._lines.append(_Numbered(self._came, host, line))
        self._dropped += batch.dropped
        if self.is_drawable and not self._paused:
            self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw what the filter admits; go with the newest line while the cursor is on the last."""
        del state, now
        table = self.table
        if not self._paused:
            terms = (name.lower() for kind, name in self.filter.selection.terms if kind is not TermKind.HOST)
            words = (*self.filter.words, *terms)
            lines = (one for one in self._lines if self.filter.admits_host(one.host))
            self._shown = tuple(one for one in lines if trace.admits(one.line, words))
        follows = not self._paused and table.cursor in (None, self._last)
        if self._about is not None:
            hosts, request = self._about
            lost = f", {count(self._dropped)} left out" if self._dropped else ""
            table.empty = f"nothing said yet: {request.kind}:{request.name} on {listed(hosts)}{lost}"
        table.show(Listing.of(COLUMNS, self._shown, lambda one: str(one.n), _cells))
        self._last = str(self._shown[-1].n) if self._shown else ""
        if follows and self._last and table.cursor != self._last:
            table.move_to(self._last)

    def action_follow(self) -> None:
        """Hold the lines still, or go on."""
        self._paused = not self._paused
        lost = f"; {count(self._dropped)} lines found no room" if self._dropped else ""
        self.say(f"stands still, lines are kept; f follows again{lost}" if self._paused else f"following{lost}")
        if not self._paused:
            self.show(self.desk.state, self.desk.now())
            self.table.move_to(self._last)

    def action_again(self) -> None:
        """Follow the same once more."""
        if self._about is not None:
            self.follow(*self._about)

    def action_up(self) -> None:
        """End the trace, and go back."""
        if self.is_asking("trace"):
            self.desk.say("the trace has ended")
        self.workers.cancel_group(self, "trace")
        super().action_up()

    def copied(self) -> str:
        """The marked lines, or the one under the cursor."""
        wanted = set(self.table.selected())
        return "\n".join(clean(trace.text(one.line)) for one in self._shown if str(one.n) in wanted)


def _cells(one: _Numbered) -> tuple[Cell, ...]:
    line = one.line
    tone = Tone.QUIET if line.side is Side.EVENT else Tone.TEXT
    if line.side is Side.SERVER and line.text[:1] in ("4", "5"):
        tone = Tone.WARN if line.text[0] == "4" else Tone.BAD
    return (
        Cell(line.at.strftime("%H:%M:%S.%f")[:-3], Tone.QUIET),
        Cell(one.host, Tone.QUIET),
        Cell(clean(line.session), Tone.QUIET),
        Cell(clean(line.queue), Tone.TEXT),
        _MARKS[line.side],
        Cell(clean(line.text), tone),
    )
