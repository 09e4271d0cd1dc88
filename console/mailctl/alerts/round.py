"""One round: look at the fleet, note in the book what is open, tell who is to be told, note who has taken it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from mailagent.api import codec
from mailagent.config.alerts import Alerts
from mailagent.config.structs import FleetConfig
from mailctl.alerts import book as books
from mailctl.alerts.book import Book, Telling
from mailctl.alerts.notice import Notice, notice, rehearsal
from mailctl.alerts.receivers import hand
from mailctl.alerts.signals import Sight, sight_of
from mailctl.alerts.store import Store
from mailctl.fleet import Fleet
from mailctl.fleet.drift import AT_ONCE, Drift
from mailctl.ops.alarms import alarms
from mailctl.ops.checkup import Reading, Verdict, checkup
from mailctl.ops.facts import gather_facts


class Sent(NamedTuple):
    """What one receiver was handed, or would be."""

    receiver: str
    tellings: tuple[Telling, ...]
    error: str = ""  # why it did not take it
    is_planned: bool = False


async def look(fleet: Fleet, drift: Drift, *, deadline_s: float, say: Callable[[Verdict, Reading], str]) -> Sight:
    """Ask all hosts what is wrong."""
    config = fleet.config
    facts = await gather_facts(fleet, (), config.thresholds, deadline_s=deadline_s)
    for _ in range(0, len(facts.hosts), AT_ONCE):
        drift.look(facts.hosts)
    return sight_of(
        config,
        checkup(facts, config.thresholds),
        alarms(facts.state),
        silent=facts.lost,
        drifted=[host for host in facts.fresh if drift.differs(host)],
        say=say,
    )


async def tell(config: FleetConfig, store: Store, sight: Sight, *, dry_run: bool = False) -> tuple[Sent, ...]:
    """Tell all receivers at once what is new to them; a failed one is left for the next round.

    Raises:
        StoreError: the book is not to be had.
    """
    settings, now = config.alerts, codec.now()

    def seen(book: Book) -> Book:
        return books.see(book, sight, settings, now)

    book = seen(store.load()) if dry_run else store.update(seen)
    by_receiver: dict[str, list[Telling]] = {}
    for telling in books.due(book, settings, now):
        by_receiver.setdefault(telling.receiver, []).append(telling)
    if dry_run:
        return tuple(Sent(name, tuple(some), is_planned=True) for name, some in by_receiver.items())
    kept = Counter(host for alert in book.alerts if alert.told for host in alert.hidden_by)

    async def one(name: str, tellings: Sequence[Telling]) -> Sent:
        made = notice(tellings, name, environment=_environment(config), now=now, kept=kept)
        error = await hand(settings.receivers[name], made)
        if not error:
            store.update(lambda book: books.confirm(book, tellings, codec.now()))
        return Sent(name, tuple(tellings), error)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name, some), name=f"alerts:{name}") for name, some in by_receiver.items()]
    return tuple(task.result() for task in tasks)


async def rehearse(config: FleetConfig, names: Sequence[str]) -> dict[str, str]:
    """Send a marked test through each receiver: why it failed, empty where it did not."""
    settings: Alerts = config.alerts

    async def one(name: str) -> str:
        return await hand(settings.receivers[name], _test(config, name, codec.now()))

    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(one(name), name=f"alerts:{name}") for name in names}
    return {name: task.result() for name, task in tasks.items()}


def _test(config: FleetConfig, name: str, now: datetime) -> Notice:
    return rehearsal(name, environment=_environment(config), now=now)


def _environment(config: FleetConfig) -> str:
    return config.environment or ""
