"""kill -9 at any moment: nothing acknowledged is lost, and possible duplicates are a list."""

import asyncio
import random
import signal
from functools import partial
from pathlib import Path

import pytest

from mailagent.api.requests import PageRequest
from tests.integration.client import Client
from tests.integration.processes import AGENT_YAML, agent, free_port, until
from tests.integration.rpc import Caller
from tests.integration.sink import Sink

KILLS = 5
PER_KILL = 400
CONNECTIONS = 10


@pytest.mark.timeout(120)
async def test_five_kills_lose_nothing_and_every_duplicate_is_listed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"{seed=}")
    jitter = random.Random(seed)
    total = KILLS * PER_KILL + 500
    port = free_port()
    async with Sink() as sink:
        with agent(tmp_path, AGENT_YAML.format(port=port, sink=sink.port), port) as one:
            client = Client(port, (f"r{n}@recipient.example" for n in range(total)))
            sending = asyncio.create_task(client.run(CONNECTIONS), name="client")
            open_at_kill = 0
            for kill in range(1, KILLS + 1):
                goal = kill * PER_KILL + jitter.randrange(PER_KILL // 2)
                await until(partial(_reached, client, goal), f"{goal} accepted")
                open_at_kill += sink.open
                await asyncio.to_thread(one.stop, signal.SIGKILL)
                await asyncio.to_thread(one.start)
            await sending
            await until(lambda: _arrived(client, sink), "everything acknowledged at the sink", timeout_s=60)
            duplicates = {recipient for recipient, count in sink.received.items() if count > 1}
            caller = await Caller.connect(one.socket)
            page = await caller.call("in_doubt", PageRequest())
            await caller.close()
            listed = {row.recipient for row in page.rows}
    assert client.refused == []
    assert len(client.acknowledged) == total
    duplicates -= client.repeated
    assert duplicates <= listed
    assert len(duplicates) <= open_at_kill


async def _reached(client: Client, goal: int) -> bool:
    return len(client.acknowledged) >= goal


async def _arrived(client: Client, sink: Sink) -> bool:
    return client.acknowledged <= sink.received.keys()
