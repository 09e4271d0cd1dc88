"""The same time yesterday and a week ago, to lay under the chart of the present."""

from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

from mailagent.api.requests import HistoryRequest
from mailagent.api.views import Series
from mailctl.fleet.lists import summed
from mailctl.tui.desk import Scope
from mailctl.tui.source import ASK_DEADLINE_S, FleetSource

SAME_TIME = (("yesterday", timedelta(days=1)), ("last week", timedelta(days=7)))
"""Hosts keep minutes for 8 days."""
FRESH_S = 60.0
"""Minutes are asked for once a minute."""


class Before(NamedTuple):
    """A history of the same length, and when it was."""

    words: str
    series: Series


class Past:
    """What one scope did before; a scope without mail at that time has nothing to lay under."""

    def __init__(self) -> None:
        self._of: tuple[Scope, float] | None = None
        self.found: tuple[Before, ...] = ()

    def wants(self, scope: Scope) -> bool:
        """Whether `scope` is to be asked for; what is known of another one goes."""
        if self._of is not None and self._of[0] != scope:
            self.found = ()
        return self._of is None or self._of[0] != scope or monotonic() - self._of[1] >= FRESH_S

    async def ask(self, source: FleetSource, scope: Scope, seconds: int, now: datetime) -> None:
        """Ask the hosts of `scope`; the answer of a scope that is no longer wanted is dropped."""
        self._of = (scope, monotonic())
        found = []
        for words, ago in SAME_TIME:
            request = HistoryRequest(scope=scope.kind, name=scope.name, seconds=seconds, step_s=60, until=now - ago)
            answers = await source.ask_all("history", request, hosts=scope.hosts, deadline_s=ASK_DEADLINE_S)
            series = summed(answer for answer in answers.values() if isinstance(answer, Series))
            if series is not None and any(series.delivered):
                found.append(Before(words, series))
        if self._of[0] == scope:
            self.found = tuple(found)
