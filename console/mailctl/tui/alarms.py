"""Alarms on the screens: which stand, which is next, and where each is looked at."""

from collections.abc import Callable
from time import monotonic

from mailctl.fleet.state import FleetState
from mailctl.ops.alarms import Alarm, Lookout, Trouble

SHARE = 20
"""A look through all hosts is followed by this many times as long without one."""


class Alarms:
    """The alarms of the newest state, and which of them was gone to last."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.standing: tuple[Alarm, ...] = ()
        self._lookout = Lookout()
        self._clock = clock
        self._not_before = 0.0
        self._at: tuple[str, ...] = ()  # what was gone to last

    def look(self, state: FleetState) -> None:
        """Look through `state`, unless that was done a moment ago and takes long."""
        began = self._clock()
        if began < self._not_before:
            return
        self.standing = self._lookout.see(state)
        ended = self._clock()
        self._not_before = ended + SHARE * (ended - began)

    def next(self) -> Alarm | None:
        """The worst alarm; after it was gone to, the one below it."""
        if not self.standing:
            return None
        known = [_identity(alarm) for alarm in self.standing]
        index = (known.index(self._at) + 1) % len(known) if self._at in known else 0
        self._at = known[index]
        return self.standing[index]


def _identity(alarm: Alarm) -> tuple[str, ...]:
    """What it is about, whatever the figures."""
    return (alarm.trouble, *sorted(alarm.cells or map(str, alarm.hosts)))


def screen_of(alarm: Alarm) -> str:
    """The screen with its rows."""
    if alarm.trouble is Trouble.FAILING:
        return "Deferred"
    return "Destinations" if alarm.cells else "Fleet"


def rows_of(alarm: Alarm) -> tuple[str, ...]:
    """The keys of its rows there; none: the screen's first, whatever it is."""
    if alarm.trouble is Trouble.FAILING:
        return ()
    return alarm.cells or tuple(map(str, alarm.hosts))
