"""One round: look at the fleet, note in the book what is open, tell who is to be told, note who has taken it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from mailagent.api import codec
from mailagent.config.structs import FleetConfig
from mailctl.alerts import book as books
from mailctl.alerts.book import Book, Telling
from mailctl.alerts.errors import StoreError
from mailctl.alerts.notice import notice, rehearsal
from mailctl.alerts.receivers import hand
from mailctl.alerts.signals import Sight, sight_of
from mailctl.alerts.store import Store
from mailctl.fleet import Fleet
from mailctl.fleet.drift import AT_ONCE, Drift
from mailctl.ops.alarms import alarms
from mailctl.ops.checkup import Reading, Verdict, checkup
from mailctl.ops.facts import gather_facts


class Result(StrEnum):
    """What became of a notice."""

    SENT = "sent"
    FAILED = "failed"
    PLANNED = "planned"  # a dry run
    LATER = "later"  # a dry run: when it has lasted


class Sent(NamedTuple):
    """What one receiver was handed, or would be."""

    receiver: str
    result: Result
    tellings: tuple[Telling, ...]
    error: str = ""  # why it did not take it


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
    due = _by_receiver(books.due(book, settings, now))
    if dry_run:
        later = _by_receiver(books.later(book, settings))
        planned = [Sent(name, Result.PLANNED, tellings) for name, tellings in due.items()]
        return (*planned, *(Sent(name, Result.LATER, tellings) for name, tellings in later.items()))
    kept = Counter(host for alert in book.alerts if alert.told for host in alert.hidden_by)

    async def one(name: str, tellings: tuple[Telling, ...]) -> Sent:
        made = notice(tellings, name, environment=_environment(config), now=now, kept=kept)
        if error := await hand(settings.receivers[name], made):
            return Sent(name, Result.FAILED, tellings, error)
        try:
            store.update(lambda book: books.confirm(book, tellings, codec.now()))
        except StoreError as exc:  # the others are told all the same
            return Sent(name, Result.SENT, tellings, f"comes again, it could not be noted: {exc}")
        return Sent(name, Result.SENT, tellings)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name, some), name=f"alerts:{name}") for name, some in due.items()]
    return tuple(task.result() for task in tasks)


def _by_receiver(tellings: Iterable[Telling]) -> dict[str, tuple[Telling, ...]]:
    found: dict[str, tuple[Telling, ...]] = {}
    for telling in tellings:
        found[telling.receiver] = (*found.get(telling.receiver, ()), telling)
    return found


async def rehearse(config: FleetConfig, names: Sequence[str]) -> dict[str, str]:
    """Send a marked test through each receiver: why it failed, empty where it did not."""

    async def one(name: str) -> str:
        made = rehearsal(name, environment=_environment(config), now=codec.now())
        return await hand(config.alerts.receivers[name], made)

    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(one(name), name=f"alerts:{name}") for name in names}
    return {name: task.result() for name, task in tasks.items()}


def _environment(config: FleetConfig) -> str:
    return config.environment or ""
