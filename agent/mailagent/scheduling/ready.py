"""One ready queue: mail due now for one site through one virtual MTA, with its connections and limits.

A connection is opening, idle, busy or gone:

    opening --ready--> idle --send--> busy --settled, ready--> idle
    opening --failed--> gone; idle, busy --closed--> gone

The queue itself is open, blocked (a directive holds it) or resting (connections failed). Blocked and resting queues
hold no mail: it goes back to be placed elsewhere, or waits on disk.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from mailagent.api.ids import QueueKey, SiteName, VmtaName, queue_key
from mailagent.api.reasons import WaitReason
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.delivery.transaction import Transaction
from mailagent.outcome.return_path import Envelopes
from mailagent.routing import PathLimits, Site
from mailagent.routing.limits import NO_LIMITS
from mailagent.scheduling.bodies import Bodies
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.item import Item
from mailagent.scheduling.limits import UNLIMITED_CONNECTIONS, Gate, RateLimit, Window, connections_wanted
from mailagent.scheduling.line import Line
from mailagent.scheduling.meters import Meter
from mailagent.scheduling.shortage import shortage
from mailagent.scheduling.transaction import transaction_of
from mailagent.spool.records import Waiting

log = logging.getLogger(__name__)

FAILURES_BEFORE_REST = 5
"""Failed connections in a row (each over the whole path) after which the queue rests (handbook/engine section 10)."""
REST_S = 300.0
"""First rest; doubles up to REST_MAX_S."""
REST_MAX_S = 3600.0
PAUSE_S = 1.0
"""Pause after the first failed connection; doubles until the rest."""
CLOSING_CHANNEL = 421
TIMER_S = 0.001
"""Timers of the loop are this coarse; a look that comes too early would have to be repeated."""
BUSY_PAUSE_S = 5.0
"""Pause after a peer refused one more connection while others to it are open."""


BROKEN = SmtpReply(
    code=0, enhanced="4.3.0", text="no connection, by an internal error (see log)", verb=Verb.CONNECT, local=True
)
UNREADABLE = SmtpReply(
    code=0, enhanced="4.3.0", text="the message could not be read from the spool (see log)", verb=Verb.MAIL, local=True
)


class Home(Protocol):
    """Where the mail of a ready queue comes from, and where it goes; the scheduler is one."""

    clock: Callable[[], float]
    bodies: Bodies
    envelopes: Envelopes | None
    suppressed: Callable[[Waiting], SmtpReply | None] | None

    def without_suppressed(self, item: Item, suppressed: Callable[[Waiting], SmtpReply | None]) -> Item | None:
        """What is left of `item` without recipients that must not be mailed; they bounce, each by itself."""

    @property
    def stopping(self) -> bool:
        """Whether nothing new may be sent."""

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back when `clock` says `when`."""

    def open_connection(self, queue: "ReadyQueue") -> asyncio.Task[None]:
        """Start to connect; in the task the queue hears of the end through `ready`, `failed` or `no_path`."""

    def has_room(self, queue: "ReadyQueue") -> None:
        """The queue may have a place for mail on disk."""

    def place_again(self, item: Item) -> None:
        """Mail that the queue gives up without an attempt."""

    def settle(
        self,
        queue: "ReadyQueue",
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float = 0.0,
    ) -> None:
        """An attempt ended with one reply per recipient; without a connection when none came about."""

    def unroutable(self, item: Item, reply: SmtpReply, *, permanent: bool) -> None:
        """The site has no address that the queue may connect to."""

    def cut_after_dot(self, queue: "ReadyQueue", connection: Connection, item: Item, reply: SmtpReply) -> None:
        """The final dot is out and no reply came."""

    def end(self, queue: "ReadyQueue", connection: Connection, recipients: Sequence[int]) -> None:
        """Let the final dot go out, after writing that down."""

    def queue_failed(self, queue: "ReadyQueue", reply: SmtpReply) -> None:
        """No connection came about over the whole path."""

    def heard(self, queue: "ReadyQueue", reply: SmtpReply) -> None:
        """A reply that no message is charged with."""


class ReadyQueue:
    """Items, connections and limits of one site × virtual MTA. Its methods run on the loop thread."""

    __slots__ = (
        "_bytes_rate",
        "_connect_rate",
        "_cut",
        "_held",
        "_home",
        "_is_over",
        "_lends",
        "_most_recipients",
        "_openings",
        "_rates",
        "_standing",
        "_timer",
        "_timer_at",
        "_uncommitted",
        "_window",
        "bind_problem",
        "block",
        "bound",
        "busy",
        "failures",
        "gates",
        "idle",
        "items",
        "key",
        "last_reply",
        "limits",
        "meters",
        "pause_until",
        "resting",
        "site",
        "vmta",
    )

    def __init__(self, home: Home, site: Site, vmta: VmtaName, meters: Sequence[Meter], host: Gate) -> None:
        """`meters`: of the site or rollup, first, and of everything around it; `host`: the gate of all connections."""
        self._home = home
        self.site = site
        self.vmta = vmta
        self.key: QueueKey = queue_key(SiteName(site.name), vmta)
        self.meters = meters
        self.gates = (*(meter.gate for meter in meters), host)
        self.limits = NO_LIMITS
        self._rates: tuple[RateLimit, ...] = ()  # of messages
        self._connect_rate: RateLimit | None = None
        self._bytes_rate: RateLimit | None = None
        self._most_recipients: int | None = None  # of one transaction
        self._is_over = False  # more connections are open than limits allow, since one was lowered
        self._lends = False  # all gates know that it has idle connections
        self._window = Window()
        self.block: WaitReason | None = None
        self.items = Line()
        self.busy: dict[Connection, Item] = {}
        self.idle: dict[Connection, float] = {}  # -> since when
        self.pause_until = 0.0
        self.resting = False
        self.bind_problem = ""  # why the source address could not be used the last time
        self._uncommitted: set[Connection] = set()  # the outcome of the last message is not on disk yet
        self._held: dict[Connection, Sequence[int]] = {}  # those whose final dot waits for that, with its recipients
        self._standing: set[Connection] = set()  # idle, busy, or QUIT is out
        self._cut: set[Connection] = set()  # closed by us in the middle of a message
        self._openings: set[asyncio.Task[None]] = set()  # connections that are being opened
        self.failures = 0
        self.bound = ""  # the limit that stopped the last pump
        self.last_reply: SmtpReply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # -- what it holds -------------------------------------------------------------------------------------------

    @property
    def standing(self) -> Collection[Connection]:
        """Connections that are ready for mail, or were."""
        return self._standing

    @property
    def connections(self) -> int:
        """Open and opening ones."""
        return len(self._standing) + len(self._openings)

    @property
    def next_recipient(self) -> bytes:
        """Somebody who waits; nobody: empty."""
        item = next(iter(self.items), None)
        return item.first.address if item is not None else b""

    def is_closed(self) -> bool:
        """Whether mail may not be put here now."""
        return self.block is not None or self.resting

    def is_spent(self, now: float) -> bool:
        """Whether nothing is left to remember; failures are remembered twice as long as they paused it."""
        if self.items or self.connections or self.resting:
            return False
        return not self.failures or now > self.pause_until + self._pause_s()

    @property
    def now(self) -> float:
        """Time by the loop's clock, as in `pause_until`."""
        return self._home.clock()

    @property
    def opening(self) -> int:
        """Connections that are being opened."""
        return len(self._openings)

    @property
    def rates(self) -> tuple[RateLimit, ...]:
        """All that space its messages, bytes and connections."""
        return self._rates if self._connect_rate is None else (*self._rates, self._connect_rate)

    # -- what the scheduler does with it -------------------------------------------------------------------------

    def push(self, item: Item) -> None:
        """Take one more message."""
        self.items.push(item)
        self.pump()

    def enforce_block(self) -> list[Item]:
        """It may not send now: its mail. Connections past the final dot finish, the others end."""
        self.close_connections()
        return self.items.take()

    def recall(self, is_held: Callable[[Item], bool]) -> list[Item]:
        """The mail that a directive holds, while the queue itself stays open."""
        held = self.items.take(is_held)
        for connection, item in list(self.busy.items()):
            if not connection.past_dot and is_held(item):
                if connection.busy:
                    self._abort(connection)
                else:  # its body is still being read
                    del self.busy[connection]
                    self.idle[connection] = self._home.clock()
                    held.append(item)
        return held

    def set_limits(self, limits: PathLimits) -> None:
        """What the configuration and directives say now."""
        self.limits = limits
        now = self._home.clock()
        for meter in self.meters:
            meter.set(limits, now)
        own = self.meters[0]
        self._rates = tuple(meter.rate for meter in self.meters if meter.rate is not None)
        self._connect_rate, self._bytes_rate = own.connect_rate, own.bytes_rate
        if own.bytes_rate is not None:
            self._rates += (own.bytes_rate,)
        most = [limits.recipients_per_transaction.value, limits.recipients_per_connection.value]
        self._most_recipients = min((one for one in most if one is not None), default=None)
        for gate in self.gates:
            if gate.limit is not None:
                for connection in list(self.idle)[: max(0, gate.used - gate.limit)]:
                    self._quit(connection)
        for connection in list(self.idle):
            if self._is_full(connection):
                self._quit(connection)
        self._is_over = any(gate.is_over for gate in self.gates)

    def close_connections(self) -> None:
        """QUIT on the idle ones; those being opened, and busy ones that are not past the final dot, are cut."""
        for connection in list(self.idle):
            self._quit(connection)
        for connection in list(self.busy):
            if not connection.past_dot:
                self._abort(connection)
        for task in self._openings:
            task.cancel()

    def _abort(self, connection: Connection) -> None:
        """Our own doing, which is no attempt."""
        self._cut.add(connection)
        connection.abort()

    def end_rest(self) -> None:
        """Try to connect at once, once, whatever failed before."""
        if self.failures:
            self.resting = False
            self.pause_until = self._home.clock()
            self.pump()

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
        if not (self.is_closed() or self._home.stopping):
            self._feed(self._home.clock())
            self._home.has_room(self)

    def _feed(self, now: float) -> None:
        self.bound = ""
        while self.items.count:
            delay = self._rate_delay(now)
            if delay > 0:  # nor is a connection opened: it would only idle
                self._wake_at(now + delay)
                return
            if not self.idle:
                break
            item = self.items.pop()
            suppressed = self._home.suppressed
            if suppressed is not None:  # the list may have grown while it waited here
                rest = self._home.without_suppressed(item, suppressed)
                if rest is None:
                    continue
                item = rest
            connection, _ = self.idle.popitem()
            if self._most_recipients is not None:
                item = self._split(item, connection)
            for rate in self._rates:
                rate.take(now, item.first.size if rate is self._bytes_rate else 1)
            self._send(connection, item)
        if self.items.count > len(self._openings):
            self._open(now)

    def _rate_delay(self, now: float) -> float:
        longest = 0.0
        for rate in self._rates:
            delay = rate.delay_s(now)
            if delay > longest:
                longest = delay
                self.bound = rate.key
        return longest

    def _split(self, item: Item, connection: Connection) -> Item:
        """As much of `item` as may go in one transaction on `connection`; the rest stays first in line."""
        most: int = self._most_recipients  # type: ignore[assignment]
        whole = self.limits.recipients_per_connection.value
        if whole is not None:
            most = min(most, whole - connection.recipients)
        if len(item.recipients) <= most:
            return item
        first, rest = item.split(most)
        if first.body is not None and self._home.bodies.keep(len(first.body)):
            rest.body, rest.plain = first.body, first.plain
        self.items.put_back(rest)
        return first

    def _open(self, now: float) -> None:
        if now < self.pause_until:
            self._wake_at(self.pause_until)
            return
        limit = self.limits.connections.value
        wanted = min(
            connections_wanted(len(self.items) + len(self.busy), limit),
            self.connections + len(self.items) - len(self._openings),
            int(self._window.size),
        )
        if self.failures:
            wanted = min(wanted, 1)  # one probe until a connection stands again
        while self.connections < wanted:
            for gate in self.gates:
                if not gate.is_open:
                    self.bound = gate.key
                    gate.wait(self)
                    return
            if self._connect_rate is not None:
                delay = self._connect_rate.delay_s(now)
                if delay > 0:
                    self.bound = self._connect_rate.key
                    self._wake_at(now + delay)
                    return
                self._connect_rate.take(now)
            for gate in self.gates:
                gate.enter()
            task = self._home.open_connection(self)
            self._openings.add(task)
            task.add_done_callback(self._opening_ended)

    def _send(self, connection: Connection, item: Item) -> None:
        self.busy[connection] = item
        if item.body is None:
            self._home.bodies.want(item, lambda: self._send_loaded(connection, item))
        else:
            connection.send(transaction_of(item, self._home.envelopes))

    def _send_loaded(self, connection: Connection, item: Item) -> bool:
        if self.busy.get(connection) is not item or connection.busy:
            return False  # it went elsewhere meanwhile
        if item.body is not None:
            connection.send(transaction_of(item, self._home.envelopes))
            return True
        del self.busy[connection]
        self._home.settle(self, None, item, [UNREADABLE] * len(item.recipients))
        self.ready(connection)
        return False

    def _wake_at(self, when: float) -> None:
        """Look again at `when`; a look that was to come later is given up, since each look asks for the next one."""
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._home.call_at(when + TIMER_S, self._woken)

    def _woken(self) -> None:
        self._timer = None
        if self.resting:
            if self._home.clock() < self.pause_until:
                self._wake_at(self.pause_until)
                return
            self.resting = False
        self.pump()

    # -- what its connections tell it (delivery.Owner) -----------------------------------------------------------

    def ready(self, connection: Connection) -> None:
        """A handshake is done, or a transaction settled."""
        if connection not in self._standing:
            self._standing.add(connection)
            self._opened()
            if self.failures:
                self.failures = 0
                self.pause_until = 0.0
                self.bind_problem = ""
                self.resting = False
        if self._is_over:
            self._is_over = any(gate.is_over for gate in self.gates)
        now = self.idle[connection] = self._home.clock()
        if self.is_closed() or self._home.stopping or self._is_over or self._is_full(connection):
            self._quit(connection)
            return
        self._feed(now)
        self._home.has_room(self)
        if connection in self.idle and not self.items.count:
            for gate in self.gates:
                if gate.is_wanted:
                    self._quit(connection)
                    return
            if not self._lends:
                self._lends = True
                for gate in self.gates:
                    gate.idles(self)

    def _is_full(self, connection: Connection) -> bool:
        """Whether it has carried all that one connection may carry."""
        most = self.limits.messages_per_connection.value
        if most is not None and connection.sent >= most:
            return True
        if self._most_recipients is None:
            return False
        most = self.limits.recipients_per_connection.value
        return most is not None and connection.recipients >= most

    def give_way(self) -> bool:
        """Close an idle connection, since another queue waits for its place; False when none can be spared."""
        if self.items or not self.idle:
            self._lends = False
            return False
        self._quit(next(iter(self.idle)))
        return True

    def before_dot(self, connection: Connection, transaction: Transaction, recipients: Sequence[int]) -> None:
        """The final dot is about to go out: from here on a crash may deliver twice.

        It waits until the outcome of the message before is on disk, so that a crash repeats at most one message per
        connection. Everything up to the dot has gone out meanwhile.
        """
        item: Item = transaction.token  # type: ignore[assignment]
        ids = [item.recipients[index].id for index in recipients]
        if connection in self._uncommitted:
            self._held[connection] = ids
        else:
            self._home.end(self, connection, ids)

    def settled(
        self, connection: Connection, transaction: Transaction, replies: Sequence[SmtpReply], duration_s: float
    ) -> None:
        """The peer answered for each recipient of `transaction`."""
        item: Item = transaction.token  # type: ignore[assignment]
        del self.busy[connection]
        if self._window.size < UNLIMITED_CONNECTIONS:
            self._window.grow()
        self._uncommitted.add(connection)
        self._home.settle(self, connection, item, replies, duration_s)

    def committed(self, connection: Connection) -> None:
        """The outcome of its last message is on disk."""
        self._uncommitted.discard(connection)
        recipients = self._held.pop(connection, None)
        if recipients is not None:
            self._home.end(self, connection, recipients)

    def closed(self, connection: Connection, reply: SmtpReply, transaction: Transaction | None, in_doubt: bool) -> None:
        """A connection ended, perhaps in the middle of a transaction."""
        item = self.busy.pop(connection, None)
        self.idle.pop(connection, None)
        self._standing.discard(connection)
        self._uncommitted.discard(connection)
        self._held.pop(connection, None)
        was_cut = connection in self._cut
        self._cut.discard(connection)
        is_lost = transaction is not None and reply.local and not (connection.sent or was_cut or self._home.stopping)
        if is_lost or (reply.code == CLOSING_CHANNEL and not reply.local):
            # a peer that takes connections and then drops them is not to be run at with all that waits
            self.last_reply = reply
            self._window.shrink()
            self.pause_until = max(self.pause_until, self._home.clock() + PAUSE_S)
            if item is None:
                self._home.heard(self, reply)
        if item is None:
            pass
        elif transaction is not None and in_doubt:
            self._home.cut_after_dot(self, connection, item, reply)
        elif transaction is None or was_cut or self._home.stopping:
            self._home.place_again(item)
        elif reply.local and connection.sent and not item.spared:
            item.spared = True  # a connection that was used before may end at any time: that judges no message
            self._home.place_again(item)
        else:
            self.last_reply = reply
            self._home.settle(self, connection, item, [reply] * len(item.recipients))
        if not self.idle:
            self._lends = False
            for gate in self.gates:
                gate.works(self)
        self._leave_gates()
        self.pump()

    def no_path(self, reply: SmtpReply, *, permanent: bool) -> None:
        """The site has no address that this source may connect to: all its mail is settled so."""
        self._opened()
        if self.busy or self.idle or shortage(reply) is not None:
            self.last_reply = reply
            self._pause(BUSY_PAUSE_S)
        else:
            for item in self.items.take():
                self._home.unroutable(item, reply, permanent=permanent)
        self._leave_gates()
        self._home.has_room(self)

    def failed(self, reply: SmtpReply, *, bind: bool) -> None:
        """No connection came about over the whole path.

        The first message is charged with the attempt, so that its sender hears of it in time; the others keep their
        place and wait with the queue. A refusal while other connections stand only says "not one more", and what this
        host is short of says nothing of the peer.
        """
        self._opened()
        self.last_reply = reply
        self._window.shrink()
        if not bind and (self.busy or self.idle or shortage(reply) is not None):
            self._home.heard(self, reply)
            self._pause(BUSY_PAUSE_S)
        else:
            self._fail(reply, bind=bind)
        self._leave_gates()
        self._home.has_room(self)

    def _fail(self, reply: SmtpReply, *, bind: bool) -> None:
        self.failures += 1
        if reply.verb is Verb.AUTH and reply.is_permanent:  # more tries in a row might lock the account
            self.failures = max(self.failures, FAILURES_BEFORE_REST)
        self.bind_problem = reply.text if bind else ""
        self._home.queue_failed(self, reply)
        pause_s = self._pause_s()
        log.info(
            "connection failed queue=%s failures=%d pause_s=%.0f code=%d", self.key, self.failures, pause_s, reply.code
        )
        if self.items and not bind:
            item = self.items.pop()
            self._home.settle(self, None, item, [reply] * len(item.recipients))
        if bind or self.failures >= FAILURES_BEFORE_REST:
            self.resting = True
            for item in self.items.take():
                self._home.place_again(item)
        self._pause(pause_s)

    def _pause_s(self) -> float:
        """Pause after the last failure."""
        over = self.failures - FAILURES_BEFORE_REST
        if over < 0 and not self.bind_problem:
            return float(PAUSE_S * 2 ** (self.failures - 1))
        return float(min(REST_S * 2 ** min(max(0, over), 10), REST_MAX_S))

    def _pause(self, pause_s: float) -> None:
        self.pause_until = max(self.pause_until, self._home.clock() + pause_s)
        self._wake_at(self.pause_until)

    def _opened(self) -> None:
        """The connection of this task is no longer being opened."""
        task = asyncio.current_task()
        if task is not None:
            self._openings.discard(task)

    def _opening_ended(self, task: asyncio.Task[None]) -> None:
        """Called for every task; those that were cancelled, or broke, have told nothing."""
        if task not in self._openings:
            return
        self._openings.discard(task)
        if task.cancelled():
            self._leave_gates()
            self.pump()
        else:
            self.failed(BROKEN, bind=False)

    def _leave_gates(self) -> None:
        for gate in self.gates:
            gate.leave()
