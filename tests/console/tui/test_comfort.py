"""What makes the console pleasant: ways back, copying, the palette, the first start, colours."""

from pathlib import Path

import pytest
from textual.theme import Theme

from mailagent.config.errors import ConfigError
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.dialogs.welcome import WelcomeScreen, is_first_time
from mailctl.tui.keymap import load_keymap
from mailctl.tui.screens.view import View
from mailctl.tui.start import binding_ids
from mailctl.tui.theme import CONTRAST, DARK, LIGHT, MONO, THEMES, Tone, load_theme
from mailctl.tui.visited import Visited
from mailctl.tui.widgets.topbar import Tabs
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, troubled
from tests.console.tui.test_confirm import said
from tests.console.tui.test_screens import app_over, ready, shown, table
from tests.console.tui.waiting import until


def here(app: ConsoleApp) -> str:
    return app.screen.TAB if isinstance(app.screen, View) and app.screen.query(Tabs) else ""


def test_history_goes_back_and_forward_and_forgets_what_was_ahead() -> None:
    seen = Visited("Fleet")
    for name in ("Pools", "Pools", "Jobs"):
        seen.visit(name)
    assert (seen.near(-1), seen.near(1), seen.near(-3)) == ("Pools", None, None)
    seen.step(-1)
    assert (seen.near(-1), seen.near(1)) == ("Fleet", "Jobs")
    seen.visit("Deferred")
    assert seen.near(1) is None


async def test_minus_and_plus_go_through_the_screens_that_were_seen() -> None:
    app = app_over()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for key, name in (("2", "Pools"), ("7", "Jobs"), ("minus", "Pools"), ("minus", "Fleet"), ("plus", "Pools")):
            await pilot.press(key)
            await until(pilot, lambda name=name: here(app) == name)  # type: ignore[misc]
        await pilot.press("plus")
        await until(pilot, lambda: here(app) == "Jobs")
        await pilot.press("plus")
        await until(pilot, lambda: said(pilot) == "no screen to go forward to")


async def test_y_copies_the_key_and_then_the_row() -> None:
    app = app_over()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "mx1")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard.startswith("mx1\t● live\t"))
        assert "\x1b" not in app.clipboard


async def test_c_copies_the_command_of_a_plan_and_changes_nothing() -> None:
    operator = StillOperator()
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("c")
        await until(pilot, lambda: app.clipboard == "mailctl drain host:mx1 --yes")
        assert isinstance(app.screen, ConfirmDialog)
        assert not operator.executed


async def test_the_palette_knows_what_is_selected_and_why_not() -> None:
    app = app_over(StillFleet(troubled()))
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("space", "space")
        await until(pilot, lambda: len(table(pilot).marks) == 2)
        commands = {one.title: one.help for one in app.get_system_commands(app.screen)}
        assert "Drain mx1, mx2" in commands
        assert commands["Drain mx1, mx2"] == "shows its plan first"
        assert commands["Rotate mx1, mx2"].startswith("not now: rotate takes a virtual MTA")
        assert {"Back", "Forward", "Copy", "Theme beacon"} <= commands.keys()


@pytest.mark.parametrize(("key", "name"), [("enter", "Fleet"), ("2", "Pools")])
async def test_the_first_start_teaches_in_one_screen_and_keys_pass_it(key: str, name: str) -> None:
    app = app_over()
    app.is_first_time = True
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen) and "this page comes once" in shown(pilot))
        assert "Welcome to mailctl" in shown(pilot)
        assert "things, small ones look." in shown(pilot)  # no line breaks where it was not meant to
        assert any("● live" in line and "~ old" in line for line in shown(pilot).splitlines())
        await pilot.press(key)
        await until(pilot, lambda: here(app) == name)


def test_a_user_is_new_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert [is_first_time(), is_first_time()] == [True, False]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))  # nothing can be kept there
    assert not is_first_time()


def contrast(one: str, other: str) -> float:
    """By WCAG 2.2: relative luminance of the lighter and the darker colour."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("theme", "least"), [(DARK, 4.5), (LIGHT, 4.5), (CONTRAST, 7.0), (MONO, 7.0)])
def test_every_tone_can_be_read_on_its_ground(theme: Theme, least: float) -> None:
    assert theme.background is not None
    for tone in Tone:
        assert contrast(theme.variables[f"tone-{tone}"], theme.background) >= least, tone
    for tone in (Tone.TEXT, Tone.STRONG):
        assert contrast(theme.variables[f"tone-{tone}"], theme.variables["cursor-band"]) >= 4.5


def test_the_theme_comes_from_the_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert load_theme(path) == "harbour"
    path.write_text("theme: beacon\nkeys:\n  verb.drain: f9\n")
    assert load_theme(path) == "beacon"
    assert load_keymap(path, binding_ids()) == {"verb.drain": "f9"}
    path.write_text("theme: pink\n")
    with pytest.raises(ConfigError, match="there are harbour, daylight, beacon, slate, sixteen"):
        load_theme(path)


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_every_theme_draws(theme: str) -> None:
    app = app_over(StillFleet(troubled()))
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.theme = theme
        await until(pilot, lambda: "✕ lost" in shown(pilot))
