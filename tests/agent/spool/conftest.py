from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailagent.spool import Spool
from tests.agent.spool.mail import spool_in


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with spool_in(tmp_path) as opened:
        yield opened
