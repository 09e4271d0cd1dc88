"""Waiting for a condition on a screen, never for a time."""

import asyncio
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Button

from mailctl.tui.dialogs.confirm import ConfirmDialog

DEADLINE_S = 10.0


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Let the app work until `condition` holds; an AssertionError after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await pilot.pause(0.01)
    except TimeoutError:
        raise AssertionError(f"never became true: {condition}") from None


def is_asked(pilot: Pilot[Any]) -> bool:
    """Whether a question stands that has begun to count its deaf time."""
    return isinstance(pilot.app.screen, ConfirmDialog) and isinstance(pilot.app.focused, Button)
