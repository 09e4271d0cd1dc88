"""The question before a verb acts. Cancel has the focus, so a repeated enter never confirms anything."""

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static

from mailctl.ops import mail
from mailctl.ops.plan import Options, Plan, Step, StepState, Verb
from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.text import clean, count, few, listed, plural, share, span
from mailctl.tui.theme import Tone

DEAF_S = 0.4
"""Keys this soon after the dialog opened were meant for what stood there before."""

_STEPS = {
    StepState.READY: ("●", Tone.GOOD),
    StepState.NOTHING_TO_DO: ("○", Tone.QUIET),
    StepState.REFUSED: ("⊘", Tone.BAD),
    StepState.FAILED: ("✕", Tone.BAD),
    StepState.UNREACHABLE: ("✕", Tone.BAD),
}
AROUND = 6
"""Rows of the dialog around the plan: border, padding and the keys."""
LEAST_ROWS = 3
LEAST_TEXT = 24
SHELL_ROWS = 5
_TIMED = (Verb.DRAIN, Verb.SUSPEND, Verb.ROTATE, Verb.LIMIT, Verb.EDIT, Verb.HOLD)
_PLACEHOLDERS = {
    "reason": "reason, for the log and your colleagues",
    "time": "how long: 30m, 4h, 2d",
    "break": "why their lock is to be broken, for the log",
    "override": "why it is to be done all the same, for the log",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Do what the plan says."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Plan again with other options, then ask again."""

    options: Options


class ConfirmDialog(Modal[Confirmed | Changed | None]):
    """Shows a frozen plan and asks. Dismissed with None: cancelled."""

    DEFAULT_CSS = """
    ConfirmDialog {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 92%; max-width: 100; height: auto; max-height: 92%;
            background: $band; border: round $tone-accent; border-title-color: $tone-strong; padding: 1 2 0 2;
        }
        & VerticalScroll { height: auto; max-height: 16; scrollbar-size-vertical: 1; }
        & Static { width: 1fr; }
        & .keys { height: 1; margin-top: 1; margin-bottom: 1; }
        & Button { min-width: 10; height: 1; margin-right: 2; border: none; background: $rule; color: $tone-text; }
        & Button:focus { background: $tone-accent; color: $background; text-style: bold; border: none; }
        & Button:nocolor:focus { text-style: reverse; }
        & Input { display: none; height: 1; margin-top: 1; border: none; padding: 0 1; background: $cursor-band; }
        & Input.-open { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "confirm", "Confirm", id="confirm.yes"),
        Binding("escape,n,q", "cancel", "Cancel", id="confirm.cancel"),
        Binding("r", "edit('reason')", "Reason", id="confirm.reason"),
        Binding("t", "edit('time')", "Time", id="confirm.time"),
        Binding("o", "edit('override')", "Override", id="confirm.override"),
        Binding("b", "edit('break')", "Break lock", id="confirm.break"),
        Binding("c", "copy", "Copy", id="confirm.copy"),
        Binding("j,down", "scroll(1)", show=False, id="confirm.down"),
        Binding("k,up", "scroll(-1)", show=False, id="confirm.up"),
    ]

    def __init__(self, plan: Plan, *, title: str = "", note: str = "", clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self.plan = plan
        self._title = title or few(plan.title)
        self._note = note
        self._clock = clock
        self._opened_at = clock()
        self._editing = ""

    def compose(self) -> ComposeResult:
        """The plan, an input for reason or time, and the keys."""
        box = Vertical()
        where = f"{self.plan.environment.upper()}: " if self.plan.is_production else ""
        box.border_title = f" {where}{clean(self._title)} "
        with box:
            with VerticalScroll(can_focus=False):
                yield Static(summary(self.plan, self._text_width(), self._note), markup=False)
            yield Input(compact=True)
            with Horizontal(classes="keys"):
                cancel = Button("Cancel", compact=True)
                # Textual swallows enter for 0.2 s after an enter, also after one that was dropped while deaf.
                cancel.active_effect_duration = 0
                yield cancel
                yield Static(self._keys(), markup=False)

    def _text_width(self) -> int:
        """Cells for text: the box as its style says, without border, padding and scroll bar."""
        return max(LEAST_TEXT, min(100, self.app.size.width * 92 // 100) - 7)

    def on_mount(self) -> None:
        """Cancel has the focus."""
        self._opened_at = self._clock()
        self.query_one(Button).focus()

    def on_resize(self) -> None:
        """The plan in the new width; what does not fit above the keys is scrolled."""
        plan = self.query_one(VerticalScroll)
        plan.styles.max_height = max(LEAST_ROWS, self.app.size.height * 92 // 100 - AROUND)
        plan.query_one(Static).update(summary(self.plan, self._text_width(), self._note))

    @property
    def is_deaf(self) -> bool:
        """Whether keys are dropped still."""
        return self._clock() - self._opened_at < DEAF_S

    def _keys(self) -> Content:
        keys = [("y", self.plan.words), ("r", "reason")] if self.plan.is_possible else []
        keys += [
            (key, what) for key, what in (("t", "time"), ("o", "override"), ("b", "break")) if self._may_edit(what)
        ]
        shown = Content("   ").join(
            Content.assemble((key, f"bold {Tone.ACCENT.style}"), (f" {label}", Tone.TEXT.style))
            for key, label in [*keys, ("c", "copy"), ("esc", "cancel")]
        )
        if self.plan.is_possible:
            return shown
        return Content.assemble(("nothing can be done   " if not keys else "", Tone.WARN.style), shown)

    def _may_edit(self, what: str) -> bool:
        """Whether that can be said about this plan."""
        if what == "override":
            return self.plan.is_guarded and not self.plan.options.override
        if what == "break":
            return self.plan.is_locked and not self.plan.options.break_lock
        return self.plan.is_possible and (what != "time" or self.plan.verb in _TIMED)

    def action_confirm(self) -> None:
        """Do it; when it is final or overrides a guard, after its name was typed."""
        if self.is_deaf or not self.plan.is_possible:
            return
        if self.plan.word:
            self._open("name", f"type {clean(self.plan.word)} to confirm")
        else:
            self.dismiss(Confirmed())

    @on(Button.Pressed)
    def action_cancel(self) -> None:
        """Leave everything as it is; while editing, only leave the line."""
        if self.is_deaf:
            return
        if self._editing:
            self._close_edit()
        else:
            self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the same for the shell, through the terminal (OSC 52)."""
        self.app.copy_to_clipboard(self.plan.command)
        self.query_one(Vertical).border_subtitle = " copied the command "

    def action_scroll(self, by: int) -> None:
        """Scroll a plan that is taller than the dialog."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_edit(self, what: str) -> None:
        """Type a reason, a time, or why a guard is overridden."""
        if not self.is_deaf and self._may_edit(what):
            self._open(what, _PLACEHOLDERS[what], self.plan.options.reason if what != "time" else "")

    def _open(self, what: str, placeholder: str, value: str = "") -> None:
        self._editing = what
        line = self.query_one(Input)
        line.placeholder = placeholder
        line.value = value
        line.add_class("-open")
        line.focus()

    @on(Input.Submitted)
    def _edited(self, event: Input.Submitted) -> None:
        event.stop()
        value, options = event.value.strip(), self.plan.options
        wrong = ""
        if self._editing == "reason":
            self.dismiss(Changed(replace(options, reason=value)))
        elif self._editing == "override" and value:
            self.dismiss(Changed(replace(options, reason=value, override=True)))
        elif self._editing == "break" and value:
            self.dismiss(Changed(replace(options, reason=value, break_lock=True)))
        elif self._editing in ("override", "break"):
            wrong = f"{self._editing} wants a reason"
        elif self._editing == "name" and value == self.plan.word:
            self.dismiss(Confirmed())
        elif self._editing == "name":
            wrong = f"that is not it; type {clean(self.plan.word)}, or esc"
        elif (seconds := seconds_in(value)) is not None:
            self.dismiss(Changed(replace(options, ttl_s=seconds)))
        else:
            wrong = f"{value!r} is no time; write 30m, 4h, 2d"
        if wrong:
            event.input.value = ""
            event.input.placeholder = wrong

    def _close_edit(self) -> None:
        self._editing = ""
        self.query_one(Input).remove_class("-open")
        self.query_one(Button).focus()


def seconds_in(text: str) -> int | None:
    """Seconds of `30m`, `4h`, `90s`, `2d`; None when it is no time."""
    number, unit = text[:-1], text[-1:]
    return int(number) * _UNITS[unit] if number.isdigit() and int(number) and unit in _UNITS else None


def summary(plan: Plan, width: int, note: str = "") -> Content:
    """The plan in words: size, what stays, undo, each host, and the same for the shell."""
    label = 11
    rows: list[Content] = []
    if note:
        rows += [Content.styled(note, Tone.WARN.style), Content("")]

    def row(name: str, text: str, tone: Tone = Tone.TEXT, *, most: int = 0, rest: str = "") -> None:
        wrapped = textwrap.wrap(text, width - label, break_on_hyphens=False) or [""]
        if most and len(wrapped) > most:
            wrapped = [*wrapped[: most - 1], rest]
        for line, head in zip(wrapped, [name, *[""] * len(wrapped)], strict=False):
            rows.append(Content.assemble((head.ljust(label), Tone.QUIET.style), (line, tone.style)))

    ready = {step.host for step in plan.steps if step.state is StepState.READY}
    row(
        "hosts",
        f"{len(ready)} of {plan.hosts} can" if len(ready) < plan.hosts else f"{plan.hosts} of {plan.fleet_hosts}",
        Tone.STRONG,
    )
    touches = [plural(plan.messages, "waiting message")]
    if plan.connections:
        touches.append(plural(plan.connections, "connection"))
    if plan.share:
        touches.append(f"{share(plan.share)} of the traffic")
    row("touches", ", ".join(touches), Tone.STRONG)
    running = [step for step in plan.steps if step.runs]
    acting = [step for step in running if step.state is StepState.READY] or running
    told = _shared(acting)
    if told:
        several = len({step.host for step in acting}) > 1
        row("effect", clean(f"on each host: {'; '.join(told)}" if several else "; ".join(told)))
    steps = [(step.host, step.impact) for step in plan.steps if step.runs]
    for line in mail.of_them(steps):
        row("of them", line)
    if (arrived := mail.oldest(steps)) is not None:
        row("oldest", f"{arrived:%Y-%m-%d %H:%M} UTC")
    if plan.untouched:
        row("stays", "; ".join(map(clean, plan.untouched)))
    if plan.options.ttl_s:
        row("for", span(plan.options.ttl_s))
    if plan.options.reason:
        row("reason", clean(plan.options.reason))
    if plan.options.break_lock:
        row("lock", "that of others does not stop it", Tone.WARN)
    if plan.options.override:
        row("override", "what guards say does not stop it", Tone.WARN)
    row(
        "undo",
        "; ".join(filter(None, ("U" if plan.undoable else "not possible", clean(plan.undo_note)))),
        Tone.TEXT if plan.undoable else Tone.WARN,
    )
    row("shell", clean(plan.command), Tone.ACCENT, most=SHELL_ROWS, rest="… c copies all of it")
    for warning in plan.warnings:
        row("warning", clean(warning), Tone.WARN)
    rows.append(Content(""))
    rows += [_step(step, _rest(step, told, acting)) for step in plan.steps]
    return Content("\n").join(rows)


def _shared(acting: Sequence[Step]) -> tuple[str, ...]:
    """The clauses that say of each step what they say of all."""
    if not acting:
        return ()
    if len(acting) == 1:
        return (acting[0].detail,)
    first, *others = (_clauses(step, acting) for step in acting)
    return tuple(clause for clause in first if all(clause in other for other in others))


def _rest(step: Step, told: Sequence[str], acting: Sequence[Step]) -> str:
    """What is to be said of a step beside that."""
    if step not in acting:
        return step.detail
    clauses = zip(_split(step), _clauses(step, acting), strict=True)
    return "" if step.detail in told else "; ".join(own for own, general in clauses if general not in told)


def _split(step: Step) -> list[str]:
    """Its clauses; how many messages it touches stands beside it already."""
    return step.detail.removeprefix(f"{step.impact.messages} recipients: ").split("; ")


def _clauses(step: Step, acting: Sequence[Step]) -> list[str]:
    """The same in words that are the same for each host and, where there are several, each object."""
    found = [_named(clause, step.host, "the host") for clause in _split(step)]
    name = step.target.partition(":")[2]
    if name and any(other.target != step.target for other in acting):
        found = [_named(clause, name, "each one") for clause in found]
    return found


def _named(text: str, name: str, other: str) -> str:
    return re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", other, text)


def _step(step: Step, detail: str) -> Content:
    glyph, tone = _STEPS[step.state]
    sizes = [f"{count(step.impact.messages)} waiting"] if step.impact.messages else []
    if step.impact.share:
        sizes.append(f"{share(step.impact.share)} of its mail")
    return Content.assemble(
        (f"{glyph} {step.host}  ", tone.style),
        (f"{step.target}  ", Tone.STRONG.style),
        (f"{listed(sizes)}  " if sizes else "", Tone.TEXT.style),
        (clean(detail), Tone.QUIET.style if step.runs else Tone.BAD.style),
    )
