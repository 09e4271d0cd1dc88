"""Operations: verbs that were executed, with who, why, what and how to undo."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.directives import Directive
from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.targets import MessageFilter, Target


class Result(StrEnum):
    """What an operation did on one host, as far as the agent can say."""

    APPLIED = "applied"
    NOTHING_TO_DO = "nothing-to-do"
    PLANNED = "planned"  # a dry run


class MailPart(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting recipients of one pool, stream and provider."""

    pool: str
    stream: str
    provider: str  # empty: not known yet
    count: int


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Size of what a verb touches, counted by the agent."""

    messages: int = 0  # waiting recipients
    connections: int = 0
    share: float = 0.0  # of this host's deliveries in the last 15 minutes, 0 to 1
    untouched: tuple[str, ...] = ()  # in words: `pools transactional, cold`
    parts: tuple[MailPart, ...] = ()  # of verbs on mail, the largest first
    oldest_at: datetime | None = None  # of verbs on mail: arrival of the oldest


class OperationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a verb on one host."""

    op_id: OpId
    result: Result
    detail: str
    directives: tuple[Directive, ...] = ()  # made or ended by it
    impact: Impact = Impact()
    warnings: tuple[str, ...] = ()
    generation: int = 0  # of the target, after the act; of a dry run: as it is now, for `expect`
    undoable: bool = False
    undo_note: str = ""  # why not, or what undo will not bring back


class OperationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One executed operation in an agent's log."""

    op_id: OpId
    verb: str
    target: Target | None
    filter: MessageFilter | None
    author: str
    reason: str
    at: datetime
    result: Result
    detail: str
    created: tuple[DirectiveId, ...] = ()  # undo cancels these
    cancelled: tuple[Directive, ...] = ()  # undo puts these back
    undoable: bool = False
    undone_by: OpId | None = None
    undoes: OpId | None = None
