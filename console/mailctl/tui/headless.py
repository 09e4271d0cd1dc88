"""A screen drawn without a terminal, for `mailctl export`."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from textual.pilot import Pilot

from mailagent.api.errors import ApiError, NotFound
from mailagent.api.ids import HostName
from mailagent.api.requests import Role
from mailagent.api.words import command
from mailagent.config.structs import FleetConfig
from mailctl.fleet import Fleet
from mailctl.fleet.client import CALL_DEADLINE_S
from mailctl.fleet.errors import LinkError, NoAnswer
from mailctl.fleet.lists import reason
from mailctl.fleet.state import FleetState
from mailctl.ops.errors import SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.targets import check_names, filtered_hosts
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


class Drawn(NamedTuple):
    """A picture, the state of the hosts behind it, and what connected hosts left unanswered."""

    picture: str
    state: FleetState
    unanswered: tuple[str, ...]  # `mx1: no answer to operations within 5 s`


class Listening(Fleet):
    """A fleet that knows which questions its hosts left unanswered, by their last answer to each."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asked: dict[tuple[HostName, str], Exception | None] = {}

    def begin(self) -> None:
        """Only what is asked from now on counts."""
        self._asked = {}

    async def ask(self, host: str, method: str, params: msgspec.Struct, *, deadline_s: float = CALL_DEADLINE_S) -> Any:
        """As any fleet does."""
        name, asked = HostName(host), self._asked
        waited_s = self._answer_s or deadline_s
        asked.setdefault((name, method), NoAnswer(name, f"no answer to {command(method)} within {waited_s:g} s"))
        try:
            answer = await super().ask(host, method, params, deadline_s=deadline_s)
        except (LinkError, ApiError) as exc:
            asked[name, method] = exc
            raise
        asked[name, method] = None
        return answer

    @property
    def unanswered(self) -> tuple[str, ...]:
        """A line for each question that a connected host left unanswered; of lost ones the state tells."""
        found = []
        for (name, method), error in self._asked.items():
            host = self.state.host(name)
            if host is None or not host.state.is_fresh or error is None or isinstance(error, NotFound):
                continue
            why, words = reason(error), command(method)
            if not host.is_beyond(why):
                found.append(f"{name}: {why if words in why else f'{words}: {why}'}")
        return tuple(found)


async def draw(config: FleetConfig, path: Path, wanted: Wanted, *, role: str | None) -> Drawn:
    """The picture, and what is missing in it.

    Raises:
        ConfigError: the operator's own file has mistakes.
        OpsError: no such saved view, a filter that is none, or a name in it that no host has.
    """
    narrowed = Filter.parse(wanted.filter)
    own = load_everything()
    as_role = Role(role) if role else None
    fleet = Listening(config, path=path, as_role=as_role, read_only=True, answer_s=wanted.answer_s)
    filtered_hosts(fleet.state, narrowed)
    app = ConsoleApp(fleet, FleetOperator(fleet), path=path, environment=config.environment or "", read_only=True)
    settle(app, own)
    app.drift.follow(config)
    name = next(one for one in VIEWS if one.lower() == wanted.screen)
    if wanted.view:
        saved = app.comfort.views.get(wanted.view)
        if saved is None or saved.screen != name:
            raise SelectorError(f"no saved view {wanted.view!r} of {wanted.screen}")
    pictures: list[Drawn] = []
    driving: list[asyncio.Task[Any]] = []
    is_interrupted = False

    def interrupt() -> None:
        """End both: textual takes the cancelling of its task, which asyncio makes of ctrl+c, for no reason to end."""
        nonlocal is_interrupted
        is_interrupted = True
        for task in driving:
            task.cancel()
        app.exit()

    async def drive(pilot: Pilot[Any]) -> None:
        if is_interrupted:
            return
        driving.extend(filter(None, [asyncio.current_task()]))
        settled = await fleet.settled(wanted.timeout_s)
        while app.state.tick < settled.tick:  # screens ask the hosts that they know to be there
            await pilot.pause(LOOK_S)
        fleet.begin()
        if wanted.view:
            app.comfort.open(wanted.view)
        elif isinstance(view := app.screen, View) and isinstance(view, VIEWS[name]):
            view.poll()  # what it asked before a host was there
        else:
            app.go_down(name)
        with contextlib.suppress(TimeoutError):  # a host is slow: it is drawn as far as it is known, and said
            async with asyncio.timeout(wanted.timeout_s + DRAW_S):
                await _whole(app, pilot, narrowed)
        pictures.append(Drawn(app.export_screenshot(title=app.title), fleet.state, fleet.unanswered))
        app.exit()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        await app.run_async(headless=True, size=wanted.size, auto_pilot=drive)
    except asyncio.CancelledError:
        if not is_interrupted:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if is_interrupted:
        raise KeyboardInterrupt
    check_names(pictures[0].state, config, narrowed.selection)
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
