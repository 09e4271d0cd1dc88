"""Screens as text, over a fleet that stands still.

`SNAPSHOTS=write pytest tests/console/tui/test_snapshots.py` writes them again: look at the difference.
"""

import contextlib
import difflib
import os
import re
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.export import as_text
from mailctl.tui.screens.view import View
from tests.console.tui.doubles import StillFleet, troubled
from tests.console.tui.test_screens import app_over, ready
from tests.console.tui.waiting import until

SNAPSHOTS = Path(__file__).parent / "snapshots"
WRITE = os.environ.get("SNAPSHOTS") == "write"
FRAME = "#c5c8c6"
SETTLED = 40  # equal pictures in a row

KEYS = {
    "fleet": (),
    "pools": ("2",),
    "destinations": ("3",),
    "operations": ("6",),
    "jobs": ("7",),
    "suppression": ("8",),
    "timeline": ("t",),
    "find": ("ctrl+f", *"anna@gmail.com", "enter"),
    "ages": ("3", "a"),
    "trace": ("3", "w"),
    "drain": ("2", "j", "D"),
}
PLAIN = ("fleet", "destinations", "jobs", "suppression", "timeline", "find", "ages", "trace")
CASES = [
    *((name, size, False) for name in KEYS for size in ((80, 24), (120, 36))),
    *((name, (120, 36) if name == "destinations" else (80, 24), True) for name in PLAIN),
]


def picture(pilot: Pilot[Any]) -> str:
    return pilot.app.export_screenshot(simplify=True)


def colours(svg: str) -> set[str]:
    """What text and ground are painted with; what the frame of the picture has is left out."""
    found = set(re.findall(r"-r\d+ \{ fill: (#[0-9a-f]{6})", svg))
    return (found | set(re.findall(r'<rect fill="(#[0-9a-f]{6})"', svg))) - {FRAME}


@pytest.mark.parametrize(("name", "size", "plain"), CASES)
async def test_a_screen_looks_as_it_did(
    name: str, size: tuple[int, int], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    app = app_over(StillFleet(troubled()))
    file = SNAPSHOTS / f"{name}-{size[0]}x{size[1]}{'-plain' if plain else ''}.txt"
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        if not KEYS[name]:
            await pilot.press("down", "up")  # the cursor stands where somebody put it
        for key in KEYS[name]:
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, View | ConfirmDialog) and app.screen.is_mounted)
            if key.isdigit():
                await ready(pilot)
        if name == "drain":
            await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        expected = file.read_text("utf-8") if file.exists() and not WRITE else ""
        last, same = "", 0

        def settled() -> bool:
            """Whether it looks as it did; to be written again: whether nothing moves any more."""
            nonlocal last, same
            now = as_text(picture(pilot))
            same = same + 1 if now == last else 0
            last = now
            return same >= SETTLED if WRITE else now == expected

        # What a screen asks for comes a little later; a difference that stays is told below.
        with contextlib.suppress(AssertionError):
            await until(pilot, settled)
        if plain:
            assert all(len({one[1:3], one[3:5], one[5:7]}) == 1 for one in colours(picture(pilot)))
    if WRITE:
        file.write_text(last, "utf-8")
    else:
        difference = difflib.unified_diff(expected.splitlines(), last.splitlines(), "before", "now", "", "")
        assert last == expected, "\n".join(difference)
