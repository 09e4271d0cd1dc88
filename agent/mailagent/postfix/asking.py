"""The agent's side of the helper: one line asked, one line answered."""

import asyncio
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mailagent.postfix.errors import HelperSilent
from mailagent.postfix.helper import ACT_S

ANSWER_S: Final = ACT_S + 10.0
"""Longest wait for the helper: for its program, and its own start."""


class Helper:
    """Asks the helper: `asked` is the path of its socket, or the command that starts it (sudo)."""

    def __init__(self, asked: Sequence[str]) -> None:
        self._asked = tuple(asked)

    async def ask(self, line: bytes) -> bytes:
        """What it answered; what that means is for `mailagent.postfix.helper.understood`.

        Raises:
            HelperSilent: it cannot be asked, or did not answer in time.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                return await (self._by_socket(line) if self._is_socket() else self._by_command(line))
        except OSError as exc:  # also TimeoutError
            raise HelperSilent(self._asked, exc) from exc

    def _is_socket(self) -> bool:
        if len(self._asked) != 1:
            return False
        with suppress(OSError):
            return stat.S_ISSOCK(Path(self._asked[0]).stat().st_mode)
        return False

    async def _by_socket(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._asked[0])
        try:
            with suppress(ConnectionError):  # it may answer without having read everything
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
