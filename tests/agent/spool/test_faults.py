"""A disk that fails, a disk that is full, a second owner."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from mailagent.api.targets import MessageFilter
from mailagent.spool import (
    Spool,
    SpoolLocked,
    SpoolUnusable,
    StorageError,
    StorageFailed,
    StorageFull,
    checkpoints,
    schema,
    spool_check,
    spool_list,
    writer,
)
from mailagent.spool.ids import message_name
from mailagent.spool.records import LedgerEntry
from tests.agent.spool.mail import NOW, accept, deferred, mark, message, removed, settle, spool_in, until
from tests.agent.spool.test_ledger import directive, operation


class Disk:
    """Switches of the faulty file layer."""

    sync_fails = 0  # errno
    full = False
    full_but_log = False
    database_full = False  # and not the journal
    has_torn = False  # a frame of the journal was written by half


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, base: str, filename: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(base, filename, flags)
        self._disk = disk
        name = filename.filename() if isinstance(filename, apsw.URIFilename) else filename or ""
        self._is_log = name.endswith("-wal")

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.sync_fails:
            raise apsw.IOError("injected: sync failed")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.full or self._disk.database_full or (self._disk.full_but_log and not self._is_log):
            raise apsw.FullError("injected: no space left on device")
        super().xWrite(data, offset)


class _Layer(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("faulty", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._disk, "", name, flags)

    def excepthook(self, *_: object) -> bool:
        """The spool reports what matters."""
        return True


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    faults = Disk()
    layer = _Layer(faults)
    pwritev, fdatasync = os.pwritev, os.fdatasync  # of the journal

    def write(file: int, buffers: Sequence[bytes], offset: int) -> int:
        if not faults.full:
            return pwritev(file, buffers, offset)
        if faults.has_torn:
            raise OSError(errno.ENOSPC, "injected: no space left on device")
        faults.has_torn = True
        return os.pwrite(file, b"".join(buffers)[:-5], offset)

    def sync(file: int) -> None:
        fdatasync(file)
        if faults.sync_fails:
            raise OSError(faults.sync_fails, "injected: sync failed")

    monkeypatch.setattr(os, "pwritev", write)
    monkeypatch.setattr(os, "fdatasync", sync)
    yield faults
    layer.unregister()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_failed_sync_stops_the_spool_for_good(tmp_path: Path, disk: Disk, number: int) -> None:
    """Also when there was no room: what was written may be there or not."""
    failures: list[StorageFailed] = []
    spool = await Spool.open(tmp_path, on_failure=failures.append, vfs="faulty")
    kept, lost, late = message(spool), message(spool), message(spool)
    await accept(spool, kept)
    disk.sync_fails = number
    with pytest.raises(StorageFailed, match="check the disk"):
        await accept(spool, lost)
    disk.sync_fails = 0  # a later sync that works proves nothing
    with pytest.raises(StorageFailed):
        await accept(spool, late)
    with pytest.raises(StorageFailed):
        spool.mark([mark(kept, at=1)])
    assert len(failures) == 1
    assert spool.failed is failures[0]
    await spool.close(clean=True)
    async with spool_in(tmp_path) as spool:
        assert not spool.recovered.clean
        assert kept.id in await spool.bodies([kept.id, late.id])
        assert late.id not in await spool.bodies([late.id])


async def test_a_full_disk_refuses_mail_and_recovers(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_S", 0.01)
    failures: list[StorageFailed] = []
    spool = await Spool.open(tmp_path, on_failure=failures.append, vfs="faulty")
    old, refused = message(spool), message(spool)
    await accept(spool, old)
    disk.full = True
    stored = asyncio.Event()
    answers: list[StorageError | None] = []
    spool.settle([removed(old)], stored.set)
    spool.accept(refused, answers.append)
    await until(lambda: bool(answers))
    assert isinstance(answers[0], StorageFull)
    assert not stored.is_set()
    disk.full = False
    async with asyncio.timeout(10):
        await stored.wait()
    await accept(spool, message(spool))
    assert failures == []
    await spool.close(clean=True)
    assert spool_check(tmp_path) == []
    assert len(spool_list(tmp_path, 10)) == 1


async def test_a_database_without_room_keeps_what_the_journal_has(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_S", 0.01)
    spool = await Spool.open(tmp_path, vfs="faulty")
    kept, gone = message(spool), message(spool)
    await accept(spool, kept, gone)
    disk.database_full = True
    await settle(spool, removed(gone))  # the journal has room
    writing = asyncio.ensure_future(
        spool.record(LedgerEntry(operation=operation("op-1"), directives=[directive("d-1")]))
    )
    await until(lambda: bool(spool.stuck))
    disk.database_full = False
    await asyncio.wait_for(writing, 10)
    assert [row.message_id for row in (await spool.messages(MessageFilter(), "", 9)).rows] == [
        message_name(kept.id, spool.tag)
    ]
    await spool.close(clean=True)
    assert spool_check(tmp_path) == []


async def test_what_the_database_refuses_of_the_journal_is_blamed_on_nobody_while_there_is_no_room(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_S", 0.01)
    spool = await Spool.open(tmp_path, vfs="faulty")
    known = message(spool)
    await accept(spool, known)
    assert await spool.oldest() == NOW
    await accept(spool, known)  # once more: the journal takes it
    disk.database_full = True
    asking = asyncio.ensure_future(spool.due_queues(NOW, 9, "normal"))
    await until(lambda: bool(spool.stuck))
    disk.database_full = False
    queues, _ = await asyncio.wait_for(asking, 10)
    assert [queue.waiting for queue in queues] == [1]
    await spool.close(clean=True)


async def test_what_is_read_to_be_sure_of_the_ledger_has_what_nobody_waits_for_any_more(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order whose recording timed out may still come to be written; then it is in effect, not after a restart."""
    monkeypatch.setattr(writer, "PAUSE_S", 0.01)
    spool = await Spool.open(tmp_path, vfs="faulty")
    await accept(spool, message(spool))
    disk.full = True
    given_up = asyncio.ensure_future(
        spool.record(LedgerEntry(operation=operation("op-1"), directives=[directive("d-1")]))
    )
    await until(lambda: bool(spool.stuck))
    given_up.cancel()
    reading = asyncio.ensure_future(asyncio.wait_for(spool.directives(), 10))
    await spool.oldest()  # the reader has had its turn
    disk.full = False
    assert [one.id for one in await reading] == ["d-1"]
    await spool.close(clean=True)


async def test_a_checkpoint_that_finds_no_room_is_not_told_with_each_commit(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log may have room that was its own: then mail flows, and hundreds of lines a second would take the rest."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 1)
    spool = await Spool.open(tmp_path, vfs="faulty")
    disk.full_but_log = True
    for _ in range(20):
        await accept(spool, message(spool))
    assert caplog.text.count("checkpoint put off") == 1
    disk.full_but_log = False
    await spool.close(clean=True)
    assert spool_check(tmp_path) == []


async def test_a_disk_that_stays_full_stops_the_spool(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_S", 0.01)
    monkeypatch.setattr(writer, "PATIENCE_S", 0.05)
    failures: list[StorageFailed] = []
    spool = await Spool.open(tmp_path, on_failure=failures.append, vfs="faulty")
    old = message(spool)
    await accept(spool, old)
    disk.full = True
    spool.settle([deferred(old, due=5)])
    await until(lambda: bool(failures))
    await spool.close(clean=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
async def test_accounting_that_cannot_be_written_holds_the_commit(tmp_path: Path, number: int) -> None:
    trouble = [OSError(number, "injected")]

    def write(_lines: list[bytes]) -> None:
        if trouble:
            raise trouble[0]

    failures: list[StorageFailed] = []
    spool = await Spool.open(tmp_path, before_commit=write, on_failure=failures.append)
    new = message(spool)
    await accept(spool, new)
    if number == errno.EIO:
        spool.settle([removed(new, line=b"x")])
        await until(lambda: bool(failures))
    else:
        stored = asyncio.Event()
        spool.settle([removed(new, line=b"x")], stored.set)
        with pytest.raises(StorageFull):
            await accept(spool, message(spool))
        assert "injected" in spool.stuck
        trouble.clear()
        async with asyncio.timeout(10):
            await stored.wait()
        assert spool.stuck == ""
    await spool.close(clean=True)
    assert len(spool_list(tmp_path, 10)) == (1 if number == errno.EIO else 0)


async def test_a_second_owner_is_refused_by_name(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        with pytest.raises(SpoolLocked, match=r"\(pid \d+\)"):
            await Spool.open(tmp_path)
        await accept(spool, message(spool))
    async with spool_in(tmp_path):
        pass


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom mailagent.spool import Spool\n"
        "asyncio.run(Spool.open(Path(sys.argv[1])))"
    )
    async with spool_in(tmp_path):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(tmp_path), stderr=subprocess.PIPE
        )
        async with asyncio.timeout(20):
            _, stderr = await process.communicate()
    assert process.returncode == 1
    assert b"the spool belongs to" in stderr


async def test_readers_do_not_block_and_are_not_blocked(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await accept(spool, message(spool))
        reader = schema.open_reader(tmp_path / schema.FILE_NAME)
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM message").fetchall()
        await accept(spool, *(message(spool) for _ in range(50)))
        await settle(spool, removed(message(spool)))
        assert sum(total.count for total in await spool.waiting_totals()) == 51  # all is in the database
        assert reader.execute("SELECT count(*) FROM message").fetchall() == before
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM message").fetchall() == [(51,)]
        assert spool_check(tmp_path) == []
        reader.close()


def test_an_sqlite_with_the_wal_reset_bug_is_refused() -> None:
    for version in ("3.40.1", "3.51.2"):
        with pytest.raises(SpoolUnusable, match=r"3\.51\.3"):
            schema.require_library(version)
    schema.require_library("3.51.3")


async def test_a_spool_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with spool_in(tmp_path):
        pass
    db = apsw.Connection(str(tmp_path / schema.FILE_NAME))
    db.pragma("user_version", 99)
    db.close()
    with pytest.raises(SpoolUnusable, match="version 99"):
        await Spool.open(tmp_path)


async def test_a_file_that_is_no_spool_is_named(tmp_path: Path) -> None:
    (tmp_path / schema.FILE_NAME).write_bytes(b"not a database, " * 1000)
    with pytest.raises(StorageFailed, match=r"spool\.db"):
        await Spool.open(tmp_path)
    with pytest.raises(SpoolUnusable):
        spool_list(tmp_path / "nowhere", 10)
