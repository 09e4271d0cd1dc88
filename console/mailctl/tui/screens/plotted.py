"""The history that a screen plots: of what its cursor stands on, asked for while the keys rest."""

from time import monotonic
from typing import TYPE_CHECKING

from textual.timer import Timer

from mailagent.api.requests import HistoryRequest
from mailagent.api.views import Series
from mailctl.fleet.errors import LinkError
from mailctl.fleet.lists import summed
from mailctl.tui.desk import Scope
from mailctl.tui.past import Past
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import listed, plural
from mailctl.tui.widgets.detail import Detail

if TYPE_CHECKING:
    from mailctl.tui.screens.view import View

SPANS = (("15 min", 900, 1), ("8 days", 8 * 86_400, 60), ("400 days", 400 * 86_400, 3600))
"""Histories that hosts keep: in words, seconds, step."""
KEYS_REST_S = 0.2
"""Histories wait so long for keys to rest: a chart takes more than ten milliseconds, and a key would wait for it."""
LONG_POLL_S = 30.0
"""Longer histories are asked for so seldom: they are large and change slowly."""


class Plotted:
    """What one screen plots, and what it asks hosts for that."""

    def __init__(self, view: "View") -> None:
        self._view = view
        self._asked: tuple[Scope, int] | None = None  # whose history, and which of SPANS
        self._asked_at = 0.0
        self._past = Past()
        self._span = 0
        self._resting: Timer | None = None  # runs while the cursor has moved just now

    def next_span(self) -> str:
        """Go on to the next longer history, after the longest to the shortest: which, in words."""
        self._span = (self._span + 1) % len(SPANS)
        self.poll()
        return SPANS[self._span][0]

    def follow(self) -> None:
        """The cursor has moved: ask as soon as it rests."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self._view.set_timer(KEYS_REST_S, self.poll, name="resting")

    def poll(self) -> None:
        """Fetch the history of what the cursor stands on, unless that is under way."""
        view = self._view
        scope = view.scope() if view.is_drawable else None
        if scope is None:
            return
        wanted = (scope, self._span)
        if not self._span and self._past.wants(scope):
            view.fetch("past", self._past.ask, view.desk.source, scope, SPANS[0][1], view.desk.now())
        if wanted == self._asked and (
            view.is_asking("history") or (self._span and monotonic() - self._asked_at < LONG_POLL_S)
        ):
            return
        self._asked, self._asked_at = wanted, monotonic()
        view.fetch("history", self._fetch, scope, self._span)

    async def _fetch(self, scope: Scope, index: int) -> None:
        words, seconds, step_s = SPANS[index]
        answers = await self._view.desk.source.ask_all(
            "history",
            HistoryRequest(scope=scope.kind, name=scope.name, seconds=seconds, step_s=step_s),
            hosts=scope.hosts,
            deadline_s=ASK_DEADLINE_S,
        )
        series = summed(answer for answer in answers.values() if isinstance(answer, Series))
        if (scope, index) == self._asked and self._view.is_drawable:
            silent = [host for host, answer in answers.items() if isinstance(answer, LinkError)]
            about = scope.title
            if silent:  # a sum says how many hosts are in it
                every = plural(len(answers), "host")
                about = about.replace(f" on {every}", f" on {len(answers) - len(silent)} of {every}")
            title = f"{about}, {words}" if index else about
            empty = f"no history: no answer from {listed(silent)}" if silent else "no history yet"
            self._view.query_one(Detail).plot(title, series, () if index else self._past.found, empty)
