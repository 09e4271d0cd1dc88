"""One ready queue: mail due now for one site through one virtual MTA, with its connections and limits.

A connection is opening, idle, busy or gone:

    opening --ready--> idle --send--> busy --settled, ready--> idle
    opening --failed--> gone; idle, busy --closed--> gone

The queue itself is open, blocked (a directive holds it) or resting (connections failed). Blocked and resting queues
hold no mail: it goes back to be placed elsewhere, or waits on disk.
"""

import logging
import math
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mailagent.api.ids import QueueKey, SiteName, VmtaName, queue_key
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
from mailagent.delivery.connection import Connection, Transaction
from mailagent.routing import PathLimits, Site
from mailagent.scheduling.item import Item
from mailagent.scheduling.limits import Gate, RateLimit, connections_wanted

if TYPE_CHECKING:
    from mailagent.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)

FAILURES_BEFORE_REST = 5
"""Failed connections in a row (each over the whole path) after which the queue rests (handbook/engine section 10)."""
REST_S = 300.0
"""First rest; doubles up to REST_MAX_S."""
REST_MAX_S = 3600.0
PAUSE_S = 1.0
"""Pause after the first failed connection; doubles until the rest."""
CLOSING_CHANNEL = 421
BUSY_PAUSE_S = 5.0
"""Pause after a peer refused one more connection while others to it are open."""


class ReadyQueue:
    """Items, connections and limits of one site × virtual MTA. Its methods run on the loop thread."""

    __slots__ = (
        "_bound",
        "_failures",
        "_last_reply",
        "_opening",
        "_scheduler",
        "_standing",
        "_timer",
        "_uncommitted",
        "bind_problem",
        "block",
        "busy",
        "gates",
        "idle",
        "items",
        "key",
        "limits",
        "pause_until",
        "provider_rate",
        "rate",
        "resting",
        "site",
        "vmta",
    )

    def __init__(
        self,
        scheduler: "Scheduler",
        site: Site,
        vmta: VmtaName,
        limits: PathLimits,
        *,
        gates: tuple[Gate, ...],
        provider_rate: RateLimit | None,
        block: WaitReason | None,
    ) -> None:
        self._scheduler = scheduler
        self.site = site
        self.vmta = vmta
        self.key: QueueKey = queue_key(SiteName(site.name), vmta)
        self.limits = limits
        self.gates = gates
        self.rate = RateLimit(limits.rate.value) if limits.rate.value else None
        self.provider_rate = provider_rate
        self.block = block
        self.items: deque[Item] = deque()
        self.busy: dict[Connection, Item] = {}
        self.idle: dict[Connection, float] = {}  # -> since when
        self.pause_until = 0.0
        self.resting = False
        self.bind_problem = ""  # why the source address could not be used the last time
        self._uncommitted: set[Connection] = set()  # the outcome of the last message is not on disk yet
        self._standing: set[Connection] = set()  # idle, busy, or QUIT is out
        self._opening = 0
        self._failures = 0
        self._bound = ""  # the limit that stopped the last pump
        self._last_reply: SmtpReply | None = None
        self._timer = False

    # -- what it holds -------------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Open and opening ones."""
        return len(self._standing) + self._opening

    @property
    def is_closed(self) -> bool:
        """Whether mail may not be put here now."""
        return self.block is not None or self.resting

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left to remember."""
        return not (self.items or self.connections or self.resting or self._failures)

    def binding(self) -> WaitReason | None:
        """The one reason that holds its mail now; None when there is none to hold."""
        if self.block is not None:
            return self.block
        if self.resting or (self._failures and self.pause_until > self._scheduler.clock()):
            return self._rest_reason()
        if not self.items:
            return WaitReason(kind=ReasonKind.SENDING, detail="being sent") if self.busy else None
        if self.pause_until > self._scheduler.clock() and self._last_reply is not None:
            return WaitReason(
                kind=ReasonKind.REPLY, detail=self._last_reply.line(), reply=self._last_reply, release="a pause"
            )
        if self._bound:
            return self._limit_reason(self._bound)
        if self._opening and not self.busy:
            return WaitReason(kind=ReasonKind.CONNECTING, detail=f"opening {self._opening} connection(s)")
        return WaitReason(kind=ReasonKind.SENDING, detail=f"{len(self.busy)} connection(s) at work")

    def _limit_reason(self, name: str) -> WaitReason:
        if name == "max_connections":
            gate = self.gates[-1]
            value, origin = str(gate.limit), gate.origin
        else:
            limit = getattr(self.limits, name)
            value, origin = str(limit.value), limit.origin
        return WaitReason(
            kind=ReasonKind.LIMIT,
            detail=f"{name} {value} is used up",
            key=name,
            value=value,
            origin=origin,
            release=f"raise {name}, or add virtual MTAs",
        )

    def _rest_reason(self) -> WaitReason:
        left = max(0.0, self.pause_until - self._scheduler.clock())
        what = self.bind_problem or f"{self._failures} connection(s) failed in a row"
        return WaitReason(
            kind=ReasonKind.BIND if self.bind_problem else ReasonKind.REST,
            detail=f"{what}; next try in {left:.0f} s",
            until=datetime.now(UTC) + timedelta(seconds=left),
            release="a connection that succeeds",
            reply=self._last_reply,
        )

    # -- what the scheduler does with it -------------------------------------------------------------------------

    def push(self, item: Item) -> None:
        """Take one more message."""
        self.items.append(item)
        self.pump()

    def enforce_block(self) -> None:
        """A directive holds the queue now. Connections past the final dot finish, the others end."""
        self.close_connections()
        self.give_up_items()

    def set_limits(self, limits: PathLimits, gates: tuple[Gate, ...], provider_rate: RateLimit | None) -> None:
        """Limits were changed by a directive or a reload."""
        self.limits, self.gates, self.provider_rate = limits, gates, provider_rate
        if limits.rate.value is None:
            self.rate = None
        elif self.rate is None:
            self.rate = RateLimit(limits.rate.value)
        else:
            self.rate.change(limits.rate.value)
        if limits.connections.value is not None:
            for connection in list(self.idle)[: max(0, self.connections - limits.connections.value)]:
                self._quit(connection)

    def close_connections(self) -> None:
        """QUIT on the idle ones; the busy ones that are not past the final dot are cut."""
        for connection in list(self.idle):
            self._quit(connection)
        for connection in list(self.busy):
            if not connection.past_dot:
                connection.abort()

    def give_up_items(self) -> None:
        """Hand all mail that is not under way back to be placed elsewhere."""
        items, self.items = self.items, deque()
        for item in items:
            self._scheduler.place_again(item)

    def close_idle(self, now: float, idle_s: float) -> None:
        """QUIT on connections without work for `idle_s`."""
        for connection, since in list(self.idle.items()):
            if now - since >= idle_s:
                self._quit(connection)

    def _quit(self, connection: Connection) -> None:
        self.idle.pop(connection, None)
        connection.quit()

    def pump(self) -> None:
        """Give mail to idle connections and open more, as far as limits allow."""
        if self.is_closed or self._scheduler.stopping:
            return
        now = self._scheduler.clock()
        self._bound = ""
        while self.items and self.idle:
            delay = self._rate_delay(now)
            if delay > 0:
                self._wake_in(delay)
                return
            if self.rate is not None:
                self.rate.take(now)
            if self.provider_rate is not None:
                self.provider_rate.take(now)
            connection, _ = self.idle.popitem()
            self._send(connection, self.items.popleft())
            if len(self.items) == self._scheduler.low_water:
                self._scheduler.wake()
        if len(self.items) > self._opening:
            self._open(now)

    def _rate_delay(self, now: float) -> float:
        own = self.rate.delay_s(now) if self.rate is not None else 0.0
        shared = self.provider_rate.delay_s(now) if self.provider_rate is not None else 0.0
        if own > 0 or shared > 0:
            self._bound = "rate" if own >= shared else "provider_rate"
        return max(own, shared)

    def _open(self, now: float) -> None:
        if now < self.pause_until:
            self._wake_in(self.pause_until - now)
            return
        limit = self.limits.connections.value
        wanted = min(
            connections_wanted(len(self.items) + len(self.busy), limit),
            self.connections + len(self.items) - self._opening,
        )
        if self._failures:
            wanted = min(wanted, 1)  # one probe until a connection stands again
        while self.connections < wanted:
            for gate in self.gates:
                if not gate.is_open:
                    self._bound = gate.key
                    gate.wait(self)
                    return
            for gate in self.gates:
                gate.enter()
            self._opening += 1
            self._scheduler.open_connection(self)
        if limit is not None and self.connections >= limit:
            self._bound = "connections"

    def _send(self, connection: Connection, item: Item) -> None:
        self.busy[connection] = item
        if item.body is None:
            self._scheduler.bodies.want(item, lambda: self._send_loaded(connection, item))
        else:
            connection.send(transaction_of(item))

    def _send_loaded(self, connection: Connection, item: Item) -> None:
        if self.busy.get(connection) is item:  # else the connection went away meanwhile
            if item.body is None:  # its message left the spool
                self.idle[connection] = self._scheduler.clock()
                del self.busy[connection]
                self._scheduler.forget(item)
                self.pump()
            else:
                connection.send(transaction_of(item))

    def _wake_in(self, delay: float) -> None:
        if not self._timer:
            self._timer = True
            self._scheduler.call_later(delay, self._woken)

    def _woken(self) -> None:
        self._timer = False
        if self.resting and self._scheduler.clock() >= self.pause_until:
            self.resting = False
            self._scheduler.wake()
        self.pump()

    # -- what its connections tell it (delivery.Owner) -----------------------------------------------------------

    def ready(self, connection: Connection) -> None:
        """A handshake is done, or a transaction settled."""
        if connection not in self._standing:
            self._standing.add(connection)
            self._opening -= 1
            self._failures = 0
            self.pause_until = 0.0
            self.bind_problem = ""
        self.idle[connection] = self._scheduler.clock()
        most = self.limits.messages_per_connection.value
        limit = self.limits.connections.value
        if (
            self.is_closed
            or self._scheduler.stopping
            or (most is not None and connection.sent >= most)
            or (limit is not None and self.connections > limit)
            or any(gate.is_over for gate in self.gates)
        ):
            self._quit(connection)
            return
        self.pump()
        if connection in self.idle and not self.items:
            if any(gate.is_wanted for gate in self.gates):
                self._quit(connection)
            else:
                for gate in self.gates:
                    gate.idles(self)

    def give_way(self) -> bool:
        """Close an idle connection, since another queue waits for its place; False when none can be spared."""
        if self.items or not self.idle:
            return False
        self._quit(next(iter(self.idle)))
        return True

    def before_dot(self, connection: Connection, transaction: Transaction, recipients: Sequence[int]) -> bool:
        """The final dot is about to go out: from here on a crash may deliver twice.

        It waits until the outcome of the message before is on disk, so that a crash repeats at most one message per
        connection. Everything up to the dot has gone out meanwhile.
        """
        if connection in self._uncommitted:
            return False
        item: Item = transaction.token  # type: ignore[assignment]
        self._scheduler.mark_in_doubt(self, connection, [item.recipients[index].id for index in recipients])
        return True

    def settled(
        self, connection: Connection, transaction: Transaction, replies: Sequence[SmtpReply], duration_s: float
    ) -> None:
        """The peer answered for each recipient of `transaction`."""
        item: Item = transaction.token  # type: ignore[assignment]
        del self.busy[connection]
        self._uncommitted.add(connection)
        self._scheduler.settle(self, connection, item, replies, duration_s)

    def committed(self, connection: Connection) -> None:
        """The outcome of its last message is on disk."""
        self._uncommitted.discard(connection)
        if connection in self.busy:
            connection.end()

    def closed(self, connection: Connection, reply: SmtpReply, transaction: Transaction | None, in_doubt: bool) -> None:
        """A connection ended, perhaps in the middle of a transaction."""
        item = self.busy.pop(connection, None)
        self.idle.pop(connection, None)
        self._standing.discard(connection)
        self._uncommitted.discard(connection)
        for gate in self.gates:
            if not self.idle:
                gate.works(self)
            gate.leave()
        if reply.code == CLOSING_CHANNEL and not reply.local:
            self._last_reply = reply
            self.pause_until = self._scheduler.clock() + PAUSE_S
        if item is None:
            pass
        elif transaction is not None and in_doubt:
            self._scheduler.cut_after_dot(self, connection, item, reply)
        elif transaction is None or self.is_closed or self._scheduler.stopping:
            self._scheduler.place_again(item)  # our own doing: no attempt
        else:
            self._last_reply = reply
            self._scheduler.settle(self, connection, item, [reply] * len(item.recipients), 0.0)
        self.pump()

    def no_path(self, reply: SmtpReply, *, permanent: bool) -> None:
        """The site has no address that this source may connect to: all its mail is settled so."""
        self._opening -= 1
        for gate in self.gates:
            gate.leave()
        items, self.items = self.items, deque()
        for item in items:
            self._scheduler.unroutable(item, reply, permanent=permanent)

    def failed(self, reply: SmtpReply, *, bind: bool) -> None:
        """No connection came about over the whole path.

        The first message is charged with the attempt, so that its sender hears of it in time; the others keep their
        place and wait with the queue. A refusal while other connections stand only says "not one more".
        """
        self._opening -= 1
        for gate in self.gates:
            gate.leave()
        self._last_reply = reply
        now = self._scheduler.clock()
        if (self.busy or self.idle) and not bind:
            self.pause_until = now + BUSY_PAUSE_S
            self._wake_in(BUSY_PAUSE_S)
            return
        self._failures += 1
        self.bind_problem = reply.text if bind else ""
        over = self._failures - FAILURES_BEFORE_REST
        pause = (
            PAUSE_S * 2 ** (self._failures - 1)
            if over < 0 and not bind
            else min(REST_S * 2 ** max(0, over), REST_MAX_S)
        )
        self.pause_until = now + pause
        log.info(
            "connection failed queue=%s failures=%d pause_s=%.0f code=%d", self.key, self._failures, pause, reply.code
        )
        if self.items and not bind:
            self._scheduler.charge(self, self.items.popleft(), reply)
        if over >= 0 or bind:
            self.resting = True
            self.give_up_items()
        self._wake_in(math.nextafter(pause, math.inf))


def transaction_of(item: Item) -> Transaction:
    """The message in the form that delivery sends."""
    first = item.first
    return Transaction(
        sender=first.sender,
        recipients=tuple(row.address for row in item.recipients),
        added=first.added,
        body=item.body or b"",
        eightbit=first.eightbit,
        plain=item.plain,
        token=item,
    )
