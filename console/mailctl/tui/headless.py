"""A screen drawn without a terminal, for `mailctl export`."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Final, NamedTuple

from textual.pilot import Pilot

from mailagent.api.requests import Role
from mailagent.config.structs import FleetConfig
from mailctl.fleet import Fleet
from mailctl.fleet.state import FleetState
from mailctl.ops.errors import SelectorError
from mailctl.ops.filters import Filter
from mailctl.tui.app import VIEWS, ConsoleApp
from mailctl.tui.screens.view import View
from mailctl.tui.source import FleetOperator
from mailctl.tui.start import load_everything, settle

SCREENS: Final = tuple(name.lower() for name in VIEWS if name not in ("Message", "Trace", "Find"))
"""Screens that are about the fleet; the others are about one thing that somebody chose."""
QUIET_S: Final = 0.5
"""A screen is whole when nothing of it is asked for during so long."""
DRAW_S: Final = 2.0
"""What drawing may take beside the answers."""
LOOK_S: Final = 0.05


class Wanted(NamedTuple):
    """What to draw."""

    screen: str
    size: tuple[int, int]
    filter: str
    view: str  # name of a saved one
    timeout_s: float  # for the hosts, and then for the screen
    answer_s: float | None = None  # for each answer; None: as long as the screen allows


async def draw(config: FleetConfig, path: Path, wanted: Wanted, *, role: str | None) -> tuple[str, FleetState]:
    """The picture, and the state of the hosts behind it.

    Raises:
        ConfigError: the operator's own file has mistakes.
        OpsError: no such saved view, or a filter that is none.
    """
    narrowed = Filter.parse(wanted.filter)
    own = load_everything()
    as_role = Role(role) if role else None
    fleet = Fleet(config, path=path, as_role=as_role, read_only=True, answer_s=wanted.answer_s)
    app = ConsoleApp(fleet, FleetOperator(fleet), path=path, environment=config.environment or "", read_only=True)
    settle(app, own)
    app.drift.follow(config)
    name = next(one for one in VIEWS if one.lower() == wanted.screen)
    if wanted.view:
        saved = app.comfort.views.get(wanted.view)
        if saved is None or saved.screen != name:
            raise SelectorError(f"no saved view {wanted.view!r} of {wanted.screen}")
    pictures: list[tuple[str, FleetState]] = []

    async def drive(pilot: Pilot[Any]) -> None:
        settled = await fleet.settled(wanted.timeout_s)
        while app.state.tick < settled.tick:  # screens ask the hosts that they know to be there
            await pilot.pause(LOOK_S)
        if wanted.view:
            app.comfort.open(wanted.view)
        elif not isinstance(app.screen, VIEWS[name]):
            app.go_down(name)
        with contextlib.suppress(TimeoutError):  # a host is slow: it is drawn as far as it is known, and says so
            async with asyncio.timeout(wanted.timeout_s + DRAW_S):
                await _whole(app, pilot, narrowed)
        pictures.append((app.export_screenshot(title=app.title), fleet.state))
        app.exit()

    await app.run_async(headless=True, size=wanted.size, auto_pilot=drive)
    return pictures[0]


async def _whole(app: ConsoleApp, pilot: Pilot[Any], narrowed: Filter) -> None:
    """Until the screen has what it asks for."""
    loop = asyncio.get_running_loop()
    quiet_since = loop.time()
    narrow = bool(narrowed)
    while loop.time() - quiet_since < QUIET_S:
        view = app.screen
        if narrow and isinstance(view, View) and view.is_drawable:
            view.narrow(narrowed)
            narrow, quiet_since = False, loop.time()
        if any(worker.is_running and worker.node is view for worker in app.workers):
            quiet_since = loop.time()
        await pilot.pause(LOOK_S)
