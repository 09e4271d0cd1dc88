"""The verbs of a host: one at a time, each is checked, planned, written to the ledger and put into effect."""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import msgspec

from mailagent.api import codec, requests, words
from mailagent.api.directives import Directive
from mailagent.api.errors import GuardRefused, InvalidRequest, StalePlan, Unavailable
from mailagent.api.ids import OpId
from mailagent.api.notes import NoteAdd
from mailagent.api.operations import Impact, OperationRecord, OperationResult, Result
from mailagent.api.targets import Target
from mailagent.config.structs import AgentConfig
from mailagent.control import amendments, flow, lock
from mailagent.control.change import Change, Situation
from mailagent.control.effects import Caller, Effects, Ledger
from mailagent.control.generations import Deed, Generations
from mailagent.control.notes import note_add
from mailagent.control.rotation import rotate
from mailagent.control.sizing import sized
from mailagent.control.state import HostState, host_state
from mailagent.control.targets import touched
from mailagent.spool.errors import StorageError
from mailagent.spool.records import LedgerEntry, StoredOperation

log = logging.getLogger(__name__)

AGENT: Final = "mailagent"
"""Author of what the agent does by itself: expiries."""
PLAN_COUNT_S: Final = 1.0
"""Longest time that a dry run counts what a verb touches."""
ACT_COUNT_S: Final = 0.3
"""The same before an act: its operator has seen the numbers in the plan, and now wants it done."""
RECORD_S: Final = 30.0
"""Longest time for the ledger's answer."""
LOOK_S: Final = 30.0
"""Expiries are looked for at least this often, so that a step of the clock does not delay them for long."""
RETRY_S: Final = 5.0
"""Pause after an expiry that could not be recorded."""
MAX_LIFE_S: Final = 366 * 24 * 3600
MOST_ENDED: Final = 1000
"""Ended directives whose end is remembered in memory."""
MAX_WORDS: Final = 1000
"""Longest reason, in characters."""
NO_IMPACT: Final = Impact()
_OP_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


Verb = Callable[[Any, Caller], Awaitable[OperationResult]]
Step = Callable[[], Awaitable[tuple[bool, str]]]
"""Plans or does something: (whether there is anything to do, what, as a sentence)."""


class Control:
    """Owner of the live directives of one host. Runs on the loop thread."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        ledger: Ledger,
        effects: Effects,
        clock: Callable[[], datetime] = codec.now,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._effects = effects
        self._clock = clock
        self._live: dict[str, Directive] = {}
        self._ended: dict[str, Deed] = {}  # what ended directives, for those who were about to change them
        self._unsure = False  # the ledger may hold something that is not in effect
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self.state = host_state(config, ())
        self.generations = Generations(int(clock().timestamp()), config.host)

    # -- life ------------------------------------------------------------------------------------------------------

    async def load(self) -> HostState:
        """Read the live directives from the ledger; the state that they make, not yet applied."""
        self._live = {one.id: one for one in await self._ledger.directives()}
        self.state = self._derive()
        return self.state

    def reconfigure(self, config: AgentConfig, author: str) -> HostState:
        """Another configuration is the base from now on; applied, and every plan made before is stale."""
        self._config = config
        self.generations.raise_all(Deed("configuration reloaded", author, self._clock()))
        self.state = self._derive()
        self._effects.apply(self.state)
        return self.state

    async def run(self) -> None:
        """End directives whose time is over, until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self.expire(self._clock())
                pause_s = self._until_next_expiry_s()
            except (StorageError, Unavailable):
                log.exception("an expiry could not be recorded; trying again in %g s", RETRY_S)
                pause_s = RETRY_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    @property
    def next_expiry(self) -> datetime | None:
        """When the next directive ends by itself."""
        return min((one.expires_at for one in self._live.values() if one.expires_at is not None), default=None)

    async def expire(self, now: datetime) -> None:
        """End the directives whose time is over at `now`, each as an operation of the agent itself."""
        async with self._lock:
            await self._be_sure()
            for one in list(self._live.values()):
                if one.expires_at is not None and one.expires_at <= now:
                    request = requests.Cancel(op_id=OpId(f"expire-{one.id}"), directive=one.id)
                    await self._commit("expire", request, AGENT, now, amendments.expiry(one), Impact(), Result.APPLIED)

    async def act(self, verb: str, op_id: OpId, author: str, plan: Callable[[Situation], Change]) -> Change | None:
        """Do what a part of the agent itself has decided; None when there is nothing to do.

        Raises:
            Unavailable: the ledger did not answer; nothing is in effect that is not on disk.
        """
        async with self._lock:
            await self._be_sure()
            now = self._clock()
            change = plan(Situation(self._config, self.state, author, now))
            if change.is_nothing:
                return None
            request = requests.Mutation(op_id=op_id, reason=change.detail[:MAX_WORDS])
            await self._commit(verb, request, author, now, change, Impact(), Result.APPLIED)
            return change

    async def note(self, verb: str, author: str, detail: str) -> None:
        """Keep what happened to the host itself (a start, a stop, a reload by signal) among its operations."""
        request = requests.Mutation(op_id=OpId(f"{verb}-{secrets.token_hex(8)}"))
        change = Change(detail=detail[:MAX_WORDS], undoable=False)
        try:
            async with self._lock:
                await self._commit(verb, request, author, self._clock(), change, Impact(), Result.APPLIED)
        except (StorageError, Unavailable) as exc:
            log.warning("%s is not among the operations: %s", verb, exc)

    # -- verbs -----------------------------------------------------------------------------------------------------

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The mutating methods that control answers, by wire name."""
        return {
            verb.__name__: verb
            for verb in (
                self.drain, self.undrain, self.suspend, self.resume, self.rotate, self.limit, self.retry, self.cancel,
                self.edit, self.undo, self.note_add,
            )
        }  # fmt: skip

    async def drain(self, request: requests.Drain, caller: Caller) -> OperationResult:
        """Drain a virtual MTA, a pool or the host."""
        return await self.execute("drain", request, caller, partial(flow.drain, request=request))

    async def undrain(self, request: requests.Undrain, caller: Caller) -> OperationResult:
        """End a drain."""
        return await self.execute("undrain", request, caller, partial(flow.undrain, request=request))

    async def suspend(self, request: requests.Suspend, caller: Caller) -> OperationResult:
        """Hold delivery of a target for a time."""
        return await self.execute("suspend", request, caller, partial(flow.suspend, request=request))

    async def resume(self, request: requests.Resume, caller: Caller) -> OperationResult:
        """End a suspension."""
        return await self.execute("resume", request, caller, partial(flow.resume, request=request))

    async def rotate(self, request: requests.Rotate, caller: Caller) -> OperationResult:
        """Swap an active virtual MTA for a standby."""
        plan = partial(rotate, request=request, unfit=self._effects.unfit, doubts=self._effects.doubts)
        return await self.execute("rotate", request, caller, plan)

    async def limit(self, request: requests.Limit, caller: Caller) -> OperationResult:
        """Lower one limit for a time."""
        return await self.execute("limit", request, caller, partial(flow.limit, request=request))

    async def retry(self, request: requests.Retry, caller: Caller) -> OperationResult:
        """Make deferred mail due, paced."""
        return await self.execute("retry", request, caller, partial(flow.retry, request=request))

    async def cancel(self, request: requests.Cancel, caller: Caller) -> OperationResult:
        """End one directive."""
        return await self.execute("cancel", request, caller, partial(amendments.cancel, request=request))

    async def edit(self, request: requests.Edit, caller: Caller) -> OperationResult:
        """Give one directive another end, or pin it."""
        return await self.execute("edit", request, caller, partial(amendments.edit, request=request))

    async def undo(self, request: requests.Undo, caller: Caller) -> OperationResult:
        """Do the stored inverse of an operation."""
        return await self.execute("undo", request, caller, partial(amendments.undo, request=request))

    async def note_add(self, request: NoteAdd, caller: Caller) -> OperationResult:
        """Leave a note for whoever is next."""
        return await self.execute("note_add", request, caller, partial(note_add, request=request))

    async def carry_out(
        self,
        verb: str,
        request: requests.Mutation,
        caller: Caller,
        *,
        plan: Step,
        act: Step,
        ends: Callable[[], Sequence[Directive]] = tuple,
        undoable: bool = False,
        undo_note: str = "",
        undoes: OpId | None = None,
        impact: Impact = NO_IMPACT,
    ) -> OperationResult:
        """Execute a verb whose effect is no directive: once per op_id, and recorded.

        `act` has its effect on disk when it returns; after a crash before the record it is called again. `ends` is
        asked after it for live directives that have become idle by it, and end with it. Where it is `undoable`, its
        owner answers `undo` of it, and names what that `undoes`.

        Raises:
            InvalidRequest, Unavailable: as for the other verbs; and whatever `plan` and `act` raise.
        """
        _check(request)
        async with self._lock:
            await self._be_sure()
            if request.dry_run:
                broken = self._locked(request, caller)
                does, detail = await plan()
                result = Result.PLANNED if does else Result.NOTHING_TO_DO
                return OperationResult(
                    op_id=request.op_id,
                    result=result,
                    detail=detail + broken,
                    impact=impact if does else NO_IMPACT,
                    undoable=undoable,
                    undo_note=undo_note,
                )
            if (done := await self._done(verb, request)) is not None:
                return done
            broken = self._locked(request, caller)
            did, detail = await act()
            change = Change(
                detail=detail + broken, ended=tuple(ends()), undoable=undoable, undo_note=undo_note, undoes=undoes
            )
            outcome = Result.APPLIED if did else Result.NOTHING_TO_DO
            size = impact if did else NO_IMPACT
            return await self._commit(verb, request, caller.user, self._clock(), change, size, outcome)

    # -- one operation ---------------------------------------------------------------------------------------------

    async def execute(
        self, verb: str, request: requests.Mutation, caller: Caller, plan: Callable[[Situation], Change]
    ) -> OperationResult:
        """Check, plan, and unless it is a dry run, do.

        Raises:
            InvalidRequest: the request contradicts itself, or its op_id was used for another one.
            Refused: see `mailagent.api.errors`.
            Unavailable: the ledger did not answer; nothing is in effect that is not on disk.
        """
        _check(request)
        async with self._lock:
            await self._be_sure()
            if not request.dry_run and (done := await self._done(verb, request)) is not None:
                return done
            broken = self._locked(request, caller)
            now = self._clock()
            undone = await self._to_undo(request.undoes) if isinstance(request, requests.Undo) else None
            try:
                change = plan(Situation(self._config, self.state, caller.user, now, undone, self._ended))
            except GuardRefused:  # which its operator has not seen in the plan: somebody may have been faster
                self._check_expected(request, self._about(request, undone))
                raise
            self._check_expected(request, change.target)
            impact = Impact()
            if change.concerns_mail:
                slow = request.dry_run or change.filter or change.due
                counted = change.counted or await self._count(change, PLAN_COUNT_S if slow else ACT_COUNT_S)
                impact = counted or impact
                change = sized(change, request, counted)
            change = lock.told(change, broken)
            if request.dry_run:
                result = Result.NOTHING_TO_DO if change.is_nothing else Result.PLANNED
                return self._result(request.op_id, result, change, impact, now, caller.user)
            outcome = Result.NOTHING_TO_DO if change.is_nothing else Result.APPLIED
            return await self._commit(verb, request, caller.user, now, change, impact, outcome)

    def _locked(self, request: requests.Mutation, caller: Caller) -> str:
        """Which lock the request breaks, as words; what the agent does by itself passes any.

        Raises:
            Locked: somebody else holds the lock.
        """
        return "" if caller.user == AGENT else lock.passed(self.state, request, caller.user)

    async def _done(self, verb: str, request: requests.Mutation) -> OperationResult | None:
        """The answer of this very request, if it was executed before."""
        done = await self._stored(request.op_id)
        if done is not None and done.digest != _digest(verb, request):
            raise InvalidRequest(f"op_id {request.op_id} stands for another request; take a new one")
        return done.result if done is not None else None

    async def _commit(
        self,
        verb: str,
        request: requests.Mutation,
        author: str,
        now: datetime,
        change: Change,
        impact: Impact,
        outcome: Result,
    ) -> OperationResult:
        """Write the operation to the ledger, then put it into effect."""
        result = self._result(request.op_id, outcome, change, impact, now, author)
        record = OperationRecord(
            op_id=request.op_id,
            verb=verb,
            target=change.target or getattr(request, "target", None),  # a probe changes nothing of its path
            filter=change.filter,
            author=author,
            reason=request.reason,
            at=now,
            result=outcome,
            detail=change.detail,
            created=tuple(one.id for one in change.created),
            cancelled=change.ended,
            undoable=result.undoable,
            undoes=change.undoes,
        )
        entry = LedgerEntry(
            operation=StoredOperation(digest=_digest(verb, request), record=record, result=result),
            directives=result.directives,
            undone=(change.undoes,) if change.undoes is not None and outcome is not Result.NOTHING_TO_DO else (),
            due=change.due,
            credential=change.credential,
        )
        self._unsure, asked = True, words.command(verb, change.target)
        try:
            async with asyncio.timeout(RECORD_S):
                await self._ledger.record(entry)
        except TimeoutError as exc:
            raise Unavailable(
                f"the spool did not confirm {asked} within {RECORD_S:g} s; ask again with op_id {request.op_id}"
            ) from exc
        except StorageError as exc:
            raise Unavailable(f"{asked} could not be recorded and is not in effect: {exc}") from exc
        self._unsure = False
        log.info(
            "%s op=%s target=%s user=%s result=%s: %s",
            verb,
            request.op_id,
            change.target or "-",
            author,
            outcome,
            change.detail,
        )
        if change.created or change.ended:
            self._enact(change, Deed(_in_words(verb, change), author, now, request.reason))
        return result

    def _enact(self, change: Change, deed: Deed) -> None:
        for one in change.ended:
            del self._live[one.id]
            self._ended[one.id] = deed
            if len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]
        self._live.update({one.id: one for one in change.created})
        self.generations.raise_each(self._touched(change), deed)
        self.state = self._derive()
        self._effects.apply(self.state)
        self._changed.set()

    def _result(
        self, op_id: OpId, result: Result, change: Change, impact: Impact, now: datetime, author: str
    ) -> OperationResult:
        """The answer; generations are those that hold once it is in effect."""
        generation = 0
        if change.target is not None:
            raised = result is Result.APPLIED and change.target in self._touched(change)
            generation = self.generations.of(change.target) + raised
        return OperationResult(
            op_id=op_id,
            result=result,
            detail=change.detail,
            directives=(*change.created, *(amendments.ended_now(one, now, author) for one in change.ended)),
            impact=impact,
            warnings=change.warnings,
            generation=generation,
            undoable=change.undoable and result is not Result.NOTHING_TO_DO,
            undo_note=change.undo_note,
        )

    async def _count(self, change: Change, deadline_s: float) -> Impact | None:
        """Size of what `change` touches; None when counting takes too long."""
        try:
            async with asyncio.timeout(deadline_s):
                return await self._effects.impact(change.target, change.filter)
        except (TimeoutError, StorageError) as exc:
            log.warning("impact of target=%s filter=%s not counted: %r", change.target, change.filter, exc)
            return None

    def _about(self, request: requests.Mutation, undone: StoredOperation | None) -> Target | None:
        """What a verb is about that could not be planned."""
        if undone is not None:
            return undone.record.target
        if isinstance(request, requests.Cancel | requests.Edit):
            return next((one.target for one in self.state.directives if one.id == request.directive), None)
        return getattr(request, "target", None)

    def _check_expected(self, request: requests.Mutation, target: Target | None) -> None:
        if request.expect is None or target is None or request.expect == self.generations.of(target):
            return
        last = self.generations.last_deed(target)
        why = str(last) if last is not None else "the agent was started again"
        raise StalePlan(f"{target} has changed since the plan was made ({why}); plan again")

    async def _stored(self, op_id: OpId) -> StoredOperation | None:
        try:
            async with asyncio.timeout(RECORD_S):
                return await self._ledger.stored_operation(op_id)
        except (TimeoutError, StorageError) as exc:
            raise Unavailable(
                f"operations cannot be read: {str(exc) or 'no answer in time'}; nothing was changed"
            ) from exc

    async def _to_undo(self, op_id: OpId) -> StoredOperation | None:
        """An operation, its `undone_by` empty also when that undo was undone itself."""
        stored = await self._stored(op_id)
        if stored is None or stored.record.undone_by is None:
            return stored
        undoing = await self._to_undo(stored.record.undone_by)
        if undoing is None or undoing.record.undone_by is None:
            return stored
        record = msgspec.structs.replace(stored.record, undone_by=None)
        return msgspec.structs.replace(stored, record=record)

    async def _be_sure(self) -> None:
        """After a write of unknown outcome: what is on disk holds."""
        if self._unsure:
            try:
                async with asyncio.timeout(RECORD_S):
                    await self.load()
            except (TimeoutError, StorageError) as exc:
                raise Unavailable(f"directives cannot be read: {str(exc) or 'no answer in time'}") from exc
            self._effects.apply(self.state)
            self._unsure = False

    def _derive(self) -> HostState:
        return host_state(self._config, self._live.values())

    def _touched(self, change: Change) -> set[Target]:
        return {target for one in (*change.created, *change.ended) for target in touched(self._config, one)}

    def _until_next_expiry_s(self) -> float:
        if self.next_expiry is None:
            return LOOK_S
        return min(LOOK_S, max(0.0, (self.next_expiry - self._clock()).total_seconds()))


def _check(request: requests.Mutation) -> None:
    """What holds for every verb.

    Raises:
        InvalidRequest: see there.
    """
    if not _OP_ID.fullmatch(request.op_id):
        raise InvalidRequest("op_id is 1 to 64 letters, digits and . _ : -")
    if len(request.reason) > MAX_WORDS:
        raise InvalidRequest(f"the reason is longer than {MAX_WORDS} characters")
    if (request.override or request.break_lock) and not request.reason.strip():
        raise InvalidRequest("an override, or breaking a lock, wants a reason")
    if request.ttl_s is not None and not 1 <= request.ttl_s <= MAX_LIFE_S:
        raise InvalidRequest(f"an order lasts 1 s to {MAX_LIFE_S // 86_400} days, not {request.ttl_s:,} s")


def _in_words(verb: str, change: Change) -> str:
    """What others are told about: `drain of pool:cold`."""
    return f"{words.verb(verb, change.target)} of {change.target}" if change.target is not None else words.command(verb)


def _digest(verb: str, request: requests.Mutation) -> str:
    """What tells a repeated request from another one with the same op_id; when it was planned is no part of it."""
    whole = msgspec.structs.replace(request, expect=None)
    return blake2b(verb.encode() + b" " + codec.encode(whole), digest_size=16).hexdigest()
