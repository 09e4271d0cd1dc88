"""Metrics of a host with a Postfix: what that tells, and nothing else."""

import asyncio
from pathlib import Path

import pytest

from tests.exposition import Series, series, value
from tests.integration.processes import until
from tests.integration.test_metrics import get
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix

pytestmark = pytest.mark.needs("postfix", "root")


async def test_the_queue_of_a_postfix_is_scraped(own: OwnPostfix, tmp_path: Path) -> None:
    own.send("news@example.test", ["a@one.test", "b@two.test"], subject="hello")
    await asyncio.to_thread(own.settle, "deferred", 1)
    async with agent(own, tmp_path, sections="metrics: {port: 0}\n") as host:
        seen: list[Series] = []

        async def counted() -> bool:
            host._mirror.look_soon()
            port = host._scraping.port
            if port:
                seen.append(series((await asyncio.to_thread(get, port))[1]))
            return bool(seen) and value(seen[-1], "queue_deferred_recipients") == 2

        await until(counted, "both recipients are counted")
        now = seen[-1]
        assert value(now, "queue_recipients") == 2
        assert value(now, "state", state="running") == 1
        assert value(now, "accepting_mail") == 1
        engines = [dict(labels)["engine"] for name, labels in now if name == "mailagent_build_info"]
        assert engines[0].startswith("postfix ")
        names = {name for name, _ in now}
        assert not [name for name in names if "connections" in name or "doubt" in name or "check_" in name]
    assert not host._scraping.port
