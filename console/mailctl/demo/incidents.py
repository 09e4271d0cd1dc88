"""What goes wrong: a provider throttles an address or slows down, a host dies, DNS fails. By name and on a timeline."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from mailctl.demo.errors import NoSuchIncident

log = logging.getLogger(__name__)

NAMES = {
    "throttle": "Gmail throttles mkt-1",
    "slow": "Outlook slows down",
    "host-down": "mx3 dies",
    "dns": "DNS fails",
    "blocked": "Outlook puts mkt-3 on its block list",
    "complaints": "Yahoo defers every address for complaints",
    "full": "mailboxes at Gmail fill up",
    "cut-off": "mx3 goes on, SSH to it does not",
    "spf": "a second SPF record spoils that of marketing's mail",
}
"""All incidents of the demo, and in a few words what happens."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that can go wrong: how it begins and how it ends."""

    name: str
    description: str  # one line: who does what to whom
    begin: Callable[[], None]
    end: Callable[[], None]


class IncidentView(msgspec.Struct, frozen=True, kw_only=True):
    """One incident, for who lists them."""

    name: str
    description: str
    running: bool


@dataclass(frozen=True, slots=True)
class Act:
    """One incident on the timeline."""

    at_s: float
    name: str
    lasts_s: float


TIMELINE = (Act(90, "throttle", 150), Act(300, "slow", 90), Act(450, "host-down", 45), Act(525, "dns", 60))
"""One round, in seconds from its start."""
ROUND_S = 660.0


class Incidents:
    """The incidents of one run."""

    def __init__(self, incidents: Sequence[Incident]) -> None:
        self._incidents = {incident.name: incident for incident in incidents}
        self._running: set[str] = set()

    def views(self) -> tuple[IncidentView, ...]:
        """All of them."""
        return tuple(
            IncidentView(name=incident.name, description=incident.description, running=incident.name in self._running)
            for incident in self._incidents.values()
        )

    def start(self, name: str) -> None:
        """Begin one; nothing happens when it runs.

        Raises:
            NoSuchIncident: unknown name.
        """
        incident = self._find(name)
        if name not in self._running:
            self._running.add(name)
            log.info("%s started: %s", name, incident.description)
            incident.begin()

    def stop(self, name: str) -> None:
        """End one; nothing happens when it does not run.

        Raises:
            NoSuchIncident: unknown name.
        """
        incident = self._find(name)
        if name in self._running:
            self._running.remove(name)
            log.info("%s ended", name)
            incident.end()

    def toggle(self, name: str) -> None:
        """Begin it, or end it when it runs.

        Raises:
            NoSuchIncident: unknown name.
        """
        (self.stop if name in self._running else self.start)(name)

    async def play(self, timeline: Sequence[Act] = TIMELINE, *, round_s: float = ROUND_S) -> None:
        """Go through the timeline, round after round, until cancelled."""
        steps = sorted(
            [(act.at_s, self.start, act.name) for act in timeline]
            + [(act.at_s + act.lasts_s, self.stop, act.name) for act in timeline],
            key=lambda step: step[0],
        )
        while True:
            passed_s = 0.0
            for at_s, act, name in steps:
                await asyncio.sleep(at_s - passed_s)
                passed_s = at_s
                act(name)
            await asyncio.sleep(round_s - passed_s)

    def _find(self, name: str) -> Incident:
        incident = self._incidents.get(name)
        if incident is None:
            raise NoSuchIncident(name, tuple(self._incidents))
        return incident
