"""The log, from its source to the mirror, accounting and counters: in order, and once."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from mailagent.postfix.log.changes import Changes
from mailagent.postfix.log.lines import Line
from mailagent.postfix.log.outcomes import Gone, Outcomes, Requeued
from mailagent.postfix.log.sources import Batch, Position, Source
from mailagent.spool import told
from mailagent.spool.errors import ItemRefused
from mailagent.spool.store import Spool
from mailagent.spool.told import Change, Told
from mailagent.telemetry.counters import Counters
from mailagent.words import many

BEHIND_BYTES = 10 * 1024 * 1024
"""From here on people are told: 10 s and more of 5,000 lines/s."""
ALL_FOREIGN = 1000
"""After so many lines without one of this instance people are told."""
LATE_S = 300.0
"""What is read so long after it was written is accounted for, and not among the rates of now."""
STORE_S = 30.0
"""Between two records of the place while the log tells nothing that changes anything."""

log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True):
    """Up to where the log is told, as it stands in the spool."""

    position: Position
    at: float  # of the last line about a message: after a gap, nothing older is told again


_place = msgspec.json.Decoder(Place)


async def stored_place(spool: Spool) -> Place | None:
    """Where the last run stopped; None: it never told anything."""
    found = await spool.on_mirror(told.place)
    if found is None:
        return None
    try:
        return _place.decode(found)
    except msgspec.MsgspecError as exc:
        log.warning("place in the log is not understood; it is followed from its end: %s", exc)
        return None


class LogKeeper:
    """Reads the log of one instance for as long as it runs."""

    def __init__(
        self,
        source: Source,
        outcomes: Outcomes,
        changes: Changes,
        spool: Spool,
        counters: Counters,
        *,
        place: Place | None,
        gone: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`gone` hears of the queue ids that mean no message any more."""
        self.source = source
        self.changes = changes
        self._outcomes = outcomes
        self._spool = spool
        self._counters = counters
        self._position = place.position if place is not None else None
        self._at = place.at if place is not None else 0.0
        self._gone = gone
        self._clock = clock
        self._stored_at = 0.0
        self.begun = False
        """Whether it is known where the log is read from: what is written from now on is told."""
        self.told = 0
        """Lines, whatever they were about; what they change is stored."""
        self.understood = 0
        """Those about messages of this instance."""
        self.refused = 0
        """Changes that the spool did not take."""
        self.gaps = 0
        """Times that the log was not the one that was read before: what it said meanwhile is unknown."""

    @property
    def last_at(self) -> float:
        """When the last line about a message was written, in seconds since 1970; 0: there was none."""
        return self._at

    def notices(self) -> list[str]:
        """What an operator must know about the log before reading figures that come from it."""
        found = []
        if self.source.trouble:
            found.append(f"outcomes, rates and attempts are unknown: {self.source.trouble}")
        elif self.source.behind_bytes > BEHIND_BYTES:
            found.append(f"the log is {self.source.behind_bytes >> 20:,} MB ahead of these figures")
        if self.source.unread:
            found.append(f"not understood: {many(self.source.unread, 'line')} of the log about recipients")
        if self.source.dropped:
            found.append(
                f"journald has dropped {many(self.source.dropped, 'line')} of the log (RateLimitBurst): what they told"
                " is missing in rates, accounting and attempts"
            )
        if self.refused:
            found.append(f"not stored: {many(self.refused, 'change')} that the log told of; the agent's log says why")
        if self.told > ALL_FOREIGN and not self.understood:
            found.append(
                f"none of {self.told:,} lines of the log is about mail of this instance (syslog_name"
                f" {self._outcomes.syslog_name}): outcomes, rates and attempts are unknown"
            )
        if self.gaps:
            found.append(
                f"{many(self.gaps, 'time')} the log was not the one read before: what it said meanwhile is unknown"
            )
        return found

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            StorageError: what the log told cannot be stored; it is read again from there.
        """
        try:
            context, begin = await self.source.begin()
            self._outcomes.context(context)
            if self._position is None and begin is not None:
                self._position = begin
                await self._store([])
            self.begun = True
            while True:
                await self._take(await self.source.next())
        finally:
            if self.begun:
                self._store([])  # nobody waits: the spool commits it before it closes
            await self.source.close()

    async def _take(self, batch: Batch) -> None:
        lines: Sequence[Line] = batch.lines
        if batch.gap:
            self.gaps += 1
            lines = [line for line in lines if line.at >= self._at]
        if batch.position is not None:
            self._position = batch.position
        if lines:
            self._at = lines[-1].at
        foreign = self._outcomes.foreign
        events = list(self._outcomes.events(lines))
        for event in events:
            if isinstance(event, Gone):
                self._gone(event.id)
            elif isinstance(event, Requeued):
                self._gone(event.before)
        is_late = bool(lines) and self._clock() - self._at > LATE_S
        counters = Counters() if is_late else self._counters
        changes = self.changes.of(events, counters)
        if changes or time.monotonic() - self._stored_at > STORE_S:  # a slow disk slows the reading, nothing else
            done = await self._stored(changes)
            self.changes.left(done.left, counters)
            self._spool.touch(done.touched)
        self.understood += len(lines) - (self._outcomes.foreign - foreign)
        self.told += batch.read

    async def _stored(self, changes: Sequence[Change]) -> Told:
        """What cannot be stored must not be read for ever."""
        try:
            return await self._store(changes)
        except ItemRefused as exc:
            log.error("what the log told is not stored changes=%d: %s", len(changes), exc)
            self.refused += len(changes)
            return await self._store([])

    def _store(self, changes: Sequence[Change]) -> "asyncio.Future[Told]":
        self._stored_at = time.monotonic()
        if self.changes.suppression is not None:  # before the place: what is read again suppresses again
            self.changes.suppression.store()
        place = msgspec.json.encode(Place(self._position, self._at)) if self._position is not None else None
        return self._spool.change_mirror(partial(told.tell, changes=changes, place=place))
