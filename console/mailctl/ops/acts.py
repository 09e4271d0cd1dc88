"""Operations in the hosts' logs: which of them people ordered, and which can be undone still. Pure."""

from collections.abc import Collection, Iterable
from datetime import UTC
from typing import Final, TypeVar

from mailagent.api.ids import OpId
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.targets import TargetKind
from mailagent.api.words import verb

Host = TypeVar("Host", bound=str)

AGENTS: Final = frozenset(("mailagent", "automation"))
"""Authors that are no people."""
CONSOLE: Final = "console"
"""Noted when somebody's console follows a host for a minute, and when it has gone."""
OF_HOSTS: Final = frozenset(
    ("start", "stop", "clock", "standstill", "listed", "delisted", "unproven", "proven", "warm-up", CONSOLE)
)
OUTCOMES: Final = frozenset(
    ("released", "rebound", "requeued", "retried", "freed", "bounced", "deleted", "evacuate_admit", "evacuate_end")
)
"""What an order came to, noted by the host in the name of who gave it."""


def is_act(record: OperationRecord) -> bool:
    """Whether somebody ordered it; the rest is what hosts did by themselves, and how orders went on."""
    return record.author not in AGENTS and record.verb not in OUTCOMES | OF_HOSTS


def operation_of(record: OperationRecord) -> OpId:
    """The id of the whole operation that a host's record is a step of."""
    return OpId(record.op_id.partition(".")[0])


def verb_and_target(record: OperationRecord) -> str:
    """`drain pool:marketing`, `pause job:spring`."""
    return " ".join(filter(None, (verb(record.verb, record.target), str(record.target or ""))))


def told(record: OperationRecord) -> str:
    """`drain pool:marketing, 14:05:09 UTC`."""
    return f"{verb_and_target(record)}, {record.at.astimezone(UTC):%H:%M:%S} UTC"


def undo_words(record: OperationRecord, live: Collection[str]) -> str:
    """Whether undo has something to do; `live` are the orders that stand on its host, and those that they continue."""
    if record.undone_by:
        return f"undone by {record.undone_by}"
    if record.verb == "config_apply" and record.result is Result.APPLIED:
        return "apply --undo"  # in batches, as it was done
    if not record.undoable:
        return "no"
    ended = record.created and not record.cancelled and not any(one in live for one in record.created)
    return "ended" if ended else "possible"


def by_operation(records: Iterable[tuple[Host, OperationRecord]]) -> list[list[tuple[Host, OperationRecord]]]:
    """Records that are one line to a reader: of one operation, verb and result, about one thing or each about its
    own host."""
    groups: dict[tuple[str, ...], list[tuple[Host, OperationRecord]]] = {}
    for host, record in records:
        target = record.target
        about = "" if target is not None and target.kind is TargetKind.HOST else str(target or record.undoes or "")
        groups.setdefault((operation_of(record), record.verb, about, record.result), []).append((host, record))
    return list(groups.values())
