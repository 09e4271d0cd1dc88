"""The palette: objects by name, and the demo's incidents over their control socket."""

import asyncio
from pathlib import Path

import msgspec
from textual.command import CommandPalette
from textual.events import Key
from textual.widgets import Input

from mailctl.tui.app import ConsoleApp
from mailctl.tui.incidents import Incident, Incidents
from mailctl.tui.palette import places
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, healthy
from tests.console.tui.test_screens import ready, table
from tests.console.tui.waiting import until


class Demo:
    """The far end of the control socket, as `mailctl demo` speaks."""

    def __init__(self) -> None:
        self.running = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = msgspec.json.decode(await reader.readline())
        if command["action"] == "toggle":
            self.running = not self.running
        one = {"name": "throttle", "description": "Gmail throttles mkt-1", "running": self.running}
        writer.write(msgspec.json.encode({"ok": True, "incidents": [one]}) + b"\n")
        writer.close()


async def test_a_fleet_without_a_demo_beside_it_has_no_incidents(sockets: Path) -> None:
    assert not Incidents(sockets).exist


async def test_an_incident_is_started_and_stopped_by_its_name(sockets: Path) -> None:
    async with await asyncio.start_unix_server(Demo().serve, sockets / "demo.sock"):
        incidents = Incidents(sockets)
        assert incidents.exist
        assert (await incidents.list()) == (Incident(name="throttle", description="Gmail throttles mkt-1"),)
        assert (await incidents.toggle("throttle")).running
        assert not (await incidents.toggle("throttle")).running


async def test_a_function_key_begins_the_first_incident(sockets: Path) -> None:
    async with await asyncio.start_unix_server(Demo().serve, sockets / "demo.sock"):
        app = ConsoleApp(StillFleet(), StillOperator(), path=sockets / "fleet.yaml", now=lambda: NOW)
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            await pilot.press("f5")
            line = pilot.app.screen.query_one(StatusLine)
            await until(pilot, lambda: line.message == "incident begins: Gmail throttles mkt-1")


async def test_the_palette_goes_to_a_virtual_mta_by_its_name() -> None:
    app = ConsoleApp(StillFleet(), StillOperator(), now=lambda: NOW)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
        await pilot.press(*"vmta:mkt-3")
        await until(pilot, lambda: bool(pilot.app.screen.query("OptionList")))
        await pilot.pause()
        await pilot.press("down", "enter")
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))
        await until(pilot, lambda: table(pilot).row_count == 4)
        assert all((table(pilot).source.key(index)).endswith("/mkt-3") for index in range(4))


def test_every_host_pool_virtual_mta_and_provider_is_a_place() -> None:
    assert len(list(places(healthy()))) == 3 + 3 + 18 + 4


async def test_an_enter_right_behind_the_words_takes_what_they_mean() -> None:
    app = ConsoleApp(StillFleet(healthy()), StillOperator(), now=lambda: NOW)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette) and isinstance(app.focused, Input))
        for letter in "theme beacon":
            app.post_message(Key("space" if letter == " " else letter, letter))
        app.post_message(Key("enter", "\r"))
        await until(pilot, lambda: app.theme == "beacon")
