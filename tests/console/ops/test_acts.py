"""What people ordered, told apart from what hosts note by themselves."""

from datetime import UTC, datetime

import msgspec
import pytest

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, HostName, OpId
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.targets import Target, TargetKind
from mailagent.api.words import command
from mailctl.ops.acts import by_operation, is_act, told, undo_words

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
DRAIN = OperationRecord(
    op_id=OpId("op1.0"),
    verb="drain",
    target=Target(kind=TargetKind.POOL, name="marketing"),
    filter=None,
    author="alice",
    reason="",
    at=NOON,
    result=Result.APPLIED,
    detail="",
    created=(DirectiveId("op1.0-1"),),
    undoable=True,
)
ENDED = Directive(
    id=DirectiveId("old-1"),
    kind=DirectiveKind.SUSPEND,
    target=Target(kind=TargetKind.POOL, name="marketing"),
    author="bob",
    reason="",
    created_at=NOON,
    expires_at=None,
    op_id=OpId("old"),
)


@pytest.mark.parametrize(
    ("verb", "author", "act"),
    [
        ("drain", "alice", True),
        ("undo", "alice", True),
        ("evacuate", "alice", True),
        ("released", "alice", False),  # a hold whose mail was let go, noted in the name of who gave it
        ("evacuate_admit", "alice", False),
        ("shape", "automation", False),
        ("expire", "mailagent", False),
        ("start", "mailagent", False),
        ("reload", "SIGHUP", True),
    ],
)
def test_an_act_is_what_somebody_ordered(verb: str, author: str, act: bool) -> None:
    assert is_act(msgspec.structs.replace(DRAIN, verb=verb, author=author)) is act


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("drain", "drain"),
        ("config_apply", "apply"),
        ("config_undo", "apply --undo"),
        ("credential_rotate", "credentials rotate"),
        ("evacuate_admit", "evacuate admit"),
    ],
)
def test_a_record_is_told_in_the_words_of_operators(verb: str, words: str) -> None:
    assert command(verb) == words
    assert told(msgspec.structs.replace(DRAIN, verb=verb)) == f"{words} pool:marketing, 12:00:00 UTC"


def test_undo_has_nothing_to_do_for_an_order_that_has_ended() -> None:
    assert undo_words(DRAIN, {"op1.0-1"}) == "possible"
    assert undo_words(DRAIN, set()) == "ended"
    assert undo_words(msgspec.structs.replace(DRAIN, cancelled=(ENDED,)), set()) == "possible"
    assert undo_words(msgspec.structs.replace(DRAIN, undone_by=OpId("op2")), {"op1.0-1"}) == "undone by op2"
    assert undo_words(msgspec.structs.replace(DRAIN, undoable=False), set()) == "no"
    apply = msgspec.structs.replace(DRAIN, verb="config_apply", undoable=False)
    assert undo_words(apply, set()) == "apply --undo"
    assert undo_words(msgspec.structs.replace(apply, result=Result.NOTHING_TO_DO), set()) == "no"


def test_a_note_on_three_hosts_is_one_line() -> None:
    def note(host: str) -> tuple[HostName, OperationRecord]:
        target = Target(kind=TargetKind.HOST, name=host)
        return HostName(host), msgspec.structs.replace(DRAIN, verb="note_add", target=target)

    assert len(by_operation([note("mx1"), note("mx2"), note("mx3")])) == 1
    assert len(by_operation([note("mx1"), (HostName("mx1"), DRAIN)])) == 2
