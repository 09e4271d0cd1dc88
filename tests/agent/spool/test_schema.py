"""Upgrades of a spool, and what messages bring along beyond the usual."""

from pathlib import Path

import apsw
import msgspec
import pytest

from mailagent.spool import SpoolUnusable
from mailagent.spool.records import NewMessage, Waiting
from mailagent.spool.schema import _FIRST_VERSION, _STEPS, FILE_NAME, SCHEMA_VERSION, open_reader
from tests.agent.spool.mail import NOW, accept, load, message, spool_in

OLD_MESSAGE = 189_000_000_000_000
OLD_QUEUE = 77


def old_spool(state_dir: Path) -> None:
    """A spool of the first version with a message in it."""
    db = apsw.Connection(str(state_dir / FILE_NAME))
    db.pragma("journal_mode", "wal")
    with db:
        db.execute(_STEPS[0])
        db.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, 'news', 'marketing', 'job-1', '192.0.2.7', 20, 0, ?)",
            (OLD_MESSAGE, NOW, NOW + 86_400_000, b"a@b.example", b"Received: x\r\n"),
        )
        db.execute("INSERT INTO body VALUES (?, ?)", (OLD_MESSAGE, b"Subject: x\r\n\r\nx\r\n"))
        db.execute(
            "INSERT INTO recipient (id, queue, due, address) VALUES (?, ?, ?, ?)",
            (OLD_MESSAGE << 12, OLD_QUEUE, NOW, b"anna@example.com"),
        )
        db.execute(
            "INSERT INTO queue (id, pool, stream, priority, domain, next_due, waiting)"
            " VALUES (?, 'marketing', 'news', 'normal', 'example.com', ?, 1)",
            (OLD_QUEUE, NOW),
        )
        db.pragma("user_version", _FIRST_VERSION)
    db.close()


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    found = {
        table: list(db.execute(f"SELECT name, type, dflt_value FROM pragma_table_info('{table}')")) for table in tables
    }
    db.close()
    return found


async def test_a_spool_of_the_first_version_is_brought_up_to_date_with_its_mail(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    old_spool(old)
    with pytest.raises(SpoolUnusable, match="next start"):
        open_reader(old / FILE_NAME)
    async with spool_in(old) as spool:
        assert spool.recovered.recipients == 1
        (row,) = await load(spool, OLD_QUEUE)
        assert (row.address, row.utf8, row.user, row.ret, row.envid, row.notify, row.orcpt) == (
            b"anna@example.com", False, "", "", "", "", "",
        )  # fmt: skip
        await accept(spool, message(spool))
    async with spool_in(new):
        pass
    assert columns(old / FILE_NAME) == columns(new / FILE_NAME)
    db = open_reader(old / FILE_NAME)
    assert db.pragma("user_version") == SCHEMA_VERSION
    db.close()


def extras(row: Waiting) -> tuple[object, ...]:
    return row.utf8, row.user, row.ret, row.envid, row.notify, row.orcpt


async def test_what_few_messages_have_comes_back(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        plain = message(spool)
        base = message(spool, "anna@example.com", "bert@example.com")
        first, second = base.recipients
        special: NewMessage = msgspec.structs.replace(
            base,
            utf8=True,
            user="app",
            ret="HDRS",
            envid="E1",
            recipients=(first, msgspec.structs.replace(second, notify="NEVER", orcpt="rfc822;b@x.example")),
        )
        await accept(spool, plain, special)
    async with spool_in(tmp_path) as spool:
        rows = await load(spool, first.queue)
        assert [extras(row) for row in rows] == [
            (False, "", "", "", "", ""),
            (True, "app", "HDRS", "E1", "", ""),
            (True, "app", "HDRS", "E1", "NEVER", "rfc822;b@x.example"),
        ]
