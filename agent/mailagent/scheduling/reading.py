"""From disk into the window: what is due is found, and read lane by lane in turn."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from mailagent.config.structs import Priority
from mailagent.scheduling.books import LOOK_AGAIN_MS, Books
from mailagent.scheduling.jobs import JobGates
from mailagent.scheduling.lanes import Lane, Lanes, Place
from mailagent.scheduling.placing import Placing
from mailagent.scheduling.window import Hot, Window
from mailagent.spool.ids import now_ms
from mailagent.spool.records import DueQueue, Waiting
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

PAGE = 256
"""Scheduled queues that one statement finds or reads."""
LANE_ROWS = 512
"""Recipients that one lane gets in its turn."""
TURN_ROWS = {Priority.HIGH: 2048, Priority.NORMAL: 1024, Priority.BULK: 512}
"""Recipients that all lanes of a class get in one round: the weights of the classes."""
UNPARKED = 16
"""Lanes whose parked queues are looked up in one round."""
PAUSE_S = 1.0
"""Pause after a read that took too long."""


class Reading:
    """Fills the window. `take_in` gets rows that have just got their places."""

    def __init__(
        self,
        spool: Spool,
        window: Window,
        books: Books,
        lanes: Lanes,
        placing: Placing,
        jobs: JobGates,
        *,
        take_in: Callable[[Hot, Sequence[Waiting], int], None],
        wake: asyncio.Event,
        stopping: Callable[[], bool],
    ) -> None:
        self._spool = spool
        self._window = window
        self._books = books
        self._lanes = lanes
        self._placing = placing
        self._jobs = jobs
        self._take_in = take_in
        self._wake = wake
        self._stopping = stopping
        self.starved: frozenset[str] = frozenset()
        """Classes with mail due on disk for which the window has no room; their new mail has to wait behind it."""
        self._passed_over: set[str] = set()  # classes that were not looked at in this round

    async def run(self) -> None:
        """Keep the window filled until cancelled."""
        for key in await self._spool.parked_keys():  # what they waited for may be gone; they are parked anew
            self._spool.unpark(key, now=0, spread=0)
        while True:
            self._wake.clear()
            try:
                pause_s = self._pause_s(await self._refill())
            except TimeoutError as exc:  # a disk that stalls comes back
                log.error("reading due mail: %s; next try in %g s", exc or "the spool does not answer", PAUSE_S)
                self._books.look_again()
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _pause_s(self, now: int) -> float:
        """How long there is nothing to do after all that was due at `now` was looked for. What has become due since
        counts as to come: nothing else would call for it.
        """
        self.starved = frozenset(
            priority
            for priority, due in self._books.disk_due.items()
            if (due <= now or self._lanes.has_turn(priority)) and not self._window.is_worth_reading(priority)
        )
        return max(0.001, (self._books.next_time(now) - now_ms()) / 1000)

    async def _refill(self) -> int:
        """Read what is due. The time of the last look, which found no more."""
        more, now = True, now_ms()
        while more and not self._stopping():
            now = now_ms()
            self._passed_over.clear()
            self._books.turn_due(now)
            found = await self._find(now)
            unparked = await self._unpark(now)
            more = await self._read(now) or found or unparked
            # room that came while the disk was read, for a class passed over before
            more = more or any(map(self._window.is_worth_reading, self._passed_over))
        return now

    # -- finding -------------------------------------------------------------------------------------------------

    async def _find(self, now: int) -> bool:
        """Give due queues their turn. True when there may be more."""
        more = False
        for priority in Priority:
            if self._books.disk_due[priority] > now:
                continue
            if self._lanes.queues_in_turn(priority) >= PAGE or not self._window.is_worth_reading(priority):
                self._passed_over.add(priority)
                continue
            self._books.disk_due[priority] = now + LOOK_AGAIN_MS  # may be lowered while the disk is read
            queues, following = await self._spool.due_queues(now, PAGE, priority)
            if len(queues) == PAGE:
                following, more = 0, True
            if following is not None:
                self._books.due_on_disk(priority, following)
            for queue in queues:
                self._warm_up(queue)
        return more

    async def _unpark(self, now: int) -> bool:
        """Give parked queues of lanes that may move their turn. True when there were some."""
        asked = 0
        for priority in Priority:
            if not self._window.is_worth_reading(priority):
                self._pass_over(priority)
                continue
            for lane in self._lanes.turn(priority):
                if lane.hots or not lane.on_disk or asked == UNPARKED or not self._room(lane):
                    continue
                asked += 1
                lane.on_disk = False  # queues may be parked while the disk is read
                try:
                    queues = await self._spool.parked_queues(lane.key, PAGE)
                except BaseException:
                    lane.on_disk = True
                    raise
                lane.on_disk = lane.on_disk or len(queues) == PAGE
                for queue in queues:
                    if queue.next_due > now:
                        self._spool.release([queue.id])
                        self._books.due_at(queue.id, priority, queue.next_due)
                    else:
                        self._warm_up(queue)
                if lane.place is Place.TURN and lane.is_empty:
                    self._lanes.to_end(lane)
        return asked > 0

    def _warm_up(self, queue: DueQueue) -> None:
        """A queue with due mail on disk: its turn comes, or it is parked when its lane cannot move."""
        hot = self._books.hots.get(queue.id)
        if hot is None:
            lane = self._lanes.of(queue.name)
            if lane.place is not Place.TURN:
                lane.on_disk = True
                self._spool.park(queue.id, lane.key)
                return
            hot = self._books.heat(queue.id, queue.name)
        if not hot.held:
            hot.held = True
            self._spool.hold(queue.id)
        self._books.note(hot)

    # -- reading -------------------------------------------------------------------------------------------------

    async def _read(self, now: int) -> bool:
        """Read rows of lanes that have their turn. True when there were lanes to read."""
        wanted = self._choose()
        if not wanted:
            return False
        hots = [hot for hot, _ in wanted]
        self._books.begin(hots)
        try:
            loads = await self._spool.load([(hot.id, hot.start(), limit) for hot, limit in wanted], now)
        except BaseException:
            self._books.end()
            for hot, limit in wanted:
                if hot.job:
                    self._jobs.give_back(hot.job, limit)
                hot.loading = False
                hot.rewind = True
                self._books.note(hot)
            raise
        is_new = self._books.end()
        for (hot, limit), loaded in zip(wanted, loads, strict=True):
            if loaded.rows:
                hot.cursor = (loaded.rows[-1].due, loaded.rows[-1].id)
            if hot.behind is not None and hot.cursor is not None and hot.behind <= hot.cursor[0]:
                hot.cursor = (hot.behind, -1)
            if loaded.next_due is not None:
                self._books.due_at(hot.id, hot.priority, loaded.next_due)
            if len(loaded.rows) == limit or hot.rewind:
                self._books.note(hot)
            hot.loading = False
            rows = [row for row in loaded.rows if is_new(row)]
            if hot.job:
                self._jobs.give_back(hot.job, limit - len(rows))
            if rows:
                self._books.take(hot, [row.id for row in rows])
                self._take_in(hot, rows, now)
            else:
                self._books.cool(hot)
        return True

    def _choose(self) -> list[tuple[Hot, int]]:
        """Queues to read in this round, each with a number of rows."""
        wanted: list[tuple[Hot, int]] = []
        for priority, weight in TURN_ROWS.items():
            if not self._window.is_worth_reading(priority):
                self._pass_over(priority)
                continue
            budget = min(weight, self._window.room(priority))
            for lane in self._lanes.turn(priority):
                if budget <= 0:
                    break
                if lane.is_empty:
                    self._lanes.to_end(lane)
                    continue
                rows = min(self._room(lane), budget, LANE_ROWS) if lane.hots else 0
                if rows == 0:
                    continue
                chosen = list(lane.hots.values())[: min(PAGE, rows)]
                # statements are shared by queues with the same limit, so there are few different ones
                each = 1 << (rows // len(chosen)).bit_length() - 1
                for hot in chosen:
                    lane.remove(hot)
                    wanted.append((hot, each))
                budget -= each * len(chosen)
                if lane.job:
                    self._jobs.take(lane.job, each * len(chosen))
                self._lanes.to_end(lane)
        return wanted

    def _pass_over(self, priority: str) -> None:
        """There is no room for a class now, and perhaps there is when the round ends."""
        if self._lanes.has_turn(priority):
            self._passed_over.add(priority)

    def _room(self, lane: Lane) -> int:
        """Places that ready queues have for it; without any the lane is held."""
        room = self._placing.room(lane)
        if room == 0:
            self.hold(lane)
        elif lane.job and (room := self._jobs.room(lane, room)) == 0:
            self._lanes.hold(lane, Place.FULL)  # its queues stay in memory: it goes on in a moment
        return room

    def hold(self, lane: Lane) -> None:
        """Take a lane that cannot move out of the turn; its queues go to disk once none of them is in the window."""
        self._lanes.hold(lane, Place.BLOCKED if self._placing.is_blocked(lane) else Place.FULL)
        for hot in list(lane.hots.values()):
            self._books.cool(hot)
