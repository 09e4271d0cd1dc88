"""A screen written to a file."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.export import as_text, self_contained, taken
from tests.console.tui.doubles import StillFleet, troubled
from tests.console.tui.test_confirm import said
from tests.console.tui.test_screens import app_over, ready
from tests.console.tui.waiting import until


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_screen_becomes_a_picture_or_text_also_where_nothing_may_be_changed(
    read_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_over(StillFleet(troubled()))
    app.read_only = read_only
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, PromptDialog) and app.screen.is_mounted)
        await pilot.press("enter")  # the name that stands there
        await until(pilot, lambda: "screen written to fleet-20260302T031407Z.svg" in said(pilot))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, PromptDialog) and app.screen.is_mounted)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PromptDialog))
        await pilot.press("end", *["backspace"] * 4, *".txt", "enter")
        await until(pilot, lambda: "screen written to fleet-20260302T031407Z.txt" in said(pilot))
    picture = (tmp_path / "fleet-20260302T031407Z.svg").read_text()
    assert ET.fromstring(picture).tag.endswith("svg")
    assert "@font-face" not in picture
    assert "url(http" not in picture
    text = (tmp_path / "fleet-20260302T031407Z.txt").read_text()
    lines = text.splitlines()
    assert len(lines) <= 30
    assert any(line.split()[:3] == ["mx1", "●", "live"] or ("mx1" in line and "live" in line) for line in lines)
    assert "Write this screen" not in text
    assert "\x1b" not in text


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.touch()
    assert taken(str(path)) == f"{path} exists already"
    assert taken(str(tmp_path / "none" / "a.svg")) == f"there is no directory {tmp_path / 'none'}"
    assert taken(str(tmp_path / "b.svg")) == ""


def test_wide_and_odd_characters_keep_their_places() -> None:
    row = '<text class="r1" x="{x}" y="20" textLength="{length}" clip-path="url(#l)">{text}</text>'
    svg = row.format(x=0, length=24.4, text="▌ ") + row.format(x=24.4, length=61, text="漢字&amp;")
    assert as_text(svg) == "▌ 漢字&\n"
    assert "&amp;" in self_contained(svg)
