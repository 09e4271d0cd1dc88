"""Waiting for a condition on a screen, never for a time."""

import asyncio
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

DEADLINE_S = 10.0


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Let the app work until `condition` holds; an AssertionError after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await pilot.pause(0.01)
    except TimeoutError:
        raise AssertionError(f"never became true: {condition}") from None
