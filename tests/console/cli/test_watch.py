"""`mailctl watch` as programs read it."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent

Agents = dict[str, LoopbackAgent]


async def started(path: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(path), "watch", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )


async def test_it_ends_after_so_many_lines_and_says_which_hosts_lack(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    ran = await mailctl("watch", "pool:marketing", "--kind", "pool", "--count", "3")
    assert ran.code == 0
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [(one["host"], one["kind"], one["key"]) for one in lines] == [
        (name, "pool", "marketing") for name in ("mx1", "mx2", "mx3")
    ]
    assert lines[0]["row"]["waiting"] == 33
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    ran = await mailctl("watch", "--kind", "link", "--for", "1s")
    assert ran.code == 1
    assert [json.loads(line)["row"]["state"] for line in ran.out.splitlines()] == ["live", "live", "lost"]
    assert "mx3: lost" in ran.err


async def test_changes_follow_until_it_is_interrupted(agents: Agents, path: Path) -> None:
    process = await started(path, "host:mx1", "--kind", "host")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert json.loads(await process.stdout.readline())["event"] == "snapshot"
        agents["mx1"].waiting = 777
        agents["mx1"].publish()
        line = json.loads(await process.stdout.readline())
        assert (line["event"], line["row"]["waiting"]) == ("change", 777)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert not err.strip()


async def test_it_ends_when_its_reader_is_gone(agents: Agents, path: Path) -> None:
    process = await started(path, "host:mx1", "--kind", "pool")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(20):
        await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # as `| head -1` does
        assert await process.wait() == 0
        assert not await process.stderr.read()
