"""The lock file of a state directory: one process at a time has the spool."""

import fcntl
import os
import sys
from pathlib import Path
from typing import Final

from mailagent.spool.errors import SpoolLocked, SpoolUnusable

FILE_NAME: Final = "lock"


def lock(state_dir: Path) -> int:
    """The open lock file with our name in it; makes the directory.

    Raises:
        SpoolLocked: another process has it.
        SpoolUnusable: the directory cannot be made or written.
    """
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(state_dir / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        is_file = isinstance(exc, FileExistsError | NotADirectoryError)
        cause = "it is no directory" if is_file else f"{exc.strerror}; make it, or change its owner"
        raise SpoolUnusable(f"state_dir {state_dir} cannot be used: {cause}") from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(file, 200, 0).decode("utf-8", "backslashreplace").strip() or "another process"
        os.close(file)
        raise SpoolLocked(state_dir, owner) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{Path(sys.argv[0]).name or 'python'} (pid {os.getpid()})\n".encode(), 0)
    return file
