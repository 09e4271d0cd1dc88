"""From waiting mail to ready queues and back: the shell that drives the pure parts.

A recipient is on disk (its scheduled queue is due, parked or waits for a later time) or in the active window. In the
window it resolves its site, is placed into a ready queue, is sent, and leaves when its outcome is on disk:

    disk --admit or read--> window --place--> ready queue --settle--> disk (deferred) or gone
                              window --send back--> disk (nothing can send it now)

`books` know what is in the window, `lanes` what waits on disk and for what, `reading` brings it in, `placing` owns the
ready queues. The scheduler hands mail from one to the other, and answers for it to the parts outside.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from mailagent.api.classification import Action, Scope, Verdict
from mailagent.api.directives import Directive
from mailagent.api.ids import VmtaName
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter
from mailagent.config.structs import AgentConfig
from mailagent.outcome.return_path import Envelopes
from mailagent.routing import PathLimits, Router, Site, Unroutable
from mailagent.scheduling.allowance import Ceilings
from mailagent.scheduling.bodies import Bodies
from mailagent.scheduling.books import Books
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.guest import Guest
from mailagent.scheduling.item import Item, grouped
from mailagent.scheduling.jobs import JobGates
from mailagent.scheduling.lanes import UNKNOWN_SITE, LaneId, Lanes, Place
from mailagent.scheduling.lookups import Lookups
from mailagent.scheduling.placing import Placing, Policy
from mailagent.scheduling.reading import Reading
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.reasons import Reasons
from mailagent.scheduling.window import Hot, Window
from mailagent.scheduling.withdrawal import Withdrawal
from mailagent.spool.errors import StorageError
from mailagent.spool.ids import now_ms, recipient_id
from mailagent.spool.records import InDoubtMark, NewMessage, QueueName, Settlement, Waiting
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

SWEEP_S = 1.0
"""Interval in which idle connections and spent queues are cleared away."""
LOOK_MS = 50
"""How long new mail that found no place may rest before the disk is asked for it, so that a stream of such mail does
not cost a look for each message."""


class Attempts(Protocol):
    """Turns replies into outcomes: classification, accounting, DSN. Declared here, built above."""

    def settlements(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float,
    ) -> list[Settlement]:
        """One per recipient of `item`, for an attempt through `queue`."""

    def unroutable(self, hot: Hot, item: Item, reply: SmtpReply, *, permanent: bool) -> list[Settlement]:
        """The same when no path to the destination was found."""

    def expired(self, hot: Hot, item: Item) -> list[Settlement]:
        """The same for mail whose time is over."""

    def cancelled(self, hot: Hot, item: Item, order: Directive) -> list[Settlement]:
        """The same for mail of a job that was cancelled."""

    def suppressed(self, hot: Hot, item: Item, reply: SmtpReply) -> list[Settlement]:
        """The same for recipients that must not be mailed."""

    def in_doubt(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> list[Settlement]:
        """The same for a connection cut after the final dot: tried again, and listed as a possible duplicate."""

    def queue_failed(self, queue: ReadyQueue, reply: SmtpReply) -> bytes:
        """The accounting line of a connection that did not come about, perhaps empty."""

    def heard(self, queue: ReadyQueue, reply: SmtpReply) -> None:
        """A reply that no message is charged with."""


class Scheduler:
    """Everything between the spool and the connections. Runs on the loop thread."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        spool: Spool,
        router: Router,
        policy: Policy,
        attempts: Attempts,
        limits: Callable[[Site, VmtaName], PathLimits],
        connect: Callable[[ReadyQueue], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        removed: Callable[[int], None],
    ) -> None:
        self._config = config
        self._spool = spool
        self._router = router
        self._policy = policy
        self._attempts = attempts
        self._connect = connect
        self._spawn = spawn
        self._removed = removed
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self.clock = self._loop.time
        self.call_at = self._loop.call_at
        self.stopping = False
        self._dots: list[tuple[ReadyQueue, Connection, Sequence[int]]] = []  # final dots that may go out
        self.envelopes: Envelopes | None = None
        """Return paths of streams that have their own; None: no stream has."""
        self.suppressed: Callable[[Waiting], SmtpReply | None] | None = None
        """Why a recipient must not be mailed, as a reply; None: nobody is on a list."""
        self.window = Window(config.queue.window)
        self.bodies = Bodies(spool, config.queue.bodies_bytes, spawn)
        self._lanes = Lanes(lambda domain: self._router.cached(domain))
        self._books = Books(spool, self.window, self._lanes, self._wake.set)
        self._lookups = Lookups(lambda: self._router, spawn, self._located, self._looked_up)
        self._placing = Placing(config, policy, self.window, limits, self, self._lookups)
        self._jobs = JobGates(self.clock, self.call_at, self._call_lane)
        self._jobs.apply(policy.job_rates)
        self._reading = Reading(
            spool,
            self.window,
            self._books,
            self._lanes,
            self._placing,
            self._jobs,
            take_in=self._take_in,
            wake=self._wake,
            stopping=lambda: self.stopping,
        )
        self.ready = self._placing.ready
        self.withdrawal = Withdrawal(
            self._books, self._placing, self._jobs, self._lookups, release=self._release, has_room=self.has_room
        )
        self.reasons = Reasons(
            self.window,
            self._books,
            self._lanes,
            self._lookups,
            self._placing,
            self._jobs,
            config=lambda: self._config,
            policy=lambda: self._policy,
            router=lambda: self._router,
        )

    async def run(self) -> None:
        """Keep the window filled until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep(), name="sweep")
            group.create_task(self._reading.run(), name="reading")

    # -- new mail ------------------------------------------------------------------------------------------------

    def admit(self, queue: int, name: QueueName, recipients: Sequence[int]) -> bool:
        """Whether these new recipients may go straight into the window; if so, their places are taken.

        Mail that cannot be sent now, or that has mail before it that could not, waits on disk.
        """
        priority = name.priority
        if self.stopping or priority in self._reading.starved or self.window.room(priority) < len(recipients):
            return False
        site = self._router.cached(name.domain)
        hot = self._books.hots.get(queue)
        lane = self._lanes.get(name, site)
        if lane is not None and (lane.place is not Place.TURN or (lane.on_disk and hot is None)):
            return False
        if not self._placing.has_place(name, site):
            return False
        if name.job:
            if not self._jobs.may_enter(name.job, len(recipients)):
                return False
            self._jobs.take(name.job, len(recipients))
        if hot is None:
            hot = self._books.heat(queue, name)
        self._books.take(hot, recipients)
        return True

    def enter(self, item: Item) -> None:
        """Accepted mail whose places were taken by `admit` is on disk now."""
        self._locate(item)

    def refused(self, queue: int, recipients: Sequence[int]) -> None:
        """The places that `admit` took are not needed: the message did not reach the disk."""
        self._books.give_back(self._books.hots[queue], recipients)

    def on_disk(self, message: NewMessage) -> None:
        """Recipients of a new message that were not admitted wait on disk now."""
        for n, recipient in enumerate(message.recipients):
            hot = None if recipient.admitted else self._books.hots.get(recipient.queue)
            if hot is not None:
                if hot.cursor is not None and (message.received_at, recipient_id(message.id, n)) <= hot.cursor:
                    hot.rewind = True  # the clock went back
                self._books.written(hot, message.received_at)
                self._books.note(hot)
        for name in message.queues:
            self._books.due_on_disk(name.priority, message.received_at + LOOK_MS)

    # -- from disk -----------------------------------------------------------------------------------------------

    def recheck(self) -> None:
        """Due times on disk were changed behind our back (retry now, rotation)."""
        for hot in list(self._books.hots.values()):
            if hot.held:
                hot.rewind = True
                self._books.note(hot)
        self._books.look_again()
        self._wake.set()

    def end_rests(self, which: MessageFilter) -> None:
        """Somebody expects this mail to go now: queues that rest, as far as its site is told, try to connect."""
        named = self._router.cached(which.domain) if which.domain else None
        site = named.name if named is not None else which.site
        for queue in list(self.ready.values()):
            if site in ("", queue.site.name) and which.provider in ("", queue.site.provider):
                queue.end_rest()

    def _take_in(self, hot: Hot, rows: Sequence[Waiting], now: int) -> None:
        """Rows that were read have their places."""
        most = self._config.delivery.max_recipients
        if self.envelopes is not None and self.envelopes.is_own(hot.stream):
            most = 1
        for item in grouped([row for row in rows if row.expires_at <= now], hot.priority, most):
            self._with_body(item, partial(self._attempts.expired, hot, item))
        for item in grouped([row for row in rows if row.expires_at > now], hot.priority, most):
            self._locate(item)

    # -- placing -------------------------------------------------------------------------------------------------

    def _locate(self, item: Item) -> None:
        """Find the site of `item`, then place it."""
        item.unplace()
        if self.suppressed is not None:
            rest = self.without_suppressed(item, self.suppressed)
            if rest is None:
                return
            item = rest
        hot = self._books.hots[item.queue]
        if hot.job and (order := self._policy.cancelled_job(hot.job)) is not None:
            make = partial(self._attempts.cancelled, hot, item, order)
            self._commit(item, make()) if not order.bounce else self._with_body(item, make)
            return
        domain = hot.domain
        site = self._router.cached(domain)
        if site is not None:
            self._located(item, site)
        else:
            self._lookups.add(domain, item)

    def without_suppressed(self, item: Item, suppressed: Callable[[Waiting], SmtpReply | None]) -> Item | None:
        """What is left of `item` without recipients that must not be mailed; they bounce, each by itself."""
        replies = [suppressed(row) for row in item.recipients]
        if not any(replies):
            return item
        hot = self._books.hots[item.queue]
        kept = [row for row, reply in zip(item.recipients, replies, strict=True) if reply is None]
        rest = Item(kept, item.priority, item.body, item.plain) if kept else None
        if rest is None:
            self.bodies.drop(item)
        else:
            rest.allowance = item.allowance
        if item.allowance is not None:
            item.allowance.give_back(len(item.recipients) - len(kept))
        for row, reply in zip(item.recipients, replies, strict=True):
            if reply is not None:
                one = Item([row], item.priority)
                self._with_body(one, partial(self._attempts.suppressed, hot, one, reply))
        return rest

    def _located(self, item: Item, found: Site | Unroutable) -> None:
        """The site of `item` is known: into a ready queue, or back to disk when there is no place."""
        hot = self._books.hots[item.queue]
        if isinstance(found, Unroutable):
            if self._placing.block(hot, None) is None:
                self.unroutable(item, found.reply, permanent=found.permanent)
            else:
                self._send_back(item, hot, None)
        else:
            if hot.site != found.name:
                hot.site = found.name
                self._spool.placed(hot.id, found.name, found.provider)
            queue = self._placing.choose(item, hot, found)
            if queue is None:
                self._send_back(item, hot, found)
                return
            item, rest = self._placing.count(item, queue)
            queue.push(item)
            if rest is not None:
                self._located(rest, found)

    def _looked_up(self) -> None:
        """Fewer look-ups are under way: lanes of unknown sites may go on."""
        for lane in self._lanes.waiting_for(UNKNOWN_SITE):
            if self._lookups.depth(lane.priority) <= self._placing.depth_limit(lane.priority) // 2:
                self._lanes.call(lane)
                self._wake.set()

    def place_again(self, item: Item) -> None:
        """Mail that its ready queue gives up without an attempt: elsewhere, or back to disk."""
        self.bodies.drop(item)  # it stands in line again, perhaps for long
        self._locate(item)

    def _send_back(self, item: Item, hot: Hot, site: Site | None) -> None:
        """Out of the window without an attempt; its rows on disk are as they were. Its lane cannot move."""
        lane = self._lanes.at(hot, site)
        if hot.lane is not lane:
            if hot.lane is not None:
                hot.lane.remove(hot)
            lane.add(hot)
        if lane.place is Place.TURN:
            self._reading.hold(lane)
        hot.rewind = True
        if hot.job:
            self._jobs.give_back(hot.job, len(item.recipients))
        self._release(item)

    def has_room(self, queue: ReadyQueue) -> None:
        """A ready queue may have places: lanes that waited for them get their turn."""
        if not self._lanes.full:  # most of the time, and this is asked for with each message
            return
        for lane in self._lanes.waiting_for(queue.site.name):
            if queue.items.depth(lane.priority) <= self._placing.depth_limit(lane.priority) // 2:
                self._lanes.call(lane)
                self._wake.set()

    def use_ceilings(self, ceilings: Ceilings | None) -> None:
        """What members that are warming may send is asked of these; None: no member is warming."""
        self._placing.ceilings = ceilings

    def room_again(self, providers: Collection[str]) -> None:
        """Warm-up may have room at these providers: lanes that wait for places there get their turn."""
        for lane in [lane for full in self._lanes.full.values() for lane in full.values()]:
            if lane.site is not None and lane.site.provider in providers:
                self._lanes.call(lane)
                self._wake.set()

    # -- outcomes ------------------------------------------------------------------------------------------------

    def settle(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float = 0.0,
    ) -> None:
        """An attempt ended with one reply per recipient; without a connection when none came about."""
        settlements = self._attempts.settlements
        if connection is None:  # the far side saw nothing of it
            item.unplace()
            self._with_body(item, partial(settlements, queue, connection, item, replies, duration_s))
        else:
            settled = settlements(queue, connection, item, replies, duration_s)
            self._commit(item, settled, partial(queue.committed, connection))

    def unroutable(self, item: Item, reply: SmtpReply, *, permanent: bool) -> None:
        """No path to the destination, for now or for good."""
        item.unplace()
        hot = self._books.hots[item.queue]
        self._with_body(item, partial(self._attempts.unroutable, hot, item, reply, permanent=permanent))

    def cut_after_dot(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> None:
        """The final dot is out and no reply came."""
        self._commit(item, self._attempts.in_doubt(queue, connection, item, reply))

    def end(self, queue: ReadyQueue, connection: Connection, recipients: Sequence[int]) -> None:
        """Let the final dot go out when this turn of the loop ends: the marks of all that are due are one write."""
        if not self._dots:
            self._loop.call_soon(self._send_dots)
        self._dots.append((queue, connection, recipients))

    def _send_dots(self) -> None:
        """Write the marks that make possible duplicates a list after a crash; then the dots."""
        dots = [dot for dot in self._dots if dot[1].at_dot]
        self._dots.clear()
        at = now_ms()
        try:
            self._spool.mark(
                [
                    InDoubtMark(recipient, at, queue.vmta, queue.site.name, connection.remote)
                    for queue, connection, recipients in dots
                    for recipient in recipients
                ]
            )
        except StorageError as exc:
            log.error("messages not sent count=%d: %s", len(dots), exc)
            for _, connection, _ in dots:
                connection.abort("this host could not write down that the message is on its way")
        else:
            for _, connection, _ in dots:
                connection.end()

    def _with_body(self, item: Item, make: Callable[[], list[Settlement]]) -> None:
        """Settle with the body at hand: a DSN quotes its header."""

        def commit() -> bool:
            self._commit(item, make())
            return True

        if item.body is None and item.first.sender:
            self.bodies.want(item, commit)
        else:
            commit()

    def _commit(self, item: Item, settlements: list[Settlement], then: Callable[[], None] | None = None) -> None:
        """Make the outcome durable. One that the spool refuses (which it logs) keeps its places until the next start:
        the message may be delivered, and read again it would be sent again.
        """
        self.bodies.drop(item)
        self._spool.settle(settlements, partial(self._settled, item, settlements, then))

    def _settled(self, item: Item, settlements: list[Settlement], then: Callable[[], None] | None) -> None:
        """The outcome is on disk: the places are free."""
        gone = 0
        for settlement in settlements:
            if settlement.due is not None:
                self._books.due_at(item.queue, item.priority, settlement.due)
            else:
                gone += 1
            if settlement.dsn is not None:
                self.on_disk(settlement.dsn)
        if gone:
            self._removed(gone)
        self._release(item)
        if then is not None:
            then()

    def _release(self, item: Item) -> None:
        """Out of the window."""
        self.bodies.drop(item)
        self._books.give_back(self._books.hots[item.queue], [row.id for row in item.recipients])
        if self._reading.starved and any(map(self.window.is_worth_reading, self._reading.starved)):
            self._wake.set()

    # -- connections ---------------------------------------------------------------------------------------------

    def queue_failed(self, queue: ReadyQueue, reply: SmtpReply) -> None:
        """No connection came about for a ready queue over its whole path."""
        self._spool.account([self._attempts.queue_failed(queue, reply)])

    def heard(self, queue: ReadyQueue, reply: SmtpReply) -> None:
        """A reply that no message is charged with: to one connection more, or to an idle one."""
        self._attempts.heard(queue, reply)

    def leave_address(self, verdict: Verdict, _reply: SmtpReply, queue: ReadyQueue, item: Item | None) -> None:
        """After a refusal of the source address, its message may go from another one of the pool. Nothing else may: a
        refusal of content or domain would burn one address after the other, and greylisting knows the address.
        """
        if verdict.scope is Scope.IP and verdict.action is Action.SUSPEND and item is not None:
            self._placing.avoid([row.id for row in item.recipients], queue.vmta)

    def open_connection(self, queue: ReadyQueue) -> asyncio.Task[None]:
        """Start to connect; in the task the queue hears of the end through `ready`, `failed` or `no_path`."""
        return self._spawn(self._connect(queue), f"connect:{queue.key}")

    async def _sweep(self) -> None:
        while True:
            self._placing.sweep(self.clock(), self._config.delivery.timeouts.idle.total_seconds())
            await asyncio.sleep(SWEEP_S)

    def guest(self, site: Site, vmta: VmtaName) -> Guest:
        """A path for one message, whatever order holds it."""
        return Guest(self, self._placing, site, vmta)

    # -- changes -------------------------------------------------------------------------------------------------

    def use_router(self, router: Router) -> None:
        """The configuration was reloaded: sites come from here from now on."""
        self._router = router

    def apply(self, config: AgentConfig, policy: Policy) -> None:
        """New configuration or directives: nothing that they hold is sent any more, and what they held may move."""
        self._config, self._policy = config, policy
        self.bodies.limit = config.queue.bodies_bytes
        for item in self._placing.apply(config, policy, self._is_held):
            self._locate(item)
        self._placing.pump()
        self._jobs.apply(policy.job_rates)
        self._lanes.call_all()
        self._wake.set()

    def _is_held(self, item: Item, site: Site) -> bool:
        hot = self._books.hots[item.queue]
        if hot.job and self._policy.cancelled_job(hot.job) is not None:
            return True
        return self._placing.block(hot, site) is not None

    def _call_lane(self, lane: LaneId) -> None:
        self._lanes.call_known(lane)
        self._wake.set()

    def halt(self) -> None:
        """Send nothing from now on: storage failed."""
        self.stopping = True

    async def stop(self, grace_s: float) -> None:
        """QUIT idle connections, let final dots finish for `grace_s`, leave the rest in doubt."""
        self.stopping = True
        self._placing.close()
        deadline = self.clock() + grace_s
        while self._placing.is_busy and self.clock() < deadline:  # noqa: ASYNC110  no hot path pays for this
            await asyncio.sleep(0.02)
