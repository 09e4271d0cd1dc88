"""What happened on the fleet, and words for whoever is next: `timeline` and `note`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Duration, Listed, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width
from mailctl.cli.verbs import common

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection
    from mailctl.ops.timeline import TimelineEvent

MOST_S = 7 * 86_400
"""How long hosts remember operations."""
KINDS = ("operator", "automation", "reload", "host", "rate", "note")


@click.command()
@selectors
@click.option("--since", "since_s", type=Duration(), default="2h", show_default=True, help="How far back; at most 7d.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only these; may be given again.")
@as_json
@pass_setup
def timeline(setup: Setup, selection: Sequence[str], since_s: int, kinds: tuple[str, ...], as_json: bool) -> None:
    """Tell what happened: operators, automation, reloads, hosts, rates.

    One line for each event over all hosts, oldest first, in UTC; a terminal cuts it, a pipe or file has it whole. Other
    terms than host: name what an event is about.

    \b
    Examples:
      mailctl timeline --since 6h > incident.txt
      mailctl timeline provider:gmail host:mx1 --kind rate --json
    """
    from datetime import UTC, datetime, timedelta

    from mailctl.cli.narrow import is_among
    from mailctl.cli.show import Shown, selected, show
    from mailctl.ops.happened import happened
    from mailctl.ops.timeline import as_lines
    from mailctl.output.human import printable

    if since_s > MOST_S:
        raise click.UsageError("hosts remember operations for 7d; --since reaches no further back")

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        now = datetime.now(UTC)
        names = [host.name for host in selected(fleet.state, selection)]
        found = await happened(
            fleet, names, since=now - timedelta(seconds=since_s), now=now, deadline_s=setup.timeout_s
        )
        terms = [f"{kind}:{name}" for kind, name in selection.terms if kind.value != "host"]
        rows = [
            event
            for event in found.events
            if (not kinds or event.kind in kinds) and (not terms or is_among(terms, (event.subject,)))
        ]
        text = timeline_table(rows, columns) if (columns := width()) else as_lines(rows, printable)
        text = text if rows else "nothing happened in that time"
        return Shown(rows, text, truncated=found.truncated, failed=found.failed)

    show(setup, "timeline", selection, look, as_json=as_json)


def timeline_table(events: "Sequence[TimelineEvent]", width: int) -> str:
    """Events for a terminal: when, about what and what happened stay longest."""
    from datetime import UTC

    from mailctl.output.human import NOTHING
    from mailctl.output.tables import Column, table

    moments = [one.at.astimezone(UTC) for one in events]
    stamp = "%H:%M:%S" if len({one.date() for one in moments}) == 1 else "%m-%d %H:%M:%S"
    columns = [
        Column("TIME (UTC)"),
        Column("KIND", spare=2),
        Column("BY", spare=3),
        Column("ABOUT"),
        Column("WHAT", flex=True),
        Column("HOSTS", flex=True, spare=1),
    ]
    cells = [
        [
            at.strftime(stamp),
            one.kind,
            one.by or NOTHING,
            one.subject or NOTHING,
            one.text,
            " ".join(one.hosts),
        ]
        for at, one in zip(moments, events, strict=True)
    ]
    return table(columns, cells, width=width)


@click.group(cls=Listed)
def note() -> None:
    """Leave words for whoever is next: add, list, end."""


@note.command()
@click.argument("text")
@selectors
@click.option("--for", "ttl_s", type=Duration(), help="How long it stands. [default: 12h]")
@common
@pass_setup
def add(
    setup: Setup, /, text: str, selection: Sequence[str], dry_run: bool, yes: bool, as_json: bool, **given: Any
) -> None:
    """Leave a note on hosts (none named: all). It stands on the Fleet screen and in the timeline.

    \b
    Example:
      mailctl note add "Gmail throttles mkt-1; ticket 4711 is open" host:mx1 --for 8h --yes
    """
    from mailagent.api.ids import OpId
    from mailagent.api.notes import MAX_NOTE_CHARS, NoteAdd
    from mailctl.cli.act import Asked, Manner, act
    from mailctl.ops import Options, Verb

    if not 1 <= len(text.strip()) <= MAX_NOTE_CHARS:
        raise click.UsageError(f"a note has 1 to {MAX_NOTE_CHARS} characters, not {len(text.strip())}")
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, wait_s=None)
    asked = Asked(NoteAdd(op_id=OpId(""), text=text), "note", (text,))
    act(setup, Verb.NOTE_ADD, selection, "", Options(**given), manner, asked)


@note.command("list")
@selectors
@as_json
@pass_setup
def listing(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List notes that stand: owner, age, end.

    \b
    Example:
      mailctl note list --json
    """
    from datetime import UTC, datetime

    from mailagent.api.directives import DirectiveKind
    from mailagent.api.ids import DirectiveId
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host
    from mailctl.output.human import ago, until
    from mailctl.output.tables import Column, table

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        now = datetime.now(UTC)
        wanted = selection.hosts
        parts = [
            (host, view.directive)
            for row in fleet.state.directives
            for host, view in row.parts
            if view.directive.kind is DirectiveKind.NOTE and (not wanted or host in wanted)
        ]
        columns = [
            Column("HOSTS"),
            Column("BY"),
            Column("AGE", right=True),
            Column("ENDS", right=True),
            Column("ID", spare=1),
            Column("NOTE", flex=True),
        ]
        hosts: dict[DirectiveId, list[str]] = {}
        for host, one in parts:
            hosts.setdefault(one.id, []).append(host)
        cells = [
            [
                " ".join(hosts[one.id]),
                one.author,
                ago(one.created_at, now),
                until(one.expires_at, now),
                one.id,
                one.reason,
            ]
            for one in {one.id: one for _, one in parts}.values()
        ]
        text = table(columns, cells, width=width()) if cells else "no notes"
        return Shown([at_host(host, one) for host, one in parts], text)

    show(setup, "note list", selection, look, as_json=as_json, kinds=())


@note.command()
@click.argument("directive", metavar="ID")
@common
@pass_setup
def end(setup: Setup, /, directive: str, **given: Any) -> None:
    """End a note by its id, on every host that has it.

    \b
    Example:
      mailctl note end 01k4b2t9qx3f7m2p-1 --yes
    """
    from mailctl.cli.verbs import hand_over

    hand_over(setup, "cancel", subject=directive, **given)


COMMANDS = (timeline,)
