"""Orders while the queue churns: whatever moves, leaves, comes back under an old id, or is held by others meanwhile, no
act hits a message that its order was not about."""

import random
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import msgspec
import pytest

from mailagent.api.targets import MessageFilter
from mailagent.postfix import orders
from mailagent.postfix.acts import Act
from mailagent.postfix.listing import Entry
from tests.agent.postfix.paper import Desk, desk

OPERATIONS = 600
DOMAINS = ("gmail.com", "example.com", "example.net")
VERBS = ("hold", "release", "requeue", "bounce", "delete")
FOLDERS = ("deferred", "deferred", "active", "hold")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "RETRY_S", 0.001)


class Churn:
    """What others do to the queue, by chance. A message is known by its sender, which is different for each."""

    def __init__(self, at: Desk, seed: int) -> None:
        self.at = at
        self.random = random.Random(seed)
        self.sent = 0

    async def arrive(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            folder = self.random.choice(FOLDERS)
            domain = self.random.choice(DOMAINS)
            sender = f"s{self.sent}@{domain}"
            await self.at.mail(f"r@{domain}", sender=sender, folder=folder)

    def stir(self, *, reuse: bool) -> None:
        """A few messages leave, move, are held or released by hand, or give their id to another one."""
        entries = self.at.queue.entries
        for name in self.random.sample(sorted(entries), min(5, len(entries))):
            match self.random.randrange(4):
                case 0:
                    del entries[name]
                case 1:
                    self.at.queue.put(name, self.random.choice(FOLDERS))
                case 2 if reuse:
                    self.sent += 1
                    new: Entry = msgspec.structs.replace(entries[name], sender=f"other{self.sent}@x")
                    entries[name] = new


@pytest.mark.parametrize("seed", range(2))
async def test_no_act_hits_another_message(tmp_path: Path, seed: int) -> None:
    async with desk(tmp_path) as at:
        churn = Churn(at, seed)
        at.queue.stirs = lambda: churn.stir(reuse=True)  # before a listing
        at.queue.before = lambda _, __: churn.stir(reuse=False)  # between the listing and postsuper
        verbs = cycle(VERBS)
        while len(at.queue.acts) < OPERATIONS / 2:
            await churn.arrive(20)
            verb, domain = next(verbs), churn.random.choice(DOMAINS)
            result = await at.do(verb, MessageFilter(domain=domain))
            if churn.random.random() < 0.4 and result.undoable:
                await at.undo(result)
            if churn.random.random() < 0.3:
                await at.grace_over()
        for verb in ("bounce", "delete"):
            await churn.arrive(20)
            await at.do(verb)
        at.later += timedelta(hours=1)
        await at.grace_over()
        await at.idle()
        acts = list(at.queue.acts)
    wrong = [(act, name, sender) for act, name, sender in acts if sender.startswith("other")]
    assert wrong == []
    assert {act for act, _, _ in acts} >= {Act.HOLD, Act.RELEASE, Act.REQUEUE, Act.EXPIRE, Act.DELETE}
