"""`mailctl alerts`: who is told of trouble, by ways that do not lead through the queues that it is about."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Duration, Listed, Words, as_json
from mailctl.cli.setup import Setup, complain, leave, narrate, pass_setup, run, width

if TYPE_CHECKING:
    from mailagent.config.structs import FleetConfig
    from mailctl.alerts.store import Store
    from mailctl.cli.exits import Exit
    from mailctl.fleet import Fleet
    from mailctl.fleet.drift import Drift


@click.group(cls=Listed)
def alerts() -> None:
    """Tell people and programs of trouble.

    Of alarms, crossed thresholds and hosts that are silent, by the receivers and routes of `alerts` in the fleet file.
    What is wrong now, `mailctl alarms` and `mailctl check` say.
    """


@alerts.command("run")
@click.option("--watch", is_flag=True, help="Stay, and make a round again and again.")
@click.option(
    "--every", "every_s", type=Duration(), default=60, metavar="DURATION", help="With --watch.  [default: 1m]"
)
@click.option("--dry-run", is_flag=True, help="Say who would be told of what; send and note nothing.")
@as_json
@pass_setup
def run_rounds(setup: Setup, watch: bool, every_s: int, dry_run: bool, as_json: bool) -> None:
    """Look at the fleet, and tell what is new, worse, or over.

    One round, for a timer. Exit 1: a receiver did not take it, and is tried again in the next one; 3: no host answered.

    \b
    Examples:
      mailctl alerts run
      mailctl alerts run --dry-run
      mailctl alerts run --watch --every 30s
    """
    from mailctl.alerts.store import Store
    from mailctl.cli.exits import Exit

    if watch and dry_run:
        raise click.UsageError("--dry-run is about one round, --watch about many")

    store = Store(setup.path())
    _receivers(setup.load())

    async def work() -> Exit:
        from mailctl.alerts.errors import Busy
        from mailctl.fleet.drift import Drift

        clock = asyncio.get_running_loop().time
        async with setup.fleet() as fleet:
            await fleet.settled(setup.timeout_s)
            drift = Drift(fleet.config)
            while True:
                begun = clock()
                try:
                    with store.alone():
                        code = await _round(setup, fleet, drift, store, dry_run=dry_run, as_json=as_json, watch=watch)
                except Busy as exc:
                    complain(str(exc))
                    code = Exit.REFUSED
                if not watch:
                    return code
                await asyncio.sleep(max(0.0, begun + every_s - clock()))

    leave(run(work()))


async def _round(
    setup: Setup, fleet: "Fleet", drift: "Drift", store: "Store", *, dry_run: bool, as_json: bool, watch: bool
) -> "Exit":
    """One round, its result and the code that it ends with."""
    from mailagent.api import codec
    from mailctl.alerts.round import look, tell
    from mailctl.cli.alerts_text import told_rows, told_table
    from mailctl.cli.checkup_text import sentence
    from mailctl.cli.exits import Exit
    from mailctl.output.document import document

    sight = await look(fleet, drift, deadline_s=setup.timeout_s, say=sentence)
    sent = await tell(fleet.config, store, sight, dry_run=dry_run)
    rows = told_rows(sent)
    errors = [f"receiver {one.receiver}: {one.error}" for one in sent if one.error]
    if as_json and watch:
        for row in rows:
            click.echo(codec.encode(row))
    elif as_json:
        click.echo(document("alerts-run", fleet.state, rows=rows, truncated=False, errors=errors))
    elif rows:
        click.echo(told_table(rows, width()))
    for error in errors:
        complain(error)
    if not fleet.state.coverage.fresh:
        return Exit.UNREACHABLE
    return Exit.INCOMPLETE if errors else Exit.DONE


@alerts.command("test")
@click.argument("receivers", nargs=-1, metavar="[RECEIVER]...")
@as_json
@pass_setup
def send_test(setup: Setup, receivers: tuple[str, ...], as_json: bool) -> None:
    """Send a marked test through each receiver.

    Exit 1: one did not take it.

    \b
    Examples:
      mailctl alerts test
      mailctl alerts test pager --json
    """
    from mailctl.alerts.round import rehearse
    from mailctl.cli.exits import Exit
    from mailctl.output.tables import Column, table

    config = setup.load()
    there = _receivers(config)
    for name in receivers:
        if name not in there:
            raise click.UsageError(f"no receiver {name}; there is {', '.join(there)}")
    failed = run(rehearse(config, receivers or there))
    rows = [
        {"receiver": name, "result": "failed" if error else "sent", "error": error} for name, error in failed.items()
    ]
    if as_json:
        _print_document("alerts-test", rows)
    else:
        cells = [list(row.values()) for row in rows]
        click.echo(table([Column("RECEIVER"), Column("RESULT"), Column("ERROR", flex=True)], cells, width=width()))
    leave(Exit.INCOMPLETE if any(failed.values()) else Exit.DONE)


def _receivers(config: "FleetConfig") -> tuple[str, ...]:
    if not config.alerts.receivers:
        raise click.UsageError("the fleet file has no alerts.receivers: nobody would be told")
    return tuple(config.alerts.receivers)


@alerts.command("list")
@click.option("--within", "within_s", type=Duration(), help="Exit 1 when the last round is longer ago, such as 10m.")
@as_json
@pass_setup
def list_open(setup: Setup, within_s: int | None, as_json: bool) -> None:
    """List what is open, as the last round saw it.

    Run it where, and as whom, the rounds run: the book of alerts is a file there. No host is asked.

    \b
    Examples:
      mailctl alerts list
      mailctl alerts list --within 10m --json
    """
    from mailagent.api import codec
    from mailctl.alerts.book import by_urgency
    from mailctl.alerts.store import Store
    from mailctl.cli.alerts_text import open_rows, open_table
    from mailctl.cli.exits import Exit
    from mailctl.output.human import ago

    now = codec.now()
    book = Store(setup.path()).load()
    found = by_urgency(book)
    if as_json:
        _print_document("alerts-list", open_rows(found))
    elif found:
        click.echo(open_table(found, now, width()))
    elif book.looked_at is not None:
        click.echo("no alert is open")
    narrate(f"last round {ago(book.looked_at, now)} ago" if book.looked_at else "there was no round yet")
    if within_s is not None and (book.looked_at is None or (now - book.looked_at).total_seconds() > within_s):
        leave(Exit.INCOMPLETE)


@alerts.command("ack")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", type=Words(), default="", help="What is done about it; kept with the alert.")
@click.option("--for", "ttl_s", type=Duration(), help="Only so long, such as 2h. [default: as long as it lasts]")
@as_json
@pass_setup
def acknowledge(setup: Setup, ids: tuple[str, ...], reason: str, ttl_s: int | None, as_json: bool) -> None:
    """Take note of open alerts: no reminders, no escalation.

    Until they are over, or critical when they were a warning. Run it where, and as whom, the rounds run.

    \b
    Examples:
      mailctl alerts ack 3fa9c1d2 --reason "waiting for Gmail"
      mailctl alerts ack 3fa9c1d2 --for 2h
    """
    from datetime import timedelta

    from mailagent.api import codec
    from mailctl.alerts import book as books
    from mailctl.alerts.store import Store
    from mailctl.cli.alerts_text import open_rows, open_table

    now = codec.now()
    until = now + timedelta(seconds=ttl_s) if ttl_s is not None else None

    def change(book: books.Book) -> books.Book:
        for wanted in ids:
            book = books.acknowledge(book, wanted, by=_who(), now=now, reason=reason, until=until)
        return book

    try:
        book = Store(setup.path()).update(change)
    except LookupError as exc:
        raise click.UsageError(str(exc)) from exc
    found = [alert for alert in book.alerts if alert.id.startswith(ids)]
    if as_json:
        _print_document("alerts-ack", open_rows(found))
    else:
        click.echo(open_table(found, now, width()))


def _who() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "somebody"


def _print_document(name: str, rows: Sequence[Any]) -> None:
    from mailctl.fleet import FleetState
    from mailctl.output.document import document

    nobody: FleetState = FleetState(hosts=())
    click.echo(document(name, nobody, rows=rows, truncated=False))
