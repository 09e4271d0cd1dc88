"""One message through a path that may be closed: a ready queue of its own, beside those that carry the mail."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from mailagent.api.ids import VmtaName
from mailagent.api.smtp import SmtpReply
from mailagent.routing import Site
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.item import Item
from mailagent.scheduling.placing import Placing
from mailagent.scheduling.ready import Home, ReadyQueue

NO_ROOM = SmtpReply(code=0, text="no connection came about in time: the limits of the path are used up", local=True)
GIVEN_BACK = SmtpReply(code=0, text="the connection ended before the message was tried", local=True)


class _Guarded:
    """The home of a ready queue, which hears what becomes of its one message."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.outcome: asyncio.Future[SmtpReply] = asyncio.get_running_loop().create_future()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home, name)

    def _tell(self, reply: SmtpReply) -> None:
        if not self.outcome.done():
            self.outcome.set_result(reply)

    def has_room(self, queue: ReadyQueue) -> None:
        """Nothing else waits for its places."""

    def place_again(self, item: Item) -> None:
        self._tell(GIVEN_BACK)
        self._home.place_again(item)

    def settle(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float = 0.0,
    ) -> None:
        self._tell(replies[0])
        self._home.settle(queue, connection, item, replies, duration_s)

    def unroutable(self, item: Item, reply: SmtpReply, *, permanent: bool) -> None:
        self._tell(reply)
        self._home.unroutable(item, reply, permanent=permanent)

    def cut_after_dot(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> None:
        self._tell(reply)
        self._home.cut_after_dot(queue, connection, item, reply)


class Guest:
    """The path of one message. It keeps to the limits that the path has; directives do not hold it."""

    def __init__(self, home: Home, placing: Placing, site: Site, vmta: VmtaName) -> None:
        self._home = home
        self._placing = placing
        self._watch = _Guarded(home)
        self._queue = placing.guest(cast(Home, self._watch), site, vmta)

    async def carry(self, item: Item, deadline_s: float) -> SmtpReply:
        """Send `item`, whose places in the window are taken: the reply. It is settled as by any attempt."""
        outcome = self._watch.outcome
        self._queue.push(item)
        await asyncio.wait([outcome], timeout=deadline_s)
        try:
            if waiting := self._queue.items.take():  # limits let nobody connect
                for one in waiting:
                    self._home.place_again(one)
                return NO_ROOM
            return await outcome  # a session has deadlines of its own
        finally:
            self._placing.leave(self._queue)
