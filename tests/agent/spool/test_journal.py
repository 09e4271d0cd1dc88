"""What is durable before the database has it."""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.spool import Spool, StorageFailed, journal, schema, spool_check, spool_list, writer
from mailagent.spool.ids import recipient_id
from mailagent.spool.journal import MARK_BYTES, Entry, Journal, payload, read_journal
from mailagent.spool.reader import Priority
from mailagent.spool.schema import open_in_memory
from mailagent.spool.transaction import Transaction
from tests.agent.spool.mail import NOW, accept, deferred, durable, ids, load, mark, message, removed, settle, spool_in
from tests.agent.spool.test_jobs import left, numbers, of_job

MARK = b"m" * MARK_BYTES


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stored because its time has come."""
    monkeypatch.setattr(writer, "STORE_S", 600.0)


def stored(state_dir: Path) -> int:
    """Messages in the database."""
    db = schema.open_reader(state_dir / schema.FILE_NAME)
    ((count,),) = db.execute("SELECT count(*) FROM message")
    db.close()
    return int(count)


def killed(state_dir: Path, into: Path) -> Path:
    """What a kill would leave now."""
    return Path(shutil.copytree(state_dir, into))


async def test_new_mail_comes_into_the_database_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with spool_in(tmp_path) as spool:
        monkeypatch.setattr(writer, "STORE_S", 0.1)
        await accept(spool, message(spool), message(spool))
        for _ in range(200):
            if stored(tmp_path):
                break
            await asyncio.sleep(0.02)
        assert stored(tmp_path) == 2


async def test_a_killed_agent_finds_all_that_it_acknowledged(tmp_path: Path) -> None:
    async with spool_in(tmp_path / "live") as spool:
        kept, gone, late = (message(spool, f"{name}@example.com") for name in ("kept", "gone", "late"))
        await accept(spool, kept, gone, late)
        await settle(spool, removed(gone))
        await settle(spool, deferred(late, due=NOW + 5))
        spool.mark([mark(kept, at=NOW)])
        assert stored(tmp_path / "live") == 0
        left_behind = killed(tmp_path / "live", tmp_path / "dead")
    shown = [(row.recipient, row.attempts) for row in spool_list(left_behind, 9)]
    assert shown == [("kept@example.com", 0), ("late@example.com", 1)]
    async with spool_in(left_behind) as spool:
        rows = await load(spool, kept.recipients[0].queue, NOW + 10)
        assert [(row.message, row.attempts) for row in rows] == [(kept.id, 0), (late.id, 1)]
        assert await spool.bodies([kept.id, gone.id]) == {kept.id: kept.body}
        assert spool.recovered.in_doubt == 1
        assert spool.new_message_id() > late.id
    assert spool_check(left_behind) == []


async def test_what_left_the_database_by_the_journal_is_not_listed(tmp_path: Path) -> None:
    async with spool_in(tmp_path / "live") as spool:
        first, second = message(spool, "first@example.com"), message(spool, "second@example.com")
        await accept(spool, first, second)
        assert await spool.oldest() == NOW  # both are in the database
        await settle(spool, removed(first))
        left_behind = killed(tmp_path / "live", tmp_path / "dead")
    assert stored(left_behind) == 2
    assert [row.recipient for row in spool_list(left_behind, 1)] == ["second@example.com"]


async def test_nothing_counts_twice(tmp_path: Path) -> None:
    """A journal that is left over beside a database that has it all."""
    async with spool_in(tmp_path / "live") as spool:
        new = message(spool)
        await accept(spool, new)
        old = killed(tmp_path / "live", tmp_path / "old") / journal.FILE_NAME
    shutil.copy(old, tmp_path / "live" / journal.FILE_NAME)
    async with spool_in(tmp_path / "live") as spool:
        assert ids(await load(spool, new.recipients[0].queue)) == [recipient_id(new.id, 0)]
    assert spool_check(tmp_path / "live") == []


async def test_a_full_journal_goes_to_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "JOURNAL_BYTES", 10_000)
    async with spool_in(tmp_path) as spool:
        for _ in range(5):
            await accept(spool, message(spool, body=b"x" * 4000))
        assert 2 <= stored(tmp_path) < 5
        await accept(spool, message(spool, body=b"x" * 20_000))
        assert stored(tmp_path) == 6


async def test_a_change_that_the_database_refuses_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The journal took it, and the spool has to start."""
    async with spool_in(tmp_path / "live") as spool:
        known = message(spool)
        await accept(spool, known)
        assert await spool.oldest() == NOW
        new = message(spool)
        await accept(spool, new, known)  # once more
        left_behind = killed(tmp_path / "live", tmp_path / "dead")
        assert sorted(ids(await load(spool, new.recipients[0].queue))) == [
            recipient_id(known.id, 0),
            recipient_id(new.id, 0),
        ]
        assert caplog.text.count("a change is lost") == 1
    caplog.clear()
    async with spool_in(left_behind) as spool:
        assert len(await load(spool, new.recipients[0].queue)) == 2
        assert caplog.text.count("a change is lost") == 1
    assert spool_check(left_behind) == []


async def test_jobs_count_mail_that_the_database_never_had(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        new = of_job(spool, "a@example.com", "b@example.com")
        await accept(spool, new)
        await settle(spool, left(new), left(new))
        await settle(spool, left(new, 1, "bounced"))
        await settle(spool, left(new, 1))
        assert [numbers(count) for count in await spool.jobs()] == [(2, 0, 0, 1, 1, 0)]
        assert await spool.oldest() is None
    assert spool_check(tmp_path) == []


async def test_a_possible_duplicate_stays_on_the_list(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    spool.mark([mark(new, at=NOW)])
    await settle(spool, deferred(new, due=1, in_doubt=True))
    await settle(spool, removed(new))
    assert [row.resolution for row in (await spool.in_doubt("", 9)).rows] == ["delivered"]


async def test_mail_that_leaves_changes_nothing_in_the_database(spool: Spool) -> None:
    db = open_in_memory()
    staged = Transaction(db, b"key", set())
    one = message(spool, admitted=True)
    many = message(spool, "a@example.com", "b@example.org", admitted=True)
    for new in (one, many):
        staged.accept(new)
    staged.settle([removed(one), removed(many, 1), removed(many, 0)], NOW, ())
    before = db.total_changes()
    staged.flush()
    assert db.total_changes() == before


def facts(state_dir: Path, name: str) -> object:
    """One of the spool's own facts, as the database has it."""
    db = schema.open_reader(state_dir / schema.FILE_NAME)
    try:
        return schema.meta(db, name)
    finally:
        db.close()


async def test_queues_that_come_and_go_do_not_need_the_database(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        mark_before = facts(tmp_path, "journal")
        for _ in range(5):
            new = message(spool, admitted=True)
            await accept(spool, new)
            await settle(spool, removed(new))
            spool.release([new.recipients[0].queue])
        await durable(spool)
        assert facts(tmp_path, "journal") == mark_before
        assert await spool.due_queues(NOW, 10, "normal") == ([], None)


async def test_queues_whose_mail_is_tried_again_do_not_need_the_database(tmp_path: Path) -> None:
    """Changes of their rows and of their states take turns, and come to the database in this order."""
    async with spool_in(tmp_path) as spool:
        kept = message(spool)
        queue = kept.recipients[0].queue
        await accept(spool, kept)
        mark_before = facts(tmp_path, "journal")
        for number in range(1, 6):
            spool.hold(queue)
            await settle(spool, deferred(kept, due=NOW + number, number=number))
            spool.release([queue])
        await durable(spool)
        assert facts(tmp_path, "journal") == mark_before
        (row,) = await load(spool, queue, NOW + 9)
        assert (row.due, row.attempts) == (NOW + 5, 5)
        (due,), _ = await spool.due_queues(NOW + 9, 10, "normal")
        assert (due.id, due.next_due, due.waiting) == (queue, NOW + 5, 1)


async def test_the_database_is_not_given_too_much_at_once(tmp_path: Path) -> None:
    """Each try begins a stage."""
    async with spool_in(tmp_path) as spool:
        kept = message(spool)
        await accept(spool, kept)
        mark_before = facts(tmp_path, "journal")
        for number in range(1, writer.STAGES + 2):
            spool.hold(kept.recipients[0].queue)
            await settle(spool, deferred(kept, due=NOW + number, number=number))
        assert facts(tmp_path, "journal") != mark_before
        (row,) = await load(spool, kept.recipients[0].queue, NOW + 999)
        assert (row.due, row.attempts) == (NOW + writer.STAGES + 1, writer.STAGES + 1)


async def test_a_queue_keeps_its_site_when_its_first_mail_leaves_at_once(spool: Spool) -> None:
    first, second = message(spool, admitted=True), message(spool, admitted=True)
    await accept(spool, first)
    spool.placed(first.recipients[0].queue, "mx.gmail", "gmail")
    await settle(spool, removed(first))
    assert [total.count for total in await spool.waiting_totals()] == [0]
    await accept(spool, second)
    assert [total.provider for total in await spool.waiting_totals()] == ["gmail"]


async def test_a_change_that_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours, or of a later version."""
    async with spool_in(tmp_path) as spool:
        kept = message(spool)
    mark = facts(tmp_path, "journal")
    assert isinstance(mark, bytes)
    file = Journal(tmp_path / journal.FILE_NAME)
    file.begin(mark)
    file.append(payload(NOW, [("park", ("odd", 1)), ("accept", (kept,)), ("brew", ())]))
    file.close()
    async with spool_in(tmp_path) as spool:
        assert ids(await load(spool, kept.recipients[0].queue)) == [recipient_id(kept.id, 0)]
    assert caplog.text.count("a change in the journal is lost") == 2


async def test_a_journal_that_was_damaged_stops_the_spool(tmp_path: Path) -> None:
    """What is still in memory is not thrown away for what can be read back."""

    def refused(_: Transaction) -> None:
        raise ValueError("a fault")

    spool = await Spool.open(tmp_path)
    await accept(spool, message(spool))
    path = tmp_path / journal.FILE_NAME
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageFailed, match="reading the journal"):
        await spool.change_held(refused)
    assert spool.failed is not None
    assert await spool.jobs() == []  # what the database has can be looked at
    await spool.close(clean=True)


async def test_the_time_of_the_last_commit_is_noted_when_all_mail_leaves_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool_in(tmp_path) as spool:
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        new = message(spool, admitted=True)
        await accept(spool, new)
        await settle(spool, removed(new))
        assert await spool.oldest() is None
        assert facts(tmp_path, "last_commit") == int(later * 1000)


def frames_in(path: Path) -> list[list[Entry]]:
    return [entries for _, entries in read_journal(path, MARK)]


@given(st.data())
def test_a_torn_end_is_left_out_and_what_is_before_it_counts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / journal.FILE_NAME
    file = Journal(path)
    file.begin(MARK)
    frames: list[list[Entry]] = []
    ends = [0]
    for queues in data.draw(st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1, max_size=5)):
        frames.append([("release", ([queue],)) for queue in queues])
        file.append(payload(NOW, frames[-1]))
        ends.append(file.size)
    file.close()
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    intact = sum(end <= at for end in ends) - 1
    path.write_bytes(whole[:at])
    assert frames_in(path) == frames[:intact]
    path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    assert frames_in(path) == frames[:intact]
    path.write_bytes(whole + data.draw(st.binary()))
    assert frames_in(path) == frames


def test_frames_of_another_mark_do_not_count(tmp_path: Path) -> None:
    file = Journal(tmp_path / journal.FILE_NAME)
    file.begin(b"o" * MARK_BYTES)
    for _ in range(3):
        file.append(payload(NOW, [("park", (1, "old"))]))
    file.begin(MARK)
    file.append(payload(NOW, [("park", (1, "new"))]))
    assert [entries for _, entries in file.own_frames()] == [[("park", (1, "new"))]]
    file.close()
    assert frames_in(tmp_path / journal.FILE_NAME) == [[("park", (1, "new"))]]
    assert read_journal(tmp_path / "nowhere", MARK) == []


async def test_a_body_is_found_though_the_database_got_it_while_it_was_read(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = message(spool)
    await accept(spool, new)
    read = spool._reader.run

    async def slow(priority: Priority, work: Callable[[apsw.Connection], Any]) -> Any:
        found = await read(priority, work)
        await spool._catch_up()
        return found

    monkeypatch.setattr(spool._reader, "run", slow)
    assert await spool.bodies([new.id]) == {new.id: new.body}


async def test_a_mail_comes_back_as_it_was(spool: Spool) -> None:
    new = msgspec.structs.replace(
        message(spool, "ünï@exämple.com", body=bytes(range(256)) * 4), utf8=True, user="anna", envid="x+2By", ret="HDRS"
    )
    settlement = msgspec.structs.replace(deferred(new, due=7, text="nö\\xff"), dsn=message(spool))
    entries: list[Entry] = [("accept", (new,)), ("settle", ([settlement], NOW, [mark(new, at=5)]))]
    file = Journal(spool._marks._path.parent / "other")
    file.begin(MARK)
    file.append(payload(NOW, entries))
    assert file.own_frames() == [(NOW, entries)]
    file.close()


async def test_a_release_stays_behind_a_second_deferral(spool: Spool) -> None:
    db = open_in_memory()
    staged = Transaction(db, b"key", set())
    first, second = message(spool, admitted=True), message(spool, admitted=True)
    staged.accept(first)
    staged.settle([deferred(first, due=5)], NOW, ())
    staged.settle([deferred(first, due=9, number=2)], NOW, ())
    staged.release([first.recipients[0].queue])
    staged.accept(second)
    staged.flush()
    assert db.execute("SELECT next_due FROM queue").fetchall() == [(9,)]
