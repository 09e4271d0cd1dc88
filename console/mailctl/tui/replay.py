"""The console on a recording: its keys, and the sentence with which it refuses verbs."""

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

from textual.binding import Binding, BindingType

from mailctl.ops.errors import OpsError
from mailctl.replay import Player
from mailctl.tui.app import ConsoleApp
from mailctl.tui.desk import DEFAULTS, Planner
from mailctl.tui.keymap import Keymap
from mailctl.tui.source import Operator
from mailctl.tui.start import load_everything, settle
from mailctl.tui.terminal import hung_up_with_terminal
from mailctl.tui.text import clock, span
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.status import Hint

REFUSAL = "this is a recording: nothing in it can be changed; open the fleet itself with `mailctl`"
SMALL_S, LARGE_S = 30, 600


class NoOperator:
    """Refuses every call of `mailctl.tui.source.Operator`, also those that it will have one day."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: Any, **__: Any) -> NoReturn:
            raise OpsError(REFUSAL)

        return refuse


class ReplayApp(ConsoleApp):
    """All screens over one recording."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", show=False, id="replay.pause"),
        Binding("left_square_bracket", f"jump({-SMALL_S})", show=False, id="replay.back"),
        Binding("right_square_bracket", f"jump({SMALL_S})", show=False, id="replay.on"),
        Binding("left_curly_bracket", f"jump({-LARGE_S})", show=False, id="replay.far-back"),
        Binding("right_curly_bracket", f"jump({LARGE_S})", show=False, id="replay.far-on"),
        Binding("comma", "speed(-1)", show=False, id="replay.slower"),
        Binding("full_stop", "speed(1)", show=False, id="replay.faster"),
    ]

    def __init__(self, player: Player, *, path: Path, keys: Keymap | None = None) -> None:
        super().__init__(player, cast(Operator, NoOperator()), path=path, now=lambda: player.position, keys=keys)
        self.player = player

    @property
    def footer(self) -> tuple[Hint, ...]:
        """Where we are, and the keys that move us."""
        player = self.player
        done = player.position - player.recording.began_at
        whole = player.recording.ended_at - player.recording.began_at
        glyph = "‖ paused" if player.is_paused else "■ end" if player.is_at_end else f"▶ ×{player.speed:g}"
        where = f"{glyph} {clock(player.position)}, {span(done.total_seconds())} of {span(whole.total_seconds())}"
        return (
            Hint("REPLAY", where),
            Hint("[ ]", "30s"),
            Hint("{ }", "10m"),
            Hint("p", "go on" if player.is_paused else "pause"),
            Hint(", .", "speed"),
        )

    def action_pause(self) -> None:
        """Stand still, or go on; at the end there is nothing to go on to."""
        if self.player.is_at_end and not self.player.is_seeking:
            self.say("this is the end of the recording; [ and { go back", Tone.WARN)
            return
        self.player.pause()
        self._moved()

    def action_jump(self, seconds: int) -> None:
        """So many seconds on, or back."""
        before, recording = self.player.goal, self.player.recording
        self.player.seek(before + timedelta(seconds=seconds))
        if self.player.goal == before:
            where = "end" if before >= recording.ended_at else "beginning"
            self.say(f"this is the {where} of the recording", Tone.WARN)
        self._moved()

    def action_speed(self, by: int) -> None:
        """Faster or slower."""
        if not self.player.change_speed(by):
            self.say(f"×{self.player.speed:g} is the {'fastest' if by > 0 else 'slowest'}", Tone.WARN)
        self._moved()

    def _moved(self) -> None:
        self._drawn_second = -1
        self._draw()

    def carry_out(self, title: str, planner: Planner, options: Any = DEFAULTS) -> None:
        """Refuse at once, without a word about planning."""
        del title, planner, options
        self.say(REFUSAL, Tone.WARN)

    def prompt(self, title: str, hint: str, check: Any, then: Any, text: str = "") -> None:
        """What is asked for here leads to a verb."""
        del title, hint, check, then, text
        self.say(REFUSAL, Tone.WARN)


def run(player: Player, path: Path) -> int:
    """Open the console on a recording; the exit code of the process.

    Raises:
        ConfigError: the file with keys of one's own has mistakes.
    """
    own = load_everything()
    app = ReplayApp(player, path=path)
    settle(app, own)
    with hung_up_with_terminal():
        return app.run() or 0
