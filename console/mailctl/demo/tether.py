"""Run a command that the kernel kills when its parent dies, however that happens.

`python -I -S tether.py PARENT COMMAND …`: a script of its own, not a `preexec_fn`, because the parent has threads. The
death signal survives the exec, so that the command's own name stands in the process list. It does not survive a change
of user: for a command that makes one, `tether.py PARENT --stay COMMAND …` stays its parent and passes the end on.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


_GRACE_S = 3
_STAY = "--stay"


def tethered(command: Sequence[str], *, stays: bool = False) -> list[str]:
    """`command` bound to this process; start it from a thread that lives as long. `stays`: it changes its user."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *([_STAY] if stays else []), *command]


def _stay(parent: int, command: list[str]) -> None:
    """Run `command` as a child: asked to end when we are, or when `parent` dies, and killed `_GRACE_S` later."""
    child = subprocess.Popen(command)

    def end(*_: object) -> None:
        child.terminate()
        signal.alarm(_GRACE_S)

    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.signal(signal.SIGTERM, end)
    _ask_for(signal.SIGTERM)
    if os.getppid() != parent:
        end()
    sys.exit(child.wait())


def _ask_for(number: signal.Signals) -> None:
    """The signal that our parent's death is to be."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"tether: prctl: {os.strerror(ctypes.get_errno())}")


def _main(parent: int, command: list[str]) -> None:
    if command[0] == _STAY:
        _stay(parent, command[1:])
    _ask_for(signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(f"tether: parent {parent} is gone")
    os.execv(command[0], command)  # noqa: S606 -- no shell is the point


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
