"""The sending application: hands letters to all hosts over several connections, at a steady rate with slow waves."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence

from mailctl.demo.letters import Author, Letter

log = logging.getLogger(__name__)

CONNECTIONS_PER_HOST = 2
BACKLOG = 200
"""Letters that wait for a free connection; more are not written."""
WAVE_S = 90.0
"""Period of the waves; the rate moves by WAVE_DEPTH of itself."""
WAVE_DEPTH = 0.3
RECONNECT_S = 0.25
"""First pause after a lost connection; it doubles up to RECONNECT_MAX_S."""
RECONNECT_MAX_S = 2.0
ANSWER_S = 30.0


class Refused(Exception):
    """The host does not take mail now."""


class Traffic:
    """Letters of `author` at `rate` a second to `hosts`; a host that is away leaves its share to the others."""

    def __init__(self, hosts: Sequence[tuple[str, int]], *, rate: float, author: Author, rng: random.Random) -> None:
        self._hosts = hosts
        self._rate = rate
        self._author = author
        self._rng = rng
        self._letters: asyncio.Queue[Letter] = asyncio.Queue(BACKLOG)
        self.accepted = 0
        """Letters answered with 250."""
        self.refused = 0
        """Letters answered otherwise, or lost with their connection; the application does not try them again."""

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write(), name="traffic:write")
            for address, port in self._hosts:
                for n in range(CONNECTIONS_PER_HOST):
                    group.create_task(self._feed(address, port), name=f"traffic:{address}:{port}:{n}")

    async def _write(self) -> None:
        started = due = time.monotonic()
        while True:
            now = time.monotonic()
            wave = 1 + WAVE_DEPTH * math.sin((now - started) * math.tau / WAVE_S)
            due = max(due, now - 1) + self._rng.expovariate(self._rate * wave)
            await asyncio.sleep(max(0.0, due - now))
            if not self._letters.full():
                self._letters.put_nowait(self._author.write())

    async def _feed(self, address: str, port: int) -> None:
        pause_s = RECONNECT_S
        while True:
            before = self.accepted
            try:
                await self._session(address, port)
            except (OSError, TimeoutError, EOFError, Refused) as exc:
                log.debug("traffic to %s:%s: %s", address, port, exc)
            pause_s = RECONNECT_S if self.accepted > before else min(pause_s * 2, RECONNECT_MAX_S)
            await asyncio.sleep(pause_s)

    async def _session(self, address: str, port: int) -> None:
        """One connection, until it breaks.

        Raises:
            Refused: the host wants no mail, or ended the session.
        """
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(address, port)
        try:
            await _answer(reader, b"2")
            writer.write(b"EHLO app.acme.example\r\n")
            await _answer(reader, b"2")
            while True:
                await self._submit(reader, writer, await self._letters.get())
        finally:
            writer.close()

    async def _submit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letter: Letter) -> None:
        taken = False
        try:
            writer.write(f"MAIL FROM:<{letter.sender}>\r\nRCPT TO:<{letter.recipient}>\r\nDATA\r\n".encode())
            replies = [await _answer(reader) for _ in range(3)]
            if replies[2].startswith(b"354"):
                writer.write(letter.data + b".\r\n")
                taken = (await _answer(reader)).startswith(b"250")
            elif any(reply.startswith(b"421") for reply in replies):
                raise Refused(replies[0].decode("utf-8", "backslashreplace"))
            else:
                writer.write(b"RSET\r\n")
                await _answer(reader)
        finally:
            if taken:
                self.accepted += 1
            else:
                self.refused += 1


async def _answer(reader: asyncio.StreamReader, wanted: bytes = b"") -> bytes:
    """The last line of one reply.

    Raises:
        Refused: it does not start with `wanted`.
        EOFError: the host closed the connection.
    """
    async with asyncio.timeout(ANSWER_S):
        line = b"-"
        while line[3:4] == b"-" or line == b"-":
            line = await reader.readline()
            if not line.endswith(b"\n"):
                raise EOFError("connection closed")
    if not line.startswith(wanted):
        raise Refused(line.decode("utf-8", "backslashreplace").strip())
    return line
