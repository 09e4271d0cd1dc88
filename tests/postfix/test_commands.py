"""Postfix's programs are run by argument list, with a deadline and bounds, and say what went wrong."""

import asyncio
import signal
import sys
from datetime import timedelta

import pytest

from mailagent.config.postfix import Postfix
from mailagent.postfix import commands
from mailagent.postfix.commands import Programs, head, run
from mailagent.postfix.errors import OutputTooLong, ProgramFailed, ProgramMissing, ProgramSlow
from tests.integration.processes import until

PRINT = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"


def python(text: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text, *arguments)


async def collected(*argv: str) -> list[bytes]:
    async with Programs(Postfix()).stream(argv) as stream:
        return [line async for lines in stream for line in lines]


def test_the_prefix_and_the_directory_stand_where_they_belong() -> None:
    programs = Programs(Postfix(command=("docker", "exec", "-i", "pf")), "/etc/postfix-out")
    assert programs.argv("postqueue", "-j") == (
        *("docker", "exec", "-i", "pf"), *("postqueue", "-c", "/etc/postfix-out", "-j"),
    )  # fmt: skip
    assert programs.other("find", "/x") == ("docker", "exec", "-i", "pf", "find", "/x")
    assert Programs(Postfix()).argv("postconf", "-n") == ("postconf", "-n")


async def test_no_word_is_read_by_a_shell() -> None:
    said = await run(python("import sys; print(sys.argv[1])", "$(id); `id` > x"), timeout_s=30)
    assert said == b"$(id); `id` > x\n"


async def test_what_stands_on_stdin_is_read() -> None:
    assert await run(python(PRINT), stdin=b"abc", timeout_s=30) == b"cba"


async def test_of_a_program_that_says_too_much_the_head_is_had_and_the_program_ends() -> None:
    endless = python("import sys\nwhile True: sys.stdout.write('abcdefgh')")
    assert await head(endless, most=20, timeout_s=30) == b"abcdefghabcdefghabcd"
    assert await head(python("print('ab')"), most=20, timeout_s=30) == b"ab\n"
    with pytest.raises(ProgramFailed):
        await head(python("import sys; sys.exit(3)"), most=20, timeout_s=30)


async def test_a_program_ends_though_nobody_reads_what_it_says() -> None:
    endless = python("import sys\nwhile True: sys.stdout.write('abcdefgh')")

    async def is_paused() -> bool:
        return bool(running.stdout._paused)  # type: ignore[attr-defined]

    async with asyncio.timeout(20):
        async with commands._running(endless) as running:
            await until(is_paused, "nobody reads")
        assert running.process.returncode == -signal.SIGKILL


async def test_a_program_that_fails_says_its_last_words() -> None:
    with pytest.raises(ProgramFailed, match="ended with 3: postsuper: fatal: no") as caught:
        await run(python("import sys; sys.stderr.write('postsuper: fatal:\\n no'); sys.exit(3)"), timeout_s=30)
    assert caught.value.code == 3


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProgramMissing, match="/no/such cannot be started"):
        await run(("/no/such",), timeout_s=30)


async def test_a_program_without_end_is_ended() -> None:
    with pytest.raises(ProgramSlow):
        await run(python("import time; time.sleep(600)"), timeout_s=0.2)
    slow = Programs(Postfix(timeout=timedelta(milliseconds=20)))
    async with slow.stream(python("import time; time.sleep(600)")) as stream:
        with pytest.raises(ProgramSlow):
            await anext(stream)


async def test_output_has_a_bound() -> None:
    with pytest.raises(OutputTooLong):
        await run(python("while True: print('x' * 1000)"), timeout_s=30, limit_bytes=10_000)


async def test_lines_come_whole_however_they_are_cut() -> None:
    text = "import sys\nfor n in range(5000): print(str(n) * 50)\nsys.stdout.write('end')"
    assert await collected(*python(text)) == [*(str(n).encode() * 50 for n in range(5000)), b"end"]


async def test_a_line_beyond_the_bound_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LINE_BYTES", 400_000)
    async with Programs(Postfix()).stream(python("print('a'); print('x' * 3_000_000); print('b')")) as stream:
        assert [line async for lines in stream for line in lines] == [b"a", b"b"]
        assert stream.too_long == 1


async def test_a_stream_that_fails_in_the_middle_is_not_a_whole_one() -> None:
    with pytest.raises(ProgramFailed, match="ended with 75"):
        await collected(*python("import sys; print('a', flush=True); sys.exit(75)"))
