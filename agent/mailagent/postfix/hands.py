"""Who carries acts on single messages out: Postfix's programs themselves, or the helper when the agent is not root."""

import asyncio
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from mailagent.postfix.acts import Act, Done, commands, last_words, said
from mailagent.postfix.helper import ACT_S, question, understood

ANSWER_S: Final = ACT_S + 10.0
"""Longest wait for the helper: for its program, and its own start."""


class Hands(Protocol):
    """Does something to messages by their queue ids."""

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """Do `act` to at most MOST_IDS messages; what was done, also when not all of it was.

        Raises:
            ValueError: one of `ids` is none.
        """


class Ran(Protocol):
    """How a program ended."""

    @property
    def code(self) -> int:
        """Its exit code."""

    @property
    def complaint(self) -> bytes:
        """What it wrote to standard error."""


class Programs(Protocol):
    """Runs one of Postfix's programs. An OSError or TimeoutError says that it did not run, or not to its end."""

    async def run(self, arguments: Sequence[str], given: bytes, timeout_s: float) -> Ran:
        """Run it with `given` on standard input."""


class Own:
    """The agent runs the programs by itself: as root, or in a container that it may enter."""

    def __init__(self, programs: Programs, config: str) -> None:
        self._programs = programs
        self._config = config

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """See `Hands.act`. A program that is stopped for its time has not said what it did."""
        done: set[str] = set()
        for arguments, given in commands(act, ids, self._config):
            try:
                ran = await self._programs.run(arguments, given, ACT_S)
            except OSError as exc:  # also TimeoutError
                return Done(frozenset(done), f"{arguments[0]}: {exc or 'no end in time'}")
            if act is not Act.FLUSH:
                done |= said(act, ran.complaint)
            elif ran.code == 0:
                done.add(arguments[-1])
            if ran.code:
                return Done(frozenset(done), f"{arguments[0]}: {last_words(ran.code, ran.complaint)}")
        return Done(frozenset(done))


class Helped:
    """The helper does it: `asked` is the path of its socket, or the command that starts it (sudo)."""

    def __init__(self, asked: Sequence[str]) -> None:
        self._asked = tuple(asked)

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """See `Hands.act`."""
        line = question(act, ids)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await (self._by_socket(line) if self._is_socket() else self._by_command(line))
        except OSError as exc:  # also TimeoutError
            return Done(
                frozenset(), f"the helper {' '.join(self._asked)} cannot be asked: {exc or 'no answer in time'}"
            )
        return understood(answer)

    def _is_socket(self) -> bool:
        if len(self._asked) != 1:
            return False
        with suppress(OSError):
            return stat.S_ISSOCK(Path(self._asked[0]).stat().st_mode)
        return False

    async def _by_socket(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._asked[0])
        try:
            writer.write(line)
            await writer.drain()
            return await reader.read()  # to its end: the helper answers once and goes
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _by_command(self, line: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._asked, stdin=pipe, stdout=pipe)
        try:
            out, _ = await process.communicate(line)
        finally:
            with suppress(ProcessLookupError):
                if process.returncode is None:
                    process.terminate()
        return out
