"""What automation does on the hosts: its orders, its rules, and what it would have done."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@click.option("--rules", "what", flag_value="rules", help="List all rules, with what they matched.")
@click.option("--would", "what", flag_value="would", help="List what rules in dry-run mode would have done.")
@as_json
@pass_setup
def automation(setup: Setup, selection: Sequence[str], what: str | None, as_json: bool) -> None:
    """List what automation holds: limits in step-down, suspensions.

    Each with its rule, value, age, end, and the reply behind it. `mailctl cancel` ends one, `mailctl edit` shortens or
    pins it.

    \b
    Examples:
      mailctl automation
      mailctl automation host:mx1 --json
      mailctl automation --rules
    """
    from mailagent.api.automation import AutomationView
    from mailagent.api.requests import Empty
    from mailctl.cli import listings
    from mailctl.cli.show import Shown, selected, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        names = [host.name for host in selected(fleet.state, selection)]
        answers = await fleet.ask_all("automation", Empty(), hosts=names, deadline_s=setup.timeout_s)
        rows: list[tuple[Any, Any]] = []
        failed = {}
        for host, answer in answers.items():
            if isinstance(answer, AutomationView):
                rows += [(host, row) for row in getattr(answer, what or "live")]
            else:
                failed[host] = str(answer)
        table = {"rules": listings.rule_table, "would": listings.would_table}.get(what or "", listings.act_table)
        return Shown([at_host(host, row) for host, row in rows], table(rows, width()), failed=failed)

    show(setup, "automation", selection, look, as_json=as_json, kinds=())


COMMANDS = (automation,)
