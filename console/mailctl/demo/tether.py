"""Run a command that the kernel kills when its parent dies, however that happens.

`python -I -S tether.py PARENT COMMAND …`: a script of its own, not a `preexec_fn`, because the parent has threads. The
death signal survives the exec, so that the command's own name stands in the process list.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """`command` bound to this process; start it from a thread that lives as long."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _main(parent: int, command: list[str]) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"tether: prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before we asked
        sys.exit(f"tether: parent {parent} is gone")
    os.execv(command[0], command)  # noqa: S606 -- no shell is the point


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
