"""Block lists: which of our addresses are on them, and what could not be asked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command(name="block-lists")
@selectors
@click.option("--all", "every", is_flag=True, help="List addresses that are on no list, too.")
@as_json
@pass_setup
def block_lists(setup: Setup, selection: Sequence[str], every: bool, as_json: bool) -> None:
    """List addresses that are on block lists, and lists that gave no answer.

    Agents ask the lists that `reputation.block_lists` of the fleet file names.

    \b
    Examples:
      mailctl block-lists
      mailctl block-lists --all vmta:mkt-1
      mailctl block-lists host:mx1 --json
    """
    from mailagent.api.reputation import ListChecks, ListsRequest, ListState
    from mailctl.cli import listings
    from mailctl.cli import rows as table_rows
    from mailctl.cli.show import Shown, selected, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        hosts = selected(fleet.state, selection)
        answers = await fleet.ask_all(
            "block_lists", ListsRequest(all=every), hosts=[host.name for host in hosts], deadline_s=setup.timeout_s
        )
        chosen = {row.view.name for row in table_rows.vmtas(fleet.state, selection)}
        rows: list[tuple[Any, Any]] = []
        failed = {}
        asked = 0
        for host, answer in answers.items():
            if isinstance(answer, ListChecks):
                asked += answer.asked
                rows += [(host, one) for one in answer.checks if one.vmta in chosen]
            else:
                failed[host] = str(answer)
        rows.sort(key=lambda row: (list(ListState).index(row[1].state), row[1].vmta, row[1].zone))
        text = listings.block_list_table(rows, width(), asked=asked)
        return Shown([at_host(host, row) for host, row in rows], text, failed=failed)

    show(setup, "block-lists", selection, look, as_json=as_json)
