import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from mailctl.demo.blueprint import Claim, claim
from mailctl.demo.farside import FarSide

UNTIL_S = 30.0


async def until(condition: Callable[[], bool], *, deadline_s: float = UNTIL_S) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 -- any condition
            await asyncio.sleep(0.01)


@pytest.fixture
def claimed() -> Iterator[Claim]:
    taken = claim()
    with contextlib.closing(taken.holder):
        yield taken


@pytest.fixture
async def far(claimed: Claim, tmp_path: Path) -> AsyncIterator[FarSide]:
    async with FarSide(claimed.network, claimed.port + 3, tmp_path / "providers.jsonl", seed=1) as side:
        yield side
