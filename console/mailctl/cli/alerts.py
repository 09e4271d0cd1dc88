"""`mailctl alerts`: who is told of trouble, by ways that do not lead through the queues that it is about."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Duration, Listed, Words, as_json
from mailctl.cli.setup import Setup, complain, leave, narrate, pass_setup, run, width

if TYPE_CHECKING:
    from mailctl.alerts.book import Alert
    from mailctl.alerts.round import Sent
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
    if not setup.load().alerts.receivers:
        raise click.UsageError("the fleet file has no alerts.receivers: nobody would be told")

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
                    if not watch:
                        complain(str(exc))
                        return Exit.REFUSED
                    narrate(str(exc))
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
    from mailctl.cli.checkup_text import sentence
    from mailctl.cli.exits import Exit
    from mailctl.output.document import document

    sight = await look(fleet, drift, deadline_s=setup.timeout_s, say=sentence)
    sent = await tell(fleet.config, store, sight, dry_run=dry_run)
    rows = [row for one in sent for row in _told(one)]
    errors = [f"receiver {one.receiver}: {one.error}" for one in sent if one.error]
    if as_json and watch:
        for row in rows:
            click.echo(codec.encode(row))
    elif as_json:
        click.echo(document("alerts-run", fleet.state, rows=rows, truncated=False, errors=errors))
    elif rows:
        click.echo(_told_table(rows, width()))
    for error in errors:
        complain(error)
    if not fleet.state.coverage.fresh:
        return Exit.UNREACHABLE
    return Exit.INCOMPLETE if errors else Exit.DONE


def _told(one: "Sent") -> list[dict[str, Any]]:
    return [
        {
            "receiver": one.receiver,
            "result": one.result,
            "event": telling.event,
            "id": telling.alert.id,
            "kind": telling.alert.signal.kind,
            "severity": telling.alert.signal.severity,
            "text": telling.alert.signal.text,
            "error": one.error,
        }
        for telling in one.tellings
    ]


def _told_table(rows: Sequence[dict[str, Any]], columns: int | None) -> str:
    from mailctl.output.tables import Column, table

    names = ("receiver", "result", "event", "severity", "text")
    head = [Column(name.upper(), flex=name == "text") for name in names]
    return table(head, [[str(row[name]) for name in names] for row in rows], width=columns)


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
    there = config.alerts.receivers
    for name in receivers:
        if name not in there:
            raise click.UsageError(f"no receiver {name}; there is {', '.join(there) or 'none'}")
    if not there:
        raise click.UsageError("the fleet file has no alerts.receivers: nobody would be told")
    failed = run(rehearse(config, receivers or tuple(there)))
    rows = [
        {"receiver": name, "result": "failed" if error else "sent", "error": error} for name, error in failed.items()
    ]
    if as_json:
        _print_document("alerts-test", rows)
    else:
        cells = [list(row.values()) for row in rows]
        click.echo(table([Column("RECEIVER"), Column("RESULT"), Column("ERROR", flex=True)], cells, width=width()))
    leave(Exit.INCOMPLETE if any(failed.values()) else Exit.DONE)


@alerts.command("list")
@as_json
@pass_setup
def list_open(setup: Setup, as_json: bool) -> None:
    """List what is open, as the last round saw it.

    Run it where, and as whom, the rounds run: the book of alerts is a file there. No host is asked.

    \b
    Examples:
      mailctl alerts list
      mailctl alerts list --json
    """
    from mailagent.api import codec
    from mailctl.alerts.store import Store
    from mailctl.output.human import ago

    now = codec.now()
    book = Store(setup.path()).load()
    rows = [_row(alert) for alert in book.alerts]
    if as_json:
        _print_document("alerts-list", rows)
    elif rows:
        click.echo(_open_table(book.alerts))
    elif book.looked_at is not None:
        click.echo("no alert is open")
    narrate(f"last round {ago(book.looked_at, now)} ago" if book.looked_at else "there was no round yet")


def _row(alert: "Alert") -> dict[str, Any]:
    import msgspec

    row = msgspec.structs.asdict(alert.signal) | msgspec.structs.asdict(alert)
    del row["signal"]
    return row | {"state": _state(alert)}


def _state(alert: "Alert") -> str:
    if alert.is_over:
        return "over"
    if alert.hidden_by:
        return "not known"
    if alert.gone_at is not None:
        return "away"
    return "lasting" if alert.due_at is not None else "waiting"


def _open_table(alerts: "Sequence[Alert]") -> str:
    from mailagent.api import codec
    from mailctl.output.human import NOTHING, ago
    from mailctl.output.tables import Column, table

    head = [Column(name) for name in ("ID", "SEVERITY", "SINCE", "STATE")]
    head += [Column("TOLD TO", flex=True), Column("KNOWN TO"), Column("ALERT", flex=True)]
    now = codec.now()
    cells = []
    for alert in alerts:
        state = _state(alert)
        ack = alert.acknowledged
        cells.append(
            [
                alert.id,
                alert.signal.severity,
                ago(alert.since, now),
                f"{state}: {', '.join(alert.hidden_by)} silent" if alert.hidden_by else state,
                ", ".join(alert.told) or NOTHING,
                ack.by if ack is not None and alert.is_acknowledged(now) else NOTHING,
                alert.signal.text,
            ]
        )
    return table(head, cells, width=width())


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
        _print_document("alerts-ack", [_row(alert) for alert in found])
    else:
        click.echo(_open_table(found))


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
