"""Who carries acts on single messages out: Postfix's programs themselves, or the helper when the agent is not root."""

import asyncio
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from mailagent.postfix.acts import Act, Done, commands, last_words, said
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import PostfixError
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


class Own:
    """The agent runs the programs by itself: as root, or in a container that it may enter."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """See `Hands.act`. A program that is stopped for its time has not said what it did."""
        done: set[str] = set()
        for program, arguments, given in commands(act, ids):
            try:
                ran = await self._programs.told(program, *arguments, stdin=given, timeout_s=ACT_S)
            except PostfixError as exc:
                return Done(frozenset(done), str(exc))
            if act is not Act.FLUSH:
                done |= said(act, ran.complaint)
            elif ran.code == 0:
                done.add(arguments[-1])
            if ran.code:
                return Done(frozenset(done), f"{program}: {last_words(ran.code, ran.complaint)}")
        return Done(frozenset(done))


class Helped:
    """The helper does it: `asked` is the path of its socket, or the command that starts it (sudo).

    What any user may ask of Postfix (`authorized_flush_users`) the agent does by itself.
    """

    def __init__(self, asked: Sequence[str], own: Own) -> None:
        self._asked = tuple(asked)
        self._own = own

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """See `Hands.act`."""
        if act is Act.FLUSH:
            return await self._own.act(act, ids)
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
