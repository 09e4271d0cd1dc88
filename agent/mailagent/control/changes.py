"""What each verb would change: pure functions from a situation and a request to a `Change`, or a refusal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind, DirectiveState
from mailagent.api.errors import GuardRefused, InvalidRequest, NotFound, Refused, Unavailable
from mailagent.api.ids import DirectiveId, OpId, PoolName, VmtaName
from mailagent.api.jobs import JobCancel
from mailagent.api.operations import Impact, Result
from mailagent.api.suppression import SuppressionFreeze, SuppressionThaw
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.api.terms import Field
from mailagent.api.views import MemberState
from mailagent.api.words import command, verb
from mailagent.config.scalars import format_duration, parse_limit
from mailagent.config.structs import AgentConfig
from mailagent.control.generations import Change as Raised
from mailagent.control.limits import limit_names
from mailagent.control.state import (
    IN_SERVICE,
    HostState,
    MemberStatus,
    PoolStatus,
    called,
    host_state,
    is_stricter,
    sentence,
)
from mailagent.control.targets import near, pool_of, require
from mailagent.spool.records import Credential, DueChange, StoredOperation

SUSPEND_S: Final = 30 * 60
"""Life of a suspension when the request does not say."""
SUSPEND_MAX_S: Final = 24 * 3600
"""A longer suspension wants an override: mail that waits a day is about to be late or expired."""
SPREAD_S: Final = 60
"""Over how long mail that waits only because of an address that was rotated away, or back, becomes due."""
LIMIT_S: Final = 4 * 3600
"""Life of a limit override when the request does not say."""

_ENDED: Final = {
    DirectiveKind.DRAIN: "drained",
    DirectiveKind.SUSPEND: "suspended",
    DirectiveKind.FREEZE_SUPPRESSION: "frozen for suppression",
}
FOR_PEOPLE: Final = (DirectiveKind.NOTE, DirectiveKind.LOCK)
"""Orders that change nothing about mail."""
DRAINED: Final = (TargetKind.VMTA, TargetKind.POOL, TargetKind.HOST)
FREEZE_S: Final = 4 * 3600
"""Life of a freeze of suppression when the request does not say."""
FROZEN: Final = (TargetKind.HOST, TargetKind.PROVIDER)
HELD: Final = (
    TargetKind.VMTA,
    TargetKind.POOL,
    TargetKind.PROVIDER,
    TargetKind.QUEUE,
    TargetKind.STREAM,
    TargetKind.CELL,
    TargetKind.TRAFFIC,
    TargetKind.JOB,
)
LIMITED: Final = (TargetKind.VMTA, TargetKind.PROVIDER, TargetKind.QUEUE, TargetKind.CELL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The effects of one operation, and what to say about it."""

    target: Target | None = None
    filter: MessageFilter | None = None
    detail: str
    created: tuple[Directive, ...] = ()
    ended: tuple[Directive, ...] = ()  # as they are while they live
    due: DueChange | None = None
    credential: Credential | None = None  # of a user of intake, as it will be
    counted: Impact | None = None  # its size, where it was counted beforehand
    warnings: tuple[str, ...] = ()
    undoable: bool = True
    undo_note: str = ""
    undoes: OpId | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.created or self.ended or self.due or self.credential)

    @property
    def concerns_mail(self) -> bool:
        """Whether there is anything to count; users, notes and locks hold no mail."""
        orders = (*self.created, *self.ended)
        for_people = bool(orders) and all(one.kind in FOR_PEOPLE for one in orders)
        return not (self.is_nothing or self.credential is not None or for_people)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a verb is planned on."""

    config: AgentConfig
    state: HostState
    author: str
    now: datetime
    undone: StoredOperation | None = None  # the operation that an undo is about
    ended: Mapping[str, Raised] = field(default_factory=dict)  # what ended directives, by their ids

    def all_live(self, kind: DirectiveKind, target: Target, limit: str = "") -> tuple[Directive, ...]:
        """The directives of `kind` that live on exactly `target`, oldest first."""
        return tuple(
            one for one in self.state.directives if one.kind is kind and one.target == target and one.limit == limit
        )

    def live(self, kind: DirectiveKind, target: Target) -> Directive | None:
        """The latest of them."""
        found = self.all_live(kind, target)
        return found[-1] if found else None

    def directive(
        self, kind: DirectiveKind, target: Target, request: requests.Mutation, *, default_s: int | None = None
    ) -> Directive:
        """A new directive with the life that `request` asks for, else `default_s` (None: no end but undo)."""
        life_s = default_s if request.ttl_s is None else request.ttl_s
        return Directive(
            id=directive_id(request.op_id, 1),
            kind=kind,
            target=target,
            author=self.author,
            reason=request.reason,
            created_at=self.now,
            expires_at=None if life_s is None else self.now + timedelta(seconds=life_s),
            op_id=request.op_id,
        )


def too_long(what: str, ttl_s: int) -> str:
    """Why a guard refuses an order that holds mail for longer than a day."""
    return f"{what} lasts {SUSPEND_MAX_S // 3600} h at most, {format_duration(timedelta(seconds=ttl_s))} is asked"


def directive_id(op_id: OpId, n: int) -> DirectiveId:
    """The id of the `n`-th directive that an operation makes on a host."""
    return DirectiveId(f"{op_id}-{n}")


def drain(at: Situation, request: requests.Drain) -> Change:
    """Stop new mail from going to a virtual MTA, a pool or the host."""
    target = request.target
    require(at.config, target, DRAINED, "drain")
    if request.refuse and target.kind is not TargetKind.POOL:
        raise InvalidRequest(f"refuse is for pools; {target} is none")
    live = at.live(DirectiveKind.DRAIN, target)
    if live is not None and live.refuse == request.refuse and request.ttl_s is None:
        return Change(target=target, detail=f"{target.name} is already {sentence(live)}")
    made = msgspec.structs.replace(at.directive(DirectiveKind.DRAIN, target, request), refuse=request.refuse)
    change = Change(target=target, detail="", created=(made,), ended=(live,) if live else ())
    warnings = floor(at, change, override=request.override)
    return replace(change, detail=_drain_detail(at, change, request), warnings=warnings)


def undrain(at: Situation, request: requests.Undrain) -> Change:
    """End the drain of a target."""
    require(at.config, request.target, DRAINED, "undrain")
    return _end(at, DirectiveKind.DRAIN, request.target)


def suspend(at: Situation, request: requests.Suspend) -> Change:
    """Hold delivery of a target for a time."""
    target = request.target
    require(at.config, target, HELD, "suspend")
    who = called(target) if target.name.endswith("/") else target.name
    live = at.live(DirectiveKind.SUSPEND, target)
    if live is not None and not live.rule and request.ttl_s is None:  # automation's end soon, and then it tries again
        return Change(target=target, detail=f"{who} is already {sentence(live)}")
    is_job = target.kind is TargetKind.JOB  # whoever pauses it owns it
    made = at.directive(DirectiveKind.SUSPEND, target, request, default_s=None if is_job else SUSPEND_S)
    until = f"until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC" if made.expires_at is not None else "until it is resumed"
    change = Change(
        target=target,
        detail=f"{who} holds its mail {until}",
        created=(made,),
        ended=(live,) if live else (),
    )
    problems = []
    if request.ttl_s is not None and request.ttl_s > SUSPEND_MAX_S and not is_job:
        problems.append(too_long("a suspension", request.ttl_s))
    return replace(change, warnings=floor(at, change, override=request.override, problems=problems))


def resume(at: Situation, request: requests.Resume) -> Change:
    """End the suspension of a target."""
    require(at.config, request.target, HELD, "resume")
    return _end(at, DirectiveKind.SUSPEND, request.target)


def freeze(at: Situation, request: SuppressionFreeze) -> Change:
    """What bounces suppress is only pending for a time."""
    target = request.target
    require(at.config, target, FROZEN, "suppression freeze")
    live = at.live(DirectiveKind.FREEZE_SUPPRESSION, target)
    if live is not None and request.ttl_s is None:
        return Change(target=target, detail=f"{target.name} is already {sentence(live)}")
    made = at.directive(DirectiveKind.FREEZE_SUPPRESSION, target, request, default_s=FREEZE_S)
    return Change(
        target=target,
        detail=f"bounces of {target.name} suppress nothing until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        created=(made,),
        ended=(live,) if live else (),
    )


def thaw(at: Situation, request: SuppressionThaw) -> Change:
    """End a freeze."""
    require(at.config, request.target, FROZEN, "suppression thaw")
    return _end(at, DirectiveKind.FREEZE_SUPPRESSION, request.target)


def limit(at: Situation, request: requests.Limit) -> Change:
    """Lower one limit for a time."""
    target = request.target
    require(at.config, target, LIMITED, "limit")
    names = limit_names(target.kind)
    if request.limit not in names:
        raise InvalidRequest(f"{request.limit} is no limit of a {target.kind}; there are {', '.join(names)}")
    try:
        value = str(parse_limit(request.limit, request.value))
    except ValueError as exc:
        raise InvalidRequest(f"{request.limit}: {exc}") from exc
    same = at.all_live(DirectiveKind.LIMIT, target, request.limit)
    if request.ttl_s is None and any(one.value == value for one in same):
        return Change(target=target, detail=f"{request.limit} of {target.name} is already {sentence(same[-1])}")
    made = msgspec.structs.replace(
        at.directive(DirectiveKind.LIMIT, target, request, default_s=LIMIT_S), limit=request.limit, value=value
    )
    lower = _lower(at, made)
    return Change(
        target=target,
        detail=f"{request.limit} of {target.name} is at most {value} until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        created=(made,),
        ended=tuple(one for one in same if not one.rule or one not in lower),  # people take their own words back
        warnings=tuple(
            f"{one.author} holds {one.limit} of {one.target.name} at {one.value}: that is lower and stays in force"
            for one in lower
            if one.rule or one not in same
        ),
    )


def _lower(at: Situation, made: Directive) -> tuple[Directive, ...]:
    """Limits that let less through than `made` wherever that holds: it does nothing while they live."""
    names = (made.limit, f"provider_{made.limit}")  # what all sites of a provider share, each has at most
    around = {made.target}
    if made.target.kind in (TargetKind.CELL, TargetKind.QUEUE):
        place, _, vmta = made.target.name.rpartition("/")
        around.add(Target(kind=TargetKind.VMTA, name=vmta))
        if made.target.kind is TargetKind.CELL:
            around.add(Target(kind=TargetKind.PROVIDER, name=place))
    value = parse_limit(made.limit, made.value)
    return tuple(
        one
        for one in at.state.directives
        if one.kind is DirectiveKind.LIMIT
        and one.limit in names
        and one.target in around
        and is_stricter(parse_limit(one.limit, one.value), value)
    )


def check_spread(spread_s: int) -> None:
    """Refuse to spread attempts over longer than a suspension lasts.

    Raises:
        InvalidRequest: it is longer, or negative.
    """
    if not 0 <= spread_s <= SUSPEND_MAX_S:
        most, asked = (format_duration(timedelta(seconds=one)) for one in (SUSPEND_MAX_S, spread_s))
        raise InvalidRequest(f"attempts are spread over {most} at most (--spread), not over {asked}")


def retry(at: Situation, request: requests.Retry) -> Change:
    """Make deferred mail due, spread out. How much there is, only the spool knows."""
    check_spread(request.spread_s)
    which = msgspec.structs.replace(request.filter, deferred_only=True)
    return Change(
        filter=which,
        detail=f"matching mail becomes due within {request.spread_s} s",
        due=due_change(which, at.now, request.spread_s),
        undoable=False,
        undo_note="mail that was tried again cannot be called back",
    )


def sized(change: Change, request: requests.Mutation, impact: Impact | None) -> Change:
    """`change` now that its size is known; None where it could not be counted in time.

    Raises:
        Refused: more recipients match than a retry may affect.
        Unavailable: that many may match, and they could not be counted.
    """
    if isinstance(request, JobCancel):
        if impact is None:
            raise Unavailable("what waits of the job could not be counted in time; try again")
        if request.max_affected is not None and impact.messages > request.max_affected:
            raise Refused(f"{impact.messages} recipients wait, more than {request.max_affected}")
        return replace(change, detail=f"{impact.messages} recipients: {change.detail}")
    if not isinstance(request, requests.Retry):
        if impact is None:
            return replace(change, warnings=(*change.warnings, "what it touches was not counted in time"))
        is_empty = not (impact.messages or impact.connections)
        if is_empty and isinstance(request, requests.Suspend) and request.target.name.endswith("/"):  # mistyped?
            hint = f"no mail for {called(request.target)} is known to wait here now; mailctl queues names sites"
            return replace(change, warnings=(*change.warnings, hint))
        return change
    if impact is None:
        if request.max_affected is not None:
            raise Unavailable("matching mail could not be counted in time; try again, or without --max-affected")
        return replace(change, warnings=("matching mail was not counted in time",))
    if request.max_affected is not None and impact.messages > request.max_affected:
        raise Refused(f"{impact.messages} recipients match, more than {request.max_affected}; narrow the filter")
    if impact.messages == 0:
        return replace(change, detail="no deferred mail matches", due=None)
    what = "1 recipient becomes" if impact.messages == 1 else f"{impact.messages:,} recipients become"
    return replace(change, detail=f"{what} due within {request.spread_s} s")


def cancel(at: Situation, request: requests.Cancel) -> Change:
    """End one directive."""
    found = _by_id(at, request.directive)
    due = _rotated_back((found,), at.now)
    change = Change(target=found.target, detail=_ended_detail(found), ended=(found,), due=due)
    return replace(change, warnings=floor(at, change, override=request.override))


def edit(at: Situation, request: requests.Edit) -> Change:
    """Give a directive another end, or pin it: the same one goes on under a new id."""
    old = _by_id(at, request.directive)
    if old.target.kind is TargetKind.DKIM:
        raise InvalidRequest(f"{old.target} has verbs of its own; edit is for orders about the flow of mail")
    pinned = old.pinned if request.pin is None else request.pin
    ends = old.expires_at if request.ttl_s is None else at.now + timedelta(seconds=request.ttl_s)
    if (pinned, ends) == (old.pinned, old.expires_at):
        return Change(target=old.target, detail=f"nothing about {old.id} would change")
    if old.kind in (DirectiveKind.BOUNCE, DirectiveKind.DELETE) and (ends is None or ends < (old.expires_at or at.now)):
        raise InvalidRequest(f"the grace of {old.id} can be made longer, not shorter")
    problems = []
    if (
        old.kind in (DirectiveKind.SUSPEND, DirectiveKind.HOLD)
        and old.target.kind is not TargetKind.JOB
        and request.ttl_s is not None
        and request.ttl_s > SUSPEND_MAX_S
    ):
        problems.append(too_long(f"a {verb(old.kind, old.target)}", request.ttl_s))
    made = msgspec.structs.replace(
        old,
        id=directive_id(request.op_id, 1),
        op_id=request.op_id,
        expires_at=ends,
        pinned=pinned,
        continues=old.continues or old.id,
    )
    words = [f"ends at {ends:%Y-%m-%d %H:%M:%S} UTC" if ends is not None else "has no end but undo"]
    if pinned != old.pinned:
        words.append("is left alone by automation" if pinned else "is automation's again")
    return Change(
        target=old.target,
        detail=f"{verb(old.kind, old.target)} of {old.target} {' and '.join(words)}",
        created=(made,),
        ended=(old,),
        warnings=guard(problems, override=request.override),
    )


def _by_id(at: Situation, wanted: DirectiveId) -> Directive:
    """The live directive of that id.

    Raises:
        NotFound: there is none; who ended it, if that was lately.
    """
    live = {one.id: one for one in at.state.directives}
    if (found := live.get(wanted)) is not None:
        return found
    why = f"; it ended with {end}" if (end := at.ended.get(wanted)) is not None else near(wanted, live)
    raise NotFound(f"{at.config.host} has no live directive {wanted}{why}")


def undo(at: Situation, request: requests.Undo) -> Change:
    """The inverse of an operation: what it made ends, what it ended comes back with what was left of its time."""
    stored = at.undone
    if stored is None:
        raise NotFound(f"{at.config.host} has no operation {request.undoes}; it keeps them for 7 days")
    record = stored.record
    deed = f"{command(record.verb, record.target)} {request.undoes}"
    if not record.undoable:
        nothing = record.result is Result.NOTHING_TO_DO
        why = stored.result.undo_note or ("it changed nothing" if nothing else "what it did has no way back")
        raise Refused(f"{deed} cannot be undone: {why}")
    if record.undone_by is not None:
        return Change(target=record.target, detail=f"{deed} is undone by {record.undone_by}")
    ended = tuple(one for one in at.state.directives if one.id in record.created or one.continues in record.created)
    notes = [_ended_detail(one) for one in ended]
    if len(ended) < len(record.created):
        notes.append("what it ordered has ended already" if not ended else "the rest has ended already")
    created: list[Directive] = []
    for old in record.cancelled:
        since = [one for one in at.all_live(old.kind, old.target, old.limit) if one not in ended]
        if since:
            notes.append(f"{old.target} is {sentence(since[-1])} since, which stays")
            continue
        left = None if old.expires_at is None else old.expires_at - record.at
        made = msgspec.structs.replace(
            old,
            id=directive_id(request.op_id, len(created) + 1),
            author=at.author,
            created_at=at.now,
            expires_at=None if left is None else at.now + left,
            op_id=request.op_id,
            continues=old.continues or old.id,
        )
        created.append(made)
        notes.append(f"{old.target} is {sentence(made)}")
    for old in stored.result.directives:
        if old.kind in (DirectiveKind.RELEASE, DirectiveKind.REBIND) and old not in ended:
            made = _taken_back(at, old, request)
            created.append(made)
            notes.append(f"{old.target} is {sentence(made)}")
    change = Change(
        target=record.target,
        detail="; ".join(notes),
        created=tuple(created),
        ended=ended,
        due=_rotated_back(ended, at.now),
        undoes=record.op_id,
    )
    return replace(change, warnings=floor(at, change, override=request.override))


def _taken_back(at: Situation, done: Directive, request: requests.Undo) -> Directive:
    """The order that undoes one that is done: a hold, for as long as it lasts by itself, or a rebind back."""
    which = msgspec.structs.replace(done.filter or MessageFilter(), held=False, before=at.now)
    if done.kind is DirectiveKind.RELEASE:
        made = at.directive(DirectiveKind.HOLD, done.target, request, default_s=SUSPEND_S)
        return msgspec.structs.replace(made, filter=which)
    terms = tuple(term for term in which.terms if term.field is not Field.POOL)
    back = at.directive(DirectiveKind.REBIND, done.target, request)
    return msgspec.structs.replace(
        back, filter=msgspec.structs.replace(which, pool=done.value, terms=terms), value=done.base, base=done.value
    )


def expiry(one: Directive) -> Change:
    """A directive whose time is over ends; a job that reached its end is held."""
    held: tuple[Directive, ...] = ()
    if one.kind is DirectiveKind.JOB_END:
        op_id = OpId(f"expire-{one.id}")
        made = msgspec.structs.replace(
            one,
            id=directive_id(op_id, 1),
            kind=DirectiveKind.SUSPEND,
            op_id=op_id,
            created_at=one.expires_at or one.created_at,
            expires_at=None,
            reason="its end has come" + (f" ({one.reason})" if one.reason else ""),
        )
        held = (made,)
    return Change(
        target=one.target,
        detail=f"{verb(one.kind, one.target)} of {one.target} by {one.author} has expired"
        + ("; what waits is held" if held else ""),
        created=held,
        ended=(one,),
        undoable=False,
        undo_note="it ended by itself",
    )


def due_change(which: MessageFilter, now: datetime, spread_s: int) -> DueChange:
    """Matching mail becomes due between `now` and `spread_s` later."""
    return DueChange(filter=which, now=int(now.timestamp() * 1000), spread=spread_s * 1000)


def moved(vmta: VmtaName, now: datetime) -> DueChange:
    """Mail that waits only because of `vmta`, which is out of service now, is tried again from others."""
    return due_change(MessageFilter(vmta=vmta, deferred_only=True), now, SPREAD_S)


def _rotated_back(ended: Sequence[Directive], now: datetime) -> DueChange | None:
    """What waits because of a standby that gives its place back."""
    standby = next((one.standby for one in ended if one.kind is DirectiveKind.ROTATE), "")
    return moved(VmtaName(standby), now) if standby else None


def ended_now(one: Directive, at: datetime, by: str) -> Directive:
    """`one` as it is kept after its end."""
    expired = one.expires_at is not None and one.expires_at <= at
    state = DirectiveState.EXPIRED if expired else DirectiveState.CANCELLED
    return msgspec.structs.replace(one, state=state, ended_at=at, ended_by=by)


def after(at: Situation, change: Change) -> HostState:
    """The state that `change` leads to."""
    ended = {one.id for one in change.ended}
    return host_state(at.config, [one for one in at.state.directives if one.id not in ended] + list(change.created))


def _end(at: Situation, kind: DirectiveKind, target: Target) -> Change:
    live = [one for one in at.state.directives if one.kind is kind and one.target == target]
    if live:
        change = Change(target=target, detail="; ".join(map(_ended_detail, live)), ended=tuple(live))
        still = _still_held(after(at, change), target)
        return replace(change, warnings=(f"{target.name} stays held: {still}",)) if still else change
    word = "paused" if target.kind is TargetKind.JOB else _ENDED[kind]
    still = _still_held(at.state, target)
    return Change(target=target, detail=f"{target.name} is not {word}" + (f" itself; it is {still}" if still else ""))


def _still_held(state: HostState, target: Target) -> str:
    """What else holds a virtual MTA or a pool, as a sentence."""
    status: MemberStatus | PoolStatus | None = None
    if target.kind is TargetKind.VMTA:
        status = state.member(VmtaName(target.name))
    elif target.kind is TargetKind.POOL:
        status = state.pool(PoolName(target.name))
    if status is None or status.directive is None or status.state in IN_SERVICE:
        return ""
    return status.reason


def _ended_detail(one: Directive) -> str:
    what = f"{verb(one.kind, one.target)} of {one.target}"
    if one.kind is DirectiveKind.LIMIT:
        what = f"{one.limit} {one.value} of {one.target}"
    elif one.value:
        what = f"{one.kind} {one.value} of {one.target}"
    return f"{what} (by {one.author} since {one.created_at:%Y-%m-%d %H:%M} UTC) ends"


def _drain_detail(at: Situation, change: Change, request: requests.Drain) -> str:
    target = request.target
    if target.kind is TargetKind.HOST:
        return f"{target.name} refuses new mail and goes on delivering what waits"
    if target.kind is TargetKind.POOL:
        new_mail = "new mail is refused with 451" if request.refuse else "new mail is accepted and waits"
        senders = len(at.state.fit(PoolName(target.name)))
        who = "1 virtual MTA stops" if senders == 1 else f"{senders} virtual MTAs stop"
        return f"{who} sending for {target.name}; {new_mail}"
    pool = pool_of(at.config, target.name)
    others = after(at, change).fit(pool) if pool is not None else ()
    return f"{target.name} stops sending; " + (
        f"its mail goes out through {', '.join(others)}" if others else "mail of its pool waits"
    )


def floor(at: Situation, change: Change, *, override: bool, problems: Iterable[str] = ()) -> tuple[str, ...]:
    """Guard: an act on single virtual MTAs leaves each pool an eligible IP on this host; warnings when overridden.

    `problems` are what else speaks against the act. Holding a pool as a whole states its intent and is exempt.

    Raises:
        GuardRefused: there are problems and no override.
    """
    found = list(problems)
    then = after(at, change)
    for pool, members in at.config.pools.items():
        if members.min_active is not None and len(then.fit(pool)) < min(members.min_active, len(at.state.fit(pool))):
            left = len(then.fit(pool))
            found.append(f"pool {pool} would have {left} on {at.config.host}, its min_active is {members.min_active}")
        elif at.state.fit(pool) and not then.fit(pool):
            spare = [vmta for vmta in members.members if then.member(vmta).state is MemberState.STANDBY]
            hint = f"; rotate puts {spare[0]} in its place" if spare else ""
            found.append(f"no eligible IP of pool {pool} would be left on {at.config.host}{hint}")
    return guard(found, override=override)


def guard(problems: list[str], *, override: bool) -> tuple[str, ...]:
    """The warnings that `problems` become when overridden.

    Raises:
        GuardRefused: there are problems and no override.
    """
    if problems and not override:
        raise GuardRefused(f"{'; '.join(problems)} (override with a reason to act all the same)")
    return tuple(f"overridden: {problem}" for problem in problems)
