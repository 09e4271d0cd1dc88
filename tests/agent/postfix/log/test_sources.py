"""Where a log comes from."""

import asyncio
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailagent.postfix.log import sources
from mailagent.postfix.log.follow import FileTail
from mailagent.postfix.log.lines import Activated, Line, LineParser
from mailagent.postfix.log.sources import (
    Batch,
    CommandPosition,
    CommandSource,
    FileSource,
    JournalPosition,
    JournalSource,
    Source,
)
from tests.agent.spool.mail import until

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source looks again as soon as it may."""
    monkeypatch.setattr(sources, "POLL_S", 0.001)
    monkeypatch.setattr(sources, "AGAIN_S", 0.001)


def parser() -> LineParser:
    return LineParser(now=lambda: NOW, zone=UTC)


def message(n: int) -> str:
    return f"4jXnwf43Y2zJMH{n}: from=<a@b.example>, size={n}, nrcpt=1 (queue active)"


def line(n: int, second: int = 18) -> str:
    return f"Nov 23 01:12:{second} mx1 postfix/qmgr[7]: {message(n)}"


def entry(n: int, cursor: str) -> str:
    return (
        f'{{"__CURSOR":"{cursor}","__REALTIME_TIMESTAMP":"179539633{n}000000","SYSLOG_IDENTIFIER":"postfix/qmgr",'
        f'"MESSAGE":"{message(n)}"}}'
    )


def sizes(lines: Sequence[Line]) -> list[int]:
    return [one.size for one in lines if isinstance(one, Activated)]


async def read(source: Source, count: int) -> Batch:
    """Batches until `count` lines have come, as one."""
    lines: list[Line] = []
    gap = False
    async with asyncio.timeout(30):
        while True:
            batch = await source.next()
            lines += batch.lines
            gap |= batch.gap
            if len(lines) >= count:
                return Batch(lines, batch.position, batch.read, gap)


def script(path: Path, text: str) -> list[str]:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return [str(path)]


async def test_a_file_has_its_context_then_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text(line(1) + "\n")
    source = FileSource(FileTail(path), parser())
    context, begin = await source.begin()
    assert sizes(context) == [1]
    with path.open("a") as file:
        file.write(f"{line(2)}\nnoise\n")
    batch = await read(source, 1)
    assert sizes(batch.lines) == [2]
    assert batch.read == 2
    assert batch.position != begin
    await source.close()


async def test_a_missing_or_unreadable_file_is_told_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    source = FileSource(FileTail(path), parser())
    await source.begin()
    waiting = asyncio.create_task(read(source, 1), name="read")
    await until(lambda: bool(source.trouble))
    assert "there is no log" in source.trouble
    path.mkdir()
    await until(lambda: "not readable" in source.trouble)
    path.rmdir()
    path.write_text(line(3) + "\n")
    assert sizes((await waiting).lines) == [3]
    assert source.trouble == ""
    await source.close()


async def test_a_command_that_ends_is_started_again_and_says_nothing_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{line(1)}\n{line(2)}\n")
    source = CommandSource(script(tmp_path / "logs", f"cat {log}"), parser())
    first = await read(source, 2)
    assert sizes(first.lines) == [1, 2]
    with log.open("a") as file:
        file.write(f"{line(3)}\n{line(4, 19)}\n")
    second = await read(source, 2)
    assert sizes(second.lines) == [3, 4]
    await source.close()
    assert isinstance(first.position, CommandPosition)
    restarted = CommandSource(script(tmp_path / "logs", f"cat {log}"), parser(), first.position)
    assert sizes((await read(restarted, 2)).lines) == [3, 4]
    await restarted.close()


async def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    source = CommandSource([str(tmp_path / "missing")], parser())
    waiting = asyncio.create_task(source.next(), name="read")
    await until(lambda: bool(source.trouble))
    assert "cannot be started" in source.trouble
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await source.close()


async def test_the_journal_goes_on_after_the_cursor(tmp_path: Path) -> None:
    arguments = tmp_path / "arguments"
    program = script(
        tmp_path / "prefix", f'echo "$*" >> {arguments}\ncat <<EOF\n{entry(1, "c1")}\n{entry(2, "c2")}\nEOF\nsleep 60'
    )
    source = JournalSource(parser(), since=1795396330.5, command=program)
    batch = await read(source, 2)
    await source.close()
    assert sizes(batch.lines) == [1, 2]
    assert batch.position == JournalPosition("c2", 1795396332.0)
    source = JournalSource(parser(), JournalPosition("c1", 1795396331.0), command=program)
    batch = await read(source, 1)
    await source.close()
    assert sizes(batch.lines) == [2]
    assert not batch.gap
    first, second = arguments.read_text().splitlines()
    assert first.startswith("journalctl -o json -f")
    assert "--no-tail --since=@1795396330.500000 SYSLOG_FACILITY=2 + MESSAGE_ID=" in first
    assert "--no-tail --cursor=c1 SYSLOG_FACILITY=2 + MESSAGE_ID=" in second


async def test_what_journald_drops_of_our_unit_is_counted(tmp_path: Path) -> None:
    def dropped(count: int, unit: str) -> str:
        return (
            f'{{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1795396331000000","SYSLOG_IDENTIFIER":"systemd-journald",'
            f'"MESSAGE":"Suppressed {count} messages","N_DROPPED":"{count}","OBJECT_SYSTEMD_UNIT":"{unit}"}}'
        )

    ours, unit = "postfix@-.service", '"_SYSTEMD_UNIT":"postfix@-.service","MESSAGE"'
    entries = (
        dropped(1, ours), entry(1, "c2").replace('"MESSAGE"', unit), dropped(20, "nginx.service"), dropped(300, ours),
        entry(2, "c3"),
    )  # fmt: skip
    program = script(tmp_path / "prefix", "cat <<EOF\n" + "\n".join(entries) + "\nEOF\nsleep 60")
    source = JournalSource(parser(), since=1795396330.5, command=program)
    await read(source, 2)
    await source.close()
    assert source.dropped == 301


@pytest.mark.parametrize(("there", "gap"), [("s=2;i=9;b=1;m=5;t=7;x=3", False), ("s=1;i=4;b=1;m=6;t=8;x=3", True)])
async def test_an_entry_is_the_same_in_whichever_file_of_the_journal(tmp_path: Path, there: str, gap: bool) -> None:
    program = script(tmp_path / "prefix", f"cat <<EOF\n{entry(1, there)}\n{entry(2, 'c2')}\nEOF\nsleep 60")
    source = JournalSource(parser(), JournalPosition("s=1;i=3;b=1;m=5;t=7;x=3", 1795396331.0), command=program)
    batch = await read(source, 1)
    await source.close()
    assert sizes(batch.lines) == ([1, 2] if gap else [2])
    assert batch.gap == gap


async def test_a_cursor_that_is_none_is_a_gap(tmp_path: Path) -> None:
    program = script(
        tmp_path / "prefix",
        'case "$*" in *--cursor*) echo "Failed to seek to cursor: Invalid argument" >&2; exit 1;; esac\n'
        f'case "$*" in *--since=@1795396331.000000*) cat <<EOF\n{entry(2, "c2")}\nEOF\n;; esac\nsleep 60',
    )
    source = JournalSource(parser(), JournalPosition("gone", 1795396331.0), command=program)
    batch = await read(source, 1)
    await source.close()
    assert sizes(batch.lines) == [2]
    assert batch.gap
