"""Files that are read again while the console is open: whole or not at all."""

import os
from pathlib import Path

import pytest

from mailagent.config import load_fleet
from mailagent.config.structs import FleetConfig
from mailctl.fleet.fleet import Turnover
from mailctl.tui.app import all_tables
from mailctl.tui.comfort import turned
from mailctl.tui.own import load_own
from mailctl.tui.start import binding_ids, wear
from mailctl.tui.watched import Watched
from tests.console.tui.doubles import StillFleet
from tests.console.tui.test_confirm import said
from tests.console.tui.test_screens import app_over, ready, shown
from tests.console.tui.waiting import until

FLEET = "pools: {a: {active: [a-1]}}\nhosts:\n  mx1: {virtual_mtas: {a-1: {address: 127.0.0.1, ehlo: a.example}}}\n"


def test_a_change_counts_once_when_it_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "f"
    watched = Watched(path)
    assert not watched.has_changed()
    path.write_text("a")
    assert [watched.has_changed() for _ in range(3)] == [False, True, False]
    path.write_text("ab")
    assert not watched.has_changed()
    path.write_text("abc")  # somebody is still writing
    assert [watched.has_changed() for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [watched.has_changed() for _ in range(3)] == [False, True, False]


def test_what_one_wrote_oneself_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "f"
    watched = Watched(path)
    path.write_text("a")
    watched.note()
    assert [watched.has_changed() for _ in range(2)] == [False, False]


def test_another_file_in_its_place_is_a_change(tmp_path: Path) -> None:
    path, other = tmp_path / "f", tmp_path / "g"
    path.write_text("a")
    other.write_text("b")
    watched = Watched(path)
    os.utime(other, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert [watched.has_changed() for _ in range(3)] == [False, True, False]


async def test_keys_theme_and_columns_follow_the_file_and_a_mistake_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    app = app_over()
    app.comfort.watch_own(path, lambda: load_own(path, binding_ids(), all_tables()), lambda own: wear(app, own))
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        path.write_text("theme: slate\nkeys: {app.help: f9}\ncolumns: {fleet: [HOST, STATE]}\n")
        await until(pilot, lambda: "config.yaml read again" in said(pilot))
        assert app.theme == "slate"
        await until(pilot, lambda: "DEFERRED" not in shown(pilot))
        await pilot.press("f9")
        await until(pilot, lambda: type(app.screen).__name__ == "HelpScreen")
        await pilot.press("escape")
        path.write_text("theme: beacon\nkeys: {app.hepl: f9, x: y}\n")
        await until(pilot, lambda: "nothing of config.yaml is taken over" in said(pilot))
        assert "line 2: keys.app.hepl: no binding has this id" in said(pilot)
        assert app.theme == "slate"
        path.unlink()
        await until(pilot, lambda: "DEFERRED" in shown(pilot))
        assert app.theme == "harbour"


async def test_the_fleet_file_is_read_again_by_command_and_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    load_fleet(path)
    taken: list[FleetConfig] = []

    def take(config: FleetConfig) -> Turnover:
        taken.append(config)
        return Turnover(tuple(config.hosts), (), ())

    app = app_over(StillFleet())
    app.comfort.watch_fleet(path, take)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        commands = {one.title: one.callback for one in app.get_system_commands(app.screen)}
        commands["Read files again"]()
        await until(pilot, lambda: said(pilot) == "fleet.yaml read again: new: mx1")
        path.write_text(FLEET.replace("mx1", "mx9"))
        await until(pilot, lambda: said(pilot) == "fleet.yaml read again: new: mx9")
        path.write_text(FLEET + "hosts: {}\nnonsense\x1b[2J: 1\n")
        await until(pilot, lambda: "nothing of fleet.yaml is taken over" in said(pilot))
        assert "\x1b" not in said(pilot)
    assert [list(config.hosts) for config in taken] == [["mx1"], ["mx9"]]


@pytest.mark.parametrize(
    ("turnover", "text"),
    [
        (Turnover((), (), ()), "the same hosts; what they run changes with an apply only (c on Fleet)"),
        (Turnover(("mx4",), ("mx3",), ("mx1",)), "new: mx4; gone: mx3; reached in another way: mx1"),  # type: ignore[arg-type]
    ],
)
def test_what_became_of_the_links_is_told(turnover: Turnover, text: str) -> None:
    assert turned(turnover) == text
