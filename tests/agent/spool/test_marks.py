"""The side file of in-doubt marks when the disk is full."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from mailagent.spool import marks as module
from mailagent.spool.errors import StorageError
from mailagent.spool.marks import Marks, read_marks
from mailagent.spool.records import InDoubtMark


def mark(recipient: int) -> InDoubtMark:
    return InDoubtMark(recipient=recipient, at=1, vmta="a1", site="site", remote="192.0.2.1:25")


def test_a_mark_that_found_half_the_room_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "in-doubt"
    marks = Marks(path)
    marks.add([mark(1)])
    whole = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 10, hard))  # the kernel then writes a part, as on a full disk
    try:
        with pytest.raises(StorageError):
            marks.add([mark(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.stat().st_size == whole
    marks.add([mark(3)])
    marks.close()
    assert sorted(read_marks(path)) == [1, 3]


def test_without_a_file_to_compact_into_the_old_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No final dot waits for a descriptor: an agent that has none left goes on with the connections that it has."""
    path = tmp_path / "in-doubt"
    marks = Marks(path)
    marks.add([mark(1)])
    with monkeypatch.context() as patch:

        def no_more_files(*_: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        patch.setattr(module, "COMPACT_BYTES", 1)
        patch.setattr(os, "open", no_more_files)
        marks.add([mark(2)])
    marks.close()
    assert sorted(read_marks(path)) == [1, 2]
