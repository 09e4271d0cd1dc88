"""The helper: does one of a few fixed things to messages of one Postfix instance, for one user, as root.

It runs once per request. systemd starts it for each connection of a socket (`Accept=yes`: standard input is the
connection), or sudo with exactly the arguments that its rule names (standard input is a pipe). What it may touch stands
in these arguments, which root wrote; what comes in is one line:

    {"act": "hold", "ids": ["4jXnt21FWbzJMGw"]}

and one goes out: {"done": ["4jXnt21FWbzJMGw"], "trouble": ""}. No shell, no path and no option comes from outside.
Standard library only, so that it starts quickly and there is little to read.
"""

import json
import os
import pwd
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mailagent.postfix.acts import Act, Done, checked, commands, last_words, said

MAX_REQUEST_BYTES: Final = 64 * 1024
"""More than a thousand ids have."""
ACT_S: Final = 120.0
"""Longest time for one program."""
READ_S: Final = 10
"""Longest wait for the request."""
PROGRAMS: Final = Path("/usr/sbin")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_STDIN: Final = 0
_PEER: Final = struct.Struct("3i")  # SO_PEERCRED: pid, uid, gid


def answer(request: bytes, config: Path, programs: Path = PROGRAMS) -> Done:
    """Do what `request` asks; what it did, as far as the program said so."""
    try:
        asked = json.loads(request)
        act, ids = Act(asked["act"]), checked(asked["ids"])
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        return Done(frozenset(), f"the request is none: {exc}")
    done: set[str] = set()
    for program, arguments, given in commands(act, ids):
        try:
            ran = subprocess.run(
                [str(programs / program), "-c", str(config), *arguments],
                input=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                timeout=ACT_S,
                check=False,
            )
        except OSError as exc:
            return Done(frozenset(done), f"{program}: {exc.strerror}")
        except subprocess.TimeoutExpired as exc:
            done |= said(act, exc.stderr or b"") if act is not Act.FLUSH else set()
            return Done(frozenset(done), f"{program} took longer than {ACT_S:g} s")
        if act is not Act.FLUSH:
            done |= said(act, ran.stderr)
        elif ran.returncode == 0:
            done.add(arguments[-1])
        if ran.returncode:
            return Done(frozenset(done), f"{program}: {last_words(ran.returncode, ran.stderr)}")
    return Done(frozenset(done))


def caller(environment: Mapping[str, str], descriptor: int = _STDIN) -> int:
    """Number of the user who asks: the peer of the connection, whoever called sudo, or who runs this."""
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        with socket.socket(fileno=os.dup(descriptor)) as peer:
            return int(_PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])
    return int(environment.get("SUDO_UID", os.getuid()))


def read_request(descriptor: int) -> bytes:
    """The line that was asked, at most MAX_REQUEST_BYTES of it; less when nothing came for READ_S."""
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        with socket.socket(fileno=os.dup(descriptor)) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", READ_S, 0))
    found = b""
    while b"\n" not in found and len(found) < MAX_REQUEST_BYTES:
        try:
            part = os.read(descriptor, MAX_REQUEST_BYTES - len(found))
        except BlockingIOError:
            break
        if not part:
            break
        found += part
    return found.partition(b"\n")[0]


def serve(config: Path, user: str, programs: Path = PROGRAMS) -> int:
    """Answer the one request on standard input, if `user` or root asks. The exit code."""
    asks = caller(os.environ)
    try:
        allowed = pwd.getpwnam(user).pw_uid
    except KeyError:
        sys.stderr.write(f"mailagent postfix helper: there is no user {user}\n")
        return 2
    if asks not in (0, allowed):
        done = Done(frozenset(), f"user {asks} may not ask; {user} may")
    else:
        done = answer(read_request(_STDIN), config, programs)
    sys.stderr.write(f"asked by uid={asks}: done={len(done.ids)} {done.trouble}".rstrip() + "\n")
    out = _STDIN if stat.S_ISSOCK(os.fstat(_STDIN).st_mode) else 1
    _write(out, _line({"done": sorted(done.ids), "trouble": done.trouble}))
    return 1 if done.trouble else 0


def question(act: Act, ids: Sequence[str]) -> bytes:
    """The line that asks the helper.

    Raises:
        ValueError: see `checked`.
    """
    return _line({"act": act.value, "ids": list(checked(ids))})


def understood(line: bytes) -> Done:
    """The answer of the helper; one that is none, or was cut off, is trouble."""
    try:
        found = json.loads(line)
        return Done(frozenset(checked(found["done"])), str(found["trouble"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Done(frozenset(), f"the helper did not answer: {line[:200].decode('utf-8', 'backslashreplace')!r}")


def _line(value: object) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
