"""`mailagent spool`: look at a spool without a running agent, or beside one. Reads only."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailagent.cli.failure import FAILED, Failure, count
from mailagent.cli.options import Listed
from mailagent.cli.place import config_option, place, state_option

if TYPE_CHECKING:
    from mailagent.api.views import MessageSummary

_COLUMNS = ("MESSAGE", "RECIPIENT", "POOL", "TRIES", "NEXT TRY", "LAST REPLY")


@click.group(cls=Listed)
def spool() -> None:
    """Look into a spool, also while an agent runs on it."""


@spool.command("list")
@config_option
@state_option
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="Rows at most.")
@click.option("--recipient", default="", help="Only this recipient.")
@click.option("--domain", default="", help="Only recipients of this domain.")
@click.option("--pool", default="", help="Only mail of this pool.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_waiting(
    config_path: Path | None, state_dir: Path | None, limit: int, recipient: str, domain: str, pool: str, as_json: bool
) -> None:
    """List waiting recipients, oldest first."""
    from mailagent.api.codec import encode
    from mailagent.api.targets import MessageFilter
    from mailagent.spool import StorageError, spool_list

    chosen = MessageFilter(recipient=recipient, domain=domain, pool=pool)
    try:
        rows = spool_list(place(config_path, state_dir), limit, chosen)
    except StorageError as exc:
        raise Failure(str(exc), FAILED) from exc
    if as_json:
        for row in rows:
            click.echo(encode(row))
        return
    _print(rows)
    if len(rows) == limit:
        click.echo(f"mailagent: note: stopped at --limit {limit}; there may be more", err=True)


@spool.command()
@config_option
@state_option
def check(config_path: Path | None, state_dir: Path | None) -> None:
    """Check a spool's database, indices and counts; exit 1 when something is wrong."""
    from mailagent.spool import StorageError, spool_check

    folder = place(config_path, state_dir)
    try:
        findings = spool_check(folder)
    except StorageError as exc:
        raise Failure(str(exc), FAILED) from exc
    for finding in findings:
        click.echo(finding)
    if findings:
        raise Failure(f"{count(len(findings), 'finding')} in the spool at {folder}", FAILED)
    click.echo(f"{folder}: no findings")


def _print(rows: "list[MessageSummary]") -> None:
    from mailagent.config.scalars import format_duration

    now = datetime.now(UTC)
    table = [_COLUMNS]
    for row in rows:
        wait = timedelta(seconds=int((row.next_try_at - now).total_seconds()))
        reply = row.reply.line() if row.reply else "-"
        table.append(
            (
                f"{row.message_id}.{row.n}",
                row.recipient,
                row.pool,
                str(row.attempts),
                f"in {format_duration(wait)}" if wait > timedelta(0) else "due",
                reply,
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS) - 1)]
    for line in table:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        # Remote text must not steer the terminal that shows it.
        click.echo("".join(c if c.isprintable() else "?" for c in "  ".join((*cells, line[-1]))).rstrip())
