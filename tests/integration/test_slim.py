"""The slim distribution for sending hosts: it relays, and brings nothing of the console."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.integration.client import hand_in
from tests.integration.processes import AGENT_YAML, agent, free_port, until
from tests.integration.sink import Sink

ROOT = Path(__file__).parents[2]
OF_THE_CONSOLE = {"textual", "asyncssh", "plotext", "mailctl"}


@pytest.mark.timeout(300)  # it installs from the package index
async def test_the_slim_wheel_relays_a_message_without_the_console(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT / "agent"))
    (wheel,) = tmp_path.glob("mailagent-*.whl")  # noqa: ASYNC240  nothing else runs
    venv.create(tmp_path / "venv", with_pip=True)
    bin_ = tmp_path / "venv" / "bin"
    run(str(bin_ / "python"), "-m", "pip", "install", "--quiet", str(wheel))
    listed = run(
        str(bin_ / "python"), "-m", "pip", "list", "--format", "json", "--exclude", "pip", "--exclude", "setuptools"
    )
    names = {package["name"].lower() for package in json.loads(listed)}
    assert "mailagent" in names
    assert not names & OF_THE_CONSOLE
    port = free_port()
    command = (str(bin_ / "mailagent"),)
    async with Sink() as sink:
        with agent(tmp_path, AGENT_YAML.format(port=port, sink=sink.port), port, command) as one:
            reply = await hand_in(port, "r@recipient.example")
            assert reply.startswith("250"), reply

            async def arrived() -> bool:
                return sink.received == {"r@recipient.example": 1}

            await until(arrived, "the message")
            assert one.stop() == 0


def run(*command: str) -> str:
    """The output of a command that must succeed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
