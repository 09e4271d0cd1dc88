"""The console: one app over one fleet. Screens draw, `ops` acts; this holds them together."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import ClassVar, cast

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.screen import Screen

from mailagent.api.errors import ApiError
from mailagent.api.ids import OpId
from mailagent.config.safety import Environment
from mailctl.fleet.drift import Drift
from mailctl.fleet.errors import LinkError
from mailctl.fleet.state import FleetState
from mailctl.ops.errors import OpsError
from mailctl.ops.filters import Filter
from mailctl.ops.own import READ_ONLY_REFUSAL
from mailctl.ops.plan import LineResult, Options, Plan, Report, Verb, titled
from mailctl.ops.selector import Selection
from mailctl.tui.alarms import Alarms
from mailctl.tui.collecting import Collector
from mailctl.tui.comfort import BINDINGS as COMFORT_KEYS
from mailctl.tui.comfort import Comfort
from mailctl.tui.desk import DEFAULTS, Desk, MessageRef, Planner
from mailctl.tui.dialogs.confirm import Changed, ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.dialogs.welcome import WelcomeScreen
from mailctl.tui.events import Event, events_between
from mailctl.tui.incidents import IncidentError, Incidents
from mailctl.tui.keymap import Keymap, bindings_of
from mailctl.tui.layout import Layouts, Tables
from mailctl.tui.palette import IncidentProvider, Palette, PlaceProvider, commands_of
from mailctl.tui.screens.ages import AgesView
from mailctl.tui.screens.deferred import DeferredView
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.screens.find import FindView
from mailctl.tui.screens.fleet import FleetView
from mailctl.tui.screens.help import HelpScreen
from mailctl.tui.screens.jobs import JobsView
from mailctl.tui.screens.message import MessageView
from mailctl.tui.screens.messages import MessagesView
from mailctl.tui.screens.operations import OperationsView
from mailctl.tui.screens.pools import PoolsView
from mailctl.tui.screens.rollout import RolloutView
from mailctl.tui.screens.suppression import SuppressionView
from mailctl.tui.screens.timeline import TimelineView
from mailctl.tui.screens.trace import TraceView
from mailctl.tui.screens.view import View
from mailctl.tui.source import FleetSource, Operator
from mailctl.tui.text import few
from mailctl.tui.theme import DARK, THEMES, Tone
from mailctl.tui.visited import Visited
from mailctl.tui.widgets.filterbar import FilterBar
from mailctl.tui.widgets.status import Hint
from mailctl.tui.widgets.topbar import BY_LETTER, TABS

DRAW_S = 0.25
"""At most four data refreshes a second."""
POLL_S = 1.0
MOST_EVENTS = 200
FIRST_INCIDENT_KEY = 5
"""F5 to F12 start and stop the incidents of the demo."""

logger = logging.getLogger(__name__)

VIEWS: dict[str, type[View]] = {
    "Fleet": FleetView,
    "Pools": PoolsView,
    "Destinations": DestinationsView,
    "Deferred": DeferredView,
    "Messages": MessagesView,
    "Message": MessageView,
    "Operations": OperationsView,
    "Jobs": JobsView,
    "Suppression": SuppressionView,
    "Timeline": TimelineView,
    "Trace": TraceView,
    "Ages": AgesView,
    "Find": FindView,
    "Rollout": RolloutView,
}


class ConsoleApp(App[int], inherit_bindings=False):
    """All screens over one fleet."""

    TITLE = "mailctl"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = App.COMMANDS | {
        PlaceProvider,
        IncidentProvider,
    }
    DEFAULT_CSS = """
    App { background: $background; color: $tone-text; }
    App.-production Tabs { background: $tone-bad 30%; }
    App.-production ConfirmDialog > Vertical { border: round $tone-bad; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"tab('{name}')", name, show=False, id=f"go.{name.lower()}")
            for number, name in (*enumerate(TABS, 1), *BY_LETTER.items())
        ),
        *(
            Binding(f"f{number}", f"incident({number - FIRST_INCIDENT_KEY})", show=False, id=f"demo.incident-{number}")
            for number in range(FIRST_INCIDENT_KEY, FIRST_INCIDENT_KEY + 8)
        ),
        *COMFORT_KEYS,
        Binding("minus", "step(-1)", "Back", show=False, id="go.back"),
        Binding("plus", "step(1)", "Forward", show=False, id="go.on"),
        Binding("colon", "command_palette", "Palette", show=False, id="app.palette"),
        Binding("question_mark", "help", "Help", show=False, id="app.help"),
        Binding("q", "quit", "Quit", show=False, id="app.quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=False, id="app.interrupt"),
    ]

    def __init__(
        self,
        source: FleetSource,
        operator: Operator,
        *,
        path: Path = Path("fleet.yaml"),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = monotonic,
        keys: Keymap | None = None,
        environment: str = "",
        read_only: bool = False,
    ) -> None:
        super().__init__()
        self.read_only = read_only
        self.keys = keys or {}
        self.comfort = Comfort(cast(Desk, self), all_tables)
        self.dress(environment)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK.name
        self.sub_title = path.name
        self.path = path
        self.drift = Drift()
        self.incidents = Incidents(path.parent)
        self.collector: Collector | None = None
        self.source = source
        self.operator = operator
        self.state: FleetState = source.state
        self.happened: deque[Event] = deque(maxlen=MOST_EVENTS)
        self.alarms = Alarms()
        self.said: tuple[str, Tone] = ("", Tone.TEXT)
        self.message: MessageRef | None = None
        self._now = now
        self._clock = clock
        self._trail: list[tuple[str, str, Filter]] = []  # (came from, went to, filter that stood there)
        self._visited = Visited("Fleet")
        self.is_first_time = False
        self._drawn_second = -1
        self._last_operation: OpId | None = None

    def dress(self, environment: str) -> None:
        """Look like the fleet that this is."""
        production = environment == Environment.PRODUCTION
        self.set_class(production, "-production")
        words = [environment.upper() if production else environment, "read-only" if self.read_only else ""]
        self.title = " ".join(filter(None, words)) or self.TITLE

    @property
    def layouts(self) -> Layouts:
        """Columns of one's own."""
        return self.comfort.layouts

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own variables in every theme, also Textual's."""
        return dict(DARK.variables)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers beside verbs: screens, themes, help."""
        for name in (*TABS, *BY_LETTER.values()):
            yield SystemCommand(name, f"open the {name} screen", lambda name=name: self.action_tab(name))
        for theme in THEMES:
            yield SystemCommand(f"Theme {theme.name}", "colours", lambda name=theme.name: self._use_theme(name))
        yield SystemCommand("Help", "keys of this screen", self.action_help)
        yield SystemCommand("Back", "the screen before this one", lambda: self.action_step(-1))
        yield SystemCommand("Forward", "the screen that you came back from", lambda: self.action_step(1))
        if isinstance(screen, View):
            yield from commands_of(screen)
            yield from self.comfort.commands(screen)
        if isinstance(screen, FleetView):
            yield SystemCommand("Evacuate", "move the queue of a host to others", screen.action_evacuate)
        yield SystemCommand("Quit", "leave the console; the fleet goes on", self.exit)

    # life

    def on_mount(self) -> None:
        """Draw at once, with no host live yet; then open the links."""
        self.set_keymap(dict(self.keys))
        for name, view in VIEWS.items():
            self.install_screen(view(), name)
        self.push_screen("Fleet")
        if self.is_first_time:
            self.push_screen(WelcomeScreen())
        self.run_worker(self._keep_links(), name="links", group="links", exit_on_error=True)
        self.set_interval(DRAW_S, self._draw)
        self.set_interval(POLL_S, self._poll)

    async def _keep_links(self) -> None:
        """Hold the fleet open for as long as the app runs."""
        async with self.source:
            await asyncio.Event().wait()

    @property
    def footer(self) -> tuple[Hint, ...]:
        """Hints in place of the screens' own verbs."""
        return ()

    def now(self) -> datetime:
        """Wall time, UTC."""
        return self._now()

    def on_key(self, event: events.Key) -> None:
        """Hand the filter line what came in one go with its key, over a slow link or pasted: `/queue:` quits not."""
        line = self.focused
        if isinstance(line, FilterBar) and (event.is_printable or event.key in ("enter", "escape")):
            event.stop()
            event.prevent_default()
            line.post_message(events.Key(event.key, event.character))

    def screens_with(self, key: str) -> tuple[str, ...]:
        """Screens that have `key` for themselves."""
        return tuple(
            name
            for name, view in VIEWS.items()
            if any(key in self.keys.get(one.id or "", one.key).split(",") for one in bindings_of(view))
        )

    def _draw(self) -> None:
        """Show the newest state, if it is a new one or a second has passed."""
        now, state = self.now(), self.source.state
        if state is self.state and int(now.timestamp()) == self._drawn_second:
            return
        self.happened.extend(events_between(self.state, state, now))
        self.state, self._drawn_second = state, int(now.timestamp())
        self.alarms.look(state)
        view = self._view()
        if view is not None and view.is_drawable:
            view.draw(state, now)

    def _poll(self) -> None:
        self.comfort.look()
        view = self._view()
        if view is not None and view.is_drawable:
            view.poll()
            if self.collector is not None:
                self.collector.look(view.ordering.idle_s)

    def _view(self) -> View | None:
        """The topmost of our screens, also below a dialog."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, View)), None)

    # ways

    def _open(self, name: str) -> None:
        if self._switch(name):
            self._visited.visit(name)

    def _switch(self, name: str) -> bool:
        """Whether another screen is there now; not while a question is open."""
        view = self._view()
        if view is None or view is not self.screen or VIEWS[name] is type(view):
            return False
        self.switch_screen(name)
        return True

    def action_tab(self, name: str) -> None:
        """Open a screen directly; that of a search asks for one."""
        self._trail.clear()
        if isinstance(search := self.get_screen(name), FindView) and self._view() is self.screen:
            search.ask()
        self._open(name)

    def action_step(self, by: int) -> None:
        """Back and forward through the screens that were seen."""
        name = self._visited.near(by)
        if name is None:
            self.say("no screen before this one" if by < 0 else "no screen to go forward to", Tone.WARN)
        elif self._switch(name):
            self._trail.clear()
            self._visited.step(by)

    def go_down(self, name: str, wanted: Filter | None = None) -> None:
        """Open a screen, narrowed; `go_up` comes back."""
        view, target = self._view(), self.get_screen(name)
        if view is None or not isinstance(target, View):
            return
        here = next(known for known, kind in VIEWS.items() if kind is type(view))
        self._trail.append((here, name, target.filter))
        if wanted is not None:
            target.filter = wanted
        self._open(name)

    def go_up(self) -> None:
        """Back to where `go_down` came from; else take the filter away; else to the fleet."""
        view = self._view()
        if self._trail:
            here, there, old = self._trail.pop()
            target = self.get_screen(there)
            if isinstance(target, View):
                target.filter = old
            self._open(here)
        elif view is not None and view.filter:
            view.narrow(Filter())
        else:
            self._open("Fleet")

    def action_comfort(self, name: str) -> None:
        """Columns, saved views, export."""
        self.comfort.act(name)

    def action_help(self) -> None:
        """Keys and words."""
        if isinstance(self.screen, View):
            self.push_screen(HelpScreen(self.keys))

    def _use_theme(self, name: str) -> None:
        self.theme = name

    def say(self, message: str, tone: Tone = Tone.TEXT) -> None:
        """Put a message into the status line of every screen: an older one is nowhere left to contradict it."""
        self.said = (message, tone)
        for view in map(self.get_screen, VIEWS):
            if isinstance(view, View) and view.is_drawable:
                view.say(message, tone)

    # incidents of the demo

    def toggle_incident(self, which: str | int) -> None:
        """Start or stop an incident of the demo, by its name or its place."""
        self.run_worker(self._toggle(which), name="incident", group="incident")

    def action_incident(self, index: int) -> None:
        """The incident behind a function key."""
        if self.incidents.exist:
            self.toggle_incident(index)
        else:
            self.say("incidents are for the demo: mailctl demo", Tone.WARN)

    async def _toggle(self, which: str | int) -> None:
        try:
            self.say(await self.incidents.told(which), Tone.WARN)
        except IncidentError as exc:
            self.say(str(exc), Tone.WARN)

    # verbs

    def ask_before(self, verb: Verb, selection: Selection, options: Options = DEFAULTS) -> None:
        """Plan a verb and ask for confirmation."""
        title = few(titled(options.words or verb.words, str(selection)))
        self.carry_out(title, lambda options: self.operator.plan(verb, selection, options), options)

    def ask_before_undo(self, op_id: OpId | None) -> None:
        """Plan an undo and ask; None: of the last operation of this console, else of the last of mine that stands."""
        chosen = op_id or self._last_operation
        if chosen is None:
            self.carry_out("undo the last of mine", self.operator.plan_undo_last)
        else:
            self.carry_out(f"undo {chosen}", lambda options: self.operator.plan_undo(chosen, options))

    def prompt(
        self, title: str, hint: str, check: Callable[[str], str], then: Callable[[str], None], text: str = ""
    ) -> None:
        """Ask for one line; `check` says what is wrong with it, else `then` gets it. `text` is proposed."""
        if self.read_only:  # what is asked for leads to a verb
            self.say(READ_ONLY_REFUSAL, Tone.WARN)
            return
        self.ask(title, hint, check, then, text)

    def ask(
        self, title: str, hint: str, check: Callable[[str], str], then: Callable[[str], None], text: str = ""
    ) -> None:
        """Ask for one line that changes no host; `text` stands there already, and typing takes its place."""
        dialog = PromptDialog(title, hint, check, text)
        self.push_screen(dialog, lambda typed: then(typed) if typed is not None else None)

    def action_command_palette(self) -> None:
        """Open it, once."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def carry_out(self, title: str, planner: Planner, options: Options = DEFAULTS) -> None:
        """Plan, ask for confirmation, execute, and tell what became of it."""
        if self.read_only:
            self.say(READ_ONLY_REFUSAL, Tone.WARN)
            return
        self.say(f"planning {title} …", Tone.QUIET)
        self.run_worker(self._carry_out(title, planner, options), name="verb", group="verb", exclusive=True)

    async def agreed(self, title: str, planner: Planner, options: Options, note: str = "") -> Plan | None:
        """Plan and ask until the answer is yes, with that plan, or no."""
        while True:
            made = await planner(options)
            self.say("")  # the dialog has the word
            answer = await self.push_screen_wait(ConfirmDialog(made, title=title, note=note, clock=self._clock))
            if isinstance(answer, Changed):
                options = answer.options
                continue
            if answer is None:
                self.say(f"{title}: not done, nothing changed")
                return None
            self.say(f"{title} …", Tone.QUIET)
            return made

    async def _carry_out(self, title: str, planner: Planner, options: Options) -> None:
        """Plan, ask, execute, tell. A stale plan is made and asked again."""
        note = ""
        try:
            while (made := await self.agreed(title, planner, options, note)) is not None:
                if await self._execute(made, title):
                    return
                options = made.options
                note = "Something changed in the meantime. This is the plan as it stands now:"
        except (OpsError, LinkError, ApiError) as exc:
            self.say(str(exc), Tone.WARN)
        except Exception:
            logger.exception("verb failed: %s", title)
            self.say(f"{title}: failed inside the console; see its log", Tone.BAD)

    def did(self, report: Report) -> None:
        """Remember what `U` is about: this; after an undo the last of mine, one step further back.

        So too when this has no way back: the plan says so.
        """
        if report.undo_command or report.count(LineResult.APPLIED):
            has_inverse = report.undo_command and report.verb is not Verb.UNDO
            self._last_operation = report.op_id if has_inverse else None

    async def _execute(self, plan: Plan, title: str) -> bool:
        """Whether it is done; False asks for a new plan."""
        report = await self.operator.execute(plan)
        if report.is_stale:
            return False
        self.did(report)
        hint = "  U undoes it" if report.op_id == self._last_operation else ""
        if report.succeeded:
            self.say(f"{title}: {report.summary}{hint}", Tone.GOOD)
        else:
            self.say(f"{title}: {report.summary}{hint}", Tone.BAD)
            await self.push_screen_wait(ReportDialog(report))
        return True


def all_tables() -> Tables:
    """All columns of each table of the console."""
    return {name: columns for view in VIEWS.values() for name, columns in view.tables().items()}
