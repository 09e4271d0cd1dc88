"""Orders on mail that waits in Postfix: hold, release, retry, requeue, bounce and delete, by frozen queue ids.

An order is a directive, which says what is to be, and rows of `frozen`, which say what it did to each message. What
is to be done next follows from the two alone, so that a restart goes on where it stopped:

    directive               messages of the order
    hold lives              are put on hold
    bounce, delete live     the same: they are in their grace
    bounce, delete end      are expired, deleted: the grace is over
    any other end           are released, if this order put them on hold
    release, requeue live   are released, requeued; then it ends itself
    retry lives             are tried a few at a time; then it ends itself

How each act is done, and to which of them, is that of `frozen_acts`. The operation's record says what was left alone.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Final

import msgspec

from mailagent.api import mail as api
from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind, DirectiveState
from mailagent.api.errors import Refused, Unavailable
from mailagent.api.ids import OpId
from mailagent.api.mail import MailProgress
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.targets import MessageFilter
from mailagent.control import mail as changes
from mailagent.control.change import Change, Situation
from mailagent.control.guards import check_spread
from mailagent.control.verbs import AGENT, Control
from mailagent.host import Act as Verb
from mailagent.host import Principal
from mailagent.order_desk import LOOK_S, OrderDesk, counting, frozen_at, impact, root
from mailagent.postfix import fates
from mailagent.postfix.acts import Act, is_id, is_long
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.frozen_acts import MOST_PER_TICK, OURS, TICK_S, TRIES, FrozenActs, Queue, Stuck
from mailagent.postfix.hands import Hands
from mailagent.spool import frozen, held
from mailagent.spool.frozen import Frozen, Known, State, Tally
from mailagent.spool.records import MailOrder
from mailagent.spool.selection import Selection
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

TURN_S: Final = 5.0
"""How long one order is carried out before another has its turn: a listing of a long queue takes seconds."""
RETRY_S: Final = 5.0
_ACTS: Final = {DirectiveKind.RELEASE: Act.RELEASE, DirectiveKind.REQUEUE: Act.REQUEUE}
_ENDINGS: Final = {DirectiveKind.BOUNCE: Act.EXPIRE, DirectiveKind.DELETE: Act.DELETE}
_PACED: Final = {
    DirectiveKind.RELEASE: "released",
    DirectiveKind.REQUEUE: "requeued",
    DirectiveKind.RETRY: "retried",
}
"""Orders that end themselves, and the verb of the record that says what they did."""
_NOTED: Final = {None: "freed", Act.EXPIRE: "bounced", Act.DELETE: "deleted"}
"""The same for what has come to the end of its time, or was taken back."""


class QueueOrders(OrderDesk):
    """The verbs on waiting mail, by name in `verbs`, and the task that carries them out."""

    def __init__(self, control: Control, spool: Spool, queue: Queue, hands: Hands) -> None:
        super().__init__(control, turn_s=TURN_S)
        self._spool = spool
        self._queue = queue
        self._acts = FrozenActs(spool, queue, hands, turn_over=self._is_turn_over, gives_up=self._gives_up)
        self._orders: dict[str, MailOrder] = {}
        self._tallies: dict[str, Tally] = {}
        self._trouble: dict[str, str] = {}
        self._failures: dict[str, int] = {}

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """By wire name."""
        kinds = (
            DirectiveKind.HOLD,
            DirectiveKind.RELEASE,
            DirectiveKind.BOUNCE,
            DirectiveKind.DELETE,
            DirectiveKind.REQUEUE,
            DirectiveKind.RETRY,
        )
        return {kind.value: partial(self._order, kind) for kind in kinds}

    def progress(self, directive: Directive) -> MailProgress | None:
        """How far an order is; None for other directives."""
        if directive.kind not in changes.ORDERS:
            return None
        name = root(directive)
        tally = self._tallies.get(name, {})
        order = self._orders.get(name)
        return MailProgress(
            held=fates.counted(tally, (*OURS, State.KEPT)),
            settled=order is not None and order.settled and not {State.LISTED, State.HOLDING} & tally.keys(),
            note="; ".join(filter(None, (fates.left_words(tally), self._trouble.get(name, "")))),
        )

    # -- verbs -----------------------------------------------------------------------------------------------------

    async def _order(
        self, kind: DirectiveKind, request: api.MailVerb | requests.Retry, caller: Principal
    ) -> OperationResult:
        """Freeze what matches, count it, give the order; the answer says what is done by then."""
        if kind in _ENDINGS:
            await self._demand_long_ids(kind)
        which = self._meant(kind, request.filter)
        spread_s = request.spread_s if isinstance(request, requests.Retry) else 0
        check_spread(spread_s)
        counted, messages, others = await self._count(kind, which)

        def plan(at: Situation) -> Change:
            change = changes.order(
                at,
                msgspec.structs.replace(request, filter=which),
                kind=kind,
                counted=counted,
                on_the_way=0,
                value=str(_within_s(messages, spread_s)) if kind is DirectiveKind.RETRY else "",
            )
            return _warned(change, kind, others)

        return await self._give(kind.value, request, caller, plan)

    async def _demand_long_ids(self, kind: DirectiveKind) -> None:
        try:
            if await self._queue.has_long_ids():
                return
        except PostfixError as exc:
            raise Unavailable(f"whether queue ids are long is not known: {exc}") from exc
        at = self._queue.config_dir
        raise Refused(
            f"{kind} wants queue ids that are never used again; on the host:"
            f" postconf -c {at} -e enable_long_queue_ids=yes && postfix -c {at} reload"
        )

    def _meant(self, kind: DirectiveKind, asked: MessageFilter) -> MessageFilter:
        """`asked` with what the verb adds to it; mail on hold is free for nothing but release and giving up."""
        before = frozen_at(asked)
        return msgspec.structs.replace(
            asked,
            held=True if kind is DirectiveKind.RELEASE else None if kind in _ENDINGS else False,
            deferred_only=asked.deferred_only or kind is DirectiveKind.RETRY,
            before=None if kind is DirectiveKind.RELEASE else before,
        )

    async def _chosen(self, kind: DirectiveKind, which: MessageFilter, but: str = "") -> Selection:
        """What matches and no other order has; a release takes it from holds."""
        holds = [root(one) for one in self._live() if one.kind is DirectiveKind.HOLD]
        free = {but, *holds} if kind is DirectiveKind.RELEASE else {but}
        taken = [name for name in self._orders if name not in free]
        return frozen.without(self._spool.selection(await self._queue.inward(which)), taken)

    async def _count(self, kind: DirectiveKind, which: MessageFilter) -> tuple[Impact, int, int]:
        """Size of what matches, in recipients and in messages, and how many messages have other recipients.

        Raises:
            Unavailable: it cannot be counted in time.
        """
        parts: held.Parts = {}
        lowest: list[int] = []
        found: dict[int, frozen.Matched] = {}
        async with counting():
            chosen = await self._chosen(kind, which)
            after: int | None = chosen.first - 1
            while after is not None:
                part, following = await self._spool.on_held(partial(frozen.matching, chosen=chosen, after=after))
                found.update((one[0], one) for one in part)
                await self._spool.on_held(
                    partial(held.add_parts, chosen=chosen, after=after, parts=parts, lowest=lowest)
                )
                after = following
        others = [one for one in found.values() if one[1] > one[2]]
        left_alone = sum(one[2] for one in others) if kind in _ENDINGS else 0
        return impact(parts, min(lowest, default=None), but=left_alone), len(found), len(others)

    def _told(self, directive: Directive, planned: str, *, in_time: bool) -> str:
        if not in_time:
            return "; ".join(filter(None, (planned, "under way", self._trouble.get(root(directive), ""))))
        now = self.progress(directive)
        return f"{planned}; {now.note}" if now is not None and now.note else planned

    def _is_carried_out(self, directive: Directive) -> bool:
        now = self.progress(directive)
        return not self._is_live(directive) or (now is not None and now.settled)

    # -- carrying out ----------------------------------------------------------------------------------------------

    async def _round(self) -> float:
        await self._read_progress()
        living = self._live()
        pause_s = LOOK_S
        for directive in living:
            pause_s = min(pause_s, await self._turn(root(directive), partial(self._carry_on, directive)))
        names = {root(one) for one in self._live()}
        for name in [name for name in self._orders if name not in names]:
            pause_s = min(pause_s, await self._turn(name, partial(self._end, name)))
        await self._read_progress()
        return pause_s

    async def _turn(self, name: str, work: Callable[[], Awaitable[float]]) -> float:
        """Let one order go on; when it cannot, the others do, and it tries again after the pause."""
        self._begin_turn()
        try:
            pause_s = await work()
        except Stuck as exc:
            self._failures[name] = self._failures.get(name, 0) + 1
            self._trouble[name] = str(exc)
            log.warning("order=%s cannot go on: %s; try=%d", name, exc, self._failures[name])
            return RETRY_S
        self._failures.pop(name, None)
        if self._trouble.pop(name, ""):
            log.info("order=%s goes on", name)
        return pause_s

    async def _read_progress(self) -> None:
        self._orders = {order.id: order for order in await self._spool.on_held(held.orders)}
        self._tallies = await self._spool.on_held(frozen.tallies) if self._orders else {}

    async def _carry_on(self, directive: Directive) -> float:
        """Do what a live order has left; for how long there is nothing to do."""
        name = root(directive)
        stands = partial(self._is_live, directive)
        if not await self._freeze(directive, stands):
            return 0.0
        if directive.kind is DirectiveKind.RETRY:
            pause_s = await self._acts.retry(name, int(directive.value or 0))
            if pause_s is None:
                await self._finish(directive)
            return LOOK_S if pause_s is None else pause_s
        act = _ACTS.get(directive.kind, Act.HOLD)
        # what is done with although a hold stands was released, and the undo undone
        states = (State.LISTED, State.HOLDING, State.DONE) if act is Act.HOLD else (State.LISTED,)
        if not await self._acts.do(name, act, states, stands, ends=directive.kind in _ENDINGS):
            return 0.0
        if act is not Act.HOLD:
            await self._finish(directive)
        return LOOK_S

    async def _end(self, name: str) -> float:
        """The order lives no more: release what it holds, or give it up when its grace is over."""
        last = await self._spool.on_held(partial(held.last_directive, order=name))
        kind = last.kind if last is not None else DirectiveKind.HOLD
        final = _ENDINGS.get(kind) if last is not None and last.state is DirectiveState.EXPIRED else None

        def stands() -> bool:
            return name not in {root(one) for one in self._live()}

        if final is not None and last is not None:
            every = (State.LISTED, *OURS, State.KEPT)
            if not (await self._freeze(last, stands) and await self._acts.do(name, final, every, stands)):
                return 0.0
            # what could not be given up does not stay on hold
            if not await self._acts.do(name, Act.RELEASE, OURS, stands, became=State.FAILED):
                return 0.0
        elif not await self._acts.do(name, Act.RELEASE, OURS, stands):
            return 0.0
        if kind not in _PACED:
            tally = (await self._spool.on_held(frozen.tallies)).get(name, {})
            said = fates.words(kind, tally, self._trouble.get(name, ""), taken_back=final is None)
            which = last.filter if last is not None else None
            await self._control.note(_NOTED[final], last.author if last else AGENT, f"{which or 'mail'}: {said}")
        await self._spool.change_held(partial(frozen.forget, order=name))
        self._forget(name)
        return LOOK_S

    def _forget(self, name: str) -> None:
        self._orders.pop(name, None)
        self._tallies.pop(name, None)
        self._acts.forget(name)

    async def _freeze(self, directive: Directive, stands: Callable[[], bool]) -> bool:
        """Write down which messages the order is about. Whether all that matched was looked at."""
        name = root(directive)
        order = self._orders.get(name) or MailOrder(id=name)
        if order.settled:
            return True
        chosen = await self._chosen(directive.kind, directive.filter or MessageFilter(), but=name)
        after: int | None = max(order.after, chosen.first - 1)
        while after is not None:
            if self._is_turn_over() or not stands():
                return False
            found, following = await self._spool.on_held(partial(frozen.matching, chosen=chosen, after=after))
            known = await self._queue.known([message for message, _, _ in found])
            rows = [_row(directive.kind, matched, known[matched[0]]) for matched in found if matched[0] in known]
            order = msgspec.structs.replace(
                order, after=after if following is None else following, settled=following is None
            )
            await self._spool.change_held(partial(frozen.add, order=order, rows=rows))
            self._orders[name] = order
            after = following
        return True

    async def _finish(self, directive: Directive) -> None:
        """A release, a retry or a requeue is through, and ends itself; holds without mail end with a release."""
        tallies = await self._spool.on_held(frozen.tallies)
        name = root(directive)
        holds = {root(one) for one in self._live() if one.kind is DirectiveKind.HOLD}
        settled = {one for one in holds if one in self._orders and self._orders[one].settled}
        empty = frozenset(one for one in settled if min(tallies.get(one, ()), default=State.DONE) > State.HELD)
        said = fates.words(directive.kind, tallies.get(name, {}), self._trouble.get(name, ""))
        plan = partial(changes.finished, done=directive, empty=empty, detail=f"{directive.filter or 'mail'}: {said}")
        await self._control.act(_PACED[directive.kind], OpId(f"done-{directive.id}"[:64]), directive.author, plan)

    def _gives_up(self, name: str) -> bool:
        return self._failures.get(name, 0) >= TRIES


def _row(kind: DirectiveKind, matched: frozen.Matched, known: Known) -> Frozen:
    message, waiting, matching = matched
    state = State.LISTED if is_id(known.name) else State.SHORT  # a form that nobody has seen is not acted on
    if kind in _ENDINGS:
        state = State.PARTLY if waiting > matching else state if is_long(known.name) else State.SHORT
    return Frozen(
        name=known.name,
        message=message,
        arrived_at=known.arrived_at,
        sender=known.sender,
        size=known.size,
        recipients=waiting,
        state=state,
    )


def _within_s(messages: int, spread_s: int) -> int:
    """How long a retry takes: as asked, or longer, so that few are tried at a time."""
    return max(1, spread_s, ceil(messages * TICK_S / MOST_PER_TICK))


def _warned(change: Change, kind: DirectiveKind, others: int) -> Change:
    """`change` with what follows from Postfix acting on whole messages."""
    if not others or change.is_nothing:
        return change
    what = "are left alone" if kind in _ENDINGS else "go the same way"
    warning = f"{fates.messages(others)} with other recipients too: Postfix acts on whole messages, so they {what}"
    return replace(change, warnings=(*change.warnings, warning))
