"""`mailctl` as a process, on a fleet of one running agent."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mailctl.cli.exits import Exit
from tests.integration.rig import Rig


class Shell:
    """Runs commands on the host of a rig."""

    def __init__(self, one: Rig, folder: Path) -> None:
        self._fleet = folder / "fleet.yaml"
        self._fleet.write_text(
            "hosts:\n  mx1:\n    transport: local\n    virtual_mtas: {mkt-1: {address: 127.0.0.1}}\n"
            f"    rpc: {{socket: {one.agent.socket}}}\n"
            "pools: {marketing: {active: [mkt-1]}}\n"
        )

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output, talk."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(self._fleet), *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def json(self, *words: str, code: Exit = Exit.DONE) -> Any:
        """The document of a command that ends with `code`."""
        got, out, err = await self.run(*words, "--json")
        assert got == code, err
        return json.loads(out)
