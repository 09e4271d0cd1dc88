"""The `outcomes` call: starts the counting process, one at a time, and ends it when its time is over."""

import asyncio
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from mailagent.api.errors import InvalidRequest
from mailagent.api.outcomes import MAX_ROWS, MAX_WITHIN_S, Outcomes, OutcomesRequest

START_S: Final = 3.0
"""Beside the time that it reads: what the process may take to start and to answer."""
LETTERS: Final = ("d", "b", "x", "t", "f")
"""Types that are counted."""

_decoder = msgspec.json.Decoder(Outcomes)


class Tallies:
    """Counts outcomes of one host."""

    def __init__(self, directory: Path, written: Callable[[], Collection[str]]) -> None:
        """`written` are the letters of the records that are written now."""
        self._directory = directory
        self._written = written
        self._one = asyncio.Lock()

    async def outcomes(self, request: OutcomesRequest) -> Outcomes:
        """Outcomes of a time.

        Raises:
            InvalidRequest: a time that is none.
            OSError: the files cannot be read.
        """
        if request.since.tzinfo is None or request.until.tzinfo is None or request.since >= request.until:
            raise InvalidRequest("outcomes are those from `since` on, before `until`; both have a time zone")
        within_s = min(max(0.0, request.within_s), MAX_WITHIN_S)
        async with asyncio.timeout(within_s + START_S), self._one:
            found = await self._count(request, within_s)
        return msgspec.structs.replace(found, unwritten=tuple(one for one in LETTERS if one not in self._written()))

    async def _count(self, request: OutcomesRequest, within_s: float) -> Outcomes:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "mailagent.outcome.accounting.tally", str(self._directory)),
            *(request.since.isoformat(), request.until.isoformat()),
            *(str(min(max(1, request.limit), MAX_ROWS)), str(within_s)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            last = (err.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise OSError(f"accounting files not counted: {last}")
        return _decoder.decode(out)
