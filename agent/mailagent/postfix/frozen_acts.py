"""Acts on the frozen messages of an order: looked up right before, done, and written down as postsuper says.

Before each act the queue is listed: an id that is gone, that means another message by now, or that somebody else has
held or released since is left alone.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Final, Protocol

import msgspec

from mailagent.api.targets import MessageFilter
from mailagent.postfix import fates
from mailagent.postfix.acts import MOST_IDS, Act, Done
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.hands import Hands
from mailagent.spool import frozen
from mailagent.spool.frozen import Frozen, Known, State
from mailagent.spool.ids import now_ms
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

BATCH: Final = 10 * MOST_IDS
"""Messages that one listing is asked about."""
TRIES: Final = 5
"""After so many failures in a row an order gives up what is left. What it put on hold it tries to release for ever."""
TICK_S: Final = 1.0
MOST_PER_TICK: Final = 20
"""Messages that a retry has tried in a second, at most: each is a run of postqueue."""
AT_ONCE: Final = 100
"""Expired messages of a thousand that are returned to their senders at once."""
OURS: Final = (State.HOLDING, State.HELD)


class Queue(Protocol):
    """The Postfix queue, as far as orders look at it."""

    async def has_long_ids(self) -> bool:
        """Whether new messages get queue ids that never come back.

        Raises:
            PostfixError: nobody says.
        """

    @property
    def config_dir(self) -> str:
        """The instance's, for what people are told to run."""

    async def inward(self, filter: MessageFilter, /) -> MessageFilter:
        """`filter`, which names messages by queue id, as the spool reads it."""

    async def known(self, messages: Sequence[int]) -> Mapping[int, Known]:
        """Those of `messages` that the mirror has."""

    async def live(self, names: Collection[str]) -> Mapping[str, fates.Entry]:
        """Those of `names` that are in the queue now; one that is moved meanwhile may be missing.

        Raises:
            PostfixError: it cannot be listed.
        """

    def look(self) -> None:
        """The queue was changed: the mirror may look at it soon."""


class Stuck(Exception):
    """An order cannot go on now; the message says why."""


class FrozenActs:
    """Does what orders want done, as far as the queue still has what they mean."""

    def __init__(
        self,
        spool: Spool,
        queue: Queue,
        hands: Hands,
        *,
        turn_over: Callable[[], bool],
        gives_up: Callable[[str], bool],
    ) -> None:
        """`turn_over`: whether another order has its turn; `gives_up`: whether an order has failed TRIES times."""
        self._spool = spool
        self._queue = queue
        self._hands = hands
        self._turn_over = turn_over
        self._gives_up = gives_up
        self._next_tick: dict[str, float] = {}
        self._seen: dict[str, frozenset[str]] = {}  # by retry: what the last listing had
        self._unseen: set[tuple[str, str]] = set()  # by order and id: the last look has missed it
        self._missed: Counter[tuple[str, str]] = Counter()  # by order and id: postsuper passed it over

    async def do(
        self,
        name: str,
        act: Act,
        states: Sequence[State],
        stands: Callable[[], bool],
        *,
        ends: bool = False,
        became: State = State.DONE,
    ) -> bool:
        """Do `act` to the messages of an order that are in `states`, and put them in `became`. Whether none is left.

        Raises:
            Stuck: it could not be done to some of them.
        """
        while rows := await self._spool.on_held(partial(frozen.rows, order=name, states=states, limit=BATCH)):
            if self._turn_over() or not stands():
                return False
            if self._gives_up(name) and not (act is Act.RELEASE and State.HELD in states):
                ours = [row for row in rows if row.state in OURS]  # or perhaps, which only a listing tells
                await self._mark(name, {row.name: State.FAILED for row in rows if row not in ours})
                if ours:
                    return True
                continue
            for chunk in _chunks(await self._judge(name, rows, act, ends=ends)):
                if not stands():
                    return False
                if act is Act.HOLD:
                    await self._mark(name, {row.name: State.HOLDING for row in chunk})
                done = await self._hands.act(act, [row.name for row in chunk])
                await self._settle(name, chunk, act, done, ends=ends, became=became)
        return True

    async def retry(self, name: str, within_s: int) -> float | None:
        """Have a few messages of an order tried, all of them in `within_s`.

        Seconds until the next ones; None: none is left.

        Raises:
            Stuck: it could not be done.
        """
        wait_s = self._next_tick.get(name, 0.0) - time.monotonic()
        if wait_s > 0:
            return wait_s
        tally = (await self._spool.on_held(frozen.tallies)).get(name, {})
        every = sum(count for count, _ in tally.values())
        count = min(MOST_PER_TICK, ceil(every * TICK_S / max(1, within_s)))
        listed = partial(frozen.rows, order=name, states=(State.LISTED,))
        if self._gives_up(name):
            left = await self._spool.on_held(partial(listed, limit=max(1, every)))
            await self._mark(name, {row.name: State.FAILED for row in left})
        rows = await self._spool.on_held(partial(listed, limit=count))
        if not {row.name for row in rows} <= self._seen.get(name, frozenset()):
            many = await self._spool.on_held(partial(listed, limit=MOST_IDS))
            seen = await self._judge(name, many, Act.FLUSH, ends=False)
            self._seen[name] = frozenset(row.name for row in seen)
            rows = seen[:count]
            if not rows and many:
                return 0.0
        if not rows:
            return None
        done = await self._hands.act(Act.FLUSH, [row.name for row in rows])
        self._next_tick[name] = time.monotonic() + TICK_S
        await self._mark(name, {row.name: State.DONE for row in rows if row.name in done.ids})
        self._queue.look()
        if done.trouble:
            raise Stuck(done.trouble)
        return TICK_S

    def forget(self, name: str) -> None:
        """An order is over."""
        self._next_tick.pop(name, None)
        self._seen.pop(name, None)
        self._unseen = {key for key in self._unseen if key[0] != name}
        for key in [key for key in self._missed if key[0] == name]:
            del self._missed[key]

    async def _judge(self, name: str, rows: Sequence[Frozen], act: Act, *, ends: bool) -> list[Frozen]:
        """Those of `rows` that `act` is for, after a look at the queue; what became of the others is written down.

        One that is not seen may have been moved meanwhile: it is gone when the next look misses it too.

        Raises:
            Stuck: the queue cannot be listed.
        """
        try:
            live = await self._queue.live([row.name for row in rows])
        except PostfixError as exc:
            raise Stuck(f"the queue cannot be listed: {exc}") from exc
        unseen = {(name, row.name) for row in rows if row.name not in live}
        again = unseen - self._unseen
        self._unseen = self._unseen.difference((name, row.name) for row in rows) | again
        looked_at = [row for row in rows if (name, row.name) not in again]
        found = {row.name: fates.fate(row, live.get(row.name), act, ends=ends) for row in looked_at}
        await self._mark(name, {one: state for one, state in found.items() if state is not None})
        return [row for row in looked_at if found[row.name] is None]

    async def _settle(
        self, name: str, rows: Sequence[Frozen], act: Act, done: Done, *, ends: bool, became: State
    ) -> None:
        """Write down what was done to `rows`; what postsuper passed over is looked at again."""
        became = State.HELD if act is Act.HOLD else became
        await self._mark(name, {row.name: became for row in rows if row.name in done.ids})
        if act is Act.RELEASE:
            await self._spool.change_held(partial(frozen.released, order=name, names=sorted(done.ids)))
        if act is Act.EXPIRE:  # else they go with the next run of the queue, which is 5 minutes away
            await self._hands.act(Act.FLUSH, sorted(done.ids)[:AT_ONCE])
        self._queue.look()
        if done.trouble:
            raise Stuck(done.trouble)
        rest = [msgspec.structs.replace(row, state=_before(row, act)) for row in rows if row.name not in done.ids]
        if not rest:
            return
        await self._mark(name, {row.name: row.state for row in rest})
        for row in await self._judge(name, rest, act, ends=ends):
            self._missed[name, row.name] += 1
            if self._missed[name, row.name] >= TRIES:
                await self._mark(name, {row.name: State.FAILED})

    async def _mark(self, name: str, states: Mapping[str, State]) -> None:
        if states:
            await self._spool.change_held(partial(frozen.mark, order=name, states=states, now=now_ms()))
        for one, state in states.items():
            if state >= State.GONE:
                log.info("order=%s msg=%s %s", name, one, state.name.lower())


def _before(row: Frozen, act: Act) -> State:
    """The state of a message that postsuper has passed over: it is not this order that has it on hold."""
    return State.LISTED if act is Act.HOLD else row.state


def _chunks(rows: Sequence[Frozen]) -> list[Sequence[Frozen]]:
    return [rows[start : start + MOST_IDS] for start in range(0, len(rows), MOST_IDS)]
