"""The line that is only there while something is wrong: what, and the keys that make it safe."""

from collections.abc import Callable

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from mailctl.ops.alarms import Alarm
from mailctl.ops.findings import Trouble
from mailctl.ops.plan import Verb
from mailctl.tui.alarms import is_at
from mailctl.tui.text import clean, count
from mailctl.tui.theme import Tone

_KEYS = {Verb.ROTATE: "R", Verb.SUSPEND: "S", Verb.EVACUATE: "V", Verb.RETRY: "T"}
_MILD = (
    Trouble.BLOCKED,
    Trouble.THROTTLED,
    Trouble.FAILING,
    Trouble.UNREACHABLE,
    Trouble.SLOW,
    Trouble.DNS,
    Trouble.MAILBOXES,
)
_ROOM = 12
"""Cells that a reply or an advice needs to say anything."""


class AlarmLine(Widget):
    """The worst alarm; on its row, what to do about it."""

    DEFAULT_CSS = """
    AlarmLine { height: 1; display: none; background: $cursor-band; color: $tone-text; padding: 0 1; }
    AlarmLine.-standing { display: block; }
    AlarmLine:nocolor { text-style: reverse; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._alarms: tuple[Alarm, ...] = ()
        self._here: tuple[str, str] | None = None
        self._own_key: Callable[[str], str] = str

    def show(self, alarms: tuple[Alarm, ...], here: tuple[str, str] | None, own_key: Callable[[str], str]) -> None:
        """Draw the worst of `alarms`, or the one that `here` (screen and key of its row) is about."""
        if (alarms, here) != (self._alarms, self._here):
            self._alarms, self._here, self._own_key = alarms, here, own_key
            self.set_class(bool(alarms), "-standing")
            self.refresh()

    async def on_click(self) -> None:
        """A click goes there."""
        await self.run_action("screen.alarm")

    def render(self) -> RenderResult:
        """What is wrong, behind it as much of the reply or the advice as fits, the keys at the right."""
        return alarm_line(self._alarms, self._here, self._own_key, self.size.width)


def alarm_line(
    alarms: tuple[Alarm, ...], here: tuple[str, str] | None, own_key: Callable[[str], str], width: int
) -> Content:
    """`▲ gmail throttles mkt-1, 205 wait  421 4.7.28 …  ! goes there, R rotate  +1`."""
    if not alarms:
        return Content("")
    mine = [alarm for alarm in alarms if is_at(alarm, here)]
    alarm = mine[0] if mine else alarms[0]
    tone = Tone.WARN if alarm.trouble in _MILD else Tone.BAD
    waiting = f", {count(alarm.waiting)} wait" if alarm.waiting else ""
    right = _keys(alarm, len(alarms) - 1, own_key, is_here=bool(mine), worse=alarms.index(alarm))
    most = width - right.cell_length - 4
    left = _what(f"{clean(alarm.text)}{waiting}", tone)
    if 0 < most < left.cell_length:  # keys are what one presses: they are never cut
        left = _what(clean(alarm.text), tone).truncate(most, ellipsis=True)
    room = max(0, most - left.cell_length)
    said = clean(alarm.advice if mine else alarm.evidence) if room >= _ROOM else ""
    middle = Content.styled(said, (Tone.TEXT if mine else Tone.QUIET).style).truncate(room, ellipsis=True, pad=True)
    return Content.assemble(left, ("  ", ""), middle, ("  ", ""), right)


def _what(text: str, tone: Tone) -> Content:
    return Content.assemble(("▲ ", tone.style), (text, f"bold {tone.style}"))


def _keys(alarm: Alarm, others: int, own_key: Callable[[str], str], *, is_here: bool, worse: int) -> Content:
    key = own_key(_KEYS[alarm.verb]) if alarm.verb in _KEYS else ""
    strong, plain = f"bold {Tone.ACCENT.style}", Tone.TEXT.style
    parts: list[tuple[str, str]] = []
    if not is_here:
        parts += [(own_key("!"), strong), (" goes there" + (", " if key else ""), plain)]
    if key and alarm.verb is not None:
        parts += [(key, strong), (f" {alarm.verb.words}", plain)]
    if others:
        parts += [("  ", ""), (own_key("!") if is_here else f"+{others}", strong if is_here else plain)]
        parts += [(f" next of {others + 1}", plain)] if is_here else []
    if worse:
        parts += [(f", {worse} worse", Tone.BAD.style)]
    return Content.assemble(*parts)
