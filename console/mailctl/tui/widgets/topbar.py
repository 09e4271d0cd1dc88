"""The two lines at the top: where we are, and how the fleet is."""

from datetime import UTC, datetime

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from mailctl.fleet.state import FleetState, LinkState, deferral_share
from mailctl.tui.states import deferral_tone
from mailctl.tui.text import clean, clock, count, plural, share, since
from mailctl.tui.theme import Tone

TABS = ("Fleet", "Pools", "Destinations", "Deferred", "Message", "Operations", "Jobs", "Suppression")
BY_LETTER = {"t": "Timeline", "ctrl+f": "Find"}
"""Screens that have a key of their own and no place among the tabs."""
SHORT = {"Destinations": "Dest", "Deferred": "Defer", "Message": "Msg", "Operations": "Ops", "Suppression": "Suppr"}
"""Names on a terminal that has no room for the whole ones."""

ZONE_WIDTH = 98
"""Columns from which on the time names its zone; not by what the figures leave, which changes every second."""


class Tabs(Widget):
    """The screens with their keys; the current one stands out."""

    DEFAULT_CSS = """
    Tabs { height: 1; background: $band; color: $tone-quiet; padding: 0 1; }
    Tabs:nocolor { text-style: underline; }
    """

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current
        self._ends: list[tuple[int, str]] = []  # of each tab: the column behind it

    def render(self) -> RenderResult:
        """Name or what is special about the fleet, tabs, and the fleet file when there is room."""
        line = self._line(TABS)
        if line.cell_length > self.size.width:
            line = self._line(tuple(SHORT.get(name, name) for name in TABS))
        name = self.app.sub_title
        room = self.size.width - line.cell_length
        return Content.assemble(line, (name.rjust(room), Tone.QUIET.style)) if len(name) + 2 <= room else line

    def _line(self, names: tuple[str, ...]) -> Content:
        tone = f"bold reverse {Tone.BAD.style}" if self.app.has_class("-production") else Tone.STRONG.style
        parts: list[Content | tuple[str, str]] = [(self.app.title, tone)]
        end = cell_len(self.app.title)
        self._ends = [(end, "")]
        for number, (tab, name) in enumerate(zip(TABS, names, strict=True), start=1):
            here = tab == self._current
            parts.append(("  ", ""))
            parts.append((f"{number} ", Tone.ACCENT.style if not here else f"bold reverse {Tone.ACCENT.style}"))
            parts.append((name, Tone.QUIET.style if not here else f"bold reverse {Tone.ACCENT.style}"))
            end += len(name) + 4
            self._ends.append((end, tab))
        return Content.assemble(*parts)

    async def on_click(self, event: events.Click) -> None:
        """A click on a tab opens its screen."""
        at = event.get_content_offset(self)
        tab = next((tab for end, tab in self._ends if at is not None and at.x < end), "")
        if tab:
            await self.run_action(f"app.tab('{tab}')")


class Vitals(Widget):
    """The fleet in one line: hosts, waiting, deferred, rate, share of failures, oldest, time."""

    DEFAULT_CSS = """
    Vitals { height: 1; background: $background; color: $tone-text; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._state = FleetState()
        self._now = datetime.fromtimestamp(0, UTC)

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the vitals of `state`."""
        if state is not self._state or int(now.timestamp()) != int(self._now.timestamp()):
            self._state, self._now = state, now
            self.refresh()

    def render(self) -> RenderResult:
        """The line, with the time at its right end."""
        width = self.size.width
        time = f"{clock(self._now)} UTC" if width >= ZONE_WIDTH else clock(self._now)
        line = vitals(self._state, self._now, width - len(time) - 2)
        room = width - line.cell_length
        return Content.assemble(line, (time.rjust(room), Tone.QUIET.style))


def vitals(state: FleetState, now: datetime, width: int) -> Content:
    """`● 3 of 3 hosts  1,204 waiting …`: as many figures as fit into `width`."""
    totals, cover = state.totals, state.coverage
    late = any(host.state is LinkState.LATE for host in state.hosts)
    glyph, tone = (
        ("●", Tone.GOOD) if cover.is_whole and not late else ("◍", Tone.WARN) if cover.fresh else ("✕", Tone.BAD)
    )
    if not cover.fresh and all(host.state is LinkState.CONNECTING for host in state.hosts):
        return Content.assemble(
            ("◌ ", Tone.QUIET.style), (f"connecting to {plural(cover.of, 'host')}", Tone.TEXT.style)
        )
    failing = deferral_share(totals.flow)
    figures = (
        (count(totals.waiting), "waiting", Tone.STRONG),
        (count(totals.deferred), "deferred", Tone.STRONG),
        (f"{count(totals.flow.delivered_1m)}/min", "out", Tone.STRONG),
        (share(failing), "fail", deferral_tone(failing)),
        (since(totals.oldest_at, now), "oldest", Tone.STRONG),
    )
    line = Content.assemble((f"{glyph} ", tone.style), (str(cover), (Tone.STRONG if tone is Tone.GOOD else tone).style))
    if holders := dict.fromkeys(row.directive.author for row in state.directives if row.directive.kind == "lock"):
        line = Content.assemble(line, (f"  ⚿ locked by {clean(', '.join(holders))}", Tone.WARN.style))
    for figure, label, meaning in figures if cover.fresh else ():
        longer = Content.assemble(line, ("  ", ""), (figure, meaning.style), (f" {label}", Tone.QUIET.style))
        if longer.cell_length > width:
            break
        line = longer
    return line
