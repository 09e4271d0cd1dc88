"""Alarms on the screens: which stand, which is next, and where each is looked at."""

from collections.abc import Callable
from time import monotonic

from mailctl.fleet.state import FleetState
from mailctl.ops.alarms import Alarm, Lookout
from mailctl.ops.findings import Trouble

SHARE = 20
"""A look through all hosts is followed by this many times as long without one."""


class Alarms:
    """The alarms of the newest state."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.standing: tuple[Alarm, ...] = ()
        self._lookout = Lookout()
        self._visited: set[tuple[str, ...]] = set()
        self._clock = clock
        self._not_before = 0.0

    def look(self, state: FleetState) -> None:
        """Look through `state`, unless that was done a moment ago and takes long."""
        began = self._clock()
        if began < self._not_before:
            return
        self.standing = self._lookout.see(state)
        self._visited &= set(map(_about, self.standing))
        ended = self._clock()
        self._not_before = ended + SHARE * (ended - began)

    def next(self, here: tuple[str, str] | None) -> Alarm | None:
        """The worst alarm; on a row of one (`here`: screen and key), the worst above that which is new, else the one
        below."""
        if not self.standing:
            return None
        at = next((index for index, alarm in enumerate(self.standing) if is_at(alarm, here)), None)
        if at is None:
            found = self.standing[0]
        else:
            self._visited.add(_about(self.standing[at]))
            new = (alarm for alarm in self.standing[:at] if _about(alarm) not in self._visited)
            found = next(new, self.standing[(at + 1) % len(self.standing)])
        self._visited.add(_about(found))
        return found


def _about(alarm: Alarm) -> tuple[str, ...]:
    """What stays the same while the trouble lasts: one cell, or the provider of several, or a pool and what it lacks,
    or the hosts."""
    if alarm.pool:
        return (alarm.trouble, alarm.pool, alarm.evidence)
    providers = {cell.rpartition("/")[0] for cell in alarm.cells}
    return (alarm.trouble, alarm.vmta, *(alarm.cells if len(alarm.cells) == 1 else sorted(providers) or alarm.hosts))


def screen_of(alarm: Alarm) -> str:
    """The screen with its rows."""
    if alarm.trouble is Trouble.FAILING:
        return "Deferred"
    if alarm.vmta or alarm.pool:
        return "Pools"
    return "Destinations" if alarm.cells else "Fleet"


def rows_of(alarm: Alarm) -> tuple[str, ...]:
    """The keys of its rows there; none: the screen's first, whatever it is."""
    if alarm.trouble is Trouble.FAILING:
        return ()
    if alarm.vmta:
        return (f"vmta:{alarm.vmta}",)
    if alarm.pool:
        return (f"pool:{alarm.pool}",)
    return alarm.cells or tuple(map(str, alarm.hosts))


def is_at(alarm: Alarm, here: tuple[str, str] | None) -> bool:
    """Whether `here`, a screen and the key of a row, is where the alarm is looked at."""
    rows = rows_of(alarm)
    return here is not None and here[0] == screen_of(alarm) and (not rows or here[1] in rows)
