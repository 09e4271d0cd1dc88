"""Reads what the timeline is made of: operations, histories and links of all hosts."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec

from mailagent.api.ids import HostName
from mailagent.api.operations import OperationRecord
from mailagent.api.replies import OperationPage
from mailagent.api.requests import HistoryRequest, HistoryScope, PageRequest
from mailagent.api.views import Series
from mailctl.fleet.lists import reason, summed
from mailctl.fleet.state import FleetState
from mailctl.ops import timeline
from mailctl.ops.timeline import BASE_STEPS, TimelineEvent

MOST_PAGES = 20
"""Pages of operations that are read of one host: 10,000 of them."""
MOST_PROVIDERS = 12
"""Providers whose rates are looked at, the busiest first."""
STEP_S = 60


class Asks(Protocol):
    """Questions to all hosts: `mailctl.fleet.Fleet`, and what screens have of it."""

    @property
    def state(self) -> FleetState:
        """The newest tick."""

    async def ask_all(
        self, method: str, params: msgspec.Struct, *, hosts: Iterable[str] | None = None, deadline_s: float = ...
    ) -> dict[HostName, Any]:
        """The answer of each host, or the error in its place."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A timeline, and what it lacks."""

    events: tuple[TimelineEvent, ...]  # oldest first
    failed: dict[HostName, str]  # connected hosts that gave no operations, and why
    truncated: bool  # a host has more operations in that time than were read


async def happened(
    fleet: Asks, hosts: Sequence[HostName], *, since: datetime, now: datetime, deadline_s: float
) -> Happened:
    """What happened on `hosts` from `since` on."""
    state = fleet.state
    async with asyncio.TaskGroup() as group:
        log = group.create_task(_operations(fleet, hosts, since, deadline_s), name="timeline:operations")
        rates = group.create_task(_rates(fleet, hosts, since, now, deadline_s), name="timeline:rates")
    records, failed, truncated = log.result()
    orders = [(host, view.directive) for row in state.directives for host, view in row.parts if host in hosts]
    known = [record.op_id for _, record in records]
    return Happened(
        timeline.merged(
            timeline.of_operations(records),
            timeline.of_orders(orders, known),
            timeline.of_links(state.hosts, now),
            rates.result(),
            since=since,
        ),
        failed,
        truncated,
    )


async def _operations(
    fleet: Asks, hosts: Sequence[HostName], since: datetime, deadline_s: float
) -> tuple[list[tuple[str, OperationRecord]], dict[HostName, str], bool]:
    """Operations from `since` on, page by page; hosts that gave none; whether a host has more."""
    records: list[tuple[str, OperationRecord]] = []
    failed: dict[HostName, str] = {}
    cursors = dict.fromkeys(hosts, "")
    for _ in range(MOST_PAGES):
        by_cursor: dict[str, list[HostName]] = {}
        for host, cursor in cursors.items():
            by_cursor.setdefault(cursor, []).append(host)
        cursors = {}
        for cursor, some in by_cursor.items():
            answers = await fleet.ask_all("operations", PageRequest(cursor=cursor), hosts=some, deadline_s=deadline_s)
            for host, page in answers.items():
                if not isinstance(page, OperationPage):
                    failed[host] = reason(page)
                    continue
                records += [(host, record) for record in page.rows if record.at >= since]
                if page.cursor and page.rows[-1].at >= since:
                    cursors[host] = page.cursor
        if not cursors:
            return records, failed, False
    return records, failed, True


async def _rates(
    fleet: Asks, hosts: Sequence[HostName], since: datetime, now: datetime, deadline_s: float
) -> list[TimelineEvent]:
    """Notable changes of each host, and of each provider over all of them."""
    seconds = int((now - since).total_seconds()) + BASE_STEPS * STEP_S
    busiest = sorted(fleet.state.providers, key=lambda row: (-row.flow.delivered - row.flow.deferred, row.name))
    scopes = [(HistoryScope.HOST, "")] + [(HistoryScope.PROVIDER, row.name) for row in busiest[:MOST_PROVIDERS]]

    async def one(scope: HistoryScope, name: str) -> list[TimelineEvent]:
        request = HistoryRequest(scope=scope, name=name, seconds=seconds, step_s=STEP_S)
        answers = await fleet.ask_all("history", request, hosts=hosts, deadline_s=deadline_s)
        series = {host: answer for host, answer in answers.items() if isinstance(answer, Series)}
        if scope is HistoryScope.HOST:
            return [
                event for host, part in series.items() for event in timeline.of_series(f"host:{host}", (host,), part)
            ]
        whole = summed(series.values())
        return timeline.of_series(f"provider:{name}", tuple(series), whole) if whole else []

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(scope, name), name=f"timeline:{scope}:{name}") for scope, name in scopes]
    return [event for task in tasks for event in task.result()]
