"""What screens ask of the app that holds them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from mailagent.api.ids import OpId
from mailagent.api.requests import HistoryScope
from mailagent.api.trace import TraceRequest
from mailctl.fleet.drift import Drift
from mailctl.fleet.state import FleetState
from mailctl.ops.filters import Filter
from mailctl.ops.plan import Options, Plan, Report, Verb
from mailctl.ops.selector import Selection
from mailctl.tui.alarms import Alarms
from mailctl.tui.events import Event
from mailctl.tui.incidents import Incidents
from mailctl.tui.keymap import Keymap
from mailctl.tui.layout import Layouts
from mailctl.tui.source import FleetSource, Operator
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.status import Hint

DEFAULTS = Options()
Planner = Callable[[Options], Awaitable[Plan]]
"""Makes a plan; called again when its options change or the plan has become stale."""


class Scope(NamedTuple):
    """Whose history to plot."""

    title: str
    kind: HistoryScope
    name: str
    hosts: tuple[str, ...]


class MessageRef(NamedTuple):
    """One waiting recipient on one host."""

    host: str
    message_id: str
    n: int


Traced = tuple[tuple[str, ...], TraceRequest] | str
"""Hosts and what to follow on each of them, or why nothing can be followed."""


class Tracer(Protocol):
    """The screen of live traces."""

    def follow(self, hosts: Sequence[str], request: TraceRequest) -> None:
        """Begin to follow something; what was followed before ends."""


class Desk(Protocol):
    """The app: state and clock, ways between screens, and verbs."""

    source: FleetSource
    operator: Operator
    read_only: bool  # nothing may be changed
    keys: Keymap  # of one's own, by the id of the binding
    drift: Drift  # which hosts run something else than the fleet file says
    path: Path  # of the fleet file
    layouts: Layouts  # of one's own, by the name of the table
    state: FleetState  # what is on the screens
    happened: Sequence[Event]  # newest last
    incidents: Incidents
    alarms: Alarms  # what is wrong
    said: tuple[str, Tone]  # to all screens, last
    footer: tuple[Hint, ...]  # hints in place of the screens' own verbs
    message: MessageRef | None  # the one to show on the message screen

    def now(self) -> datetime:
        """Wall time, UTC."""

    def screens_with(self, key: str) -> tuple[str, ...]:
        """Screens that have `key` for themselves."""

    def go_down(self, name: str, wanted: Filter | None = None) -> None:
        """Open a screen, narrowed; `go_up` comes back."""

    def go_up(self) -> None:
        """Back to where `go_down` came from; else take the filter away; else to the fleet."""

    def say(self, message: str, tone: Tone = Tone.TEXT) -> None:
        """Put a message into the status line of every screen."""

    def toggle_incident(self, name: str) -> None:
        """Start or stop an incident of the demo."""

    def ask_before(self, verb: Verb, selection: Selection, options: Options = DEFAULTS) -> None:
        """Plan a verb and ask for confirmation."""

    def carry_out(self, title: str, planner: Planner, options: Options = DEFAULTS) -> None:
        """Plan, ask for confirmation, execute, and tell what became of it."""

    def prompt(
        self, title: str, hint: str, check: Callable[[str], str], then: Callable[[str], None], text: str = ""
    ) -> None:
        """Ask for one line that leads to a verb; `check` says what is wrong with it, else `then` gets it."""

    def ask(
        self, title: str, hint: str, check: Callable[[str], str], then: Callable[[str], None], text: str = ""
    ) -> None:
        """Ask for one line that changes no host, also where nothing may be changed; `text` stands there already."""

    async def agreed(self, title: str, planner: Planner, options: Options, note: str = "") -> Plan | None:
        """Plan and ask until the answer is yes, with that plan, or no."""

    def did(self, report: Report) -> None:
        """Remember what became of an act: `U` is about the last one."""

    def ask_before_undo(self, op_id: OpId | None) -> None:
        """Plan an undo and ask; None: of the last operation of this console, else of the last of mine that stands."""
