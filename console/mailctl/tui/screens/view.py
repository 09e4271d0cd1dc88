"""What all screens share: the frame, the filter, the order, the way down and up, and the verbs."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from mailagent.config.scalars import parse_named_limit
from mailctl.fleet.state import FleetState
from mailctl.ops.errors import FilterSyntaxError
from mailctl.ops.filters import Filter
from mailctl.ops.own import READ_ONLY_REFUSAL
from mailctl.ops.plan import Options, Verb
from mailctl.tui.alarms import rows_of, screen_of
from mailctl.tui.desk import Desk, Scope, Traced, Tracer
from mailctl.tui.keymap import bindings_of
from mailctl.tui.listing import Column, Listing, Record
from mailctl.tui.ordering import Ordering
from mailctl.tui.screens.plotted import KEYS_REST_S, Plotted
from mailctl.tui.text import clean, listed
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject, Verdict, verdict
from mailctl.tui.widgets.alarmline import AlarmLine
from mailctl.tui.widgets.detail import Detail
from mailctl.tui.widgets.filterbar import FilterBar
from mailctl.tui.widgets.status import Hint, Hints, StatusLine
from mailctl.tui.widgets.table import FleetTable
from mailctl.tui.widgets.topbar import Tabs, Vitals

WIDE = 100
"""Columns from which on there is room beside the chart."""


class View(Screen[None]):
    """One screen of the console. Draws plain values; never waits for the network."""

    TAB: ClassVar[str] = ""
    EMPTY: ClassVar[str] = "nothing here"
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    TABLES: ClassVar[Mapping[str, tuple[Column, ...]]] = {}
    """All columns of each table where there are several, or where they are not to be ordered by."""
    HINTS: ClassVar[tuple[tuple[str, str], ...]] = (("D", "drain"), ("R", "rotate"), ("S", "suspend"), ("E", "resume"))
    VERBS: ClassVar[dict[str, Verb]] = {
        "D": Verb.DRAIN,
        "R": Verb.ROTATE,
        "S": Verb.SUSPEND,
        "E": Verb.RESUME,
        "T": Verb.RETRY,
    }
    """Keys whose hint is grey while their verb is not possible."""
    WORDS: ClassVar[dict[Verb, str]] = {}
    """Commands of verbs that have another one for what is on this screen."""
    AUTO_FOCUS = "FleetTable"
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    DEFAULT_CSS = """
    View { layout: vertical; background: $background; }
    View.-wide Detail > .sides { layout: horizontal; }
    View.-wide Detail .facts { width: 46; height: 100%; padding-left: 2; }
    View.-wide Detail Chart { width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "down", "Open", show=False, id="view.open"),
        Binding("escape", "up", "Up", show=False, id="view.up"),
        Binding("exclamation_mark", "alarm", "Alarm", show=False, id="go.alarm"),
        Binding("slash", "filter", "Filter", show=False, id="view.filter"),
        Binding("o", "order", "Order", show=False, id="view.order"),
        Binding("y", "copy", "Copy", show=False, id="view.copy"),
        Binding("D", "verb('drain')", "Drain", show=False, id="verb.drain"),
        Binding("R", "verb('rotate')", "Rotate", show=False, id="verb.rotate"),
        Binding("S", "verb('suspend')", "Suspend", show=False, id="verb.suspend"),
        Binding("E", "verb('resume')", "Resume", show=False, id="verb.resume"),
        Binding("L", "limit", "Limit", show=False, id="verb.limit"),
        Binding("T", "verb('retry')", "Retry now", show=False, id="verb.retry"),
        Binding("U", "undo", "Undo", show=False, id="verb.undo"),
        Binding("h", "span", "Span", show=False, id="view.span"),
        Binding("w", "trace", "Trace", show=False, id="view.trace"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.filter = Filter()
        self._settled = Filter()  # what stood when the filter line was opened
        self._mistaken = ""  # what was typed there last, while it could not be read
        self.ordering = Ordering(self.COLUMNS)
        self._plotted = Plotted(self)
        self._copied = ""
        self._sought: tuple[str, ...] = ()  # rows to stand on as soon as they are there

    @property
    def desk(self) -> Desk:
        """The app, as screens see it."""
        return cast(Desk, self.app)

    @classmethod
    def tables(cls) -> dict[str, tuple[Column, ...]]:
        """All columns of each table, by the name that it has in files: `fleet`, `operations.log`."""
        own = cls.__name__.removesuffix("View").lower()
        tables = cls.TABLES or {"": cls.COLUMNS}
        return {f"{own}.{name}" if name else own: columns for name, columns in tables.items() if columns}

    @property
    def table_name(self) -> str | None:
        """Name of the table with the focus, as it stands now."""
        shown = set(self.table.source.columns) if self.query(FleetTable) else set()
        found = (name for name, columns in self.tables().items() if shown and shown <= set(columns))
        return next(found, None)

    # frame

    def compose(self) -> ComposeResult:
        """Two lines above, two below, the body between."""
        yield Tabs(self.TAB)
        yield Vitals()
        yield AlarmLine()
        yield from self.body()
        yield FilterBar()
        yield StatusLine(*self.desk.said)
        yield Hints()

    def body(self) -> Iterable[Widget]:
        """What fills the screen."""
        yield FleetTable(empty=self.EMPTY)

    @property
    def is_wide(self) -> bool:
        """Whether facts stand beside the chart."""
        return self.size.width >= WIDE

    @property
    def table(self) -> FleetTable:
        """The table that has the focus, else the first."""
        focused = self.focused
        return focused if isinstance(focused, FleetTable) else self.query(FleetTable).first()

    @property
    def is_drawable(self) -> bool:
        """Whether the frame stands: not before it is composed, and no more while the app shuts down."""
        return self.is_attached and all(self.query(kind) for kind in (Vitals, AlarmLine, FilterBar, StatusLine, Hints))

    # data

    def on_screen_resume(self) -> None:
        """Come back up to date."""
        self.redraw()
        if self.is_drawable:
            self.poll()

    def draw(self, state: FleetState, now: datetime) -> None:
        """Show `state`."""
        self.query_one(Vitals).show(state, now)
        layouts = self.desk.layouts
        arranged = {columns: layouts[name] for name, columns in self.tables().items() if name in layouts}
        for table in self.query(FleetTable):
            table.silent = not state.coverage.fresh
            table.lay_out(arranged)
        self.show(state, now)
        if self._sought and self.query(FleetTable) and self.table.point_at(self._sought):
            self._sought = ()
        self._draw_alarms()
        self._draw_hints()

    def redraw(self) -> None:
        """Draw what is known once more."""
        if self.is_drawable:
            self.draw(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Show the body."""

    def poll(self) -> None:
        """Ask for what the state does not carry; called once a second while the screen is on top."""
        if self.ordering.idle_s >= KEYS_REST_S:
            self._plotted.poll()

    def stands_still(self) -> bool:
        """Whether rows keep their order now."""
        return self.ordering.stands_still(is_asking=self.app.screen is not self)

    def hold(self, listing: Listing[Record]) -> Listing[Record]:
        """`listing`, its rows standing still while somebody types or a question is open."""
        return self.ordering.held(listing, is_asking=self.app.screen is not self)

    def on_key(self, event: events.Key) -> None:
        """Remember when a key was pressed; where it does nothing, say where it does."""
        self.ordering.key_pressed()
        if len(event.key) == 1 and event.key.isalpha():
            names = self.desk.screens_with(event.key)
            if names and event.key not in self.active_bindings:
                self.say(f"{event.key} does nothing here; it is a key of {listed(names)}", Tone.WARN)

    def is_asking(self, group: str) -> bool:
        """Whether a question of this screen of that group is under way."""
        return any(worker.group == group and worker.is_running for worker in self.workers if worker.node is self)

    def fetch(self, group: str, work: Callable[..., Coroutine[Any, Any, None]], *about: object) -> None:
        """Start a question in the background; the one of that group before it is given up.

        A coroutine is made when the worker runs and not before, so that one given up early leaves nothing unawaited.
        """
        self.run_worker(cast(Any, partial(work, *about)), group=group, name=group, exclusive=True)

    # history

    def scope(self) -> Scope | None:
        """The history to plot, None when there is no chart."""
        return None

    def action_span(self) -> None:
        """The next longer history; after the longest, the shortest."""
        if not self.query(Detail):
            self.say("no chart here", Tone.WARN)
            return
        self.say(f"history of {self._plotted.next_span()}")

    @on(FleetTable.CursorMoved)
    def _cursor_moved(self) -> None:
        self.show(self.desk.state, self.desk.now())
        self._draw_alarms()
        self._draw_hints()
        self._plotted.follow()

    # filter

    def action_filter(self, *, anew: bool = False) -> None:
        """Open the filter line, where there are rows; `anew`: to write another in place of the one that stands."""
        if self.query(FleetTable):
            if self.filter != self._settled:
                self._settled, self._mistaken = self.filter, ""
            self.query_one(FilterBar).open(self._mistaken or str(self.filter), anew=anew)
        else:
            self.say("no rows to narrow here", Tone.WARN)

    @on(Input.Changed)
    def _filter_typed(self, event: Input.Changed) -> None:
        if isinstance(event.input, FilterBar) and self.is_typing:
            with suppress(FilterSyntaxError):  # half a term: the rows stay until it is whole
                self.narrow(Filter.parse(event.value))

    @on(FilterBar.Closed)
    def _filter_closed(self, event: FilterBar.Closed) -> None:
        """Keep what was typed; a mistake leaves what stood before, not the half of it that could be read."""
        try:
            self.narrow(Filter.parse(event.text))
            self._mistaken = ""
        except FilterSyntaxError as exc:
            self.narrow(self._settled)
            self._mistaken = event.text.strip()
            self.say(str(exc), Tone.WARN)
        self.table.focus()

    def narrow(self, wanted: Filter) -> None:
        """Show only what `wanted` admits."""
        if wanted != self.filter:
            self.filter = wanted
            self.ordering.anew()
            self._draw_aside()
            self.show(self.desk.state, self.desk.now())

    @property
    def is_typing(self) -> bool:
        """Whether the filter line is open: what it costs hosts to narrow waits until it is whole."""
        return self.query_one(FilterBar).has_class("-open")

    def admitted(self, wanted: Filter) -> tuple[str, ...]:
        """Hosts that `wanted` lets through."""
        return tuple(str(host.name) for host in self.desk.state.hosts if wanted.admits_host(host.name))

    # moving

    def action_alarm(self) -> None:
        """Go to the worst alarm; from there to the next."""
        self.desk.alarms.look(self.desk.state)
        alarm = self.desk.alarms.next(self._here())
        if alarm is None:
            self.say("nothing is wrong that this console knows of")
            return
        target = self.app.get_screen(screen_of(alarm))
        assert isinstance(target, View)  # noqa: S101  the app installs it
        target.seek(rows_of(alarm))
        if target is self:
            self.narrow(Filter())
            self.draw(self.desk.state, self.desk.now())
        else:
            self.desk.go_down(screen_of(alarm), Filter())

    def seek(self, rows: tuple[str, ...]) -> None:
        """Stand on these rows as soon as they are there."""
        self._sought = rows

    def action_down(self) -> None:
        """Go into the row."""
        if self.query(FleetTable):
            self.table.action_choose()

    def action_up(self) -> None:
        """Back to where we came from; else take the filter away; else to the fleet."""
        self.desk.go_up()

    def traced(self) -> Traced:
        """What `w` follows."""
        return "no SMTP sessions to follow here: choose a host, an IP, a provider or a destination"

    def action_trace(self) -> None:
        """Follow the SMTP sessions of what the cursor stands on."""
        wanted = self.traced()
        if isinstance(wanted, str):
            self.say(wanted, Tone.WARN)
            return
        cast(Tracer, self.app.get_screen("Trace")).follow(*wanted)
        self.desk.go_down("Trace")

    def action_order(self) -> None:
        """Order by the next column that can be ordered by; after the last, the screen's own order."""
        if not self.query(FleetTable):
            self.say("no rows to order here", Tone.WARN)
            return
        column = self.ordering.by_next()
        self.say(f"ordered by {column.title.lower()}" if column is not None else "in its own order")
        self.show(self.desk.state, self.desk.now())
        self.table.rewind()

    def copied(self) -> str:
        """What `y` copies."""
        return " ".join(self.table.selected()) if self.query(FleetTable) else ""

    def action_copy(self) -> None:
        """Copy the keys of the rows; the second time, what stands in the row under the cursor."""
        text = self.copied()
        if not text:
            self.say("nothing to copy", Tone.WARN)
        elif text == self._copied and (row := self._row_text()):
            self._copied = ""
            self.app.copy_to_clipboard(row)
            self.say(f"copied the row: {row}")
        else:
            self._copied = text
            self.app.copy_to_clipboard(text)
            self.say(f"copied {text}; y again copies the row" if self._row_text() else f"copied {text}")

    def _row_text(self) -> str:
        """The row under the cursor, harmless, with tabs between its cells."""
        source = self.table.source if self.query(FleetTable) else None
        index = source.index_of(self.table.cursor) if source is not None and self.table.cursor else None
        if source is None or index is None:
            return ""
        return "\t".join(clean(cell.text) for cell in source.row(index).cells)

    # verbs

    def subject(self, verb: Verb) -> Subject | None:
        """What `verb` would act on."""
        del verb
        return None

    def verdict(self, verb: Verb) -> Verdict:
        """What a key means here."""
        if self.desk.read_only:
            return Verdict(None, READ_ONLY_REFUSAL)
        return verdict(verb, self.subject(verb), self.desk.state)

    def action_verb(self, name: str) -> None:
        """Plan a verb, or say why it is not possible."""
        verb = Verb(name)
        answer = self.verdict(verb)
        subject = self.subject(verb)
        if answer.verb is None or subject is None:
            self.say(answer.why_not, Tone.WARN)
        else:
            if self.query(FleetTable):
                self.table.lead()  # what becomes of the row is the proof
            options = Options(filter=subject.line, words=self.WORDS.get(answer.verb, ""))
            self.desk.ask_before(answer.verb, subject.selection, options)

    def action_limit(self) -> None:
        """Ask for a limit and its value, then plan it."""
        answer, subject = self.verdict(Verb.LIMIT), self.subject(Verb.LIMIT)
        if answer.verb is None or subject is None:
            self.say(answer.why_not, Tone.WARN)
            return

        def plan(text: str) -> None:
            limit, _, value = text.partition("=")
            self.desk.ask_before(Verb.LIMIT, subject.selection, Options(limit=limit, value=value))

        self.desk.prompt(
            f"Lower a limit of {listed(subject.names)}",
            "connections=2, rate=10/s, messages_per_connection=20 …",
            _wrong_limit,
            plan,
        )

    def action_undo(self) -> None:
        """Undo the last operation of this console, else the last of mine that stands."""
        self.desk.ask_before_undo(None)

    # lines at the bottom

    def say(self, message: str, tone: Tone = Tone.TEXT) -> None:
        """Put a message into the status line of this screen; `Desk.say` is for what all screens are to tell."""
        self.query_one(StatusLine).say(message, tone)

    @on(FleetTable.Marked)
    def _marked(self, event: FleetTable.Marked) -> None:
        self._draw_aside()
        self._draw_hints()
        if event.lost:
            gone = "1 marked row is no longer shown: its mark is gone"
            if event.lost > 1:
                gone = f"{event.lost} marked rows are no longer shown: their marks are gone"
            self.say(gone, Tone.WARN)

    def _draw_aside(self) -> None:
        marks = len(self.table.marks) if self.query(FleetTable) else 0
        parts = [f"/{self.filter}" if self.filter else "", f"{marks} marked" if marks else ""]
        self.query_one(StatusLine).aside("  ".join(part for part in parts if part))

    def _draw_alarms(self) -> None:
        self.query_one(AlarmLine).show(self.desk.alarms.standing, self._here(), self._own_key)

    def _here(self) -> tuple[str, str] | None:
        """This screen, and the key of the row under the cursor."""
        return (self.TAB, self.table.cursor or "") if self.query(FleetTable) else None

    def _draw_hints(self) -> None:
        hints = self.desk.footer or tuple(
            Hint(self._own_key(key), label, key not in self.VERBS or self.verdict(self.VERBS[key]).verb is not None)
            for key, label in self.HINTS
        )
        narrows = (Hint(self._own_key("/"), "filter"),) if self.query(FleetTable) else ()
        self.query_one(Hints).show((*hints, *narrows, Hint("?", "help"), Hint("q", "quit")))

    def _own_key(self, key: str) -> str:
        """The key that does what `key` does unless it is remapped."""
        wanted = {"/": "slash", "!": "exclamation_mark"}.get(key, key)
        for binding in bindings_of(type(self)) if self.desk.keys else ():
            if binding.key == wanted and binding.id:
                return self.desk.keys.get(binding.id, key).partition(",")[0]
        return key


def _wrong_limit(text: str) -> str:
    """What is wrong with `connections=2`; mostly nothing."""
    name, _, value = text.partition("=")
    if not name or not value:
        return f"{text!r} is not KEY=VALUE"
    try:
        parse_named_limit(name, value)
    except ValueError as exc:
        return f"{name}: {exc}"
    return ""
