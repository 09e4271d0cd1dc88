"""The agent as a process: started, asked, signalled."""

import asyncio
import json
import signal
import smtplib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

DEADLINE_S = 20.0
CONFIG = """\
host: mx1
state_dir: ./state
rpc: {socket: ./rpc.sock}
log: {file: ./agent.log}
intake: {listeners: [{address: 127.0.0.1, port: 0}], relay_from: [127.0.0.0/8]}
virtual_mtas: {a1: {address: 127.0.0.1}}
pools: {default: {active: [a1]}}
streams: {default: {pool: default}}
"""


class Agent:
    """A running agent and its folder."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process

    def log(self) -> str:
        path = self.folder / "agent.log"
        return path.read_text() if path.exists() else ""

    @property
    def smtp_port(self) -> int:
        return int(self.log().split("intake listens address=127.0.0.1 port=")[1].split()[0])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`; fail early when the agent dies first."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                assert self.process.returncode is None, self.log() + (self.folder / "stderr").read_text()
                await asyncio.sleep(0.01)

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


async def mailagent(folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailagent", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    (tmp_path / "agent.yaml").write_text(CONFIG)
    with (tmp_path / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailagent", "run", "--config", "agent.yaml"), cwd=tmp_path, stderr=stderr
        )
    agent = Agent(tmp_path, process)
    try:
        await agent.until(lambda: "agent runs" in agent.log())
        yield agent
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_signal_ends_the_agent_gracefully(agent: Agent, number: signal.Signals) -> None:
    agent.process.send_signal(number)
    assert await agent.ended() == 0
    assert f"agent stops signal={number.name}" in agent.log()
    assert "agent stopped host=mx1" in agent.log()
    assert not (agent.folder / "rpc.sock").exists()


async def test_reload_takes_over_what_the_file_says(agent: Agent) -> None:
    path = agent.folder / "agent.yaml"
    path.write_text(CONFIG + "stop_grace_s: 5\n")
    assert await mailagent(agent.folder, "reload", "--config", "agent.yaml", "--reason", "shorter grace") == (
        0,
        "applied: changed stop_grace_s\n",
        "",
    )
    code, out, _ = await mailagent(agent.folder, "reload", "--config", "agent.yaml")
    assert (code, out.partition(":")[0]) == (0, "nothing-to-do")
    audit = [json.loads(line) for line in (agent.folder / "state/audit.jsonl").read_text().splitlines()]
    assert "shorter grace" in json.dumps(audit)


async def test_a_broken_file_leaves_the_old_configuration_in_effect(agent: Agent) -> None:
    (agent.folder / "agent.yaml").write_text(CONFIG + "stop_grace: 5\n")
    agent.process.send_signal(signal.SIGHUP)
    mistake = "agent.yaml:9: stop_grace: unknown key; did you mean `stop_grace_s`?"
    await agent.until(lambda: f"the old configuration stays in effect: {mistake}" in agent.log())
    code, _, err = await mailagent(agent.folder, "reload", "--config", "agent.yaml")
    assert (code, mistake in err) == (2, True)


async def test_what_needs_a_restart_is_refused_by_the_running_agent(agent: Agent) -> None:
    (agent.folder / "agent.yaml").write_text(CONFIG.replace("host: mx1", "host: mx2"))
    code, _, err = await mailagent(agent.folder, "reload", "--config", "agent.yaml")
    assert (code, "host can only change with a restart" in err) == (2, True)


async def test_sighup_goes_on_in_a_new_log_file(agent: Agent) -> None:
    (agent.folder / "agent.log").rename(agent.folder / "agent.log.1")
    (agent.folder / "agent.yaml").write_text(CONFIG + "stop_grace_s: 5\n")
    agent.process.send_signal(signal.SIGHUP)
    await agent.until(lambda: "configuration reloaded by=SIGHUP changed=stop_grace_s" in agent.log())
    assert "reloaded" not in (agent.folder / "agent.log.1").read_text()


async def test_a_second_agent_on_the_same_spool_is_refused_by_name_and_touches_nothing(agent: Agent) -> None:
    before = sorted((agent.folder / "state").rglob("*"))
    code, _, err = await mailagent(agent.folder, "run", "--config", "agent.yaml")
    assert code == 1
    assert f"pid {agent.process.pid}" in err
    assert err.startswith("mailagent: error: ")
    assert len(err.splitlines()) == 1
    assert sorted((agent.folder / "state").rglob("*")) == before


async def test_what_the_agent_stores_is_nobody_elses_to_read(agent: Agent) -> None:
    stored = [agent.folder / "state", *(agent.folder / "state").rglob("*")]
    assert len(stored) > 5
    assert [path for path in stored if path.stat().st_mode & 0o007] == []


async def test_a_taken_port_is_one_sentence(agent: Agent) -> None:
    config = CONFIG.replace("port: 0", f"port: {agent.smtp_port}").replace("./", "./second/")
    (agent.folder / "second.yaml").write_text(config)
    code, _, err = await mailagent(agent.folder, "run", "--config", "second.yaml")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{agent.smtp_port}" in err
    assert len(err.splitlines()) == 1


async def test_a_second_signal_ends_the_agent_while_a_peer_keeps_its_answer(agent: Agent) -> None:
    dots = asyncio.Queue[bytes]()

    async def silent_at_the_dot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            if line == b".\r\n":
                dots.put_nowait(line)
            elif line.upper().startswith(b"DATA"):
                writer.write(b"354 go\r\n")
            elif line.upper().startswith((b"EHLO", b"MAIL", b"RCPT")):
                writer.write(b"250 ok\r\n")
        writer.close()

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE_S) as client:
            client.sendmail("a@example.com", ["b@example.org"], "Subject: x\r\n\r\ny\r\n")

    sink = await asyncio.start_server(silent_at_the_dot, "127.0.0.1", 0)
    async with sink:
        port = sink.sockets[0].getsockname()[1]
        route = f'routes: [{{match: "*", to: "127.0.0.1:{port}"}}]\n'
        (agent.folder / "agent.yaml").write_text(CONFIG + route)
        assert (await mailagent(agent.folder, "reload", "--config", "agent.yaml"))[0] == 0
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.to_thread(send, agent.smtp_port)
            await dots.get()
        agent.process.send_signal(signal.SIGTERM)
        await agent.until(lambda: "agent stops signal=SIGTERM" in agent.log())
        agent.process.send_signal(signal.SIGTERM)
        assert await agent.ended() == 128 + signal.SIGTERM
    assert "agent ends at once" in agent.log()


async def test_a_postfix_that_cannot_be_asked_is_a_sentence(tmp_path: Path) -> None:
    text = "host: mx1\nengine: postfix\nstate_dir: ./state\nrpc: {socket: ./s}\npostfix: {command: [/no/such]}\n"
    (tmp_path / "agent.yaml").write_text(text, encoding="utf-8")
    code, _, err = await mailagent(tmp_path, "run", "--config", "agent.yaml")
    assert code == 1
    assert "mailagent: error: /no/such cannot be started" in err
    assert "Traceback" not in err
