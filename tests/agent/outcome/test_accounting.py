"""The accounting log: finished files by rename, whole lines only, rotation and purge."""

import errno
import gzip
import os
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.accounting import EventType
from mailagent.api.smtp import Verb
from mailagent.config.accounting import Accounting, AccountingCsv
from mailagent.outcome.accounting import LIVE_NAME, AccountingLog, AccountingRecord, event_id, finished_files, line

NOW = 1_893_456_000.0  # 2030-01-01


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def _finished(directory: Path) -> list[Path]:
    return sorted(directory.glob("acct-*.jsonl"))


def _record(n: int) -> AccountingRecord:
    return AccountingRecord(
        event=event_id("0ABC", n, 1, EventType.DELIVERED),
        type=EventType.DELIVERED,
        time=datetime.fromtimestamp(NOW, UTC),
        host="mx1",
        message_id="0ABC",
        n=n,
        sender="a@one.test",
        recipient="b@two.test",
        stream="news",
        pool="marketing",
        size_bytes=10_240,
        smtp_verb=Verb.DOT,
        code=250,
        text='quoted "text"\r\nand more',
    )


def test_a_record_is_one_json_line_that_reads_back() -> None:
    text = line(_record(3))
    assert text.count(b"\n") == 1
    assert text.endswith(b"\n")
    assert msgspec.json.decode(text, type=AccountingRecord) == _record(3)
    assert b'"event":"0ABC-3-1-delivered","type":"delivered","time":"2030-01-01T00:00:00Z"' in text


def test_lines_become_visible_when_the_file_is_finished(tmp_path: Path) -> None:
    log = AccountingLog(tmp_path / "accounting", Accounting(), clock=Clock())
    log.write([b"1\n", b"2\n"])
    log.write([])
    assert _finished(tmp_path / "accounting") == []
    assert (tmp_path / "accounting" / LIVE_NAME).read_bytes() == b"1\n2\n"
    log.close()
    (path,) = _finished(tmp_path / "accounting")
    assert path.name == "acct-20300101T000000Z-000001.jsonl"
    assert path.read_bytes() == b"1\n2\n"


def test_an_empty_log_leaves_no_file(tmp_path: Path) -> None:
    AccountingLog(tmp_path, Accounting()).close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_file_is_finished_and_the_next_begun(tmp_path: Path) -> None:
    log = AccountingLog(tmp_path, Accounting(rotate_bytes=100), clock=Clock())
    for _ in range(25):
        log.write([b"123456789\n"])
    log.close()
    assert [path.stat().st_size for path in _finished(tmp_path)] == [100, 100, 50]


def test_an_old_file_is_finished_even_when_nothing_comes(tmp_path: Path) -> None:
    clock = Clock()
    log = AccountingLog(tmp_path, Accounting(rotate_after=timedelta(hours=1)), clock=clock)
    clock.now += 3599
    log.write([b"1\n"])
    log.maintain()
    assert _finished(tmp_path) == []
    clock.now += 1
    log.maintain()
    (path,) = _finished(tmp_path)
    assert path.read_bytes() == b"1\n"
    clock.now += 7200
    log.maintain()
    assert len(_finished(tmp_path)) == 1, "an empty file is not finished"
    log.close()


def test_a_live_file_left_behind_is_finished_without_its_torn_line(tmp_path: Path) -> None:
    (tmp_path / LIVE_NAME).write_bytes(b'{"a":1}\n{"b":2}\n{"c":' + b"x" * 100_000)
    log = AccountingLog(tmp_path, Accounting(), clock=Clock())
    log.write([b"new\n"])
    log.close()
    assert [path.read_bytes() for path in _finished(tmp_path)] == [b'{"a":1}\n{"b":2}\n', b"new\n"]


def test_a_restart_within_a_second_overwrites_nothing(tmp_path: Path) -> None:
    for number in range(3):
        log = AccountingLog(tmp_path, Accounting(), clock=Clock())
        log.write([b"%d\n" % number])
        log.close()
    assert [path.read_bytes() for path in _finished(tmp_path)] == [b"0\n", b"1\n", b"2\n"]


def test_files_past_their_keep_are_deleted_and_others_are_not(tmp_path: Path) -> None:
    for name in ("acct-20291201T235959Z-000009.jsonl", "acct-20291202T000000Z-000001.jsonl", "acct.txt"):
        (tmp_path / name).touch()
    AccountingLog(tmp_path, Accounting(keep=timedelta(days=30)), clock=Clock()).close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "acct-20291202T000000Z-000001.jsonl",
        "acct.txt",
    }


def test_a_write_that_fails_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AccountingLog(tmp_path, Accounting(), clock=Clock())
    log.write([b"first\n"])
    real = os.write
    calls = iter([3, 0])

    def full_disk(fd: int, data: memoryview) -> int:
        allowed = next(calls)
        if not allowed:
            raise OSError(28, "No space left on device")
        return real(fd, data[:allowed])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_disk)
        with pytest.raises(OSError, match="No space"):
            log.write([b"second\n"])
    log.write([b"third\n"])
    log.close()
    assert _finished(tmp_path)[0].read_bytes() == b"first\nthird\n"


def test_a_rotation_that_fails_keeps_the_lines_and_is_tried_again(tmp_path: Path) -> None:
    directory = tmp_path / "accounting"
    log = AccountingLog(directory, Accounting(rotate_bytes=4), clock=Clock())
    real = Path.rename
    with pytest.MonkeyPatch.context() as patch:

        def refuse(path: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        patch.setattr(Path, "rename", refuse)
        log.write([b"one\n"])
    assert Path.rename is real
    log.write([b"two\n"])
    log.close()
    assert b"".join(path.read_bytes() for path in _finished(directory)) == b"one\ntwo\n"


def test_a_file_that_cannot_be_finished_at_the_end_is_at_the_next_start(tmp_path: Path) -> None:
    """The stop of a host whose disk is full goes on."""
    log = AccountingLog(tmp_path, Accounting(), clock=Clock())
    log.write([b"one\n"])
    with pytest.MonkeyPatch.context() as patch:

        def refuse(path: Path, target: Path) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Path, "rename", refuse)
        log.close()
    AccountingLog(tmp_path, Accounting(), clock=Clock()).close()
    assert [path.read_bytes() for path in _finished(tmp_path)] == [b"one\n"]


@pytest.mark.parametrize("fails", ["header", "open"])
def test_files_that_cannot_be_begun_leave_no_descriptor_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """The writer asks again four times a second: a leak would spend the descriptors of connections."""
    log = AccountingLog(tmp_path, Accounting(csv=AccountingCsv(), rotate_bytes=4), clock=Clock())
    write, opened = os.write, os.open

    def full_disk(fd: int, data: memoryview) -> int:
        if fails == "header" and bytes(data).startswith(b"type,"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    def no_more_files(path: Path, *arguments: int) -> int:
        if fails == "open" and path.name == LIVE_NAME:
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_disk)
        patch.setattr(os, "open", no_more_files)
        log.write([line(_record(1))])  # is kept; the next files cannot be begun
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            with pytest.raises(OSError, match=r"No space|Too many"):
                log.write([line(_record(2))])
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    log.write([line(_record(3))])
    log.close()
    assert b"".join(path.read_bytes() for path in _finished(tmp_path)) == line(_record(1)) + line(_record(3))
    assert b"".join(path.read_bytes() for path in tmp_path.glob("*.csv")).count(b"\nd,") == 2


def test_threads_may_write_and_maintain_together(tmp_path: Path) -> None:
    log = AccountingLog(tmp_path, Accounting(rotate_bytes=500))

    def write(name: int) -> None:
        for number in range(200):
            log.write([b"%d-%d\n" % (name, number)])
            log.maintain()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = b"".join(path.read_bytes() for path in _finished(tmp_path)).split()
    assert len(lines) == len(set(lines)) == 600


def test_numbers_go_on_after_all_finished_files_are_gone(tmp_path: Path) -> None:
    for _ in range(2):
        log = AccountingLog(tmp_path, Accounting(), clock=Clock())
        log.write([b"1\n"])
        log.close()
        for path in _finished(tmp_path):
            path.unlink()
    log = AccountingLog(tmp_path, Accounting(), clock=Clock())
    log.write([b"1\n"])
    log.close()
    assert [file.number for file in finished_files(tmp_path)] == [3]


def test_finished_files_are_packed_whole_and_counted_once(tmp_path: Path) -> None:
    clock = Clock()
    log = AccountingLog(tmp_path, Accounting(compress=True, rotate_bytes=4), clock=clock)
    log.write([b"one\n"])
    log.write([b"two\n"])
    log.maintain()
    files = finished_files(tmp_path)
    assert [file.is_compressed for file in files] == [True, True]
    assert [gzip.decompress(file.path.read_bytes()) for file in files] == [b"one\n", b"two\n"]
    (tmp_path / files[0].path.stem).write_bytes(b"one\n")  # the end came before the plain one was deleted
    assert [file.is_compressed for file in finished_files(tmp_path)] == [False, True]
    log.maintain()
    assert [path.name for path in tmp_path.glob("*.jsonl")] == []
    log.close()


def test_the_oldest_files_go_when_all_are_too_large(tmp_path: Path) -> None:
    log = AccountingLog(tmp_path, Accounting(rotate_bytes=10, keep_bytes=25), clock=Clock())
    for number in range(5):
        log.write([b"%09d\n" % number])
    log.close()
    assert [path.read_bytes() for path in _finished(tmp_path)] == [b"000000003\n", b"000000004\n"]


def test_a_csv_that_cannot_be_written_takes_the_lines_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AccountingLog(tmp_path, Accounting(csv=AccountingCsv()), clock=Clock())
    log.write([line(_record(1))])
    real = os.write
    with monkeypatch.context() as patch:

        def full_disk(fd: int, data: memoryview) -> int:
            if bytes(data).startswith(b"d,"):
                raise OSError(28, "No space left on device")
            return real(fd, data)

        patch.setattr(os, "write", full_disk)
        with pytest.raises(OSError, match="No space"):
            log.write([line(_record(2))])
    log.write([line(_record(3))])
    log.close()
    assert _finished(tmp_path)[0].read_bytes() == line(_record(1)) + line(_record(3))
    (rows,) = tmp_path.glob("*.csv")
    assert rows.read_bytes().count(b"\n") == 3


@given(
    writes=st.lists(st.integers(1, 40), max_size=40),
    rotate=st.integers(20, 200),
    restarts=st.sets(st.integers(0, 39), max_size=5),
    torn=st.booleans(),
    compress=st.booleans(),
)
def test_whatever_the_rotation_every_line_stands_once_and_in_order(
    writes: list[int], rotate: int, restarts: set[int], torn: bool, compress: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, clock = Path(name), Clock()
        config = Accounting(rotate_bytes=rotate, compress=compress)
        log = AccountingLog(directory, config, clock=clock)
        for number, size in enumerate(writes):
            log.write([b"%d %s\n" % (number, b"x" * size)])
            clock.now += size / 10
            if number in restarts:
                if torn:  # a crash: nothing is finished, and half a line is left
                    with (directory / LIVE_NAME).open("ab") as live:
                        live.write(b"99 half")
                else:
                    log.close()
                log = AccountingLog(directory, config, clock=clock)
            if number % 7 == 0:
                log.maintain()
        log.close()
        files = finished_files(directory)
        text = b"".join(
            gzip.decompress(file.path.read_bytes()) if file.is_compressed else file.path.read_bytes() for file in files
        )
        assert [int(one.split()[0]) for one in text.splitlines()] == list(range(len(writes)))
        assert len({file.number for file in files}) == len(files)
