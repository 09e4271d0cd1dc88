"""The providers' log: JSON lines of what arrived from which address. The judge of what was sent."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

FLUSH_S = 0.1
"""Longest time that a line waits in memory."""
ROTATE_BYTES = 256 * 1024 * 1024
"""Size at which the file moves to `<name>.1` (the one before is dropped): a demo left alone must not fill a disk."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One reply of a provider. A transaction with three recipients ends in three lines of verb `.`."""

    time: datetime
    provider: str
    source_ip: str
    verb: str  # connect, MAIL, RCPT or `.`
    reply: str  # `250 2.1.0 OK`
    recipient: str  # empty for connect and MAIL
    message_id: str  # of the Message-ID header; only known at `.`


class ProviderLog:
    """Appends lines to a file, in order, a batch at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._lines: list[bytes] = []
        self._flusher: asyncio.TimerHandle | None = None
        self._encode = msgspec.json.Encoder().encode

    def open(self) -> None:
        """Create the file, or go on behind what is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")

    def write(
        self, provider: str, source_ip: str, verb: str, reply: str, recipient: str = "", message_id: str = ""
    ) -> None:
        """Note one reply; it is in the file at most FLUSH_S later."""
        line = Line(
            time=datetime.now(UTC),
            provider=provider,
            source_ip=source_ip,
            verb=verb,
            reply=reply,
            recipient=recipient,
            message_id=message_id,
        )
        self._lines.append(self._encode(line))
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write out what waits."""
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        if not self._lines or self._file is None:
            return
        self._file.write(b"\n".join(self._lines) + b"\n")
        self._file.flush()
        self._lines.clear()
        if self._file.tell() > ROTATE_BYTES:
            self._file.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self.open()

    def close(self) -> None:
        """Write out what waits and close the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def read(path: Path) -> list[Line]:
    """All whole lines of a log."""
    decode = msgspec.json.Decoder(Line).decode
    return [decode(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
