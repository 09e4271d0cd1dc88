"""Reads of what hosts keep beside the mail: events to the application."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    import msgspec

    from mailagent.api.ids import HostName
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@as_json
@pass_setup
def events(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show how far the application has its events: state, lag, backlog of each sink.

    \b
    Example:
      mailctl events host:mx1 --json
    """
    from mailctl.cli.record_tables import event_table
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        answers, failed = await _answers(setup, fleet, selection, "events")
        rows = [(host, row) for host, answer in answers for row in answer.rows]
        return Shown([at_host(host, row) for host, row in rows], event_table(rows, width()), failed=failed)

    show(setup, "events", selection, look, as_json=as_json)


COMMANDS = (events,)


async def _answers(
    setup: Setup, fleet: "Fleet", selection: "Selection", method: str, request: "msgspec.Struct | None" = None
) -> "tuple[list[tuple[HostName, Any]], dict[HostName, str]]":
    """What the connected hosts of the selection answer, and why others do not."""
    from mailagent.api.requests import Empty
    from mailctl.cli.show import selected
    from mailctl.fleet.lists import reason

    names = [host.name for host in selected(fleet.state, selection)]
    answers = await fleet.ask_all(method, request or Empty(), hosts=names, deadline_s=setup.timeout_s)
    good = [(host, answer) for host, answer in answers.items() if not isinstance(answer, Exception)]
    return good, {host: reason(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
