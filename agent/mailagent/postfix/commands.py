"""Postfix's own programs: run by argument list, never by a shell, each with a deadline and a bound on what it says."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self, cast

from mailagent.config.postfix import Postfix
from mailagent.postfix.errors import OutputTooLong, ProgramFailed, ProgramMissing, ProgramSlow

OUTPUT_BYTES: Final = 4 * 1024 * 1024
"""Of a program whose whole output is wanted at once."""
LINE_BYTES: Final = 16 * 1024 * 1024
"""Of one line of a stream: a message to 100,000 recipients."""
WORDS_CHARS: Final = 500
"""Of what a program that failed said last."""
LISTING_FACTOR: Final = 10
"""A stream may take so many times `postfix.timeout`."""
_CHUNK: Final = 256 * 1024
_SBIN: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class Programs:
    """The programs of one instance, behind a prefix where Postfix lives in a container."""

    def __init__(self, config: Postfix, directory: str = "") -> None:
        """`directory` is the instance's configuration directory; empty: what Postfix takes without `-c`."""
        self._config = config
        self.directory = directory
        self.timeout_s = config.timeout.total_seconds()

    def of(self, directory: str) -> "Programs":
        """The same programs for the instance that is configured in `directory`."""
        return Programs(self._config, directory)

    def argv(self, program: str, *arguments: str) -> tuple[str, ...]:
        """The command line of one of Postfix's programs that know `-c`."""
        place = ("-c", self.directory) if self.directory else ()
        return (*self._config.command, program, *place, *arguments)

    def other(self, program: str, *arguments: str) -> tuple[str, ...]:
        """The command line of a program that sees the same files and knows no `-c`: find, stat, postmulti."""
        return (*self._config.command, program, *arguments)

    async def run(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        """What one of Postfix's programs said.

        Raises:
            ProgramMissing, ProgramFailed, ProgramSlow, OutputTooLong: it did not do it.
        """
        return await run(self.argv(program, *arguments), stdin=stdin, timeout_s=timeout_s or self.timeout_s)

    async def told(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> "Told":
        """How one of Postfix's programs ended, and what it said on standard error, also when it failed.

        Raises:
            ProgramMissing, ProgramSlow: it did not come to its end.
        """
        return await told(self.argv(program, *arguments), stdin=stdin, timeout_s=timeout_s or self.timeout_s)

    def stream(self, argv: Sequence[str]) -> "Stream":
        """The lines of a program, as they come: `programs.stream(programs.argv("postqueue", "-j"))`."""
        return Stream(argv, self.timeout_s * LISTING_FACTOR)


@dataclass(frozen=True, slots=True)
class Told:
    """How a program ended that says on standard error what it does."""

    code: int
    complaint: bytes  # the last OUTPUT_BYTES of it


class Stream:
    """`async with stream: async for lines in stream`: whole lines without their ends, as many as have come.

    The end of the loop means that the program ended well; leaving the block early ends the program.
    """

    def __init__(self, argv: Sequence[str], timeout_s: float) -> None:
        self.argv = tuple(argv)
        self._timeout_s = timeout_s
        self._stack = AsyncExitStack()
        self._rest = b""
        self._skipping = False
        self.words = ""
        """What the program said beside its lines, once it has ended."""
        self.too_long = 0
        """Lines longer than LINE_BYTES, which were passed over."""

    async def __aenter__(self) -> Self:
        """Raises: ProgramMissing."""
        self._deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._running = await self._stack.enter_async_context(_running(self.argv))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[bytes]:
        """Raises: ProgramFailed, ProgramSlow."""
        try:
            async with asyncio.timeout_at(self._deadline):
                while chunk := await self._running.stdout.read(_CHUNK):
                    if lines := self._whole(chunk):
                        return lines
                code, self.words = await self._running.end()
        except TimeoutError:
            raise ProgramSlow(self.argv, self._timeout_s) from None
        if code:
            raise ProgramFailed(self.argv, code, self.words)
        rest, self._rest = self._rest, b""
        if rest:
            return [rest]
        raise StopAsyncIteration

    def _whole(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`; the beginning of the next one is kept."""
        head, *lines = chunk.split(b"\n")
        if not lines:
            self._rest += head
            if len(self._rest) > LINE_BYTES:
                self._rest, self._skipping = b"", True
            return []
        lines.insert(0, self._rest + head)
        self._rest = lines.pop()
        if self._skipping:
            del lines[0]
            self.too_long += 1
            self._skipping = False
        return [line for line in lines if line]


async def run(argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float, limit_bytes: int = OUTPUT_BYTES) -> bytes:
    """What the program said; it has read `stdin`.

    Raises:
        ProgramMissing, ProgramFailed, ProgramSlow, OutputTooLong: it did not do it.
    """
    try:
        async with asyncio.timeout(timeout_s), _running(argv, stdin) as running:
            said = bytearray()
            while chunk := await running.stdout.read(_CHUNK):
                said += chunk
                if len(said) > limit_bytes:
                    raise OutputTooLong(argv, limit_bytes)
            code, words = await running.end()
    except TimeoutError:
        raise ProgramSlow(argv, timeout_s) from None
    if code:
        raise ProgramFailed(argv, code, words)
    return bytes(said)


async def head(argv: Sequence[str], *, most: int, timeout_s: float) -> bytes:
    """The first `most` bytes of what the program says; what says more is ended there.

    Raises:
        ProgramMissing, ProgramFailed, ProgramSlow: it did not say so much, and not all it had to say.
    """
    said = bytearray()
    try:
        async with asyncio.timeout(timeout_s), _running(argv) as running:
            while chunk := await running.stdout.read(_CHUNK):
                said += chunk
                if len(said) >= most:
                    return bytes(said[:most])
            code, words = await running.end()
    except TimeoutError:
        raise ProgramSlow(argv, timeout_s) from None
    if code:
        raise ProgramFailed(argv, code, words)
    return bytes(said)


async def told(argv: Sequence[str], *, stdin: bytes, timeout_s: float) -> Told:
    """How the program ended, and what it said on standard error.

    Raises:
        ProgramMissing, ProgramSlow: it did not come to its end.
    """
    try:
        async with asyncio.timeout(timeout_s), _running(argv, stdin, OUTPUT_BYTES) as running:
            while await running.stdout.read(_CHUNK):
                pass
            return Told(await running.process.wait(), await running.words)
    except TimeoutError:
        raise ProgramSlow(argv, timeout_s) from None


@dataclass(frozen=True, slots=True)
class _Running:
    """A program, and the task that keeps its last words."""

    process: asyncio.subprocess.Process
    stdout: asyncio.StreamReader
    words: asyncio.Task[bytes]

    async def end(self) -> tuple[int, str]:
        """Its exit code and last words."""
        code, words = await self.process.wait(), await self.words
        return code, " ".join(words.decode("utf-8", "backslashreplace").split())[-WORDS_CHARS:]


@asynccontextmanager
async def _running(
    argv: Sequence[str], stdin: bytes = b"", words_bytes: int = 4 * WORDS_CHARS
) -> AsyncIterator[_Running]:
    """A program in a process group of its own, which ends with the block whatever happens."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN))
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
        )
    except OSError as exc:
        raise ProgramMissing(argv, exc.strerror or str(exc)) from exc
    stdout, stderr = cast(asyncio.StreamReader, process.stdout), cast(asyncio.StreamReader, process.stderr)
    words = asyncio.create_task(_last_words(stderr, words_bytes), name="postfix:words")
    feed = asyncio.create_task(_feed(process.stdin, stdin), name="postfix:input")
    try:
        yield _Running(process, stdout, words)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            while await stdout.read(_CHUNK):
                pass  # asyncio stops reading what nobody takes, and waits for the end of the pipe
            await process.wait()
        words.cancel()
        feed.cancel()


async def _feed(stdin: asyncio.StreamWriter | None, data: bytes) -> None:
    if stdin is not None:
        with suppress(ConnectionError):  # it may end without having read everything: its exit code tells
            stdin.write(data)
            await stdin.drain()
        stdin.close()


async def _last_words(stderr: asyncio.StreamReader, most: int) -> bytes:
    tail = b""
    while chunk := await stderr.read(_CHUNK):
        tail = (tail + chunk)[-most:]
    return tail
