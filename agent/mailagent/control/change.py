"""What a verb is planned on, and what it would do: the values that planning takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, OpId, VmtaName
from mailagent.api.operations import Impact
from mailagent.api.targets import MessageFilter, Target
from mailagent.api.words import verb
from mailagent.config.structs import AgentConfig
from mailagent.control.generations import Deed
from mailagent.control.state import HostState, host_state
from mailagent.spool.records import Credential, DueChange, StoredOperation

FOR_PEOPLE: Final = (DirectiveKind.NOTE, DirectiveKind.LOCK)
"""Orders that change nothing about mail."""
SPREAD_S: Final = 60
"""Over how long mail that waits only because of an address that was rotated away, or back, becomes due."""


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
    ended: Mapping[str, Deed] = field(default_factory=dict)  # what ended directives, by their ids

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


def directive_id(op_id: OpId, n: int) -> DirectiveId:
    """The id of the `n`-th directive that an operation makes on a host."""
    return DirectiveId(f"{op_id}-{n}")


def after(at: Situation, change: Change) -> HostState:
    """The state that `change` leads to."""
    ended = {one.id for one in change.ended}
    return host_state(at.config, [one for one in at.state.directives if one.id not in ended] + list(change.created))


def due_change(which: MessageFilter, now: datetime, spread_s: int) -> DueChange:
    """Matching mail becomes due between `now` and `spread_s` later."""
    return DueChange(filter=which, now=int(now.timestamp() * 1000), spread=spread_s * 1000)


def moved(vmta: VmtaName, now: datetime) -> DueChange:
    """Mail that waits only because of `vmta`, which is out of service now, is tried again from others."""
    return due_change(MessageFilter(vmta=vmta, deferred_only=True), now, SPREAD_S)


def ended_detail(one: Directive) -> str:
    """What is said of a directive that ends."""
    what = f"{verb(one.kind, one.target)} of {one.target}"
    if one.kind is DirectiveKind.LIMIT:
        what = f"{one.limit} {one.value} of {one.target}"
    elif one.value:
        what = f"{one.kind} {one.value} of {one.target}"
    return f"{what} (by {one.author} since {one.created_at:%Y-%m-%d %H:%M} UTC) ends"
