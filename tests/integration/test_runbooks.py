"""A runbook on real agents: the provider's own log says that nothing leaves any more, and that it does again."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from textual.pilot import Pilot

from mailagent.api.views import MemberState
from mailagent.config import load_fleet
from mailctl.demo import judge
from mailctl.fleet import Fleet
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.source import FleetOperator
from mailctl.tui.widgets.table import FleetTable

DEADLINE_S = 60.0
PROGRAM = (
    "import sys; from pathlib import Path; from mailctl.demo.command import demo_command; "
    "demo_command(lambda fleet: 0)()"
)


@pytest.fixture
def fleet_file() -> Iterator[Path]:
    """The fleet file of a demo in which Gmail throttles mkt-1."""
    with TemporaryDirectory(prefix="rb-") as directory:
        command = [sys.executable, "-c", PROGRAM, "--no-console", "--incident", "throttle", "--dir", directory]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ, text=True) as demo:
            try:
                assert demo.stdout is not None
                yield Path(json.loads(demo.stdout.readline())["fleet"])
            finally:
                demo.terminate()
                demo.wait(20)


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await pilot.pause(0.1)


@pytest.mark.timeout(240)
async def test_a_throttled_address_is_quiet_after_three_keys_and_back_after_two(fleet_file: Path) -> None:
    config = load_fleet(fleet_file)
    sources = {
        str(name): str(vmta.address) for host in config.hosts.values() for name, vmta in host.virtual_mtas.items()
    }

    def seen(vmta: str) -> int:
        """How often Gmail answered the address."""
        lines = judge.read(fleet_file.with_name("providers.jsonl"))
        return sum(one.provider == "gmail" and one.source_ip == sources[vmta] for one in lines)

    fleet = Fleet(config, path=fleet_file)
    app = ConsoleApp(fleet, FleetOperator(fleet), path=fleet_file)

    def state_of(vmta: str) -> str:
        return next((row.view.state for row in app.state.vmtas if row.view.name == vmta), "")

    def connections(cell: str) -> int:
        return sum(row.view.connections for row in app.state.destinations if row.key == cell)

    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: any(one.text == "gmail throttles mkt-1" for one in app.alarms.standing))
        await pilot.press("!")
        await until(pilot, lambda: isinstance(app.screen, DestinationsView))
        view = app.screen
        await until(pilot, lambda: view.query_one(FleetTable).cursor == "gmail/mkt-1")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog) and not app.screen.is_deaf)
        await pilot.press("y")
        await until(pilot, lambda: state_of("mkt-1") == MemberState.QUARANTINED)
        await until(pilot, lambda: not connections("gmail/mkt-1"))
        quiet, began = seen("mkt-1"), seen("mkt-2")
        await until(pilot, lambda: seen("mkt-2") > began + 20)
        assert seen("mkt-1") == quiet
        assert not any("mkt-1" in one.text for one in app.alarms.standing)
        await pilot.press("U")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog) and not app.screen.is_deaf)
        await pilot.press("y")
        await until(pilot, lambda: state_of("mkt-1") == MemberState.ACTIVE)
        await until(pilot, lambda: seen("mkt-1") > quiet)
