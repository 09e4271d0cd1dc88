"""Marks before the final dot, and the list of possible duplicates."""

from pathlib import Path

import apsw
import pytest

from mailagent.api.views import InDoubt
from mailagent.spool import Spool, marks, recovery, schema
from mailagent.spool.ids import message_name, now_ms
from mailagent.spool.marks import read_marks
from tests.agent.spool.mail import accept, deferred, mark, message, removed, settle, spool_in


async def listed(spool: Spool) -> dict[str, InDoubt]:
    page = await spool.in_doubt("", 500)
    return {row.message_id: row for row in page.rows}


async def test_marks_are_open_until_the_outcome_is_stored(spool: Spool) -> None:
    one, other = message(spool), message(spool)
    await accept(spool, one, other)
    spool.mark([mark(one, at=now_ms())])
    spool.mark([mark(other, at=now_ms(), vmta="mkt-2")])
    assert (spool.open_marks, spool.open_marks_of("mkt-1"), spool.open_marks_of("mkt-2")) == (2, 1, 1)
    spool.settle([removed(one)])
    assert spool.open_marks == 2
    await settle(spool, deferred(other, due=1))
    assert (spool.open_marks, spool.open_marks_of("mkt-1"), spool.open_marks_of("mkt-2")) == (0, 0, 0)


async def test_an_open_mark_is_listed_at_the_next_start(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        delivered, put_off, cut = message(spool), message(spool), message(spool, "cut@example.com")
        await accept(spool, delivered, put_off, cut)
        spool.mark([mark(new, at=now_ms() - 1) for new in (delivered, put_off, cut)])
        await settle(spool, removed(delivered))
        await settle(spool, deferred(put_off, due=1))
    async with spool_in(tmp_path) as spool:
        assert spool.recovered.in_doubt == 1
        (row,) = (await listed(spool)).values()
        assert (row.message_id, row.recipient, row.vmta) == (
            message_name(cut.id, spool.tag),
            "cut@example.com",
            "mkt-1",
        )
        assert (row.remote, row.resolution) == ("198.51.100.1:25", "open")
        stored = await spool.message(row.message_id, 0)
        assert stored is not None
        assert stored.in_doubt
        await settle(spool, removed(cut))
        assert [row.resolution for row in (await listed(spool)).values()] == ["delivered"]
    async with spool_in(tmp_path) as spool:
        assert spool.recovered.in_doubt == 0


async def test_a_line_cut_after_the_dot_is_listed_at_once(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    spool.mark([mark(new, at=now_ms())])
    await settle(spool, deferred(new, due=1, in_doubt=True))
    assert spool.open_marks == 0
    assert [row.resolution for row in (await listed(spool)).values()] == ["open"]
    await settle(spool, removed(new, resolution="bounced"))
    assert [row.resolution for row in (await listed(spool)).values()] == ["bounced"]


async def test_the_side_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "COMPACT_BYTES", 1000)
    async with spool_in(tmp_path) as spool:
        open_one = message(spool)
        await accept(spool, open_one)
        spool.mark([mark(open_one, at=now_ms())])
        for _ in range(100):
            new = message(spool)
            await accept(spool, new)
            spool.mark([mark(new, at=now_ms())])
            await settle(spool, removed(new))
        side_file = tmp_path / marks.FILE_NAME
        assert side_file.stat().st_size < 2000
        assert mark(open_one, at=0).recipient in read_marks(side_file)


def test_half_a_line_is_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    path.write_bytes(b'[1,2,"v","s","r"]\n\x00\x00\n[]\n"x"\n[2,3,"v","s","r"]\n[7,8,"v"')
    assert sorted(read_marks(path)) == [1, 2]
    assert read_marks(tmp_path / "none") == {}


def another_boot(state_dir: Path) -> None:
    db = apsw.Connection(str(state_dir / schema.FILE_NAME))
    schema.set_meta(db, "boot_id", "another boot")
    db.close()


async def test_after_power_loss_everything_that_was_due_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "POWER_LOSS_LISTED", 3)
    async with spool_in(tmp_path, clean=False) as spool:
        waiting = [message(spool, at=1000 + n) for n in range(5)]
        later = message(spool)
        await accept(spool, *waiting, later)
        await settle(spool, deferred(later, due=now_ms() + 10**7))
    another_boot(tmp_path)
    async with spool_in(tmp_path) as spool:
        found = spool.recovered
        assert (found.power_lost, found.in_doubt, found.not_listed) == (True, 3, 2)
        assert found.ended == "the machine went down without a stop"
        assert set(await listed(spool)) == {message_name(new.id, spool.tag) for new in waiting[2:]}


async def test_a_clean_stop_before_a_reboot_leaves_no_doubt(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await accept(spool, message(spool, at=1000))
    another_boot(tmp_path)
    async with spool_in(tmp_path) as spool:
        assert (spool.recovered.power_lost, spool.recovered.in_doubt, spool.recovered.ended) == (False, 0, "")


async def test_a_crash_without_a_reboot_is_no_power_loss(tmp_path: Path) -> None:
    async with spool_in(tmp_path, clean=False) as spool:
        identity = (spool.spool_id, spool.tag)
        assert spool.recovered.ended == ""  # there was no run before
        await accept(spool, message(spool, at=1000))
    async with spool_in(tmp_path) as spool:
        assert (spool.recovered.clean, spool.recovered.power_lost, spool.recovered.in_doubt) == (False, False, 0)
        assert spool.recovered.ended == "the run before ended without a stop"
        assert (spool.spool_id, spool.tag) == identity


async def test_the_list_is_paged_newest_first(spool: Spool) -> None:
    for _ in range(5):
        new = message(spool)
        await accept(spool, new)
        spool.mark([mark(new, at=now_ms())])
        await settle(spool, deferred(new, due=1, in_doubt=True))
    names: list[str] = []
    cursor = ""
    while True:
        page = await spool.in_doubt(cursor, 2)
        names += [row.message_id for row in page.rows]
        cursor = page.cursor
        if not cursor:
            break
    assert len(names) == 5
    assert names == sorted(names, reverse=True)
