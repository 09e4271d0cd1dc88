"""What a checkup looks at: the state of the fleet, and what its hosts answer beside it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName
from mailagent.api.operations import OperationRecord
from mailagent.api.outcomes import MAX_WITHIN_S, OutcomesRequest
from mailagent.api.requests import Empty, PageRequest
from mailagent.api.sums import SumsRequest
from mailagent.api.suppression import SuppressionQuery
from mailagent.config.thresholds import Thresholds
from mailctl.fleet import Fleet, FleetState, HostState, LinkError
from mailctl.fleet.lists import reason

ANSWER_S = 3.0
"""Of the time for an answer: what starting, sending and decoding may take."""
MOST_PAGES = 20
"""Pages of one host's operations that are read."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What hosts answered to one question, and why others did not."""

    got: Mapping[HostName, Any] = field(default_factory=dict)
    failed: Mapping[HostName, str] = field(default_factory=dict)
    beyond: tuple[HostName, ...] = ()  # whose engine has nothing of the kind


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the fleet. `hosts` are those that were selected, in the order of the fleet file."""

    at: datetime
    state: FleetState
    hosts: tuple[HostState, ...]
    sums: Answers = Answers()  # of the period
    ages: Answers = Answers()
    in_doubt: Answers = Answers()  # the newest page
    events: Answers = Answers()
    suppressions: Answers = Answers()  # with the number of pending entries

    @property
    def fresh(self) -> tuple[HostState, ...]:
        """Hosts whose numbers count."""
        return tuple(host for host in self.hosts if host.state.is_fresh and host.snapshot)

    @property
    def lost(self) -> dict[HostName, str]:
        """The others, and why."""
        return {host.name: lost_because(host) for host in self.hosts if not (host.state.is_fresh and host.snapshot)}


def lost_because(host: HostState) -> str:
    """Why the numbers of a host do not count."""
    return f"{host.state}: {host.error}" if host.error else f"{host.state}: no answer"


async def gather_facts(fleet: Fleet, names: Sequence[str], thresholds: Thresholds, *, deadline_s: float) -> Facts:
    """Ask the hosts of `names` (none: all) that are connected."""
    hosts = tuple(host for host in fleet.state.hosts if not names or host.name in names)
    questions: dict[str, tuple[str, msgspec.Struct]] = {
        "sums": ("sums", SumsRequest(seconds=int(thresholds.period.total_seconds()))),
        "ages": ("ages", Empty()),
        "in_doubt": ("in_doubt", PageRequest()),
        "events": ("events", Empty()),
        "suppressions": ("suppressions", SuppressionQuery(pending=True, limit=1)),
    }
    async with asyncio.TaskGroup() as group:
        asked = {
            name: group.create_task(ask(fleet, hosts, method, params, deadline_s=deadline_s), name=f"facts:{name}")
            for name, (method, params) in questions.items()
        }
    answers = {name: task.result() for name, task in asked.items()}
    return Facts(at=datetime.now(UTC), state=fleet.state, hosts=hosts, **answers)


async def ask(
    fleet: Fleet, hosts: Sequence[HostState], method: str, params: msgspec.Struct, *, deadline_s: float
) -> Answers:
    """One question to those of `hosts` that are connected; the others have failed already."""
    fresh = [host.name for host in hosts if host.state.is_fresh]
    answers = await fleet.ask_all(method, params, hosts=fresh, deadline_s=deadline_s)
    failed = {host.name: lost_because(host) for host in hosts if not host.state.is_fresh}
    failed |= {host: reason(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
    beyond = tuple(host.name for host in hosts if host.is_beyond(failed.get(host.name, "")))
    return Answers(
        {host: one for host, one in answers.items() if not isinstance(one, Exception)},
        {host: why for host, why in failed.items() if host not in beyond},
        beyond,
    )


async def gather_outcomes(
    fleet: Fleet, hosts: Sequence[HostState], since: datetime, until: datetime, *, deadline_s: float
) -> tuple[Answers, Answers]:
    """Sums of the history and outcomes of the accounting files for a time."""
    seconds = int((until - since).total_seconds())
    within_s = max(1.0, min(MAX_WITHIN_S, deadline_s - ANSWER_S))
    async with asyncio.TaskGroup() as group:
        sums = group.create_task(
            ask(fleet, hosts, "sums", SumsRequest(seconds=seconds, until=until), deadline_s=deadline_s), name="sums"
        )
        outcomes = group.create_task(
            ask(
                fleet,
                hosts,
                "outcomes",
                OutcomesRequest(since=since, until=until, within_s=within_s),
                deadline_s=deadline_s,
            ),
            name="outcomes",
        )
    return sums.result(), outcomes.result()


async def operations_since(fleet: Fleet, hosts: Sequence[HostState], since: datetime, *, deadline_s: float) -> Answers:
    """Lists of the operations since a time; a host with more than MOST_PAGES of them has failed."""

    async def one(host: HostName) -> list[OperationRecord] | str:
        found: list[OperationRecord] = []
        cursor = ""
        for _ in range(MOST_PAGES):
            try:
                page = await fleet.ask(host, "operations", PageRequest(cursor=cursor), deadline_s=deadline_s)
            except (LinkError, ApiError) as exc:
                return reason(exc)
            found += page.rows
            cursor = page.cursor
            if not cursor or page.rows[-1].at < since:
                return found
        return f"more than {len(found):,} operations"

    fresh = [host.name for host in hosts if host.state.is_fresh]
    async with asyncio.TaskGroup() as group:
        asked = {host: group.create_task(one(host), name=f"operations:{host}") for host in fresh}
    answers = {host: task.result() for host, task in asked.items()}
    return Answers(
        {host: answer for host, answer in answers.items() if not isinstance(answer, str)},
        {host: answer for host, answer in answers.items() if isinstance(answer, str)},
    )
