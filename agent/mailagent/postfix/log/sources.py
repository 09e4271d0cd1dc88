"""Where a log comes from: a file, systemd's journal, or any command that prints it."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from zlib import crc32

import msgspec

from mailagent.postfix.commands import Stream
from mailagent.postfix.errors import PostfixError, ProgramFailed, ProgramSlow
from mailagent.postfix.log import follow
from mailagent.postfix.log.follow import FileTail
from mailagent.postfix.log.lines import Line, LineParser, Parsed

POLL_S = 0.25
"""Between two looks at a file that has nothing new."""
AGAIN_S = 5.0
"""Before a source that failed is tried again."""
CONTEXT_BYTES = 4 * 1024 * 1024
"""Of what was read before, to know who sent the mail that is under way: 20,000 lines, 0.1 s."""
DAY_S = 86_400.0
"""After so long a command is started anew; nothing is lost by it."""

log = logging.getLogger(__name__)


class JournalPosition(msgspec.Struct, frozen=True, tag="journal"):
    """The last entry that was read."""

    cursor: str
    at: float  # seconds since 1970: where to begin when the journal does not have it any more


class CommandPosition(msgspec.Struct, frozen=True, tag="command"):
    """The last line about a message: a command that begins with older ones is read from behind it."""

    at: float
    mark: int  # its checksum


Position = follow.Position | JournalPosition | CommandPosition


class Batch(msgspec.Struct, frozen=True):
    """Some lines, in order."""

    lines: list[Line]  # those about messages
    position: Position | None  # behind them; None: where it was
    read: int  # whatever they were about
    gap: bool = False  # something before them is lost, or they were there before


class Source(Protocol):
    """One log. Used by one task; nothing in it raises but cancellation."""

    trouble: str  # why nothing can be read; empty while all is well
    behind_bytes: int  # written and not read yet, as far as it is known
    dropped: int  # lines that were written and are not in the log, as far as it says so

    @property
    def unread(self) -> int:
        """Lines about a recipient that were not understood."""

    async def begin(self) -> tuple[list[Line], Position | None]:
        """Lines that were read before, for their context, and where reading begins, when that is known."""

    async def next(self) -> Batch:
        """The next lines; waits for them, and for what fails to come back."""

    async def close(self) -> None:
        """Let go."""


class FileSource:
    """A file in syslog's format. Read in a thread: a rotated file may have to be unpacked."""

    def __init__(self, tail: FileTail, parser: LineParser) -> None:
        self._tail = tail
        self._parser = parser
        self.trouble = ""
        self.behind_bytes = 0
        self.dropped = 0

    @property
    def unread(self) -> int:
        """See `Source`."""
        return self._parser.unread

    async def begin(self) -> tuple[list[Line], Position | None]:
        """See `Source`."""

        def begin() -> tuple[list[Line], Position | None]:
            position = self._tail.position
            return self._lines(self._tail.before(CONTEXT_BYTES)), position

        try:
            return await asyncio.to_thread(begin)
        except OSError as exc:
            self._note(str(exc))
            return [], None

    async def next(self) -> Batch:
        """See `Source`."""
        while True:
            wait_s = POLL_S
            try:
                batch = await asyncio.to_thread(self._read)
            except OSError as exc:
                self._note(f"log is not readable: {exc}")
                wait_s = AGAIN_S
            else:
                if batch is not None:
                    self._note("")
                    return batch
                self._note("" if self._tail.is_open else f"there is no log {self._tail.path}")
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """See `Source`."""
        self._tail.close()

    def _read(self) -> Batch | None:
        chunk = self._tail.read()
        self.behind_bytes = self._tail.behind
        if chunk is None:
            return None
        return Batch(self._lines(chunk.lines), chunk.position, len(chunk.lines), chunk.gap)

    def _lines(self, raws: Sequence[bytes]) -> list[Line]:
        syslog = self._parser.syslog
        return [line for raw in raws if (line := syslog(raw)) is not None]

    @property
    def path(self) -> Path:
        """The log."""
        return self._tail.path

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble


class CommandSource:
    """A command that prints the log for as long as it runs, such as `docker logs -f`; started again when it ends."""

    def __init__(
        self, argv: Sequence[str], parser: LineParser, position: Position | None = None, *, since: float = 0.0
    ) -> None:
        """Without a position, what was written before `since` is passed over."""
        self.trouble = ""
        self.behind_bytes = 0
        self.dropped = 0
        self._argv = tuple(argv)
        self._parser = parser
        self._position = position
        begin = position if isinstance(position, CommandPosition) else CommandPosition(int(since), 0)
        self._seen: CommandPosition | None = begin
        self._stream: Stream | None = None

    @property
    def unread(self) -> int:
        """See `Source`."""
        return self._parser.unread

    async def begin(self) -> tuple[list[Line], Position | None]:
        """See `Source`."""
        return [], None

    async def next(self) -> Batch:
        """See `Source`."""
        while True:
            try:
                if self._stream is None:
                    stream = Stream(self._argv_now(), DAY_S)
                    await stream.__aenter__()
                    self._stream = stream
                raws = await anext(self._stream)
            except StopAsyncIteration:
                trouble = f"{self._argv[0]} ended"
            except ProgramSlow:
                trouble = ""
            except PostfixError as exc:
                trouble = self._failed(exc)
            else:
                self.trouble = ""
                return await asyncio.to_thread(self._batch, raws)
            await self.close()
            if trouble:
                if trouble != self.trouble:
                    log.warning("log is not read: %s", trouble)
                self.trouble = trouble
                await asyncio.sleep(AGAIN_S)

    async def close(self) -> None:
        """See `Source`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.__aexit__(None, None, None)

    def _argv_now(self) -> Sequence[str]:
        """What to run now."""
        if isinstance(self._position, CommandPosition):
            self._seen = self._position
        return self._argv

    def _failed(self, exc: PostfixError) -> str:
        return str(exc)

    def _batch(self, raws: list[bytes]) -> Batch:
        lines = []
        mark = 0
        for raw in raws:
            line = self._parser.syslog(raw)
            if line is not None and not self._was_read(line, raw):
                lines.append(line)
                mark = crc32(raw)
        if lines:
            self._position = CommandPosition(lines[-1].at, mark)
        return Batch(lines, self._position, len(raws))

    def _was_read(self, line: Line, raw: bytes) -> bool:
        """Whether the line stood before the position, which has a whole second where the log has no more."""
        seen = self._seen
        if seen is None:
            return False
        if line.at > seen.at or (line.at == seen.at and not seen.mark):
            self._seen = None
            return False
        if line.at == seen.at and crc32(raw) == seen.mark:
            self._seen = None
        return True


class JournalSource(CommandSource):
    """systemd's journal, through journalctl."""

    _FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,OBJECT_SYSTEMD_UNIT,N_DROPPED"
    _ARGV = ("journalctl", "-o", "json", "-f", f"--output-fields={_FIELDS}")
    _DROPPED = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e"  # systemd.journal-fields(7), sd-messages.h
    _MAX_UNITS = 16

    def __init__(
        self,
        parser: LineParser,
        position: Position | None = None,
        *,
        since: float = 0.0,
        command: Sequence[str] = (),
        matches: Sequence[str] = ("SYSLOG_FACILITY=2",),
    ) -> None:
        """Without a position, what was written before `since` is passed over. `command` stands before journalctl;
        `matches` are its matches.
        """
        self._since = since
        super().__init__((*command, *self._ARGV), parser, position)
        self._matches = (*matches, "+", self._DROPPED)
        self._units: set[str] = set()  # that wrote lines of ours
        self._lost = False  # the journal does not have the position any more
        self._begun_at = ""  # the entry that was read last is the first that comes; empty once it has come

    def _argv_now(self) -> Sequence[str]:
        """From the last entry on, which shows that it is still there.

        `--after-cursor` would pass over the first entry of a journal that was vacuumed past it, and say nothing. With
        `-f` only ten entries come at first unless `--no-tail` is said.
        """
        position = self._position
        if not isinstance(position, JournalPosition):
            return (*self._argv, "--no-tail", f"--since=@{self._since:.6f}", *self._matches)
        self._begun_at = "" if self._lost else position.cursor
        begin = f"--since=@{position.at:.6f}" if self._lost else f"--cursor={position.cursor}"
        return (*self._argv, "--no-tail", begin, *self._matches)

    def _failed(self, exc: PostfixError) -> str:
        if isinstance(exc, ProgramFailed) and "cursor" in exc.words.lower():
            self._lost = True
        return super()._failed(exc)

    def _batch(self, raws: list[bytes]) -> Batch:
        lines = []
        gap = False
        for raw in raws:
            parsed = self._parser.journal(raw)
            if parsed is None:
                continue
            begun_at, self._begun_at = self._begun_at, ""
            if begun_at and _entry(begun_at) == _entry(parsed.cursor):
                continue
            gap, self._lost = gap or self._lost or bool(begun_at), False
            self._count(parsed)
            if parsed.line is not None:
                lines.append(parsed.line)
            if parsed.cursor:
                self._position = JournalPosition(parsed.cursor, parsed.at)
        return Batch(lines, self._position, len(raws), gap)

    def _count(self, parsed: Parsed) -> None:
        """Lines that are missing, of units that are ours as far as it is known."""
        if parsed.dropped and (not self._units or parsed.unit in self._units):
            self.dropped += parsed.dropped
        elif parsed.line is not None and parsed.unit and len(self._units) < self._MAX_UNITS:
            self._units.add(parsed.unit)


def _entry(cursor: str) -> list[str]:
    """Boot and times in a cursor: the file and the number in it change when the journal is moved from /run to disk."""
    return [part for part in cursor.split(";") if part[:2] in ("b=", "m=", "t=")] or [cursor]
