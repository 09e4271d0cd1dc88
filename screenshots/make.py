"""Draw the screens again: the demo's fleet, a Gmail throttle on mkt-1, and the console driven through it.

Writes an SVG and a PNG of each screen beside this file, or of those that are named. Takes about four minutes: the
charts want a minute of traffic. The fourth host, a Postfix, is there where the demo can start one.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from mailagent.config import load_fleet
from mailctl.fleet import Fleet
from mailctl.fleet.state import LinkState
from mailctl.ops import Phase
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.columns import ColumnsDialog
from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.export import self_contained
from mailctl.tui.incidents import Incidents
from mailctl.tui.screens.orders import order_key
from mailctl.tui.screens.rollout import RolloutView
from mailctl.tui.source import FleetOperator
from mailctl.tui.start import follow
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable

HERE = Path(__file__).resolve().parent
LARGE, SMALL = (120, 36), (80, 24)
READY_S = 30.0
DEADLINE_S = 120.0
QUIET_S = 75.0
"""Ordinary traffic before the incident: the minute's figures and the charts are whole then."""
DEFERRED = 15
"""So many wait for Gmail when the pictures are taken."""
REQUESTS = {"history", "deferred", "messages", "message", "log", "jobs", "job", "suppressions", "aside"}
"""Groups of workers that fetch what a screen shows."""
REASON_KEYS = {" ": "space"}
RENDERER = "rsvg-convert"


def main() -> None:
    renderer = shutil.which(RENDERER)
    if renderer is None:
        sys.exit(f"{RENDERER} is missing: apt-get install librsvg2-bin fonts-dejavu-core")
    asyncio.run(draw_all(renderer))


async def draw_all(renderer: str) -> None:
    async with demo_fleet() as directory:
        os.chdir(directory)  # the commands that dialogs show then read as on an operator's screen
        path = Path("fleet.yaml")
        config = load_fleet(path)
        fleet = Fleet(config, path=path)
        app = ConsoleApp(fleet, FleetOperator(fleet), path=path)
        app.drift.follow(config)
        app.comfort.watch_fleet(path, partial(follow, app, fleet))
        async with app.run_test(size=LARGE) as pilot:
            await Walk(pilot, app, renderer, only=sys.argv[1:]).through()


@asynccontextmanager
async def demo_fleet() -> AsyncIterator[Path]:
    """The directory of a running demo that has no incident."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        demo = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("mailctl"), "demo", "--no-console", "--dir", directory),
            *("--incident", "throttle"),  # with an incident of its own there is no timeline
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert demo.stdout is not None
            async with asyncio.timeout(READY_S):
                ready = json.loads(await demo.stdout.readline())
            root = Path(ready["fleet"]).parent
            await throttle(root, wanted=False)
            yield root
        finally:
            if demo.returncode is None:
                demo.terminate()
            await demo.wait()


async def throttle(root: Path, *, wanted: bool) -> None:
    """Begin or end the Gmail throttle of the demo in `root`."""
    incidents = Incidents(root)
    running = next(one.running for one in await incidents.list() if one.name == "throttle")
    if running is not wanted:
        await incidents.toggle("throttle")


def limit_gmail(path: Path) -> None:
    """Give Gmail a rate in the fleet file."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("gmail: {tls: opportunistic}", "gmail: {tls: opportunistic, rate: 2/s}"), "utf-8")


class Walk:
    """One way through the console, with a picture of each screen."""

    def __init__(self, pilot: Pilot[Any], app: ConsoleApp, renderer: str, only: Sequence[str] = ()) -> None:
        self._pilot = pilot
        self._app = app
        self._renderer = renderer
        self._only = only

    async def through(self) -> None:
        """From a quiet fleet through a throttled address to its rotation."""
        await self._until(lambda: all(host.state is LinkState.LIVE for host in self._app.state.hosts))
        print("waiting for a minute of ordinary traffic", flush=True)
        await self._until(lambda: self._youngest_s() > QUIET_S)
        await throttle(Path(), wanted=True)

        await self._press("3")
        await self._until(lambda: self._has("gmail/mkt-1"))
        self._table.move_to("gmail/mkt-1")
        await self._until(lambda: self._deferred("gmail/mkt-1") >= DEFERRED)
        await self._shoot("destinations")
        await self._press("1")
        await self._shoot("fleet")

        await self._pilot.resize_terminal(*SMALL)
        await self._shoot("fleet-80x24")
        await self._press("3")
        await self._shoot("destinations-80x24")
        await self._pilot.resize_terminal(*LARGE)

        await self._press("4")
        await self._until(lambda: self._table.row_count > 0)
        await self._shoot("deferred")
        await self._press("slash", *"provider:gmail host:mx1", "enter")
        await self._until(lambda: bool(self._app.screen.filter) and self._table.row_count > 0)  # type: ignore[attr-defined]
        await self._press("enter")
        await self._until(lambda: "Messages" in type(self._app.screen).__name__ and self._table.row_count > 0)
        await self._press("enter")
        await self._until(lambda: type(self._app.screen).__name__ == "MessageView")
        await self._shoot("message")

        await self._press("6")
        await self._until(lambda: self._lowered("gmail/mkt-1") is not None)
        self._table.move_to(self._lowered("gmail/mkt-1") or "")
        await self._shoot("automation")
        await self._press("7")
        await self._until(lambda: self._has("autumn-catalogue"))
        self._table.move_to("autumn-catalogue")
        await self._shoot("jobs")
        await self._press("8")
        await self._until(lambda: self._table.row_count > 0)
        await self._shoot("suppression")

        await self._press("2")
        await self._ask("vmta:mkt-1", "R", "Gmail throttles it")
        await self._shoot("rotate")
        await self._agree()
        await self._until(lambda: self._state("mkt-1") == "quarantined")
        await self._shoot("pools")
        await self._ask("pool:cold", "D", "quiet while we look")
        await self._agree()
        await self._press("6")
        await self._until(lambda: bool(log := self._app.screen.query("#log")) and log.first(FleetTable).row_count == 2)
        await self._shoot("operations")
        await self._press("t")
        await self._until(lambda: "Timeline" in type(self._app.screen).__name__ and self._table.row_count > 0)
        await self._shoot("timeline")

        await self._press("3", "a")
        await self._until(lambda: "Ages" in type(self._app.screen).__name__ and self._table.row_count > 0)
        await self._press("right")
        await self._shoot("ages")
        await self._press("1", "vertical_line")
        await self._until(lambda: isinstance(self._app.screen, ColumnsDialog))
        await self._press("j", "j", "K", "plus", "plus", "j", "j", "space")
        await self._shoot("columns")
        await self._press("escape")
        await self._roll_out()

    async def _roll_out(self) -> None:
        """Another limit for Gmail in the fleet file, brought to the hosts with mx1 first."""
        limit_gmail(Path("fleet.yaml"))
        await self._until(lambda: self._app.drift.differs(self._app.state.hosts[0]))
        await self._press("c")
        await self._until(lambda: "would change" in str(self._app.screen.query_one(StatusLine).message))
        await self._press("A")
        await self._until(lambda: isinstance(self._app.screen, PromptDialog) and self._app.screen.is_mounted)
        await self._press("enter")
        await self._until(self._is_asked)
        await self._agree()
        await self._until(self._is_watching)
        await self._shoot("rollout")
        await self._pilot.resize_terminal(*SMALL)
        await self._shoot("rollout-80x24")

    def _is_watching(self) -> bool:
        view = self._app.screen
        now = view.rollouts.now if isinstance(view, RolloutView) else None
        return now is not None and now.phase is Phase.WATCHES

    async def _ask(self, row: str, key: str, reason: str) -> None:
        """Have the question for a verb on a row, with a reason, on the screen."""
        await self._until(lambda: self._has(row))
        self._table.move_to(row)
        await self._press(key)
        await self._until(self._is_asked)
        before = self._app.screen
        await self._press("r", *(REASON_KEYS.get(letter, letter) for letter in reason), "enter")
        await self._until(lambda: self._app.screen is not before and self._is_asked())

    async def _agree(self) -> None:
        await self._press("y")
        await self._until(lambda: not isinstance(self._app.screen, ConfirmDialog))

    def _is_asked(self) -> bool:
        """Whether a question stands that takes keys."""
        dialog = self._app.screen
        return isinstance(dialog, ConfirmDialog) and dialog.is_mounted and not dialog.is_deaf

    # -- what the console shows

    @property
    def _table(self) -> FleetTable:
        return self._app.screen.query(FleetTable).first()

    def _has(self, key: str) -> bool:
        return bool(self._app.screen.query(FleetTable)) and self._table.source.index_of(key) is not None

    def _youngest_s(self) -> float:
        views = [host.view for host in self._app.state.hosts if host.view is not None]
        return min((self._app.now() - view.started_at).total_seconds() for view in views)

    def _deferred(self, key: str) -> int:
        return sum(row.view.deferred for row in self._app.state.destinations if row.key == key)

    def _lowered(self, cell: str) -> str | None:
        """Key of the order of automation that lowered a limit of `cell`, once it stands in the table."""
        steps = (row for row in self._app.state.directives if row.directive.rule and row.directive.base)
        keys = (order_key(row) for row in steps if row.directive.target.name == cell)
        return next((key for key in keys if self._has(key)), None)

    def _state(self, vmta: str) -> str:
        return next((row.view.state for row in self._app.state.vmtas if row.view.name == vmta), "")

    # -- keys, patience, pictures

    async def _press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    await self._pilot.pause(0.05)
        except TimeoutError:
            raise AssertionError(f"never became true, see {self._draw(Path(tempfile.gettempdir()), 'stuck')}") from None

    async def _settle(self) -> None:
        """The screen has drawn a state that is newer than the last key, and has the answers to what it asked."""
        for _ in range(2):
            before = self._app.state
            await self._until(lambda seen=before: self._app.state is not seen)  # type: ignore[misc]
        await self._until(lambda: not any(w.group in REQUESTS and w.is_running for w in self._app.workers))
        await self._pilot.pause()

    async def _shoot(self, name: str) -> None:
        if self._only and name not in self._only:
            return
        await self._settle()
        drawing = self._draw(HERE, name)
        picture = drawing.with_suffix(".png")
        render = await asyncio.create_subprocess_exec(self._renderer, "--output", picture, drawing)
        async with asyncio.timeout(READY_S):
            if await render.wait() != 0:
                sys.exit(f"{self._renderer} could not draw {drawing}")
        print(picture.relative_to(HERE.parent), flush=True)

    def _draw(self, directory: Path, name: str) -> Path:
        drawing = directory / f"{name}.svg"
        drawing.write_text(self_contained(self._app.export_screenshot(title="mailctl")), encoding="utf-8")
        return drawing


if __name__ == "__main__":
    main()
