"""Fixtures of the console's tests."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.console.loopback import LoopbackAgent, three_agents


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory whose paths are short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="mctl-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def agents(sockets: Path) -> AsyncIterator[dict[str, LoopbackAgent]]:
    """Three running agents."""
    made = three_agents(sockets)
    async with AsyncExitStack() as stack:
        for agent in made.values():
            await stack.enter_async_context(agent.running())
        yield made
