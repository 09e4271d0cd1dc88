"""Reads of lists that live on the hosts: queues, deferred, messages, message, operations, in-doubt."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Number, as_json, filter_line, limit, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.fleet.lists import Gathered
    from mailctl.ops import Selection

ROWS = 100
"""Rows shown unless --limit says otherwise: a screen or three, never a queue."""


@click.command()
@selectors
@limit(ROWS)
@as_json
@pass_setup
def queues(setup: Setup, selection: Sequence[str], limit: int, as_json: bool) -> None:
    """List ready queues (site/vmta) and what binds them.

    \b
    Example:
      mailctl queues vmta:mkt-1
    """
    from mailctl.cli import listings
    from mailctl.cli.show import show
    from mailctl.ops import TermKind

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = await _window(setup, fleet, selection, "queues", limit, lambda row: row.key)
        return _shown(found, listings.queue_table(found.rows, width()))

    kinds = (TermKind.QUEUE, TermKind.CELL, TermKind.VMTA, TermKind.PROVIDER, TermKind.SITE)
    show(setup, "queues", selection, look, as_json=as_json, kinds=kinds)


@click.command()
@selectors
@filter_line
@limit(ROWS)
@as_json
@pass_setup
def deferred(setup: Setup, selection: Sequence[str], line: str, limit: int, as_json: bool) -> None:
    """Group deferred mail by provider and reply.

    Replies are normalised, groups summed over hosts, the largest first.
    A group's key is a selector: `mailctl messages group:KEY`.

    \b
    Examples:
      mailctl deferred
      mailctl deferred provider:gmail pool:marketing --json
      mailctl deferred --filter 'code:4.7.* age:>2h !greylist'
    """
    from mailctl.cli import listings
    from mailctl.cli.show import Shown, admitted, show
    from mailctl.fleet.lists import deferred_groups
    from mailctl.ops import Filter

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        wanted = Filter.of(selection, line)
        found = await deferred_groups(
            fleet,
            wanted.message_filter(deferred_only=True),
            limit=limit,
            hosts=admitted(fleet.state, wanted),
            deadline_s=setup.timeout_s,
        )
        groups = [group for _, group in found.rows]
        text = listings.group_table(groups, width())
        return Shown(groups, text, found.truncated, found.errors, sought=wanted.selection)

    show(setup, "deferred", selection, look, as_json=as_json)


@click.command()
@selectors
@filter_line
@click.option("--deferred", "deferred_only", is_flag=True, help="Only mail with at least one failed attempt.")
@limit(ROWS)
@as_json
@pass_setup
def messages(setup: Setup, selection: Sequence[str], line: str, deferred_only: bool, limit: int, as_json: bool) -> None:
    """List waiting messages in order of arrival.

    One row per recipient.

    \b
    Examples:
      mailctl messages provider:gmail --deferred
      mailctl messages to:alice@example.com
      mailctl messages --filter 'to:*@example.com age:>2h !"mailbox full"'
    """
    from mailctl.cli import listings
    from mailctl.cli.show import show
    from mailctl.ops import Filter

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = await _window(
            setup,
            fleet,
            selection,
            "messages",
            limit,
            lambda row: (row.received_at, row.n),
            deferred_only=deferred_only,
            line=line,
        )
        sought = Filter.of(selection, line).selection
        return replace(_shown(found, listings.message_table(found.rows, width())), sought=sought)

    show(setup, "messages", selection, look, as_json=as_json)


@click.command()
@click.argument("message_id", metavar="ID")
@click.option("-n", "number", type=Number(0), help="Index of the recipient; the first waiting one without it.")
@click.option("--parts", "parts", is_flag=True, help="List its parts instead. Goes on record.")
@click.option("--part", type=Number(0), help="Print the text of one part instead. Goes on record.")
@as_json
@pass_setup
def message(setup: Setup, message_id: str, number: int | None, parts: bool, part: int | None, as_json: bool) -> None:
    """Show one message: why it waits, next try, attempts.

    \b
    Examples:
      mailctl message 01K4B2T9QX3F7M2PA
      mailctl message 01K4B2T9QX3F7M2PA --part 0
    """
    from mailagent.api.errors import NotFound
    from mailagent.api.parts import MessageParts, PartsRequest
    from mailagent.api.requests import MessageRequest
    from mailagent.api.views import MessageDetail
    from mailctl.cli import listings
    from mailctl.cli.show import Shown, selected, show
    from mailctl.fleet.lists import reason
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        names = [host.name for host in selected(fleet.state, selection)]
        looks = parts or part is not None
        request = (
            PartsRequest(message_id=message_id, part=part) if looks else MessageRequest(message_id=message_id, n=number)
        )
        method = "parts" if looks else "message"
        answers = await fleet.ask_all(method, request, hosts=names, deadline_s=setup.timeout_s)
        found = [(host, answer) for host, answer in answers.items() if isinstance(answer, MessageDetail | MessageParts)]
        failed = {
            host: reason(answer)
            for host, answer in answers.items()
            if isinstance(answer, Exception) and not isinstance(answer, NotFound)
        }
        if not found:
            return Shown(
                [], "", failed=failed, missing=f"no message {message_id} waits on {', '.join(names) or 'any host'}"
            )
        text = "\n\n".join(
            listings.message_parts(detail, width())
            if isinstance(detail, MessageParts)
            else listings.message_detail(host, detail, width())
            for host, detail in found
        )
        return Shown([at_host(host, detail) for host, detail in found], text, failed=failed)

    show(setup, "message", (), look, as_json=as_json)


@click.command()
@selectors
@click.option("--all", "with_agents", is_flag=True, help="Also what agents did by themselves, and how orders went on.")
@limit(ROWS)
@as_json
@pass_setup
def operations(setup: Setup, selection: Sequence[str], with_agents: bool, limit: int, as_json: bool) -> None:
    """List what people ordered, newest first.

    \b
    Examples:
      mailctl operations host:mx1 --limit 20
      mailctl operations --all
    """
    from mailctl.cli import listings
    from mailctl.cli.show import show
    from mailctl.ops.acts import is_act

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = await _window(
            setup,
            fleet,
            selection,
            "operations",
            limit,
            lambda row: row.at,
            newest_first=True,
            wanted=None if with_agents else is_act,
        )
        return _shown(found, listings.operation_table(found.rows, fleet.state.live, width()))

    show(setup, "operations", selection, look, as_json=as_json, kinds=())


@click.command()
@click.argument("operation", metavar="OPERATION")
@as_json
@pass_setup
def operation(setup: Setup, operation: str, as_json: bool) -> None:
    """Show what became of one operation on each host.

    For a verb whose answer was lost: it was executed where a record of it stands, and nowhere else.

    \b
    Example:
      mailctl operation 1q7p3k2m9x4a8bc
    """
    from mailagent.api.ids import OpId
    from mailctl.cli import listings
    from mailctl.cli.show import Shown, show
    from mailctl.ops import journal
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":  # noqa: ARG001
        found = await journal.everywhere(fleet, OpId(operation))
        rows = [(host, record) for host, records in found.items() for record in reversed(records or ())]
        without = [host for host, records in found.items() if records == ()]
        failed = {
            host: "did not answer in time"
            for host, records in found.items()
            if records is None and (state := fleet.state.host(host)) and state.state.is_fresh
        }
        text = listings.record_table(rows, without, fleet.state.live, width()) if rows else ""
        missing = "" if rows else f"no host that answers has executed an operation {operation}"
        return Shown([at_host(host, record) for host, record in rows], text, failed=failed, missing=missing)

    show(setup, "operation", (), look, as_json=as_json)


@click.command("in-doubt")
@selectors
@limit(ROWS)
@as_json
@pass_setup
def in_doubt(setup: Setup, selection: Sequence[str], limit: int, as_json: bool) -> None:
    """List possible duplicates.

    Deliveries that a crash cut after the final dot, before the reply was on disk.

    \b
    Example:
      mailctl in-doubt --json
    """
    from mailctl.cli import listings
    from mailctl.cli.show import show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = await _window(setup, fleet, selection, "in_doubt", limit, lambda row: row.at, newest_first=True)
        return _shown(found, listings.in_doubt_table(found.rows, width()))

    show(setup, "in-doubt", selection, look, as_json=as_json, kinds=())


COMMANDS = (queues, deferred, messages, message, operations, operation, in_doubt)


async def _window(
    setup: Setup,
    fleet: "Fleet",
    selection: "Selection",
    method: str,
    limit: int,
    order: Any,
    *,
    newest_first: bool = False,
    deferred_only: bool = False,
    line: str = "",
    wanted: Callable[[Any], bool] | None = None,
) -> "Gathered":
    from mailctl.cli.show import admitted
    from mailctl.fleet.lists import gather
    from mailctl.ops import Filter

    asked = Filter.of(selection, line)
    return await gather(
        fleet,
        method,
        asked.message_filter(deferred_only=deferred_only),
        limit=limit,
        hosts=admitted(fleet.state, asked),
        order=order,
        newest_first=newest_first,
        wanted=wanted,
        deadline_s=setup.timeout_s,
    )


def _shown(found: "Gathered", text: str) -> "Shown":
    from mailctl.cli.show import Shown
    from mailctl.output.document import at_host

    return Shown([at_host(host, row) for host, row in found.rows], text, found.truncated, found.errors)
