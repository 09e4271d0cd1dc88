"""The console on a recording."""

from pathlib import Path

import pytest

from mailctl.replay import Player, Recording
from mailctl.tui.app import VIEWS, ConsoleApp
from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.keymap import bindings_of
from mailctl.tui.replay import REFUSAL, ReplayApp
from mailctl.tui.screens.view import View
from mailctl.tui.widgets.table import FleetTable
from tests.console.replay.conftest import Night, at
from tests.console.tui.test_confirm import said
from tests.console.tui.test_screens import ready, shown
from tests.console.tui.waiting import until


@pytest.fixture
def app(tmp_path: Path) -> ReplayApp:
    path = tmp_path / "night.jsonl"
    Night(path).through()
    player = Player(Recording.open(path))
    player.pause()
    return ReplayApp(player, path=path)


async def test_keys_in_the_footer_move_through_the_recording(app: ReplayApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: all(word in shown(pilot) for word in ("REPLAY", "‖ paused", "0s of 3m", "[ ]")))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "30s of 3m" in shown(pilot) and app.player.position == at(30))
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.player.position == at(0))
        await pilot.press("right_curly_bracket")
        await until(pilot, lambda: "✕ lost" in shown(pilot) and app.player.is_at_end)
        assert "2 of 3 hosts" in shown(pilot)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: said(pilot) == "this is the end of the recording")
        await pilot.press("p")
        await until(pilot, lambda: said(pilot) == "this is the end of the recording; [ and { go back")
        await pilot.press("left_curly_bracket", "left_curly_bracket")
        await until(pilot, lambda: said(pilot) == "this is the beginning of the recording")
        await pilot.press(*["comma"] * 3)
        await until(pilot, lambda: said(pilot) == "×0.25 is the slowest" and app.player.speed == 0.25)
        await pilot.press("full_stop", "full_stop", "full_stop", "p")
        await until(pilot, lambda: "▶ ×2" in shown(pilot))
        await pilot.press("comma", "p")
        await until(pilot, lambda: "‖ paused" in shown(pilot) and app.player.speed == 1)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_verbs_are_refused_with_a_sentence(app: ReplayApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        for tab, key in (("1", "D"), ("2", "S"), ("3", "L"), ("3", "T"), ("6", "U"), ("8", "A")):
            await pilot.press(tab)
            await until(pilot, lambda: isinstance(app.screen, View) and bool(app.screen.query(FleetTable)))
            app.say("")
            await pilot.press(key)
            await until(pilot, lambda: bool(said(pilot)))
            assert not isinstance(app.screen, ConfirmDialog | PromptDialog)
        await pilot.press("1", "D")
        await until(pilot, lambda: said(pilot) == REFUSAL)


def test_no_screen_takes_a_key_of_the_replay() -> None:
    def keys(kind: type) -> set[str]:
        return {key for binding in bindings_of(kind) for key in binding.key.split(",")}

    own = {key for binding in vars(ReplayApp)["BINDINGS"] for key in binding.key.split(",")}
    kinds: tuple[type, ...] = (ConsoleApp, FleetTable, *VIEWS.values())
    for kind in kinds:
        assert not own & keys(kind), kind
