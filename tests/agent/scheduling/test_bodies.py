"""Bodies of messages in the window: a bounded amount in memory."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from mailagent.scheduling import bodies as module
from mailagent.scheduling.bodies import Bodies
from mailagent.scheduling.item import Item
from tests.agent.scheduling.mail import waiting


class Shelf:
    """A spool with a body of 100 octets for each message."""

    async def bodies(self, messages: Sequence[int]) -> dict[int, bytes]:
        return dict.fromkeys(messages, b"x" * 100)


async def test_slow_peers_with_large_messages_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", 150)
    monkeypatch.setattr(module, "BATCH_BODIES", 1)
    tasks: list[asyncio.Task[None]] = []
    sending: list[Item] = []

    def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
        tasks.append(asyncio.create_task(work, name=name))

    def send(item: Item) -> bool:
        sending.append(item)
        return True

    bodies = Bodies(Shelf(), 0, spawn)
    items = [Item([waiting(n)], "normal") for n in range(5)]
    for item in items:
        bodies.want(item, lambda item=item: send(item))  # type: ignore[misc]
    most = 0
    async with asyncio.timeout(10):
        while not tasks[0].done():
            for _ in range(5):
                await asyncio.sleep(0)
            most = max(most, bodies.used)
            bodies.drop(sending[0])
            del sending[0]
    assert most == 200
    assert bodies.used == 100 * len(sending)
    assert all(item.body is not None for item in sending)
