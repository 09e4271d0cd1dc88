"""The helper: does one of a few fixed things to one Postfix instance, for one user, as root.

It runs once per request. systemd starts it for each connection of a socket (`Accept=yes`: standard input is the
connection), or sudo with exactly the arguments that its rule names (standard input is a pipe). What it may touch stands
in these arguments, and of maps in a file that `apply` made: root wrote both. What comes in is one line, one of

    {"act": "hold", "ids": ["4jXnt21FWbzJMGw"]}
    {"act": "maps", "maps": {"held": "..."}}
    {"act": "reload"}
    {"act": "show", "id": "4jXnt21FWbzJMGw", "most": 4096}

and one goes out: {"done": ["4jXnt21FWbzJMGw"], "trouble": ""}, with a text in base64 where a message is
shown. No shell, no path and no option comes from outside.
Standard library only, so that it starts quickly and there is little to read.
"""

import fcntl
import json
import os
import pwd
import socket
import stat
import struct
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mailagent.postfix.acts import Act, Done, checked, commands, last_words, said
from mailagent.postfix.errors import PostfixError, ProgramFailed, ProgramMissing, ProgramSlow
from mailagent.postfix.tables import FOLDER

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
"""More than a thousand ids have, and a map of 200,000 domains."""
ACT_S: Final = 120.0
"""Longest time for one program."""
SHOW_BYTES: Final = 8 * 1024 * 1024
"""Most that is shown of a message."""
READ_S: Final = 10
"""Longest wait for the request."""
PROGRAMS: Final = Path("/usr/sbin")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_STDIN: Final = 0
_CHUNK: Final = 1024 * 1024
_PEER: Final = struct.Struct("3i")  # SO_PEERCRED: pid, uid, gid


def answer(request: bytes, config: Path, programs: Path = PROGRAMS) -> Done:
    """Do what `request` asks; what it did, as far as the program said so."""
    root = Root(config, programs)
    try:
        asked = json.loads(request)
        match asked["act"]:
            case "maps":
                return root.write(_texts(asked["maps"]))
            case "reload":
                return root.reload()
            case "show":
                return root.show(checked([asked["id"]])[0], int(asked["most"]))
        return root.act(Act(asked["act"]), checked(asked["ids"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        return Done(frozenset(), f"the request is none: {exc}")


class Root:
    """Postfix's programs for one instance, and its maps, as far as the helper goes."""

    def __init__(self, config: Path, programs: Path) -> None:
        self._config = config
        self._programs = programs

    def act(self, act: Act, ids: Iterable[str]) -> Done:
        """Do `act` to messages."""
        done: set[str] = set()
        for program, arguments, given in commands(act, ids):
            try:
                ran = self._ran(program, *arguments, given=given)
            except ProgramSlow as exc:
                done |= said(act, exc.complaint) if act is not Act.FLUSH else set()
                return Done(frozenset(done), str(exc))
            except PostfixError as exc:
                return Done(frozenset(done), str(exc))
            if act is not Act.FLUSH:
                done |= said(act, ran.stderr)
            elif ran.returncode == 0:
                done.add(arguments[-1])
            if ran.returncode:
                return Done(frozenset(done), f"{program}: {last_words(ran.returncode, ran.stderr)}")
        return Done(frozenset(done))

    def write(self, maps: Mapping[str, str]) -> Done:
        """Write maps that the agent may write, all or none; the names of those that changed."""
        import asyncio  # 30 ms that acts on messages need not wait for

        from mailagent.postfix import allowed
        from mailagent.postfix.files import MapFolder

        path = self._config / FOLDER
        try:
            known = allowed.read(path)
            known.check(maps)
            with _alone(path):
                return Done(frozenset(asyncio.run(MapFolder(path, known.type).write(maps, self))))
        except (PostfixError, OSError) as exc:
            return Done(frozenset(), str(exc))

    def reload(self) -> Done:
        """Have a running Postfix read its files again; one that is stopped reads them when it starts."""
        try:
            ran = self._ran("postfix", "reload")
            if ran.returncode and self._ran("postfix", "status").returncode:
                return Done(frozenset())
        except PostfixError as exc:
            return Done(frozenset(), str(exc))
        return Done(frozenset(), last_words(ran.returncode, ran.stderr) if ran.returncode else "")

    def show(self, queue_id: str, most: int) -> Done:
        """The first `most` bytes of a message, header and body."""
        argv = self._argv("postcat", "-hb", "-q", queue_id)
        most = max(0, min(most, SHOW_BYTES))
        try:
            with subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
            ) as process:
                assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018  both are pipes
                ending = threading.Timer(ACT_S, process.kill)
                ending.start()
                text = process.stdout.read(most)
                if len(text) == most:
                    process.kill()
                else:
                    words = process.stderr.read()
                code = process.wait()
                ending.cancel()
        except OSError as exc:
            return Done(frozenset(), str(ProgramMissing(argv, exc.strerror or str(exc))))
        if len(text) < most and code:
            return Done(frozenset(), f"postcat: {last_words(code, words)}")
        return Done(frozenset([queue_id]), text=text)

    async def run(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:  # noqa: ARG002
        """What a program said that builds maps. Nothing else goes on meanwhile.

        Raises:
            PostfixError: it did not do it.
        """
        ran = self._ran(program, *arguments, given=stdin, out=subprocess.PIPE)
        if ran.returncode:
            raise ProgramFailed((program, *arguments), ran.returncode, last_words(ran.returncode, ran.stderr))
        return ran.stdout

    def _ran(
        self, program: str, *arguments: str, given: bytes = b"", out: int = subprocess.DEVNULL
    ) -> "subprocess.CompletedProcess[bytes]":
        argv = self._argv(program, *arguments)
        try:
            return subprocess.run(
                argv, input=given, stdout=out, stderr=subprocess.PIPE, env=_ENVIRONMENT, cwd="/", timeout=ACT_S,
                check=False,
            )  # fmt: skip
        except OSError as exc:
            raise ProgramMissing(argv, exc.strerror or str(exc)) from exc
        except subprocess.TimeoutExpired as exc:
            raise ProgramSlow(argv, ACT_S, exc.stderr or b"") from exc

    def _argv(self, program: str, *arguments: str) -> tuple[str, ...]:
        return (str(self._programs / program), "-c", str(self._config), *arguments)


def _texts(maps: object) -> Mapping[str, str]:
    if not isinstance(maps, dict) or not all(isinstance(one, str) for one in (*maps, *maps.values())):
        raise TypeError("maps are texts by name")
    return maps


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One helper at a time writes maps."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    found = bytearray()
    part = b""
    while b"\n" not in part and len(found) < MAX_REQUEST_BYTES:
        try:
            part = os.read(descriptor, min(_CHUNK, MAX_REQUEST_BYTES - len(found)))
        except BlockingIOError:
            break
        if not part:
            break
        found += part
    return bytes(found.partition(b"\n")[0])


def serve(config: Path, user: str, programs: Path = PROGRAMS) -> int:
    """Answer the one request on standard input, if `user` or root asks. The exit code."""
    asks = caller(os.environ)
    try:
        allowed = pwd.getpwnam(user).pw_uid
    except KeyError:
        sys.stderr.write(f"mailagent postfix helper: there is no user {user}\n")
        return 2
    request = read_request(_STDIN)  # whoever asks: what stays unread would take the answer away with it
    if asks not in (0, allowed):
        done = Done(frozenset(), f"user {asks} may not ask; {user} may")
    else:
        done = answer(request, config, programs)
    sys.stderr.write(f"asked by uid={asks} for {request[:40]!r}: done={len(done.ids)} {done.trouble}".rstrip() + "\n")
    out = _STDIN if stat.S_ISSOCK(os.fstat(_STDIN).st_mode) else 1
    told = {"done": sorted(done.ids), "trouble": done.trouble}
    _write(out, _line({**told, "text": b64encode(done.text).decode("ascii")} if done.text else told))
    return 1 if done.trouble else 0


def question(act: Act, ids: Sequence[str]) -> bytes:
    """The line that asks the helper.

    Raises:
        ValueError: see `checked`.
    """
    return _line({"act": act.value, "ids": list(checked(ids))})


def maps_question(maps: Mapping[str, str]) -> bytes:
    """The line that asks for maps.

    Raises:
        ValueError: the helper would not read all of it.
    """
    line = _line({"act": "maps", "maps": dict(maps)})
    if len(line) > MAX_REQUEST_BYTES:
        raise ValueError(f"the maps have {len(line):,} bytes; the helper takes {MAX_REQUEST_BYTES:,}")
    return line


def show_question(queue_id: str, most: int) -> bytes:
    """The line that asks for the first `most` bytes of a message.

    Raises:
        ValueError: see `checked`.
    """
    return _line({"act": "show", "id": checked([queue_id])[0], "most": most})


RELOAD: Final = b'{"act": "reload"}\n'
"""The line that asks for a reload."""


def understood(line: bytes, names: Callable[[Iterable[str]], Iterable[str]] = checked) -> Done:
    """The answer of the helper; one that is none, or was cut off, is trouble. `names` checks what was done."""
    try:
        found = json.loads(line)
        text = b64decode(found.get("text", ""), validate=True)
        return Done(frozenset(names(found["done"])), str(found["trouble"]), text)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Done(frozenset(), f"the helper did not answer: {line[:200].decode('utf-8', 'backslashreplace')!r}")


def _line(value: object) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
