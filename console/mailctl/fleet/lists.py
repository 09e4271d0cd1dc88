"""Lists that live on the hosts, gathered over the fleet: windows of pages, and groups summed by key."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from mailagent.api.classification import Category
from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName, ProviderName
from mailagent.api.replies import DeferredGroups
from mailagent.api.requests import PAGE_LIMIT, PageRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.views import DeferredGroup, Series
from mailctl.fleet.errors import LinkError
from mailctl.fleet.fleet import Fleet
from mailctl.fleet.state import oldest

MOST_PAGES = 40
"""Pages of one host that are read for rows of which not all are wanted."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows of several hosts. `truncated`: there are more; `errors`: hosts that gave none, or not all, and why."""

    rows: tuple[tuple[HostName, Any], ...]
    truncated: bool
    errors: Mapping[HostName, str]


class FleetGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A deferred group over all hosts; keys are equal everywhere."""

    key: str
    provider: ProviderName
    code: int
    enhanced: str
    text: str
    sample: str
    count: int
    oldest_at: datetime | None
    next_try_at: datetime | None
    hosts: dict[HostName, int]  # recipients on each
    category: Category | None = None  # what the reply means
    rule: str = ""  # id of the rule that says so
    held: int = 0  # recipients that orders on mail have


async def gather(
    fleet: Fleet,
    method: str,
    filter: MessageFilter,
    *,
    limit: int,
    hosts: Sequence[HostName],
    order: Callable[[Any], Any],
    newest_first: bool = False,
    wanted: Callable[[Any], bool] | None = None,
    deadline_s: float,
) -> Gathered:
    """At most `limit` rows of a paged list over `hosts`, in `order`; each host is read as far as it could fill them.

    Of rows that are not all `wanted`, a host is read for `MOST_PAGES` pages at most.
    """
    async with asyncio.TaskGroup() as group:
        tasks = {
            host: group.create_task(
                _read(fleet, host, method, filter, limit, wanted, deadline_s), name=f"list:{method}:{host}"
            )
            for host in hosts
        }
    parts = {host: task.result() for host, task in tasks.items()}
    rows = [(host, row) for host, part in parts.items() for row in part.rows]
    rows.sort(key=lambda pair: order(pair[1]), reverse=newest_first)
    truncated = len(rows) > limit or any(part.more for part in parts.values())
    return Gathered(tuple(rows[:limit]), truncated, {host: part.error for host, part in parts.items() if part.error})


@dataclass(frozen=True, slots=True)
class _Part:
    rows: Sequence[Any]
    more: bool
    error: str = ""


async def _read(
    fleet: Fleet,
    host: HostName,
    method: str,
    filter: MessageFilter,
    limit: int,
    wanted: Callable[[Any], bool] | None,
    deadline_s: float,
) -> _Part:
    """One host's rows, page by page; an error ends them."""
    rows: list[Any] = []
    cursor = ""
    pages = 0
    while True:
        asked = PAGE_LIMIT if wanted else min(limit - len(rows), PAGE_LIMIT)
        request = PageRequest(filter=filter, cursor=cursor, limit=asked)
        try:
            page = await fleet.ask(host, method, request, deadline_s=deadline_s)
        except (LinkError, ApiError) as exc:
            return _Part(rows, more=bool(rows), error=reason(exc))
        rows += [row for row in page.rows if wanted is None or wanted(row)]
        cursor = page.cursor
        pages += 1
        if not cursor or len(rows) >= limit or (wanted and pages == MOST_PAGES):
            return _Part(rows, more=bool(cursor))


async def deferred_groups(
    fleet: Fleet, filter: MessageFilter, *, limit: int, hosts: Sequence[HostName], deadline_s: float
) -> Gathered:
    """Deferred groups summed over `hosts`, largest first; the host beside each row is the first that has it."""
    answers = await fleet.ask_all(
        "deferred", PageRequest(filter=filter, limit=limit), hosts=hosts, deadline_s=deadline_s
    )
    pages = {host: page for host, page in answers.items() if isinstance(page, DeferredGroups)}
    errors = {host: reason(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
    groups = sum_groups((host, group) for host, page in pages.items() for group in page.groups)
    rows = tuple((next(iter(group.hosts)), group) for group in groups)
    return Gathered(rows[:limit], len(rows) > limit or any(page.truncated for page in pages.values()), errors)


def sum_groups(parts: Iterable[tuple[HostName, DeferredGroup]]) -> tuple[FleetGroup, ...]:
    """Groups with the same key as one, largest first."""
    by_key: dict[str, list[tuple[HostName, DeferredGroup]]] = {}
    for host, group in parts:
        by_key.setdefault(group.key, []).append((host, group))
    sums = [
        FleetGroup(
            key=key,
            provider=same[0][1].provider,
            code=same[0][1].code,
            enhanced=same[0][1].enhanced,
            text=same[0][1].text,
            sample=same[0][1].sample,
            count=sum(group.count for _, group in same),
            oldest_at=oldest(group.oldest_at for _, group in same),
            next_try_at=oldest(group.next_try_at for _, group in same),
            hosts={host: group.count for host, group in same},
            category=same[0][1].category,
            rule=same[0][1].rule,
            held=sum(group.held for _, group in same),
        )
        for key, same in by_key.items()
    ]
    return tuple(sorted(sums, key=lambda group: (-group.count, group.key)))


def summed(series: Iterable[Series]) -> Series | None:
    """Several hosts' histories as one, aligned at their newest second; None without any."""
    parts = [part for part in series if part.delivered]
    if not parts:
        return None
    longest = max(parts, key=lambda part: len(part.delivered))
    length = len(longest.delivered)

    def total(name: str) -> tuple[int, ...]:
        sums = [0] * length
        for part in parts:
            values: tuple[int, ...] = getattr(part, name)
            for index, value in enumerate(values, start=length - len(values)):
                sums[index] += value
        return tuple(sums)

    return Series(
        start=longest.start,
        step_s=longest.step_s,
        received=total("received"),
        delivered=total("delivered"),
        deferred=total("deferred"),
        bounced=total("bounced"),
    )


def reason(error: Exception) -> str:
    """The sentence of an answer that is an error, without the host's name."""
    if isinstance(error, LinkError):
        return error.reason
    return error.message if isinstance(error, ApiError) else str(error)
