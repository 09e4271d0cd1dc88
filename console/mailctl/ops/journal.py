"""The undo journal: what people ordered on each host, newest first, out of the hosts' own logs."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName, OpId
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.requests import PAGE_LIMIT, OperationRequest, PageRequest
from mailctl.fleet import Fleet, LinkError
from mailctl.ops import op_ids
from mailctl.ops.acts import is_act, operation_of

MOST_PAGES = 40
"""Pages of one host's log that are read; automation may have filled many of them."""
PAGE_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Journal:
    """Records per host, newest first; `silent` hosts gave none."""

    records: dict[HostName, tuple[OperationRecord, ...]]
    silent: tuple[HostName, ...]

    @property
    def last(self) -> OperationRecord | None:
        """The newest over all hosts, by their clocks."""
        return self._newest(lambda _: True)

    @property
    def last_undoable(self) -> OperationRecord | None:
        """The newest that has a way back."""
        return self._newest(lambda record: record.undoable)

    def _newest(self, wanted: Callable[[OperationRecord], bool]) -> OperationRecord | None:
        return max(
            (record for records in self.records.values() for record in records if wanted(record)),
            key=lambda record: (record.at, record.op_id),
            default=None,
        )


def stands(record: OperationRecord) -> bool:
    """Whether an undo may be about it: it did something, nobody undid it, and it is no undo or outcome itself."""
    return record.result is Result.APPLIED and record.undone_by is None and record.verb != "undo" and is_act(record)


async def of_mine(fleet: Fleet, *, since: datetime | None = None, besides: OpId | None = None) -> Journal:
    """What I did that stands, by the account under which each host knows me; not the operation `besides`.

    Without `since`, each host is read back only to the newest such record that has a way back.
    """
    me = {host.name: host.hello.user for host in fleet.state.hosts if host.hello is not None}

    def wanted(host: HostName, record: OperationRecord) -> bool:
        return record.author == me.get(host) and stands(record) and operation_of(record) != besides

    return _journal(await _read_all(fleet, wanted, since))


async def matching(fleet: Fleet, wanted: Callable[[OperationRecord], bool], *, since: datetime) -> Journal:
    """What was done since then that is wanted, whoever did it."""
    return _journal(await _read_all(fleet, lambda _, record: wanted(record), since))


def _journal(found: dict[HostName, tuple[OperationRecord, ...] | None]) -> Journal:
    return Journal(
        records={name: records for name, records in found.items() if records},
        silent=tuple(name for name, records in found.items() if records is None),
    )


async def _read_all(
    fleet: Fleet, wanted: Callable[[HostName, OperationRecord], bool], since: datetime | None
) -> dict[HostName, tuple[OperationRecord, ...] | None]:
    async def one(host: HostName) -> tuple[OperationRecord, ...] | None:
        return await _read(fleet, host, lambda record: wanted(host, record), since)

    names = [host.name for host in fleet.state.hosts]
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(one(name), name=f"journal:{name}") for name in names}
    return {name: task.result() for name, task in tasks.items()}


async def records_of(fleet: Fleet, host: HostName, operation: OpId) -> tuple[OperationRecord, ...] | None:
    """The steps of one operation on one host, the last one first; None when the host does not answer."""
    found: dict[str, OperationRecord] = {}
    try:
        # Answered when the host is no longer at it, so that the page is whole.
        await fleet.ask(host, "operation", OperationRequest(op_id=operation), deadline_s=PAGE_DEADLINE_S)
        page = await fleet.ask(host, "operations", PageRequest(), deadline_s=PAGE_DEADLINE_S)
        found = {record.op_id: record for record in page.rows if op_ids.belongs(record.op_id, operation)}
        step = 0
        while page.cursor:  # the log goes on behind this page: ask for one after the other
            one = op_ids.step_id(operation, step)
            if one not in found:
                record = await fleet.ask(host, "operation", OperationRequest(op_id=one), deadline_s=PAGE_DEADLINE_S)
                if record is None:
                    break
                found[one] = record
            step += 1
    except (LinkError, ApiError):
        return None
    return tuple(sorted(found.values(), key=lambda record: record.at, reverse=True))


async def everywhere(fleet: Fleet, operation: OpId) -> dict[HostName, tuple[OperationRecord, ...] | None]:
    """The same for all hosts."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            host.name: group.create_task(records_of(fleet, host.name, operation), name=f"records:{host.name}")
            for host in fleet.state.hosts
        }
    return {host: task.result() for host, task in tasks.items()}


async def _read(
    fleet: Fleet, host: HostName, wanted: Callable[[OperationRecord], bool], since: datetime | None
) -> tuple[OperationRecord, ...] | None:
    """The wanted records of one host; None when it does not answer."""
    found: list[OperationRecord] = []
    cursor = ""
    for _ in range(MOST_PAGES):
        try:
            page = await fleet.ask(
                host, "operations", PageRequest(cursor=cursor, limit=PAGE_LIMIT), deadline_s=PAGE_DEADLINE_S
            )
        except (LinkError, ApiError):
            return None
        found += [record for record in page.rows if wanted(record) and (since is None or record.at >= since)]
        cursor = page.cursor
        enough = page.rows[-1].at < since if since and page.rows else any(record.undoable for record in found)
        if enough or not cursor:
            break
    return tuple(found)
