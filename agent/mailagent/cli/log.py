"""`mailagent log`: what became of a recipient, a message or a job, from the accounting files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailagent.cli.failure import FAILED, Failure, is_of_output
from mailagent.cli.place import config_option, place, state_option

if TYPE_CHECKING:
    from mailagent.outcome.accounting import AccountingRecord

_WIDTHS = (20, 2, 24, 32, 14, 12)


@click.command()
@config_option
@state_option
@click.option("--recipient", default="", metavar="ADDRESS", help="Only this recipient; @example.com for a domain.")
@click.option("--sender", default="", metavar="ADDRESS", help="Only this envelope sender, or @domain.")
@click.option("--message", "message_id", default="", metavar="ID[.N]", help="Only this message, or recipient.")
@click.option("--job", default="", help="Only this job.")
@click.option("--type", "letters", default="", metavar="d,b,t", help="Only these types of records.")
@click.option("--since", default="", metavar="TIME", help="Not before: 90m, 2d, or 2030-01-01T00:00:00Z.")
@click.option("--until", default="", metavar="TIME", help="Before this.")
@click.option("--oldest-first", is_flag=True, help="From the beginning on; else the newest come first.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="Lines at most.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they stand in the files.")
def log(
    config_path: Path | None,
    state_dir: Path | None,
    recipient: str,
    sender: str,
    message_id: str,
    job: str,
    letters: str,
    since: str,
    until: str,
    oldest_first: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Search the accounting files.

    Live, finished and packed ones, while an agent runs or without one. Exit code 1 when nothing is found.

    \b
    Examples:
      mailagent log --config agent.yaml --recipient alice@example.com
      mailagent log --state-dir /var/lib/mailagent --job spring --type b --since 2d --json
    """
    from mailagent.api.accounting import LETTERS
    from mailagent.outcome.accounting.search import Wanted, search

    unknown = [letter for letter in letters.split(",") if letter and letter not in LETTERS]
    if unknown:
        raise click.UsageError(f"`{unknown[0]}` is no type of record; there are {', '.join(LETTERS)}")
    name, _, n = message_id.partition(".")
    if n and not n.isdecimal():
        raise click.UsageError(f"`{message_id}` is no message; write ID or ID.N")
    wanted = Wanted(
        recipient=recipient,
        sender=sender,
        message_id=name,
        n=int(n) if n else None,
        job=job,
        types=frozenset(LETTERS[letter] for letter in letters.split(",") if letter),
        since=_time(since),
        until=_time(until),
    )
    directory = place(config_path, state_dir) / "accounting"
    found = 0
    try:
        for record, line in search(directory, wanted, newest_first=not oldest_first, limit=limit):
            found += 1
            click.echo(line if as_json else _text(record))
    except OSError as exc:
        if is_of_output(exc):
            raise
        raise Failure(f"{exc.filename or directory}: {exc.strerror or exc}", FAILED) from exc
    if not found:
        raise Failure("no record says that", FAILED)
    if found == limit:
        click.echo(f"mailagent: note: stopped at --limit {limit}; there may be more", err=True)


def _time(text: str) -> datetime | None:
    from mailagent.config.scalars import parse_duration

    if not text:
        return None
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"`{text}` is no time; write 90m, 2d or 2030-01-01T00:00:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _text(record: "AccountingRecord") -> str:
    from mailagent.api.accounting import LETTERS

    letter = next(letter for letter, event in LETTERS.items() if event is record.type)
    text = record.text
    if not (record.code and text.startswith(str(record.code))):  # the diagnostic of a later DSN has its codes
        text = f"{record.code or ''} {record.enhanced} {text}"
    reply = " ".join(text.split())
    cells = (
        f"{record.time:%Y-%m-%dT%H:%M:%SZ}",
        letter,
        f"{record.message_id}.{record.n}" if record.message_id else "-",
        record.recipient or record.site,
        record.provider or "-",
        record.vmta or "-",
    )
    row = "  ".join((*(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)), reply))
    # Remote text must not steer the terminal that shows it.
    return "".join(c if c.isprintable() else "?" for c in row).rstrip()
