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

Before each act the queue is listed: an id that is gone, that means another message by now, or that somebody else has
held or released since is left alone, and the operation's record says so. What was done is what postsuper says of each.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from math import ceil
from typing import Final, Protocol

import msgspec

from mailagent.api import mail as api
from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind, DirectiveState
from mailagent.api.errors import InvalidRequest, Refused, Unavailable
from mailagent.api.ids import OpId
from mailagent.api.mail import MailProgress
from mailagent.api.operations import Impact, OperationResult, Result
from mailagent.api.targets import MessageFilter
from mailagent.control import mail as changes
from mailagent.control.changes import SUSPEND_MAX_S, Change, Situation
from mailagent.control.verbs import AGENT, Control
from mailagent.host import Act as Verb
from mailagent.host import Principal
from mailagent.postfix import fates
from mailagent.postfix.acts import MOST_IDS, Act, Done, is_id, is_long
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.hands import Hands
from mailagent.spool import frozen, held
from mailagent.spool.errors import StorageError
from mailagent.spool.frozen import Frozen, Known, State, Tally
from mailagent.spool.ids import arrival_ms, now_ms
from mailagent.spool.records import MailOrder
from mailagent.spool.selection import Selection
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

BATCH: Final = 10 * MOST_IDS
"""Messages that one listing is asked about."""
COUNT_S: Final = 4.0
"""Longest time that a plan counts."""
SOON_S: Final = 2.0
"""How long an answer waits for the order to be carried out, so that it can tell the outcome."""
LOOK_S: Final = 60.0
TURN_S: Final = 5.0
"""How long one order is carried out before another has its turn: a listing of a long queue takes seconds."""
RETRY_S: Final = 5.0
TRIES: Final = 5
"""After so many failures in a row an order gives up what is left. What it put on hold it tries to release for ever."""
TICK_S: Final = 1.0
MOST_PER_TICK: Final = 20
"""Messages that a retry has tried in a second, at most: each is a run of postqueue."""
MOST_PARTS: Final = 50
_ACTS: Final = {DirectiveKind.RELEASE: Act.RELEASE, DirectiveKind.REQUEUE: Act.REQUEUE}
_ENDINGS: Final = {DirectiveKind.BOUNCE: Act.EXPIRE, DirectiveKind.DELETE: Act.DELETE}
_OURS: Final = (State.HOLDING, State.HELD)
_PACED: Final = {
    DirectiveKind.RELEASE: "released",
    DirectiveKind.REQUEUE: "requeued",
    DirectiveKind.RETRY: "retried",
}
"""Orders that end themselves, and the verb of the record that says what they did."""
_NOTED: Final = {None: "freed", Act.EXPIRE: "bounced", Act.DELETE: "deleted"}
"""The same for what has come to the end of its time, or was taken back."""
AT_ONCE: Final = 100
"""Expired messages of a thousand that are returned to their senders at once."""


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


class QueueOrders:
    """The verbs on waiting mail, by name in `verbs`, and the task that carries them out."""

    def __init__(self, control: Control, spool: Spool, queue: Queue, hands: Hands) -> None:
        self._control = control
        self._spool = spool
        self._queue = queue
        self._hands = hands
        self._wake = asyncio.Event()
        self._round_done = asyncio.Event()
        self._turn_ends = 0.0
        self._orders: dict[str, MailOrder] = {}
        self._tallies: dict[str, Tally] = {}
        self._trouble: dict[str, str] = {}
        self._failures: dict[str, int] = {}
        self._next_tick: dict[str, float] = {}
        self._seen: dict[str, frozenset[str]] = {}  # by retry: what the last listing had
        self._unseen: set[tuple[str, str]] = set()  # by order and id: the last look has missed it
        self._missed: Counter[tuple[str, str]] = Counter()  # by order and id: postsuper passed it over

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

    def look(self) -> None:
        """Directives have changed."""
        self._wake.set()

    def progress(self, directive: Directive) -> MailProgress | None:
        """How far an order is; None for other directives."""
        if directive.kind not in changes.ORDERS:
            return None
        name = _root(directive)
        tally = self._tallies.get(name, {})
        order = self._orders.get(name)
        return MailProgress(
            held=fates.counted(tally, (*_OURS, State.KEPT)),
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
        if not 0 <= spread_s <= SUSPEND_MAX_S:
            raise InvalidRequest(f"spread_s is 0 to {SUSPEND_MAX_S}, not {spread_s}")
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

        result = await self._control.execute(kind.value, request, caller, plan)
        if result.result is not Result.APPLIED or not result.directives:
            return result
        return msgspec.structs.replace(result, detail=await self._outcome(result.directives[0], result.detail))

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
        before = asked.before
        if before is not None and before.tzinfo is None:
            raise InvalidRequest("filter.before has no time zone; write 2026-07-01T09:00:00Z")
        now = datetime.now(UTC)
        return msgspec.structs.replace(
            asked,
            held=True if kind is DirectiveKind.RELEASE else None if kind in _ENDINGS else False,
            deferred_only=asked.deferred_only or kind is DirectiveKind.RETRY,
            before=None if kind is DirectiveKind.RELEASE else min(before or now, now),
        )

    async def _chosen(self, kind: DirectiveKind, which: MessageFilter, but: str = "") -> Selection:
        """What matches and no other order has; a release takes it from holds."""
        holds = [_root(one) for one in self._live() if one.kind is DirectiveKind.HOLD]
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
        try:
            async with asyncio.timeout(COUNT_S):
                chosen = await self._chosen(kind, which)
                after: int | None = chosen.first - 1
                while after is not None:
                    part, following = await self._spool.on_held(partial(frozen.matching, chosen=chosen, after=after))
                    found.update((one[0], one) for one in part)
                    await self._spool.on_held(
                        partial(held.add_parts, chosen=chosen, after=after, parts=parts, lowest=lowest)
                    )
                    after = following
        except (TimeoutError, StorageError) as exc:
            raise Unavailable(f"matching mail could not be counted in time ({exc!r}); narrow the filter") from exc
        others = [one for one in found.values() if one[1] > one[2]]
        left_alone = sum(one[2] for one in others) if kind in _ENDINGS else 0
        oldest = min(lowest, default=None)
        impact = Impact(
            messages=sum(parts.values()) - left_alone,
            parts=held.part_views(parts, MOST_PARTS),
            oldest_at=datetime.fromtimestamp(arrival_ms(oldest) / 1000, UTC) if oldest is not None else None,
        )
        return impact, len(found), len(others)

    async def _outcome(self, directive: Directive, planned: str) -> str:
        """What has become of an order after SOON_S at most, as a sentence."""
        try:
            async with asyncio.timeout(SOON_S):
                while not self._is_carried_out(directive):
                    self._round_done.clear()
                    await self._round_done.wait()
        except TimeoutError:
            return "; ".join(filter(None, (planned, "under way", self._trouble.get(_root(directive), ""))))
        now = self.progress(directive)
        return f"{planned}; {now.note}" if now is not None and now.note else planned

    def _is_carried_out(self, directive: Directive) -> bool:
        now = self.progress(directive)
        return not self._is_live(directive) or (now is not None and now.settled)

    # -- carrying out ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry orders out until cancelled."""
        while True:
            self._wake.clear()
            pause_s = LOOK_S
            try:
                pause_s = await self._round()
            except (StorageError, OSError, Unavailable) as exc:
                log.error("orders on mail: %r; next try in %g s", exc, RETRY_S)
                pause_s = RETRY_S
            self._round_done.set()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _round(self) -> float:
        """Give every order, the oldest first, its turn; how long there is nothing to do."""
        await self._read_progress()
        living = self._live()
        pause_s = LOOK_S
        for directive in living:
            pause_s = min(pause_s, await self._turn(_root(directive), partial(self._carry_on, directive)))
        names = {_root(one) for one in self._live()}
        for name in [name for name in self._orders if name not in names]:
            pause_s = min(pause_s, await self._turn(name, partial(self._end, name)))
        await self._read_progress()
        return pause_s

    async def _turn(self, name: str, work: Callable[[], Awaitable[float]]) -> float:
        """Let one order go on; when it cannot, the others do, and it tries again after the pause."""
        self._turn_ends = time.monotonic() + TURN_S
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

    def _live(self) -> list[Directive]:
        return [one for one in self._control.state.directives if one.kind in changes.ORDERS]

    def _is_live(self, directive: Directive) -> bool:
        return any(one.id == directive.id for one in self._control.state.directives)

    def _is_turn_over(self) -> bool:
        """Whether another order has its turn; this one goes on in the next round."""
        if time.monotonic() < self._turn_ends:
            return False
        self._wake.set()
        return True

    async def _carry_on(self, directive: Directive) -> float:
        """Do what a live order has left; for how long there is nothing to do."""
        name = _root(directive)
        stands = partial(self._is_live, directive)
        if not await self._freeze(directive, stands):
            return 0.0
        if directive.kind is DirectiveKind.RETRY:
            return await self._retry(directive)
        act = _ACTS.get(directive.kind, Act.HOLD)
        # what is done with although a hold stands was released, and the undo undone
        states = (State.LISTED, State.HOLDING, State.DONE) if act is Act.HOLD else (State.LISTED,)
        if not await self._do(name, act, states, stands, ends=directive.kind in _ENDINGS):
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
            return name not in {_root(one) for one in self._live()}

        if final is not None and last is not None:
            every = (State.LISTED, *_OURS, State.KEPT)
            if not (await self._freeze(last, stands) and await self._do(name, final, every, stands)):
                return 0.0
            # what could not be given up does not stay on hold
            if not await self._do(name, Act.RELEASE, _OURS, stands, became=State.FAILED):
                return 0.0
        elif not await self._do(name, Act.RELEASE, _OURS, stands):
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
        for kept in (self._orders, self._tallies, self._next_tick, self._seen):
            kept.pop(name, None)
        self._unseen = {key for key in self._unseen if key[0] != name}
        for key in [key for key in self._missed if key[0] == name]:
            del self._missed[key]

    async def _freeze(self, directive: Directive, stands: Callable[[], bool]) -> bool:
        """Write down which messages the order is about. Whether all that matched was looked at."""
        name = _root(directive)
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

    async def _do(
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
            if self._is_turn_over() or not stands():
                return False
            if self._gives_up(name) and not (act is Act.RELEASE and State.HELD in states):
                ours = [row for row in rows if row.state in _OURS]  # or perhaps, which only a listing tells
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

    async def _retry(self, directive: Directive) -> float:
        """Have a few messages tried; how long until the next ones."""
        name = _root(directive)
        wait_s = self._next_tick.get(name, 0.0) - time.monotonic()
        if wait_s > 0:
            return wait_s
        tally = (await self._spool.on_held(frozen.tallies)).get(name, {})
        every = sum(count for count, _ in tally.values())
        count = min(MOST_PER_TICK, ceil(every * TICK_S / max(1, int(directive.value or 0))))
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
            await self._finish(directive)
            return LOOK_S
        done = await self._hands.act(Act.FLUSH, [row.name for row in rows])
        self._next_tick[name] = time.monotonic() + TICK_S
        await self._mark(name, {row.name: State.DONE for row in rows if row.name in done.ids})
        self._queue.look()
        if done.trouble:
            raise Stuck(done.trouble)
        return TICK_S

    async def _finish(self, directive: Directive) -> None:
        """A release, a retry or a requeue is through, and ends itself; holds without mail end with a release."""
        tallies = await self._spool.on_held(frozen.tallies)
        name = _root(directive)
        holds = {_root(one) for one in self._live() if one.kind is DirectiveKind.HOLD}
        settled = {one for one in holds if one in self._orders and self._orders[one].settled}
        empty = frozenset(one for one in settled if min(tallies.get(one, ()), default=State.DONE) > State.HELD)
        said = fates.words(directive.kind, tallies.get(name, {}), self._trouble.get(name, ""))
        plan = partial(changes.finished, done=directive, empty=empty, detail=f"{directive.filter or 'mail'}: {said}")
        await self._control.act(_PACED[directive.kind], OpId(f"done-{directive.id}"[:64]), directive.author, plan)

    def _gives_up(self, name: str) -> bool:
        return self._failures.get(name, 0) >= TRIES

    async def _mark(self, name: str, states: Mapping[str, State]) -> None:
        if states:
            await self._spool.change_held(partial(frozen.mark, order=name, states=states, now=now_ms()))
        for one, state in states.items():
            if state >= State.GONE:
                log.info("order=%s msg=%s %s", name, one, state.name.lower())


def _root(directive: Directive) -> str:
    """The name of its order: an edit and an undo go on with the same one."""
    return directive.continues or directive.id


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


def _before(row: Frozen, act: Act) -> State:
    """The state of a message that postsuper has passed over: it is not this order that has it on hold."""
    return State.LISTED if act is Act.HOLD else row.state


def _within_s(messages: int, spread_s: int) -> int:
    """How long a retry takes: as asked, or longer, so that few are tried at a time."""
    return max(1, spread_s, ceil(messages * TICK_S / MOST_PER_TICK))


def _chunks(rows: Sequence[Frozen]) -> list[Sequence[Frozen]]:
    return [rows[start : start + MOST_IDS] for start in range(0, len(rows), MOST_IDS)]


def _warned(change: Change, kind: DirectiveKind, others: int) -> Change:
    """`change` with what follows from Postfix acting on whole messages."""
    if not others or change.is_nothing:
        return change
    what = "are left alone" if kind in _ENDINGS else "go the same way"
    warning = f"{fates.messages(others)} with other recipients too: Postfix acts on whole messages, so they {what}"
    return replace(change, warnings=(*change.warnings, warning))
