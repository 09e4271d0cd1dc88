"""Mail whose site is being looked up: in which order."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from mailagent.routing import Router
from mailagent.scheduling.lookups import KEPT, MOST, Lookups
from tests.agent.scheduling.mail import item


class SilentRouter:
    """Asks servers that never answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def site(self, domain: str) -> Any:
        self.asked.append(domain)
        await asyncio.Event().wait()


async def test_domains_that_nobody_answers_for_do_not_hold_up_a_higher_class() -> None:
    router, tasks = SilentRouter(), []

    def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
        tasks.append(asyncio.create_task(work, name=name))

    lookups = Lookups(lambda: cast(Router, router), spawn, lambda *_: None, lambda: None)
    for n in range(2 * MOST):
        lookups.add(f"dead{n}.test", item(n, "bulk"))
    lookups.add("dead0.test", item(1000, "high"))  # is asked for already
    lookups.add(f"dead{2 * MOST - 1}.test", item(1001, "high"))  # stands at the end of the line
    lookups.add("live.test", item(1002, "high"))
    await asyncio.sleep(0)
    assert router.asked[MOST - KEPT :] == [f"dead{2 * MOST - 1}.test", "live.test"]
    assert (lookups.depth("high"), lookups.depth("normal"), lookups.depth("bulk")) == (3, 0, 2 * MOST)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
