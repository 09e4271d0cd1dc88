"""Following a log: every line once, whatever becomes of the file."""

import bz2
import gzip
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.postfix.log.follow import MAX_LINE, FileTail, Position


def drained(tail: FileTail) -> list[bytes]:
    """What can be read; a second look ends a file that was renamed."""
    lines: list[bytes] = []
    idle = 0
    while idle < 2:
        chunk = tail.read()
        if chunk is None:
            idle += 1
        else:
            idle = 0
            lines += chunk.lines
    return lines


def position(tail: FileTail) -> Position:
    found = tail.position
    assert found is not None
    return found


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Log:
    """A log that is written, rotated and packed as logrotate and postfix-logrotate do."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mail.log"
        self.path.touch()
        self.written: list[bytes] = []
        self._unfinished = b""
        self._rotations = 0

    def write(self, size: int, *, whole: bool) -> None:
        """A line of `size` bytes, or a piece of one."""
        number = b"%d" % len(self.written)  # at both ends: lines of one log are not alike for a whole kilobyte
        piece = number + b"x" * size + number
        if whole:
            self.written.append(self._unfinished + piece)
            self._unfinished = b""
            write(self.path, piece + b"\n")
        else:
            self._unfinished += piece
            write(self.path, piece)

    def rename(self) -> None:
        """Files keep the time that they were written last; a real one takes longer than the clock's tick."""
        self._rotations += 1
        self._end_line()
        rotated = self.path.rename(self.path.with_name(f"mail.log.{self._rotations:03d}"))
        os.utime(rotated, ns=(0, self._rotations))
        self.path.touch()

    def copy_and_truncate(self) -> None:
        self._rotations += 1
        self._end_line()
        rotated = self.path.with_name(f"mail.log.{self._rotations:03d}")
        shutil.copyfile(self.path, rotated)
        os.utime(rotated, ns=(0, self._rotations))
        os.truncate(self.path, 0)

    def pack(self) -> None:
        """The newest rotated file."""
        for rotated in sorted(self.path.parent.glob("mail.log.*"), reverse=True)[:1]:
            if rotated.suffix != ".gz":
                mtime = rotated.stat().st_mtime_ns
                packed = rotated.with_name(f"{rotated.name}.gz")
                packed.write_bytes(gzip.compress(rotated.read_bytes()))
                os.utime(packed, ns=(0, mtime))
                rotated.unlink()

    def _end_line(self) -> None:
        if self._unfinished:
            self.write(0, whole=True)


ACTS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3000), st.booleans()),
    st.tuples(st.sampled_from(["rename", "copy", "pack", "read", "restart"])),
)


@given(acts=st.lists(ACTS, max_size=40))
def test_every_line_comes_once_through_rotation_and_restarts(
    acts: list[tuple[str, int, bool] | tuple[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    log.write(10, whole=True)
    tail = FileTail(log.path, from_start=True)
    read = drained(tail)
    for act in acts:
        match act:
            case ("write", size, whole):
                log.write(size, whole=whole)
            case ("rename",):
                log.rename()
            case ("copy",):
                log.copy_and_truncate()
            case ("pack",):
                log.pack()
            case ("read",):
                read += drained(tail)
            case ("restart",):
                stopped = position(tail)
                tail.close()
                tail = FileTail(log.path, stopped)
    log.write(10, whole=True)
    read += drained(tail)
    gaps = tail.gaps
    tail.close()
    assert read == log.written
    assert gaps == 0


@given(data=st.binary(max_size=400).map(lambda data: data + b"\n"), cuts=st.lists(st.integers(1, 50), max_size=20))
def test_lines_are_the_same_wherever_writing_pauses(
    data: bytes, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "mail.log"
    path.touch()
    tail = FileTail(path, from_start=True)
    read: list[bytes] = []
    begin = 0
    for cut in [*cuts, len(data)]:
        write(path, data[begin : begin + cut])
        begin += cut
        read += drained(tail)
    tail.close()
    assert read == data.split(b"\n")[:-1]


def test_a_first_start_begins_at_the_end_and_knows_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\ntwo\nthr")
    tail = FileTail(path)
    assert tail.read() is None
    assert tail.before(1 << 20) == [b"one", b"two"]
    assert tail.before(5) == [b"two"]
    write(path, b"ee\n")
    assert drained(tail) == [b"three"]


def test_a_log_that_is_missing_is_read_from_its_start_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    tail = FileTail(path)
    assert tail.read() is None
    path.write_bytes(b"one\n")
    assert drained(tail) == [b"one"]
    path.unlink()
    assert drained(tail) == []
    path.write_bytes(b"two\n")
    assert drained(tail) == [b"two"]
    assert tail.gaps == 0


def test_a_log_that_was_thrown_away_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\ntwo\n")
    tail = FileTail(path, from_start=True)
    drained(tail)
    path.write_bytes(b"six\nseven\neight\n")
    chunk = tail.read()
    assert chunk is not None
    assert (chunk.lines, chunk.gap, tail.gaps) == ([b"six", b"seven", b"eight"], True, 1)


def test_a_log_that_is_gone_at_a_restart_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\n")
    tail = FileTail(path, from_start=True)
    drained(tail)
    stopped = position(tail)
    path.unlink()
    tail = FileTail(path, stopped)
    assert tail.read() is None
    assert tail.gaps == 0  # it may still come back
    path.write_bytes(b"two\n")
    assert drained(tail) == [b"two"]
    assert tail.gaps == 1


def test_what_logrotate_has_packed_with_another_program_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\n")
    tail = FileTail(path, from_start=True)
    drained(tail)
    (tmp_path / "mail.log-20261123.bz2").write_bytes(bz2.compress(b"one\ntwo\n"))
    (tmp_path / "mail.log.bak").write_bytes(b"one\nnot rotated\n")
    path.write_bytes(b"three\n")
    assert drained(FileTail(path, position(tail))) == [b"two", b"three"]


def test_a_broken_packed_file_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\n")
    tail = FileTail(path, from_start=True)
    drained(tail)
    (tmp_path / "mail.log.1.gz").write_bytes(b"no gzip")
    path.write_bytes(b"two\n")
    tail = FileTail(path, position(tail))
    assert drained(tail) == [b"two"]
    assert tail.gaps == 1


def test_of_a_line_too_long_the_start_is_kept_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"a" * (MAX_LINE + 10))
    tail = FileTail(path, from_start=True)
    assert drained(tail) == [b"a" * MAX_LINE]
    tail = FileTail(path, position(tail))
    write(path, b"to=<x>\nnext\n")
    assert drained(tail) == [b"next"]


class Overtaken(FileTail):
    """Its writer writes a last line and goes over to the new file just after the old one was found to be at its end."""

    def __init__(self, path: Path, last: Path) -> None:
        super().__init__(path, from_start=True)
        self.last = last
        self.ends = 0

    def _take(self, data: bytes) -> list[bytes] | None:
        lines = super()._take(data)
        if lines is None and self.last.exists():
            self.ends += 1
            if self.ends == 2:  # at the first look the new file was there, and empty
                write(self.last, b"last\n")
                write(self.path, b"first\n")
        return lines


def test_a_last_line_is_not_overtaken_by_the_file_that_logrotate_made_before(tmp_path: Path) -> None:
    log, rotated = tmp_path / "mail.log", tmp_path / "mail.log.1"
    write(log, b"begin\n")
    tail = Overtaken(log, rotated)
    assert drained(tail) == [b"begin"]
    log.rename(rotated)
    log.touch()
    found = [line for _ in range(6) if (chunk := tail.read()) is not None for line in chunk.lines]
    assert found == [b"last", b"first"]
    tail.close()
