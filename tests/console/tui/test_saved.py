"""Saved views: the file, the keys, the palette, and the next start."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.errors import ConfigError
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.dialogs.views import ViewsDialog
from mailctl.tui.layout import Chosen
from mailctl.tui.saved import SavedView, load_views, save_views, wrong_name
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.screens.fleet import FleetView
from tests.console.tui.doubles import StillFleet
from tests.console.tui.test_confirm import said
from tests.console.tui.test_screens import app_over, ready, shown, table
from tests.console.tui.waiting import until

NAMES = st.text(min_size=1, max_size=40).filter(lambda name: not wrong_name(name))


@given(
    views=st.dictionaries(
        NAMES,
        st.builds(
            SavedView,
            screen=st.sampled_from(["Fleet", "Pools"]),
            filter=st.sampled_from(["", "host:mx1 !cold", 'pool:"a b" "x\\"y"', "age:>2h"]),
            order=st.sampled_from(["", "OUT/MIN descending"]),
            columns=st.just({"fleet": ("HOST", "WAITS FOR=40", "2 MIN")}) | st.just({}),
        ),
        max_size=3,
    )
)
def test_what_is_saved_is_read_again(views: dict[str, SavedView], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("views") / "mailctl" / "views.yaml"
    save_views(path, views)
    assert load_views(path) == views
    assert [one.name for one in path.parent.iterdir()] == ["views.yaml"]


def test_mistakes_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "views.yaml"
    path.write_text('views:\n  a:\n    screen: Fleet\n    filter: "pol:x"\n    colour: red\nother: 1\n')
    with pytest.raises(ConfigError) as caught:
        load_views(path)
    told = [f"{one.line} {one.key}" for one in caught.value.errors]
    assert told == ["3 views.a.filter", "5 views.a.colour", "6 other"]
    assert load_views(tmp_path / "none.yaml") == {}


def app_with_views(path: Path) -> ConsoleApp:
    app = app_over(StillFleet())
    app.comfort.load_saved(path)
    return app


async def on(pilot: object, app: ConsoleApp, kind: type) -> None:
    await until(pilot, lambda: isinstance(app.screen, kind) and table(pilot).row_count > 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_view_is_saved_listed_opened_after_a_restart_and_forgotten(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "views.yaml"
    app = app_with_views(path)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("z")
        await until(pilot, lambda: "no view is saved yet" in said(pilot))
        await pilot.press("3")
        await on(pilot, app, DestinationsView)
        await pilot.press("slash", *"provider:gmail", "enter", "o", "o")
        await until(pilot, lambda: "ordered by" in said(pilot))
        app.comfort.layouts["destinations"] = (Chosen("PROVIDER"), Chosen("IP", 9))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, PromptDialog) and app.screen.is_mounted)
        await pilot.press(*"gmail", "enter")
        await until(pilot, lambda: said(pilot) == "view gmail saved; z opens it")
        view = app.screen
        assert isinstance(view, DestinationsView)
        order = view.ordering.by
    assert load_views(path)["gmail"].filter == "provider:gmail"

    app = app_with_views(path)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        assert "View gmail" in {one.title for one in app.get_system_commands(app.screen)}
        await pilot.press("z")
        await until(pilot, lambda: isinstance(app.screen, ViewsDialog) and "provider:gmail" in shown(pilot))
        await pilot.press("enter")
        await on(pilot, app, DestinationsView)
        view = app.screen
        assert isinstance(view, DestinationsView)
        assert (str(view.filter), view.ordering.by) == ("provider:gmail", order)
        await until(pilot, lambda: "WAITS FOR" not in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, FleetView))
        await pilot.press("z")
        await until(pilot, lambda: isinstance(app.screen, ViewsDialog))
        await pilot.press("X")
        await until(pilot, lambda: "none is left" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FleetView) and said(pilot) == "view gmail forgotten")
    assert load_views(path) == {}


async def test_names_that_act_on_terminals_are_refused_and_hostile_files_are_shown_harmless(tmp_path: Path) -> None:
    assert wrong_name("a\x1b[2J")
    assert wrong_name("a\u202eb")
    assert wrong_name("x" * 41)
    path = tmp_path / "views.yaml"
    path.write_text('views:\n  good: {screen: "Nowhere\\u001b[2J", filter: "\\"\\u001b[31m\\""}\n')
    app = app_with_views(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("z")
        await until(pilot, lambda: isinstance(app.screen, ViewsDialog) and "good" in shown(pilot))
        assert "\x1b" not in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "view good: there is no screen Nowhere" in said(pilot))
        assert "\x1b" not in said(pilot)


async def test_a_file_with_mistakes_keeps_nobody_out_and_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "views.yaml"
    path.write_text("views: [1]\n")
    app = app_with_views(path)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "no saved views" in said(pilot))
        await pilot.press("s")
        await until(pilot, lambda: said(pilot) == "there is no file to save views in")
    assert path.read_text() == "views: [1]\n"


async def test_a_screen_about_one_thing_is_no_view(tmp_path: Path) -> None:
    app = app_with_views(tmp_path / "views.yaml")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("5")
        await until(pilot, lambda: type(app.screen).__name__ == "MessageView")
        await pilot.press("s")
        await until(pilot, lambda: "this screen is about one thing only" in said(pilot))
