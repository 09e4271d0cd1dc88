"""Operations and directives, and the due times that they change."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mailagent.api.directives import Directive, DirectiveKind, DirectiveState
from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.operations import OperationRecord, OperationResult, Result
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.spool import ItemRefused, Spool, queues
from mailagent.spool.records import DueChange, LedgerEntry, StoredOperation
from tests.agent.spool.mail import NOW, accept, deferred, load, message, settle, spool_in

POOL = Target(kind=TargetKind.POOL, name="marketing")


def operation(op_id: str, at: datetime | None = None) -> StoredOperation:
    return StoredOperation(
        digest="d" * 8,
        record=OperationRecord(
            op_id=OpId(op_id),
            verb="drain",
            target=POOL,
            filter=None,
            author="alice",
            reason="test",
            at=at or datetime.now(UTC),
            result=Result.APPLIED,
            detail="done",
            undoable=True,
        ),
        result=OperationResult(op_id=OpId(op_id), result=Result.APPLIED, detail="done"),
    )


def directive(name: str, op_id: str = "op-1") -> Directive:
    return Directive(
        id=DirectiveId(name),
        kind=DirectiveKind.DRAIN,
        target=POOL,
        author="alice",
        reason="test",
        created_at=datetime.now(UTC),
        expires_at=None,
        op_id=OpId(op_id),
    )


async def test_operations_and_directives_survive_a_restart(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        first = operation("op-1")
        standing = directive("d-1")
        assert await spool.record(LedgerEntry(operation=first, directives=[standing])) == 0
    async with spool_in(tmp_path) as spool:
        assert await spool.stored_operation("op-1") == first
        assert await spool.stored_operation("op-2") is None
        assert await spool.directives() == [standing]


async def test_an_ended_directive_is_not_live_and_an_undone_operation_says_so(spool: Spool) -> None:
    standing = directive("d-1")
    await spool.record(LedgerEntry(operation=operation("op-1"), directives=[standing]))
    ended = msgspec.structs.replace(standing, state=DirectiveState.CANCELLED, ended_at=datetime.now(UTC))
    await spool.record(LedgerEntry(operation=operation("op-2"), directives=[ended], undone=("op-1",)))
    assert await spool.directives() == []
    page = await spool.operations("", 10)
    assert [(record.op_id, record.undone_by) for record in page.rows] == [("op-2", None), ("op-1", "op-2")]


async def test_an_op_id_is_stored_once(spool: Spool) -> None:
    await spool.record(LedgerEntry(operation=operation("op-1")))
    with pytest.raises(ItemRefused, match="op-1"):
        await spool.record(LedgerEntry(operation=operation("op-1"), directives=[directive("d-1")]))
    assert await spool.directives() == []


async def test_operations_are_paged_newest_first_and_forgotten_after_a_week(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.record(LedgerEntry(operation=operation("old", datetime.now(UTC) - timedelta(days=8))))
        for number in range(5):
            await spool.record(LedgerEntry(operation=operation(f"op-{number}")))
    async with spool_in(tmp_path) as spool:
        first = await spool.operations("", 3)
        second = await spool.operations(first.cursor, 3)
        assert [record.op_id for record in first.rows + second.rows] == [f"op-{n}" for n in (4, 3, 2, 1, 0)]
        assert second.cursor == ""


async def test_retry_now_spreads_what_waits_for_later(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "SLICE_ROWS", 30)
    mails = [message(spool, f"user{n}@{n % 7}.example") for n in range(100)]
    await accept(spool, *mails)
    await settle(spool, *(deferred(new, due=NOW + 3_600_000, vmta=f"mkt-{n % 2}") for n, new in enumerate(mails[:80])))
    for new in mails:
        spool.release([new.recipients[0].queue])
    entry = LedgerEntry(
        operation=operation("retry"),
        due=DueChange(filter=MessageFilter(vmta="mkt-1", deferred_only=True), now=NOW, spread=40_000),
    )
    assert await spool.record(entry) == 40
    rows = [row for n in range(7) for row in await load(spool, mails[n].recipients[0].queue, NOW + 10**7)]
    assert len(rows) == 100
    spread = sorted(row.due for row in rows if row.vmta == "mkt-1")
    assert spread == [NOW + 1000 * place for place in range(40)]
    assert {row.due for row in rows if row.vmta == "mkt-0"} == {NOW + 3_600_000}
    due, _ = await spool.due_queues(NOW + 40_000, 100, "normal")
    assert len(due) == 7


async def test_retry_now_never_makes_anything_later(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    await settle(spool, deferred(new, due=NOW + 10))
    other = message(spool)
    await accept(spool, other)
    await settle(spool, deferred(other, due=NOW + 20))
    change = DueChange(filter=MessageFilter(), now=NOW, spread=60_000)
    assert await spool.record(LedgerEntry(operation=operation("retry"), due=change)) == 2
    rows = await load(spool, new.recipients[0].queue, NOW + 10**6)
    assert [row.due for row in rows] == [NOW, NOW + 20]
