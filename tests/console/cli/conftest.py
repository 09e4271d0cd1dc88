"""The command line as its users run it: a process."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.console.loopback import LoopbackAgent, fleet_file


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.out)
        return made


Mailctl = Callable[..., Awaitable[Ran]]


@pytest.fixture
def path(agents: dict[str, LoopbackAgent], tmp_path: Path) -> Path:
    """A fleet file for the three running agents."""
    return fleet_file(agents, tmp_path / "fleet.yaml")


@pytest.fixture
def mailctl(path: Path, tmp_path: Path) -> Mailctl:
    """Run `mailctl --fleet FILE …` in an empty home directory, with nobody at the terminal."""

    async def run(*arguments: str, env: dict[str, str] | None = None, cwd: Path = tmp_path) -> Ran:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from mailctl.cli import main; main()",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env={"PATH": os.defpath, "HOME": str(tmp_path), **({"MAILCTL_FLEET": str(path)} if env is None else env)},
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    return run


def edit(path: Path, old: str, new: str) -> None:
    """Replace `old`, which must be there, in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
