"""What `mailctl suppression` does behind its options: gather entries of all hosts, read and write files of them."""

import asyncio
import csv
import io
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import click
import msgspec

from mailagent.api.domains import folded_address
from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName, OpId
from mailagent.api.requests import PAGE_LIMIT
from mailagent.api.suppression import (
    MAX_ENTRIES,
    Suppression,
    SuppressionAdd,
    SuppressionEntry,
    SuppressionPage,
    SuppressionQuery,
    SuppressionReason,
)
from mailagent.config.scalars import is_mail_address
from mailctl import ops
from mailctl.cli.act import confirmed
from mailctl.cli.exits import Exit
from mailctl.cli.setup import Setup, leave, narrate, run
from mailctl.cli.show import selected, why
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.lists import reason as why_not
from mailctl.ops import Selection
from mailctl.ops.op_ids import new_op_id
from mailctl.ops.targets import selected_hosts
from mailctl.output.document import document
from mailctl.output.human import NOTHING, ago
from mailctl.output.tables import Column, table

COLUMNS = ("address", "reason", "expires", "stream")
MAX_FILE_BYTES = 512 * 1024 * 1024
IMPORT_S = 60.0
"""Longest time for one request of an import."""


@dataclass(frozen=True, slots=True)
class Found:
    """Entries of several hosts by address, with what the hosts have in all."""

    rows: Sequence[tuple[HostName, Suppression]]
    truncated: bool
    active: int
    pending: int
    errors: Mapping[HostName, str]


def query(address: str = "", *, pending: bool, because: str | None, stream: str) -> SuppressionQuery:
    """What the options ask for."""
    return SuppressionQuery(
        address=address,
        stream=stream,
        reason=SuppressionReason(because) if because else None,
        pending=True if pending else None,
    )


async def suppressions_of(
    fleet: Fleet, selection: Selection, wanted: SuppressionQuery, *, limit: int, deadline_s: float
) -> Found:
    """At most `limit` entries of the selected hosts."""
    names = [host.name for host in selected(fleet.state, selection)]

    async def read(host: HostName) -> tuple[list[Suppression], SuppressionPage | None, str]:
        rows: list[Suppression] = []
        last: SuppressionPage | None = None
        try:
            async for last in _pages(fleet, host, wanted, limit=limit, deadline_s=deadline_s):
                rows += last.rows
        except (LinkError, ApiError) as exc:
            return rows, last, why_not(exc)
        return rows, last, ""

    async with asyncio.TaskGroup() as group:
        tasks = {host: group.create_task(read(host), name=f"suppressions:{host}") for host in names}
    parts = {host: task.result() for host, task in tasks.items()}
    rows = sorted(((host, row) for host, part in parts.items() for row in part[0]), key=lambda found: found[1].address)
    pages = [page for _, page, _ in parts.values() if page is not None]
    return Found(
        rows[:limit],
        len(rows) > limit or any(page.cursor for page in pages),
        sum(page.active for page in pages),
        sum(page.pending for page in pages),
        {host: error for host, (_, _, error) in parts.items() if error},
    )


async def _pages(
    fleet: Fleet, host: HostName, wanted: SuppressionQuery, *, limit: int, deadline_s: float
) -> AsyncIterator[SuppressionPage]:
    cursor = ""
    while limit > 0:
        request = msgspec.structs.replace(wanted, cursor=cursor, limit=min(limit, PAGE_LIMIT))
        page: SuppressionPage = await fleet.ask(host, "suppressions", request, deadline_s=deadline_s)
        yield page
        limit -= len(page.rows)
        cursor = page.cursor
        if not cursor:
            return


def suppression_table(found: Found, width: int | None) -> str:
    """Entries."""
    now = datetime.now(UTC)
    columns = [
        Column("ADDRESS", flex=True),
        Column("HOST", spare=1),
        Column("STREAM", spare=2),
        Column("REASON"),
        Column("AGE", right=True, spare=3),
        Column("UNTIL"),
        Column("SOURCE", spare=4),
        Column("EVIDENCE", flex=True),
    ]
    cells = [
        [
            row.address,
            host,
            row.stream or "all",
            f"{row.reason} (pending)" if row.pending else row.reason,
            ago(row.added_at, now),
            f"{row.expires_at:%Y-%m-%d}" if row.expires_at is not None else NOTHING,
            row.source,
            row.evidence,
        ]
        for host, row in found.rows
    ]
    total = f"{found.active:,} in effect, {found.pending:,} pending"
    return f"{table(columns, cells, width=width)}\n{total}" if cells else f"no entry matches; {total}"


# --- files ---------------------------------------------------------------------------------------------------------


def export_list(setup: Setup, words: Sequence[str], **narrow: Any) -> None:
    """Print the list as CSV; does not return."""
    selection = ops.parse(words)
    wanted = query(**narrow)
    out = csv.writer(sys.stdout, lineterminator="\n")

    async def work() -> Exit:
        async with setup.fleet(selection.hosts) as fleet:
            await fleet.settled(setup.timeout_s)
            hosts = [host.name for host in selected(fleet.state, selection)]
            lacking = [host for host in fleet.state.hosts if not host.state.is_fresh]
            code = Exit.INCOMPLETE if lacking else Exit.DONE
            for lost in lacking:
                narrate(f"{lost.name}: {why(lost, setup.timeout_s)}; its list is missing")
            if not hosts:
                return Exit.UNREACHABLE
            out.writerow(COLUMNS)
            written: set[tuple[str, str]] = set()
            for host in hosts:
                try:
                    async for page in _pages(fleet, host, wanted, limit=sys.maxsize, deadline_s=setup.timeout_s):
                        for row in page.rows:
                            if (row.address, row.stream) not in written:
                                if len(hosts) > 1:
                                    written.add((row.address, row.stream))
                                until = row.expires_at.isoformat() if row.expires_at is not None else ""
                                out.writerow((row.address, row.reason, until, row.stream))
                except (LinkError, ApiError) as exc:
                    narrate(f"{host}: {why_not(exc)}; its list is not whole")
                    code = Exit.INCOMPLETE
            return code

    leave(run(work()))


def import_file(
    setup: Setup, file: BinaryIO, words: Sequence[str], *, reason: str, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Add what a file says to the selected hosts; does not return."""
    selection = ops.parse(words)
    if not (yes or dry_run) and (file.name == "<stdin>" or not (sys.stdin.isatty() and sys.stderr.isatty())):
        raise click.UsageError("nobody is at the terminal to confirm; give --yes (or look with --dry-run)")
    entries = read_entries(file)

    async def work() -> Exit:
        async with setup.fleet(selection.hosts) as fleet:
            await fleet.settled(setup.timeout_s)
            hosts = [host.name for host in selected_hosts(fleet.state, selection)]
            narrate(f"{len(entries):,} addresses for {', '.join(hosts)}")
            if not dry_run and not yes and not await confirmed():
                narrate("nothing was changed")
                return Exit.INTERRUPTED
            async with asyncio.TaskGroup() as group:
                tasks = {
                    host: group.create_task(_send(fleet, host, entries, reason, dry_run=dry_run), name=f"import:{host}")
                    for host in hosts
                }
            rows = [{"host": host, **task.result()} for host, task in tasks.items()]
            errors = [f"{row['host']}: {row['error']}" for row in rows if row["error"]]
            if as_json:
                click.echo(document("suppression import", fleet.state, rows=rows, errors=errors))
            else:
                cells = [[row["host"], f"{row['added']:,}", row["error"] or "done"] for row in rows]
                click.echo(table([Column("HOST"), Column("ADDED", right=True), Column("RESULT", flex=True)], cells))
            return Exit.INCOMPLETE if errors else Exit.DONE

    leave(run(work()))


async def _send(
    fleet: Fleet, host: HostName, entries: Sequence[SuppressionEntry], reason: str, *, dry_run: bool
) -> dict[str, Any]:
    """Entries to one host, request by request; how many it has, and why not all."""
    op_id = new_op_id()
    added = 0
    while added < len(entries):
        part = tuple(entries[added : added + MAX_ENTRIES])
        request = SuppressionAdd(op_id=OpId(f"{op_id}.{added}"), reason=reason, dry_run=dry_run, entries=part)
        try:
            await fleet.ask(host, "suppression_add", request, deadline_s=IMPORT_S)
        except (LinkError, ApiError) as exc:
            return {"added": added, "error": f"{why_not(exc)}; run it again for the rest"}
        added += len(part)
    return {"added": added, "error": ""}


def read_entries(file: BinaryIO) -> list[SuppressionEntry]:
    """The entries of a CSV file, all of them.

    Raises:
        click.UsageError: with the first mistake and its line.
    """
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise click.UsageError(f"the file has more than {MAX_FILE_BYTES // 1024**2} MiB; split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise click.UsageError(f"line {line} is not UTF-8 text") from exc
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    entries: list[SuppressionEntry] = []
    try:
        columns = [name.strip() for name in next(rows, [])]
        if "address" not in columns or not set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
            raise click.UsageError(f"line 1 names the columns: address, and any of {', '.join(COLUMNS[1:])}")
        entries.extend(_entry(columns, cells, rows.line_num) for cells in rows if cells)
    except csv.Error as exc:
        raise click.UsageError(f"line {rows.line_num} is no CSV: {exc}") from exc
    return entries


def _entry(columns: Sequence[str], cells: Sequence[str], line: int) -> SuppressionEntry:
    if len(cells) != len(columns):
        raise click.UsageError(f"line {line} has {len(cells)} fields, the first line has {len(columns)}")
    row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
    if not is_mail_address(folded_address(row["address"]).rstrip(".")):
        raise click.UsageError(f"line {line}: `{row['address'][:100]}` is no address")
    try:
        reason = SuppressionReason(row.get("reason") or SuppressionReason.MANUAL)
    except ValueError as exc:
        known = ", ".join(SuppressionReason)
        raise click.UsageError(f"line {line}: `{row['reason']}` is no reason; there are {known}") from exc
    until = None
    if row.get("expires"):
        try:
            until = datetime.fromisoformat(row["expires"])
        except ValueError as exc:
            raise click.UsageError(f"line {line}: {exc}") from exc
        if until.tzinfo is None:
            raise click.UsageError(f"line {line}: {row['expires']} has no time zone; write 2026-07-01T00:00:00Z")
    return SuppressionEntry(address=row["address"], stream=row.get("stream", ""), reason=reason, expires_at=until)
