"""Process life, with a small program that answers as a starting agent does."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mailctl.demo.agents import Agent
from mailctl.demo.blueprint import Claim
from mailctl.demo.errors import AgentFailed
from mailctl.demo.tether import tethered
from tests.console.demo.conftest import until

PROGRAM = """
    import asyncio, json, pathlib, sys

    async def main():
        path, port = json.loads(pathlib.Path(sys.argv[1]).read_text())
        pathlib.Path(path).unlink(missing_ok=True)

        async def rpc(reader, writer):
            await reader.readline()
            writer.write(b'{"jsonrpc":"2.0","id":1,"result":{}}\\n')
            writer.close()

        async def smtp(reader, writer):
            writer.write(b"220 mx1 ESMTP\\r\\n")
            writer.close()

        await asyncio.start_unix_server(rpc, path)
        await asyncio.start_server(smtp, "127.0.0.1", port)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


def make(tmp_path: Path, claimed: Claim, program: str = PROGRAM) -> Agent:
    socket, config, script = tmp_path / "rpc.sock", tmp_path / "agent.json", tmp_path / "program.py"
    config.write_text(f'["{socket}", {claimed.port}]')
    script.write_text(textwrap.dedent(program))
    return Agent(
        "mx1",
        config=config,
        socket=socket,
        smtp_port=claimed.port,
        log_file=tmp_path / "agent.log",
        command=(sys.executable, str(script)),
    )


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


async def test_an_agent_is_ready_when_it_answers_and_ends_when_asked(tmp_path: Path, claimed: Claim) -> None:
    agent = make(tmp_path, claimed)
    life = asyncio.create_task(agent.run(), name="agent")
    await agent.ready()
    pid = agent.pid
    assert pid is not None
    await agent.stop()
    await life
    assert gone(pid)


async def test_a_killed_agent_stays_dead_until_it_is_revived(tmp_path: Path, claimed: Claim) -> None:
    agent = make(tmp_path, claimed)
    life = asyncio.create_task(agent.run(), name="agent")
    await agent.ready()
    first = agent.pid
    agent.kill()
    await until(lambda: agent.pid is None)
    agent.revive()
    await until(lambda: agent.pid is not None)
    await agent.ready()
    assert agent.pid != first
    await agent.stop()
    await life


async def test_a_dead_agent_is_not_started_for_its_end(tmp_path: Path, claimed: Claim) -> None:
    agent = make(tmp_path, claimed)
    life = asyncio.create_task(agent.run(), name="agent")
    await agent.ready()
    agent.kill()
    await until(lambda: agent.pid is None)
    await agent.stop()
    await life
    assert agent.pid is None


async def test_an_agent_that_ends_by_itself_is_started_again(tmp_path: Path, claimed: Claim) -> None:
    agent = make(tmp_path, claimed)
    life = asyncio.create_task(agent.run(), name="agent")
    await agent.ready()
    first = agent.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: agent.pid not in (None, first))
    await agent.stop()
    await life


async def test_an_agent_that_cannot_start_fails_with_the_end_of_its_log(tmp_path: Path, claimed: Claim) -> None:
    agent = make(tmp_path, claimed, "raise SystemExit('agent.yaml:3: unknown key')")
    with pytest.raises(AgentFailed, match=r"(?s)ended with exit code 1; see .*unknown key"):
        await agent.run()


async def test_an_agent_that_never_answers_fails_in_time(tmp_path: Path, claimed: Claim) -> None:
    agent = make(tmp_path, claimed, "import time; time.sleep(60)")
    life = asyncio.create_task(agent.run(), name="agent")
    with pytest.raises(AgentFailed, match=r"did not answer within 0\.2 s"):
        await agent.ready(deadline_s=0.2)
    await agent.stop()
    await life


def test_a_tethered_process_dies_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parent = f"""
import subprocess, sys, time
from mailctl.demo.tether import tethered
child = subprocess.Popen(tethered(["{sys.executable}", "-c", "import time; time.sleep(60)"]))
open({str(pid_file)!r} + ".new", "w").write(str(child.pid))
import os; os.rename({str(pid_file)!r} + ".new", {str(pid_file)!r})
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    asyncio.run(until(pid_file.exists))
    child = int(pid_file.read_text())
    assert not gone(child)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    asyncio.run(until(lambda: gone(child)))


def test_a_tether_to_a_parent_that_is_gone_starts_nothing() -> None:
    command = tethered([sys.executable, "-c", "print('started')"])
    command[4] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "parent 1 is gone" in done.stderr
