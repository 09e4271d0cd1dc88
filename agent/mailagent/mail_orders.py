"""Orders on waiting mail: hold and release, rebind to another pool, bounce and delete after a grace.

An order is a directive, which says what is to be, and rows of `held`, which say how far that is done. What is to be
done next follows from the two alone, so that a restart goes on where it stopped:

    directive            rows of the order
    hold lives           are taken until all that matched was looked at
    release lives        of holds, as far as they match, are freed; then it ends itself
    rebind lives         are taken, moved and freed; then it ends itself
    bounce, delete live  are taken, as by a hold
    bounce, delete end   are given up: their grace is over
    any other end        are freed

All of it goes in steps of bounded size, between which mail flows and other verbs act.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec

from mailagent.api import mail as api
from mailagent.api.directives import Directive, DirectiveKind, DirectiveState
from mailagent.api.ids import OpId
from mailagent.api.mail import MailProgress
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term
from mailagent.control import mail as changes
from mailagent.control.verbs import Control
from mailagent.host import Act, Principal
from mailagent.order_desk import LOOK_S, OrderDesk, counting, frozen_at, impact, root
from mailagent.scheduling.scheduler import Scheduler
from mailagent.settlement import Settler
from mailagent.spool import crash, held
from mailagent.spool.ids import now_ms
from mailagent.spool.records import MailOrder, Settlement, Waiting
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

STEP_ROWS = 2000
"""Recipients that one commit takes or frees."""
GIVEN_UP_ROWS = 128
GIVEN_UP_BYTES = 4 * 1024 * 1024
"""Recipients that one commit gives up, and bodies that are read for their DSNs, which quote them."""
SPREAD_MS = 60_000
EACH_MS = 20
"""What is freed and overdue becomes due over a minute, or so much for each when it is little."""
COMMIT_S = 120.0
TURN_S = 0.5
"""How long one order is carried out before another has its turn."""


class MailOrders(OrderDesk):
    """The verbs on waiting mail, by name in `verbs`, and the task that carries them out."""

    def __init__(
        self,
        control: Control,
        spool: Spool,
        scheduler: Scheduler,
        settler: Settler,
        removed: Callable[[int], None],
        signed: Callable[[Waiting, bytes, str], Awaitable[bytes | None]],
    ) -> None:
        """`removed` is told how many recipients wait no more; `signed` makes the header block of a message, with its
        body, for another pool; None: it cannot be signed there.
        """
        super().__init__(control, turn_s=TURN_S)
        self._signed = signed
        self._spool = spool
        self._scheduler = scheduler
        self._settler = settler
        self._removed = removed
        self._orders: dict[str, MailOrder] = {}
        self._held: dict[str, int] = {}

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {
            "hold": partial(self._order, DirectiveKind.HOLD),
            "release": partial(self._order, DirectiveKind.RELEASE),
            "rebind": partial(self._order, DirectiveKind.REBIND),
            "bounce": partial(self._order, DirectiveKind.BOUNCE),
            "delete": partial(self._order, DirectiveKind.DELETE),
        }

    def progress(self, directive: Directive) -> MailProgress | None:
        """How far an order is; None for other directives."""
        if directive.kind not in changes.ORDERS:
            return None
        order = self._orders.get(root(directive))
        return MailProgress(
            held=self._held.get(root(directive), 0),
            in_flight=order.in_flight if order is not None else 0,
            settled=order is not None and order.settled,
        )

    # -- verbs -----------------------------------------------------------------------------------------------------

    async def _order(self, kind: DirectiveKind, request: api.MailVerb, caller: Principal) -> OperationResult:
        """Freeze what matches, count it, give the order; the answer says what is done by then."""
        is_release = kind is DirectiveKind.RELEASE
        before = frozen_at(request.filter)
        which = msgspec.structs.replace(
            request.filter,
            held=is_release,
            before=None if is_release else before,  # what is held is frozen already
        )
        pool = request.pool if isinstance(request, api.Rebind) else ""
        if pool:
            there = Term(field=Field.POOL, value=pool, negated=True)
            which = msgspec.structs.replace(which, terms=(*which.terms, there))
        counted, on_the_way = await self._count(which)
        plan = partial(
            changes.order,
            request=msgspec.structs.replace(request, filter=which),
            kind=kind,
            counted=counted,
            on_the_way=on_the_way,
            pool=pool,
        )
        return await self._give(kind.value, request, caller, plan)

    async def _count(self, which: MessageFilter) -> tuple[Impact, int]:
        """Size of what matches, and how much more would if it were not on its way.

        Raises:
            Unavailable: it cannot be counted in time.
        """
        async with counting():
            parts, lowest = await self._spool.parts(which)
            under_way = self._scheduler.withdrawal.on_the_way()
            chosen = self._spool.selection(which)
            busy = await self._spool.on_held(lambda db: held.matching_among(db, chosen, under_way))
        return impact(parts, lowest, but=busy), busy

    def _told(self, directive: Directive, planned: str, *, in_time: bool) -> str:
        if not in_time:
            return f"{planned}; under way"
        now = self.progress(directive)
        if now is None or not now.in_flight:
            return planned
        return f"{planned}; {now.in_flight} were on their way and were left alone"

    def _is_carried_out(self, directive: Directive) -> bool:
        if not self._is_live(directive):
            return True
        order = self._orders.get(root(directive))
        return order is not None and order.settled

    # -- carrying out ----------------------------------------------------------------------------------------------

    async def _round(self) -> float:
        await self._read_progress()
        settled = True
        for directive in self._live():
            self._begin_turn()
            if directive.kind is not DirectiveKind.RELEASE:
                settled = await self._take(directive) and settled
                if directive.kind is DirectiveKind.REBIND and settled:
                    await self._rebind(directive)
            elif settled:  # else holds before it would have what it has freed
                await self._free_matching(directive)
        living = {root(one) for one in self._live()}
        for name in [name for name in self._orders if name not in living]:
            self._begin_turn()
            await self._end(name)
        await self._read_progress()
        return LOOK_S

    async def _read_progress(self) -> None:
        self._orders = {order.id: order for order in await self._spool.on_held(held.orders)}
        self._held = await self._spool.on_held(held.counts) if self._orders else {}

    async def _take(self, directive: Directive, *, ended: bool = False) -> bool:
        """Take what matches; stop when the order is taken back. Whether all was looked at."""
        name = root(directive)
        order = self._orders.get(name) or MailOrder(id=name)
        chosen = self._spool.selection(directive.filter or MessageFilter())
        after: int | None = max(order.after, chosen.first - 1)
        while not order.settled and (ended or self._is_live(directive)):
            if self._is_turn_over():
                break
            assert after is not None  # noqa: S101  it is settled then
            found, following = await self._spool.on_held(partial(held.matching, chosen=chosen, after=after))
            for part, last in _steps(found):
                moving = self._scheduler.withdrawal.take(part)
                order = msgspec.structs.replace(
                    order,
                    after=(following if following is not None else part[-1] if part else after) if last else part[-1],
                    in_flight=order.in_flight + len(moving),
                    settled=last and following is None,
                )
                taken = [recipient for recipient in part if recipient not in moving]
                await self._spool.change_held(partial(held.take, order=order, recipients=taken))
                self._orders[name] = order
            after = following
        return order.settled

    async def _free_matching(self, directive: Directive) -> None:
        """Free what holds have and the release matches; then it is over, and so are holds without mail."""
        names = [name for name, kind in await self._kinds() if kind is DirectiveKind.HOLD]
        chosen = self._spool.selection(directive.filter or MessageFilter(held=True))
        after: int | None = chosen.first - 1
        spread = min(SPREAD_MS, EACH_MS * sum(self._held.get(name, 0) for name in names))
        while after is not None and self._is_live(directive):
            if self._is_turn_over():
                return
            found, after = await self._spool.on_held(partial(held.matching, chosen=chosen, after=after))
            for part, _ in _steps(found):
                await self._free(
                    await self._spool.on_held(partial(held.of_orders, recipients=part, names=names)), spread
                )
        left = await self._spool.on_held(held.counts)
        plan = partial(changes.finished, done=directive, empty=frozenset(name for name in names if not left.get(name)))
        await self._control.act("released", OpId(f"done-{directive.id}"[:64]), directive.author, plan)

    async def _rebind(self, directive: Directive) -> None:
        """Move what the order has to its pool; then it is over."""
        name = root(directive)
        spread = min(SPREAD_MS, EACH_MS * sum((await self._spool.on_held(held.counts)).values()))
        while found := await self._spool.on_held(partial(held.rows, order=name, limit=GIVEN_UP_ROWS)):
            if self._is_turn_over() or not self._is_live(directive):
                return
            rows = _bounded(found)
            bodies = await self._spool.bodies(list({row.message for row in rows}))
            added: dict[int, bytes] = {}
            unsigned: set[int] = set()
            for row in rows:
                if row.message in added or row.message in unsigned:
                    continue
                made = await self._signed(row, bodies.get(row.message, b""), directive.value)
                if made is None:
                    unsigned.add(row.message)
                elif made != row.added:
                    added[row.message] = made
            moving = [row.id for row in rows if row.message not in unsigned]
            staying = [row.id for row in rows if row.message in unsigned]
            if staying:
                log.warning("recipients=%d stay: they cannot be signed for pool=%s", len(staying), directive.value)
                await self._free(staying, spread)
            left = await self._spool.change_held(
                partial(
                    held.rebind,
                    recipients=moving,
                    pool=directive.value,
                    added=added,
                    queue_id=self._spool.queue_id,
                    now=now_ms(),
                    spread=spread,
                )
            )
            self._spool.release(self._scheduler.withdrawal.on_disk_only(left))
            self._scheduler.recheck()
        plan = partial(changes.finished, done=directive, empty=frozenset())
        await self._control.act("rebound", OpId(f"done-{directive.id}"[:64]), directive.author, plan)

    async def _kinds(self) -> list[tuple[str, DirectiveKind]]:
        """Orders that stand, with what they are."""
        found = {root(one): one.kind for one in self._live()}
        for name in self._orders:
            if name not in found:
                last = await self._spool.on_held(partial(held.last_directive, order=name))
                found[name] = last.kind if last is not None else DirectiveKind.HOLD
        return list(found.items())

    async def _end(self, name: str) -> None:
        """The order lives no more: free what it has, or give it up when its grace is over."""
        last = await self._spool.on_held(partial(held.last_directive, order=name))
        if last is not None and last.kind in changes.ENDS_MAIL and last.state is DirectiveState.EXPIRED:
            if not await self._take(last, ended=True):
                return
            while rows := await self._spool.on_held(partial(held.rows, order=name, limit=GIVEN_UP_ROWS)):
                if self._is_turn_over():
                    return
                await self._give_up(_bounded(rows), last)
        else:
            spread = min(SPREAD_MS, EACH_MS * self._held.get(name, 0))
            while found := await self._spool.on_held(partial(held.held_by, order=name, limit=STEP_ROWS)):
                if self._is_turn_over():
                    return
                await self._free(found, spread)
        await self._spool.change_held(partial(held.forget, order=name))
        del self._orders[name]

    async def _free(self, recipients: Sequence[int], spread: int) -> None:
        if recipients:
            await self._spool.change_held(partial(held.free, recipients=recipients, now=now_ms(), spread=spread))
            self._scheduler.recheck()

    async def _give_up(self, rows: Sequence[Waiting], order: Directive) -> None:
        bodies: dict[int, bytes] = {}
        if order.kind is DirectiveKind.BOUNCE:
            bodies = await self._spool.bodies(list({row.message for row in rows if row.sender}))
        settlements = self._settler.given_up(rows, bodies, order)
        stored = asyncio.Event()
        self._spool.settle(settlements, stored.set)
        async with asyncio.timeout(COMMIT_S):
            await stored.wait()
        crash.at("order_given_up")
        self._settled(settlements)

    def _settled(self, settlements: Sequence[Settlement]) -> None:
        self._removed(len(settlements))
        for settlement in settlements:
            if settlement.dsn is not None:
                self._scheduler.on_disk(settlement.dsn)
        self._spool.release(self._scheduler.withdrawal.on_disk_only({one.queue for one in settlements}))


def _steps(found: Sequence[int]) -> list[tuple[Sequence[int], bool]]:
    """Parts of bounded size, at least one, each with whether it is the last."""
    starts = range(0, max(1, len(found)), STEP_ROWS)
    return [(found[start : start + STEP_ROWS], start + STEP_ROWS >= len(found)) for start in starts]


def _bounded(rows: Sequence[Waiting]) -> Sequence[Waiting]:
    """As many of `rows`, at least one, as have bodies within GIVEN_UP_BYTES."""
    size = 0
    for count, row in enumerate(rows):
        size += row.size
        if size > GIVEN_UP_BYTES and count:
            return rows[:count]
    return rows
